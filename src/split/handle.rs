//! Seeing a split from outside.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use super::ask::Progress;
use super::plan::{Common, Readers, Writer};
use super::sides::Sides;
use crate::core::origin::Origin;
use crate::core::position::Position;
use crate::shell::set::Shared;

/// Shows how far the members of a [`Split`](super::Split) or of [`Replicas`](super::Replicas) are, and drains. Cheap to clone.
///
/// ```
/// use seawall::split::{Replicas, SplitHandle};
/// use seawall::{Error, Position};
/// use std::convert::Infallible;
/// use tower::service_fn;
///
/// let reads = Replicas::builder("orders")
///     .replicas(["a", "b"])
///     .over(|_| Ok(service_fn(|_: ()| async { Ok::<_, Error<Infallible>>(()) })))?;
/// let handle: SplitHandle = reads.handle();
/// handle.report("b", Position { era: 1, at: 42 });
/// let known: Vec<_> = handle.positions().into_iter().map(|(name, at)| format!("{name} {at:?}")).collect();
/// assert_eq!(known, ["a None", "b Some(Position { era: 1, at: 42 })"]);
/// # Ok::<(), seawall::ConfigErrors>(())
/// ```
#[derive(Clone)]
pub struct SplitHandle {
    inner: Arc<dyn Steered>,
}

/// What a handle needs, whatever the members are.
trait Steered: Send + Sync {
    fn origin(&self) -> &Origin;
    fn positions(&self) -> Vec<(Arc<str>, Option<Position>)>;
    fn report(&self, name: &str, progress: Progress) -> bool;
    fn spill_left(&self) -> f64;
    fn in_flight(&self) -> usize;
    fn drain(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

struct Both<W, S, Req, Res> {
    writer: Option<Arc<Shared<Writer<Req, Res>, W>>>,
    readers: Arc<Shared<Readers<Req, Res>, S>>,
    common: Arc<Common<Req, Res>>,
}

impl<W: Send, S: Send, Req, Res> Steered for Both<W, S, Req, Res> {
    fn origin(&self) -> &Origin {
        &self.common.reporter.origin
    }

    fn positions(&self) -> Vec<(Arc<str>, Option<Position>)> {
        let seats = self.common.knowledge.seats.iter().filter(|seat| !seat.name.is_empty());
        seats.map(|seat| (Arc::clone(&seat.name), seat.position())).collect()
    }

    fn report(&self, name: &str, progress: Progress) -> bool {
        let knowledge = &self.common.knowledge;
        let is_it = |seat: &super::knowledge::Seat| &*seat.name == name && !name.is_empty();
        let Some(seat) = knowledge.seats.iter().position(is_it) else { return false };
        knowledge.told(seat, progress);
        true
    }

    fn spill_left(&self) -> f64 {
        self.common.spill.left(self.common.knowledge.clock.now().0)
    }

    fn in_flight(&self) -> usize {
        let writer = self.writer.as_ref().map_or(0, |writer| writer.in_flight());
        self.readers.in_flight() + writer
    }

    fn drain(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            match &self.writer {
                Some(writer) => {
                    futures::future::join(writer.drain(), self.readers.drain()).await;
                }
                None => self.readers.drain().await,
            }
        })
    }
}

impl SplitHandle {
    pub(super) fn new<W, S, Req, Res>(sides: &Sides<W, S, Req, Res>) -> Self
    where
        W: Send + 'static,
        S: Send + 'static,
        Req: 'static,
        Res: 'static,
    {
        let both = Both {
            writer: sides.writer.as_ref().map(|writer| Arc::clone(writer.shared())),
            readers: Arc::clone(sides.readers.shared()),
            common: Arc::clone(&sides.common),
        };
        Self { inner: Arc::new(both) }
    }

    /// The kind and the name.
    pub fn origin(&self) -> &Origin {
        self.inner.origin()
    }

    /// How far each member is known to be, the primary first.
    pub fn positions(&self) -> Vec<(Arc<str>, Option<Position>)> {
        self.inner.positions()
    }

    /// Tells that a member is at least so far, for whoever hears of it and need not ask. It says nothing of when that was, so a
    /// session stays uncertain, and nothing becomes young enough for [`Within`](super::Freshness::Within). Returns `false` if there
    /// is no such member.
    pub fn report(&self, name: &str, progress: impl Into<Progress>) -> bool {
        self.inner.report(name, progress.into())
    }

    /// For how many queries the spill budget pays now.
    pub fn spill_left(&self) -> f64 {
        self.inner.spill_left()
    }

    /// The calls that were made and are not over.
    pub fn in_flight(&self) -> usize {
        self.inner.in_flight()
    }

    /// Rejects all further calls, for good, and returns when no call is in flight. May be dropped and asked again; calls are
    /// rejected all the same.
    pub async fn drain(&self) {
        self.inner.drain().await;
    }
}

impl fmt::Debug for SplitHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SplitHandle")
            .field("origin", self.origin())
            .field("positions", &self.positions())
            .finish()
    }
}
