//! States that need not be folded again.

use std::future::{Future, ready};

use tower::BoxError;

use crate::core::position::Position;

/// The state of a stream at some version, so that not all of its events need be read again.
///
/// It is a cache: where it is lost, made by other [code](crate::log::Decide::CODE), or of a log that was restored from
/// a backup, the events are read from the beginning.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Snapshot<S> {
    /// The state.
    pub state: S,
    /// How many events of the stream are in it.
    pub version: u64,
    /// How far in the log that is.
    pub position: Position,
    /// The version of the code that made it: [`Decide::CODE`](crate::log::Decide::CODE).
    pub code: u32,
}

/// Keeps snapshots: [`MemorySnapshots`](crate::log::MemorySnapshots), or a store of your own.
///
/// Errors are told to nobody but the metrics: a command goes on without a snapshot.
///
/// ```
/// use seawall::log::{Snapshot, Snapshots};
/// use std::collections::HashMap;
/// use std::sync::Mutex;
/// use tower::BoxError;
///
/// /// A table of snapshots: a database, for instance.
/// #[derive(Default)]
/// struct Table(Mutex<HashMap<String, Snapshot<u64>>>);
///
/// impl Snapshots<u64> for Table {
///     async fn load(&self, stream: &str) -> Result<Option<Snapshot<u64>>, BoxError> {
///         Ok(self.0.lock().unwrap().get(stream).cloned())
///     }
///
///     async fn save(&self, stream: &str, snapshot: Snapshot<u64>) -> Result<(), BoxError> {
///         self.0.lock().unwrap().insert(stream.into(), snapshot);
///         Ok(())
///     }
/// }
/// ```
pub trait Snapshots<S>: Send + Sync + 'static {
    /// The latest snapshot of this stream, if there is one.
    ///
    /// # Errors
    ///
    /// The store cannot be asked.
    fn load(
        &self,
        stream: &str,
    ) -> impl Future<Output = Result<Option<Snapshot<S>>, BoxError>> + Send;

    /// Keeps a snapshot of this stream.
    ///
    /// # Errors
    ///
    /// It is not kept.
    fn save(
        &self,
        stream: &str,
        snapshot: Snapshot<S>,
    ) -> impl Future<Output = Result<(), BoxError>> + Send;
}

/// Keeps none.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSnapshots;

impl<S: Send> Snapshots<S> for NoSnapshots {
    fn load(&self, _: &str) -> impl Future<Output = Result<Option<Snapshot<S>>, BoxError>> + Send {
        ready(Ok(None))
    }

    fn save(&self, _: &str, _: Snapshot<S>) -> impl Future<Output = Result<(), BoxError>> + Send {
        ready(Ok(()))
    }
}
