//! Why a map was not adopted.

use std::sync::Arc;

use crate::core::epoch::Epoch;
use crate::shell::set::Refused;

/// Why a map was not adopted. The one before stays in force.
///
/// ```
/// use seawall::shards::{AdoptError, Key, Map, Shards};
/// use tower::service_fn;
///
/// let orders = Shards::builder("orders")
///     .key(|order: &u64| Key::from(*order))
///     .map(Map::hashed(7, ["a", "b", "c"])?)
///     .over(|_| Ok(service_fn(|order: u64| async move { Ok::<_, seawall::Error<std::io::Error>>(order) })))?;
/// let late = orders.handle().adopt(Map::hashed(7, ["a", "b"])?).unwrap_err();
/// assert_eq!(late.to_string(), "a map of epoch 7 is not later than the present one, of epoch 7");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdoptError {
    /// It is no later than the one in force.
    #[error("a map of epoch {offered} is not later than the present one, of epoch {present}")]
    Stale {
        /// Its epoch.
        offered: Epoch,
        /// The epoch in force.
        present: Epoch,
    },
    /// A move to another map of that epoch is under way at this owner.
    #[error("a move to the map of epoch {to} is under way, and this is another map")]
    Moving {
        /// The epoch of the map that it is to come to.
        to: Epoch,
    },
    /// It lacks more than half of the members, as a fault of the discovery would look.
    /// [`adopt_anyway`](super::ShardsHandle::adopt_anyway) adopts it.
    #[error(
        "a map of {after} members has {stay} of the {before} there are, less than half: `adopt_anyway` if that is meant"
    )]
    Shrunk {
        /// Members of the present map.
        before: usize,
        /// Those of them that it has.
        stay: usize,
        /// Members that it has.
        after: usize,
    },
    /// The service of a member could not be made.
    #[error("the service of member {name:?} could not be made: {error}")]
    Member {
        /// The member.
        name: Arc<str>,
        /// What was wrong.
        error: tower::BoxError,
    },
}

impl From<Refused> for AdoptError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Shrunk { before, stay, after } => Self::Shrunk { before, stay, after },
            Refused::Member { name, error } => Self::Member { name, error },
        }
    }
}
