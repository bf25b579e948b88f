//! Seeing and steering a fence from outside.

use std::fmt;
use std::sync::Arc;

use super::cell::Cell;
use crate::core::epoch::Epoch;
use crate::core::origin::Origin;

/// Inspects and controls the fence of one resource. Cheap to clone.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use seawall::{Epoch, Error};
/// use seawall::fence::{FenceHandle, FenceLayer, MemoryStore};
/// use std::convert::Infallible;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// /// A line for an operator.
/// fn line(fence: &FenceHandle) -> String {
///     match (fence.highest(), fence.last_error()) {
///         (Some(epoch), _) => format!("{}: {epoch}", fence.origin()),
///         (None, Some(why)) => format!("{}: closed, {why}", fence.origin()),
///         (None, None) => format!("{}: closed", fence.origin()),
///     }
/// }
///
/// let store = MemoryStore::new();
/// store.raise("ledger", Epoch::new(3));
/// let fence = FenceLayer::builder("ledger", store).epoch(|epoch: &u64| Some(Epoch::new(*epoch))).build()?;
/// let handle = fence.handle();
/// assert_eq!(line(&handle), "fence `ledger`: closed");
/// let ledger = ServiceBuilder::new()
///     .layer(fence)
///     .map_err(Error::Inner)
///     .service(service_fn(|_: u64| async { Ok::<_, Infallible>(()) }));
/// ledger.oneshot(3).await?;
/// assert_eq!(line(&handle), "fence `ledger`: 3");
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct FenceHandle {
    cell: Arc<Cell>,
}

impl FenceHandle {
    pub(super) const fn new(cell: Arc<Cell>) -> Self {
        Self { cell }
    }

    /// The kind and the name.
    pub fn origin(&self) -> &Origin {
        &self.cell.common.reporter.origin
    }

    /// The highest epoch that was confirmed; `None` while the fence is closed, because its store has not answered yet.
    pub fn highest(&self) -> Option<Epoch> {
        self.cell.highest()
    }

    /// Calls that wait for the store.
    pub fn waiting(&self) -> usize {
        self.cell.waiting()
    }

    /// Why the store gave no answer when it was last asked; `None` if it did.
    pub fn last_error(&self) -> Option<Arc<str>> {
        self.cell.last_error.get().as_ref().clone()
    }

    /// Somebody whom you trust, such as a watch of the lease, says that this epoch was given: earlier ones are refused from now
    /// on, without a question. A closed fence stays closed, for there may be a later one. A lower epoch changes nothing.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
    /// use seawall::Epoch;
    /// use seawall::fence::{FenceHandle, FenceLayer, MemoryStore};
    /// use seawall::leader::Leadership;
    ///
    /// /// Where the resource is in the process of a candidate: its own terms need no question.
    /// async fn follow(fence: FenceHandle, leadership: Leadership) {
    ///     let mut watch = leadership.watch();
    ///     loop {
    ///         if let Some(term) = leadership.term() {
    ///             fence.confirm(term.epoch());
    ///         }
    ///         watch.changed().await;
    ///     }
    /// }
    ///
    /// let fence = FenceLayer::new("ledger", MemoryStore::new()).handle();
    /// fence.confirm(Epoch::new(7));
    /// assert_eq!(fence.highest(), None, "there may be a later one");
    /// # });
    /// ```
    pub fn confirm(&self, epoch: Epoch) {
        self.cell.confirm(epoch);
    }
}

impl fmt::Debug for FenceHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FenceHandle")
            .field("origin", self.origin())
            .field("highest", &self.highest())
            .finish_non_exhaustive()
    }
}
