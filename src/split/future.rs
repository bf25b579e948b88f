//! The future of a call to either side.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project::pin_project;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::Service;

use super::plan::{Common, Readers, Writer};
use super::seen::{Knows, Need, PRIMARY};
use super::session::Session;
use super::side::Freshness;
use super::sides::{Sides, Ticket, seat_of};
use crate::core::error::{CallError, Measurement, Reason};
use crate::core::outcome::{Outcome, Sent};
use crate::core::position::Position;
use crate::core::time;
use crate::shell::set;

/// The future of a call to the primary or a replica.
///
/// Dropping it drops the call in flight. A command that is dropped may have happened: its session is uncertain then.
#[pin_project]
pub struct ResponseFuture<W, S, Req, Res>
where
    W: Service<Req>,
    S: Service<Req>,
{
    #[pin]
    stage: Stage<W, S, Req, Res>,
    after: Option<After<Req, Res>>,
}

#[pin_project(project = StageProj)]
enum Stage<W: Service<Req>, S: Service<Req>, Req, Res> {
    Replica(#[pin] set::ResponseFuture<Readers<Req, Res>, S, Req>),
    Primary(#[pin] set::ResponseFuture<Writer<Req, Res>, W, Req>),
    Waiting(Box<Waiting<W, S, Req, Res>>),
    Failed(Option<S::Error>),
    Over,
}

/// Ready when there is something new.
type News = Pin<Box<dyn Future<Output = watch::Receiver<()>> + Send + Sync>>;

/// A query that waits for a replica that is fresh enough.
struct Waiting<W, S, Req, Res> {
    sides: Sides<W, S, Req, Res>,
    request: Option<Req>,
    freshness: Freshness,
    news: News,
    timer: Pin<Box<Sleep>>,
    /// The deadline of the call, if that comes no later than its patience ends.
    deadline: Option<Measurement>,
    _ticket: Ticket<Req, Res>,
}

/// What the session of a call is told when that is over.
pub(super) struct After<Req, Res> {
    common: Arc<Common<Req, Res>>,
    session: Session,
    /// `None` of a command.
    freshness: Option<Freshness>,
    /// How far the replica was when it was called, at least.
    least: Option<Position>,
    is_over: bool,
}

impl<W: Service<Req>, S: Service<Req>, Req, Res> ResponseFuture<W, S, Req, Res> {
    #[inline]
    pub(super) fn replica(
        future: set::ResponseFuture<Readers<Req, Res>, S, Req>,
        mut after: Option<After<Req, Res>>,
    ) -> Self {
        if let Some(after) = &mut after {
            let seat = seat_of(future.place()).and_then(|seat| after.common.knowledge.known(seat));
            after.least = seat.map(|known| known.position);
        }
        Self { stage: Stage::Replica(future), after }
    }

    #[inline]
    pub(super) const fn primary(
        future: set::ResponseFuture<Writer<Req, Res>, W, Req>,
        after: Option<After<Req, Res>>,
    ) -> Self {
        Self { stage: Stage::Primary(future), after }
    }

    pub(super) const fn failed(error: S::Error) -> Self {
        Self { stage: Stage::Failed(Some(error)), after: None }
    }

    pub(super) fn waiting(
        sides: Sides<W, S, Req, Res>,
        request: Req,
        freshness: Freshness,
        after: Option<After<Req, Res>>,
        ticket: Ticket<Req, Res>,
    ) -> Self {
        let now = time::now();
        let (until, deadline) = sides.common.until(&request, now);
        let waiting = Waiting {
            news: news(sides.common.knowledge.subscribe()),
            sides,
            request: Some(request),
            freshness,
            timer: Box::pin(sleep_until(until)),
            deadline,
            _ticket: ticket,
        };
        Self { stage: Stage::Waiting(Box::new(waiting)), after }
    }
}

fn news(mut receiver: watch::Receiver<()>) -> News {
    Box::pin(async move {
        if receiver.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        receiver
    })
}

impl<Req, Res> Common<Req, Res> {
    /// How long a query waits, and whose deadline comes first if one has passed by then. At most half of what is left of
    /// the call's time is for waiting: whoever answers needs some of it.
    fn until(&self, request: &Req, now: Instant) -> (Instant, Option<Measurement>) {
        let patience = Duration::from_nanos(self.patience);
        let call = self.rules.propagate.as_ref().map(|propagate| propagate.extract(request));
        let at = call.as_ref().and_then(|call| call.deadline?.instant());
        let (Some(call), Some(at)) = (call, at) else { return (now + patience, None) };
        let left = at.saturating_duration_since(now);
        let is_past = left.is_zero().then(|| call.whose_deadline());
        (now + patience.min(left / 2), is_past)
    }
}

impl<Req, Res> After<Req, Res> {
    pub(super) fn query(
        common: Arc<Common<Req, Res>>,
        session: Session,
        freshness: Freshness,
    ) -> Self {
        Self { common, session, freshness: Some(freshness), least: None, is_over: false }
    }

    pub(super) const fn command(common: Arc<Common<Req, Res>>, session: Session) -> Self {
        Self { common, session, freshness: None, least: None, is_over: false }
    }

    /// It certainly did not happen.
    pub(super) fn not_sent(mut self) {
        self.is_over = true;
    }

    /// It was answered, by the member of this seat.
    fn over<Err: CallError>(mut self, seat: u32, result: Result<&Res, &Err>) {
        self.is_over = true;
        let (session, knowledge) = (&self.session, &*self.common.knowledge);
        let answer = match result {
            Ok(answer) => answer,
            Err(error) => {
                let is_unsent = error
                    .rejected()
                    .is_some_and(|why| Outcome::of_rejection(why).sent == Sent::Never);
                if self.freshness.is_none() && !is_unsent {
                    session.written(knowledge);
                }
                return;
            }
        };
        match (self.common.rules.position(answer), self.freshness) {
            (Some(position), _) => session.seen(position),
            (None, None) => session.written(knowledge),
            // Whoever takes any answer has been promised nothing.
            (None, Some(Freshness::Any | Freshness::Within(_))) => {}
            (None, Some(_)) => session.read(seat, self.least, knowledge),
        }
    }
}

impl<Req, Res> Drop for After<Req, Res> {
    fn drop(&mut self) {
        if !self.is_over && self.freshness.is_none() {
            self.session.written(&*self.common.knowledge);
        }
    }
}

impl<W, S, Req, Res, Err> Future for ResponseFuture<W, S, Req, Res>
where
    W: Service<Req, Response = Res, Error = Err> + Clone,
    S: Service<Req, Response = Res, Error = Err> + Clone,
    Err: CallError,
{
    type Output = Result<Res, Err>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let (seat, result) = match this.stage.as_mut().project() {
                StageProj::Replica(mut future) => match future.as_mut().poll(cx) {
                    Poll::Ready(result) => (seat_of(future.place()).unwrap_or(PRIMARY), result),
                    Poll::Pending => return Poll::Pending,
                },
                StageProj::Primary(future) => match future.poll(cx) {
                    Poll::Ready(result) => (PRIMARY, result),
                    Poll::Pending => return Poll::Pending,
                },
                StageProj::Waiting(waiting) => match waiting.poll(cx, this.after) {
                    Poll::Ready(next) => {
                        let next = *next;
                        let Self { stage, after } = next;
                        *this.after = after;
                        this.stage.set(stage);
                        continue;
                    }
                    Poll::Pending => return Poll::Pending,
                },
                StageProj::Failed(error) => match error.take() {
                    Some(error) => (PRIMARY, Err(error)),
                    None => return Poll::Pending,
                },
                StageProj::Over => return Poll::Pending, // polled after it was ready
            };
            this.stage.set(Stage::Over);
            if let Some(after) = this.after.take() {
                after.over(seat, result.as_ref());
            }
            return Poll::Ready(result);
        }
    }
}

