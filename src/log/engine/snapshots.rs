//! Snapshots in memory.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::{Future, ready};
use std::sync::Arc;

use tower::BoxError;

use crate::core::config::{ConfigError, ConfigErrors};
use crate::core::sync::Mutex;
use crate::log::snapshot::{Snapshot, Snapshots};
use crate::shell::lock;

/// Default of [`MemorySnapshots::with_capacity`].
const CAPACITY: usize = 10_000;

/// Snapshots in memory, of at most so many streams: the one that came first goes first. Clones are the same.
///
/// ```
/// use seawall::log::MemorySnapshots;
///
/// let states = MemorySnapshots::<u64>::with_capacity(1_000)?; // 10,000 by default
/// assert!(MemorySnapshots::<u64>::with_capacity(0).is_err());
/// # Ok::<(), seawall::ConfigErrors>(())
/// ```
pub struct MemorySnapshots<S> {
    kept: Arc<Mutex<Kept<S>>>,
    capacity: usize,
}

struct Kept<S> {
    of: HashMap<Arc<str>, Arc<Snapshot<S>>>,
    order: VecDeque<Arc<str>>,
}

impl<S> MemorySnapshots<S> {
    /// Of 10,000 streams at most.
    pub fn new() -> Self {
        Self::of(CAPACITY)
    }

    /// Of so many streams at most.
    ///
    /// # Errors
    ///
    /// If it were none.
    pub fn with_capacity(streams: usize) -> Result<Self, ConfigErrors> {
        if streams == 0 {
            return Err(ConfigErrors::of(vec![ConfigError::new("capacity", 0, "at least 1")]));
        }
        Ok(Self::of(streams))
    }

    fn of(capacity: usize) -> Self {
        let kept = Kept { of: HashMap::new(), order: VecDeque::new() };
        Self { kept: Arc::new(Mutex::new(kept)), capacity }
    }
}

impl<S: Clone + Send + Sync + 'static> Snapshots<S> for MemorySnapshots<S> {
    fn load(
        &self,
        stream: &str,
    ) -> impl Future<Output = Result<Option<Snapshot<S>>, BoxError>> + Send {
        let found = lock(&self.kept).of.get(stream).cloned();
        ready(Ok(found.map(|snapshot| Snapshot::clone(&snapshot)))) // after the unlock
    }

    fn save(
        &self,
        stream: &str,
        snapshot: Snapshot<S>,
    ) -> impl Future<Output = Result<(), BoxError>> + Send {
        let (name, snapshot) = (Arc::<str>::from(stream), Arc::new(snapshot));
        let mut kept = lock(&self.kept);
        let mut gone = kept.of.insert(Arc::clone(&name), snapshot);
        if gone.is_none() {
            kept.order.push_back(name);
            if kept.order.len() > self.capacity
                && let Some(first) = kept.order.pop_front()
            {
                gone = kept.of.remove(&first);
            }
        }
        drop(kept);
        drop(gone); // after the unlock
        ready(Ok(()))
    }
}

impl<S> Clone for MemorySnapshots<S> {
    fn clone(&self) -> Self {
        Self { kept: Arc::clone(&self.kept), capacity: self.capacity }
    }
}

impl<S> Default for MemorySnapshots<S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> fmt::Debug for MemorySnapshots<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = lock(&self.kept).of.len();
        f.debug_struct("MemorySnapshots")
            .field("streams", &kept)
            .field("capacity", &self.capacity)
            .finish()
    }
}
