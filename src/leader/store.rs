//! What a candidate asks a store of leases, and what it is told.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::core::epoch::Epoch;

/// A question to a store of leases. A store is a tower service of it: `Service<Ask, Response = Answer>`.
///
/// Every question may be asked again, so retries may stand in front of a store.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::leader::{Answer, Ask, MemoryStore};
/// use std::time::Duration;
/// use tower::ServiceExt;
///
/// let store = MemoryStore::new();
/// let acquire = Ask::Acquire { lease: "report".into(), holder: "pod-7".into(), ttl: Duration::from_secs(15) };
/// let answer = store.clone().oneshot(acquire).await?;
/// assert!(matches!(answer, Answer::Granted { .. }));
/// let Answer::Held { holder, .. } = store.oneshot(Ask::Look { lease: "report".into() }).await? else { panic!() };
/// assert_eq!(&*holder, "pod-7");
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// For the lease, if nobody has it. To the one who has it already, [`Held`](Answer::Held) is said with its own
    /// name.
    Acquire {
        /// The name of the lease.
        lease: Arc<str>,
        /// Who asks, under a name that nobody else has: a holder that restarts has another.
        holder: Arc<str>,
        /// For how long.
        ttl: Duration,
    },
    /// To have it for `ttl` from now, by the one who has it. Nobody is given one who has it no more.
    Renew {
        /// The name of the lease.
        lease: Arc<str>,
        /// Who asks.
        holder: Arc<str>,
        /// For how long.
        ttl: Duration,
    },
    /// To be free of it, by the one who has it. It changes nothing if somebody else has.
    Release {
        /// The name of the lease.
        lease: Arc<str>,
        /// Who asks.
        holder: Arc<str>,
    },
    /// Who has it.
    Look {
        /// The name of the lease.
        lease: Arc<str>,
    },
}

/// What a store of leases says.
///
/// `T` is the token of a term. It is an [`Epoch`] where the store counts terms and never forgets the count: each
/// term has a later one, also after the store restarts. A store that cannot promise that is [`Advisory`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer<T = Epoch> {
    /// The lease is theirs who asked.
    Granted {
        /// The token of the term, the same in all answers of one term.
        token: T,
        /// For how long, from when the store decided. It need not be what was asked for.
        ttl: Duration,
    },
    /// Somebody has it.
    Held {
        /// Who.
        holder: Arc<str>,
        /// For how long it is theirs, unless they renew it.
        expires_in: Option<Duration>,
    },
    /// Nobody has it.
    Free,
}

/// The token of a store that may forget its count of terms, such as a Redis that does not persist: none.
///
/// It elects leaders, for work that may be done twice:
///
/// ```
/// use seawall::leader::{Advisory, Answer};
/// use std::time::Duration;
///
/// /// What a store says that has set a key with an expiry.
/// fn granted(ttl: Duration) -> Answer<Advisory> {
///     Answer::Granted { token: Advisory, ttl }
/// }
/// assert_ne!(granted(Duration::from_secs(15)), Answer::Free);
/// ```
///
/// It gives no epochs, so what needs one does not compile with
/// it:
///
/// ```compile_fail,E0277
/// use seawall::leader::{Advisory, LeaderLayer, Leadership};
///
/// fn jobs(leadership: &Leadership<Advisory>) -> LeaderLayer {
///     LeaderLayer::new("jobs", leadership) // "a lease of an advisory store has no epoch"
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Advisory;

/// What a store can give with a term: an [`Epoch`], or [`Advisory`] for nothing.
pub trait Token: Clone + fmt::Debug + Send + Sync + 'static + sealed::Counted {}

impl Token for Epoch {}
impl Token for Advisory {}

/// A token that orders terms.
#[diagnostic::on_unimplemented(
    message = "a lease of an advisory store has no epoch",
    label = "this store may forget how many terms there were, so its terms have no order",
    note = "use a store that counts terms durably (`Answer<Epoch>`), or `Candidate::lead` for work that may be done twice"
)]
pub trait Durable: Token {}

impl Durable for Epoch {}

pub(super) mod sealed {
    use super::{Advisory, Epoch};

    /// How the terms of a store are numbered.
    pub trait Counted {
        /// The number of the term; `last` is that of the term before it.
        fn number(&self, last: u64) -> u64;
    }

    impl Counted for Epoch {
        fn number(&self, _: u64) -> u64 {
            self.get()
        }
    }

    impl Counted for Advisory {
        fn number(&self, last: u64) -> u64 {
            last.saturating_add(1)
        }
    }
}