impl<W, S, Req, Res, Err> Waiting<W, S, Req, Res>
where
    W: Service<Req, Response = Res, Error = Err> + Clone,
    S: Service<Req, Response = Res, Error = Err> + Clone,
    Err: CallError,
{
    /// The call that takes its place.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        after: &mut Option<After<Req, Res>>,
    ) -> Poll<Box<ResponseFuture<W, S, Req, Res>>> {
        loop {
            let Some(request) = self.request.take() else { return Poll::Pending };
            let request = match self.sides.readers.try_call(request) {
                Ok(future) => {
                    return Poll::Ready(Box::new(ResponseFuture::replica(future, after.take())));
                }
                Err(request) => request,
            };
            let need = self.sides.common.need(&request, self.freshness);
            if matches!(need, Need::Lost(_)) {
                let future = self.sides.last(request, self.freshness, after.take());
                return Poll::Ready(Box::new(future));
            }
            if let Poll::Ready(()) = time::poll_timer(self.timer.as_mut(), cx) {
                return Poll::Ready(Box::new(match self.deadline.take() {
                    Some(whose) => {
                        let reporter = &self.sides.common.reporter;
                        ResponseFuture::failed(
                            reporter.reject(Reason::DeadlineExceeded, whose).into(),
                        )
                    }
                    None => self.sides.last(request, self.freshness, after.take()),
                }));
            }
            self.request = Some(request);
            match self.news.as_mut().poll(cx) {
                Poll::Ready(receiver) => self.news = news(receiver),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl<W: Service<Req>, S: Service<Req>, Req, Res> fmt::Debug for ResponseFuture<W, S, Req, Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.stage {
            Stage::Replica(_) => "ResponseFuture(replica)",
            Stage::Primary(_) => "ResponseFuture(primary)",
            Stage::Waiting(_) => "ResponseFuture(waiting)",
            Stage::Failed(_) => "ResponseFuture(failed)",
            Stage::Over => "ResponseFuture(over)",
        })
    }
}
