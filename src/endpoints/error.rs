//! Why a list of endpoints was not taken.

use std::sync::Arc;

use crate::core::config::ConfigErrors;
use crate::shell::set::Refused;

/// Why a list of endpoints was not taken. The one before stays in force.
///
/// ```
/// use seawall::endpoints::{AdoptError, Endpoint, Endpoints};
/// use tower::service_fn;
///
/// let twice = Endpoints::builder("orders")
///     .members(["10.0.0.7:443", "10.0.0.7:443"])
///     .over(|_: &Endpoint| Ok(service_fn(|order: u64| async move { Ok::<_, seawall::Error<std::io::Error>>(order) })));
/// let wrong = twice.err().unwrap();
/// assert!(matches!(&wrong, AdoptError::Invalid(problems) if problems.iter().count() == 1));
/// assert_eq!(wrong.to_string(), r#"invalid configuration of endpoints `orders`: members = "10.0.0.7:443": each name once"#);
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdoptError {
    /// The list or the settings are wrong: everything that is.
    #[error(transparent)]
    Invalid(#[from] ConfigErrors),
    /// It lacks more than half of the endpoints, as a fault of the discovery would look.
    /// [`adopt_anyway`](super::EndpointsHandle::adopt_anyway) adopts it.
    #[error(
        "a list of {after} endpoints has {stay} of the {before} there are, less than half: `adopt_anyway` if that is meant"
    )]
    Shrunk {
        /// Endpoints of the present list.
        before: usize,
        /// Those of them that it has.
        stay: usize,
        /// Endpoints that it has.
        after: usize,
    },
    /// The source of the list gave none.
    #[error("the source of endpoints gave no list: {0}")]
    Source(tower::BoxError),
    /// The service of an endpoint could not be made.
    #[error("the service of endpoint {name:?} could not be made: {error}")]
    Member {
        /// The endpoint.
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
