//! Asking each member how far it is, in the background.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, join_all};
use tokio::time::{sleep_until, timeout};
use tower::{BoxError, Service, ServiceExt};

use super::knowledge::Knowledge;
use super::meter::SplitMeter;
use super::seen::PRIMARY;
use crate::core::position::Position;
use crate::core::time;
use crate::shell::clone_source::CloneSource;
use crate::shell::reporter::Reporter;

/// While calls wait, a member is asked again so soon after it was.
const SOON: Duration = Duration::from_millis(5);

/// Who is asked how far it is: the request to the service of [`positions`](super::Builder::positions).
#[derive(Debug, Clone)]
pub struct Member {
    name: Arc<str>,
    is_primary: bool,
}

impl Member {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is the primary.
    pub const fn is_primary(&self) -> bool {
        self.is_primary
    }
}

/// How far a member is. A [`Position`] is one.
///
/// ```
/// use seawall::Position;
/// use seawall::split::Progress;
///
/// // After a failover: history 2, which went on from 40 of history 1. What history 1 had after that is lost.
/// let promoted = Progress::new(Position { era: 2, at: 57 }).began(Position { era: 1, at: 40 });
/// assert_ne!(promoted, Position { era: 2, at: 57 }.into());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub(super) position: Position,
    pub(super) began: Option<Position>,
}

impl Progress {
    /// Everything up to this position is there.
    pub const fn new(position: Position) -> Self {
        Self { position, began: None }
    }

    /// Where its history left an earlier one. Who has seen more of that is told that it is lost. If it is not known, so is
    /// everybody who has seen anything of an earlier history.
    #[must_use]
    pub const fn began(mut self, left: Position) -> Self {
        self.began = Some(left);
        self
    }
}

impl From<Position> for Progress {
    fn from(position: Position) -> Self {
        Self::new(position)
    }
}

/// How a member is asked.
pub(super) type Ask =
    Box<dyn Fn(Member) -> BoxFuture<'static, Result<Progress, BoxError>> + Send + Sync>;

pub(super) fn ask<A>(service: A) -> Ask
where
    A: Service<Member, Error: Into<BoxError>, Response: Into<Progress>> + Clone + Send + 'static,
    A::Future: Send,
{
    let source = CloneSource::new(service);
    Box::new(move |member| {
        let service = source.make();
        Box::pin(async move { service.oneshot(member).await.map(Into::into).map_err(Into::into) })
    })
}

/// What the task that asks needs; none of it keeps the set going.
pub(super) struct Asker {
    pub(super) knowledge: Arc<Knowledge>,
    pub(super) reporter: Arc<Reporter<SplitMeter>>,
    pub(super) ask: Arc<Ask>,
    pub(super) every: Duration,
    pub(super) timeout: Duration,
}

impl Asker {
    /// Asks all of them, for ever.
    pub(super) async fn run(self) {
        join_all((0..self.knowledge.seats.len()).map(|seat| self.tend(seat))).await;
    }

    async fn tend(&self, seat: usize) {
        let knowledge = &self.knowledge;
        let is_primary = seat == PRIMARY as usize;
        if is_primary && knowledge.seats[seat].name.is_empty() {
            return; // there is none
        }
        loop {
            let begun = time::now();
            self.ask(seat, is_primary).await;
            let soon = SOON.min(self.every);
            sleep_until(begun + soon).await;
            let mut hurry = pin!(knowledge.hurry.notified());
            hurry.as_mut().enable(); // before the look, or somebody could come in between
            if knowledge.waiting.load(Relaxed) == 0 {
                // Sooner, if somebody comes who waits.
                let _ = timeout(self.every.saturating_sub(soon), hurry).await;
            }
        }
    }

    async fn ask(&self, seat: usize, is_primary: bool) {
        let knowledge = &self.knowledge;
        let name = Arc::clone(&knowledge.seats[seat].name);
        let (question, asked) = (knowledge.seats[seat].next_question(), knowledge.clock.now().0);
        let asking = async { (self.ask)(Member { name, is_primary }).await };
        // The user's code: a panic there is no answer.
        let asking = AssertUnwindSafe(asking).catch_unwind();
        match timeout(self.timeout, asking).await {
            Ok(Ok(Ok(progress))) => knowledge.heard(seat, progress, question, asked),
            _ => self.reporter.meter(|handles| handles.increment(&handles.own.unanswered)),
        }
        self.reporter.meter(|handles| handles.own.set_levels(knowledge));
    }
}
