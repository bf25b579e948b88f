//! What a fence asks its store.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::Service;

use crate::core::epoch::Epoch;
use crate::shell::locked::Locked;

/// A question to the store of a fence. A store is a tower service of it: `Service<Ask, Response = Epoch>`.
///
/// The answer is the highest epoch that anybody was given for the resource, [`NOBODY`](Epoch::NOBODY)'s if nobody was, and
/// never lower than an answer before it. A fence lets in what the store has answered, and believes nobody else, so a fence
/// that restarts has only to ask again.
///
/// A look at the lease is such a store: etcd's create revision of the leader's key, the column in PostgreSQL. A store may also
/// keep what it is told is [`seen`](Self::seen), `update fences set epoch = greatest(epoch, $2) … returning epoch`: then
/// whoever may call the resource may raise its fence, and a stranger fences the true leader out.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::Epoch;
/// use seawall::fence::{Ask, MemoryStore};
/// use tower::ServiceExt;
///
/// let store = MemoryStore::new();
/// store.raise("ledger", Epoch::new(7));
/// let asked = Ask { resource: "ledger".into(), seen: Epoch::new(u64::MAX) };
/// assert_eq!(store.oneshot(asked).await?, Epoch::new(7));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Of which resource: the key, or the name of the fence if it has no keys.
    pub resource: Arc<str>,
    /// The highest epoch that a call was made by which waits for the answer; [`NOBODY`](Epoch::NOBODY)'s if none was. It is
    /// the word of whoever called.
    pub seen: Epoch,
}

/// The highest epochs, within this process: for tests, and where the resource is in this process too.
///
/// It forgets everything when the process ends. A fence that begins with an empty one lets nobody in before
/// [`raise`](Self::raise) is called; a [trusting](Self::trusting) one would let in the first who comes, a leader of
/// yesterday too.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use seawall::Epoch;
/// use seawall::fence::{FenceLayer, MemoryStore};
///
/// let store = MemoryStore::new();
/// let fence = FenceLayer::new("ledger", store.clone());
/// store.raise("ledger", Epoch::new(3)); // by whoever learns of terms
/// assert_eq!(store.highest("ledger"), Epoch::new(3));
/// # drop(fence);
/// # });
/// ```
#[derive(Clone)]
pub struct MemoryStore {
    highest: Arc<Locked<HashMap<Arc<str>, Epoch>>>,
    trusts: bool,
}

/// So many resources are known to a trusting store.
const MOST_RESOURCES: usize = 65_536;

impl MemoryStore {
    /// A store that is told of terms by [`raise`](Self::raise), and by nothing else.
    pub fn new() -> Self {
        Self { highest: Arc::default(), trusts: false }
    }

    /// A store that takes the word of callers: whatever epoch a call is made by was given to somebody. For resources that only
    /// the candidates themselves can call. It knows 65,536 resources at most, and confirms nothing of others.
    pub fn trusting() -> Self {
        Self { trusts: true, ..Self::new() }
    }

    /// Somebody was given this epoch. A lower one than is known changes nothing.
    pub fn raise(&self, resource: impl Into<Arc<str>>, epoch: Epoch) {
        let resource = resource.into();
        self.highest.with(|all| {
            let highest = all.entry(resource).or_default();
            *highest = (*highest).max(epoch);
        });
    }

    /// The highest epoch for this resource.
    pub fn highest(&self, resource: &str) -> Epoch {
        self.highest.with(|all| all.get(resource).copied().unwrap_or_default())
    }

    fn answer(&self, ask: Ask) -> Epoch {
        let Ask { resource, seen } = ask;
        self.highest.with(|all| {
            let known = all.get(&resource).copied();
            if !self.trusts || seen == Epoch::NOBODY || known >= Some(seen) {
                return known.unwrap_or_default();
            }
            if known.is_none() && all.len() >= MOST_RESOURCES {
                return Epoch::NOBODY;
            }
            all.insert(resource, seen);
            seen
        })
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Service<Ask> for MemoryStore {
    type Response = Epoch;
    type Error = Infallible;
    type Future = Ready<Result<Epoch, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, ask: Ask) -> Self::Future {
        ready(Ok(self.answer(ask)))
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resources = self.highest.with(|all| all.len());
        f.debug_struct("MemoryStore")
            .field("resources", &resources)
            .field("trusts", &self.trusts)
            .finish()
    }
}
