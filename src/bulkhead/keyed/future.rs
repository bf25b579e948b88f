//! The future of a call through the bulkhead of a key.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project::pin_project;
use tokio::time::{Instant, Sleep};
use tower::Service;

use super::Tenant;
use super::permit::Permit;
use crate::bulkhead::limiter::Limiter;
use crate::classify::Verdict;
use crate::error::{CallError, Measured, Reason, Rejected};
use crate::finish::{Finish, Settle};
use crate::outcome::Outcome;
use crate::request::Call;
use crate::shell::cell::Cell;
use crate::shell::gate::Hold;
use crate::shell::meter::Ended;
use crate::shell::oneshot::Oneshot;
use crate::shell::queue::{Number, Standing};
use crate::time;

/// The future of a call through the bulkhead of its key.
///
/// Dropping it frees its place, in the bulkhead or in the queue, at once.
#[pin_project]
pub struct ResponseFuture<S, Req, F>
where
    S: Service<Req>,
{
    #[pin]
    attempt: Oneshot<S, Req>,
    /// The end of the patience of one who waits.
    #[pin]
    timer: Option<Sleep>,
    stage: Stage,
    finish: F,
}

/// Each is empty once its end was told.
#[derive(Debug)]
enum Stage {
    Refused(Option<Rejected>),
    Queued(Waiter),
    Inside(Permit),
}

/// One who waits for a place; gives up when dropped.
#[derive(Debug)]
pub(super) struct Waiter {
    places: u32,
    place: Option<(Hold<Cell<Tenant>>, Number)>,
    began: Instant,
    /// When its patience ends, if ever.
    until: Option<Instant>,
    /// Whether that is the deadline of its caller, or the bulkhead's own limit.
    told: Option<Measured>,
}

impl<S, Req, F> ResponseFuture<S, Req, F>
where
    S: Service<Req>,
{
    fn new(stage: Stage, attempt: Oneshot<S, Req>, finish: F) -> Self {
        Self { attempt, timer: None, stage, finish }
    }

    pub(super) fn refused(rejected: Rejected, finish: F) -> Self {
        Self::new(Stage::Refused(Some(rejected)), Oneshot::over(), finish)
    }

    #[inline]
    pub(super) fn inside(permit: Permit, attempt: Oneshot<S, Req>, finish: F) -> Self {
        Self::new(Stage::Inside(permit), attempt, finish)
    }

    pub(super) fn queued(waiter: Waiter, service: S, request: Req, finish: F) -> Self {
        Self::new(Stage::Queued(waiter), Oneshot::waiting(service, request), finish)
    }
}

impl<S, Req, F> Future for ResponseFuture<S, Req, F>
where
    S: Service<Req>,
    S::Error: CallError,
    F: Finish<S::Response>,
{
    type Output = Result<F::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.stage {
                Stage::Inside(permit) => {
                    if !permit.hold.begin(|| this.attempt.as_ref().waits()) {
                        return turn_away(permit, this.attempt);
                    }
                    let Poll::Ready(result) = this.attempt.as_mut().poll(cx) else {
                        permit.note_pending();
                        if !this.attempt.as_mut().park(&permit.hold, cx.waker()) {
                            return turn_away(permit, this.attempt);
                        }
                        return Poll::Pending;
                    };
                    return Poll::Ready(match result {
                        Ok(response) => Ok(settle(permit, response, this.finish)),
                        Err(error) => {
                            let result = Err(error);
                            permit.end(Ended::of(&result));
                            result
                        }
                    });
                }
                Stage::Queued(waiter) => match waiter.poll_place(cx, this.timer.as_mut()) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(place) => {
                        this.timer.set(None);
                        match place {
                            Ok(permit) => *this.stage = Stage::Inside(permit),
                            Err(rejected) => {
                                this.attempt.end();
                                return Poll::Ready(Err(rejected.into()));
                            }
                        }
                    }
                },
                Stage::Refused(rejected) => {
                    return match rejected.take() {
                        Some(rejected) => Poll::Ready(Err(rejected.into())),
                        None => Poll::Pending, // polled after it was ready
                    };
                }
            }
        }
    }
}

/// The policy was drained before the inner service was called.
#[inline(never)]
fn turn_away<S, Req, Res>(
    permit: &mut Permit,
    attempt: Pin<&mut Oneshot<S, Req>>,
) -> Poll<Result<Res, S::Error>>
where
    S: Service<Req>,
    S::Error: CallError,
{
    attempt.end();
    match permit.turn_away() {
        Some(rejected) => Poll::Ready(Err(rejected.into())),
        None => Poll::Pending, // polled after it was ready
    }
}

/// Hands the place over to whoever decides when the call is over.
#[inline]
fn settle<Res, F: Finish<Res>>(permit: &mut Permit, response: Res, finish: &F) -> F::Response {
    let response = match finish.at_head(response) {
        Ok(response) => {
            permit.end(Ended::Good);
            return response;
        }
        Err(response) => response,
    };
    let head = Verdict::Now(Outcome::SUCCESS);
    let (ending, pass) = permit.take_ending();
    finish.finish(response, Settle::of(ending, head, pass))
}

impl Waiter {
    pub(super) fn new(
        berth: Arc<Cell<Tenant>>,
        places: u32,
        number: Number,
        patience: &Patience,
    ) -> Self {
        let Patience { began, until, told } = *patience;
        Self { places, place: Some((Hold::new(berth), number)), began, until, told }
    }

    fn poll_place(
        &mut self,
        cx: &mut Context<'_>,
        timer: Pin<&mut Option<Sleep>>,
    ) -> Poll<Result<Permit, Rejected>> {
        let Some((hold, number)) = &mut self.place else { return Poll::Pending };
        let goes_on = hold.begin(|| true) && !hold.is_stopped();
        let Some(policy) = hold.get().map(|cell| cell.policy.bulkhead()) else {
            return Poll::Pending;
        };
        if !goes_on {
            let rejected = policy.reject(Reason::Draining, Measured::Nothing);
            self.leave();
            return Poll::Ready(Err(rejected));
        }
        let standing = policy.look(number, cx.waker());
        if standing == Standing::Waiting {
            ready!(self.until.map_or(Poll::Pending, |at| time::poll_until(timer, at, cx)));
            let rejected = rejected(policy, self.told);
            self.leave();
            return Poll::Ready(Err(rejected));
        }
        // What is not waiting any more has given its number back.
        if standing != Standing::Placed {
            let cost = self.places;
            let rejected = match standing {
                Standing::Barred => policy.reject(Reason::CostTooHigh, policy.dearness(cost)),
                _ => rejected(policy, self.told),
            };
            drop(hold.lose());
            self.place = None;
            return Poll::Ready(Err(rejected));
        }
        policy.note_wait(time::now().saturating_duration_since(self.began));
        let Some((hold, _)) = self.place.take() else { return Poll::Pending };
        Poll::Ready(Ok(Permit::new(hold, self.places)))
    }

    fn leave(&mut self) {
        if let Some((mut hold, number)) = self.place.take()
            && let Some(berth) = hold.lose()
        {
            berth.policy.bulkhead().give_up(&number, self.places);
        }
    }
}

/// It waited in vain: as long as the bulkhead allows, or until the deadline of the call.
fn rejected(policy: &Limiter, told: Option<Measured>) -> Rejected {
    if let Some(whose) = told {
        return policy.reject(Reason::DeadlineExceeded, whose);
    }
    policy.reject(Reason::QueueTimeout, policy.fullness())
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if let Some((hold, _)) = &self.place
            && let Some(berth) = hold.get()
        {
            berth.policy.bulkhead().note_abandoned();
        }
        self.leave();
    }
}

/// How long one is ready to wait.
pub(super) struct Patience {
    began: Instant,
    pub(super) until: Option<Instant>,
    /// Who set the deadline, if it comes first.
    told: Option<Measured>,
}

impl Patience {
    /// No longer than `max_wait` nanoseconds from now, nor than the deadline of the call.
    pub(super) fn new(max_wait: u64, call: Option<Call>) -> Self {
        let began = time::now();
        let own = (max_wait != u64::MAX)
            .then(|| began.checked_add(std::time::Duration::from_nanos(max_wait)))
            .flatten();
        let told = call.and_then(|call| Some((call.deadline?.instant()?, call.whose_deadline())));
        match (own, told) {
            (own, Some((told, whose))) if own.is_none_or(|own| told < own) => {
                Self { began, until: Some(told), told: Some(whose) }
            }
            (own, _) => Self { began, until: own, told: None },
        }
    }
}

impl<S, Req, F> fmt::Debug for ResponseFuture<S, Req, F>
where
    S: Service<Req>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.stage {
            Stage::Refused(_) => "ResponseFuture(refused)",
            Stage::Queued(_) => "ResponseFuture(queued)",
            Stage::Inside(_) => "ResponseFuture(inside)",
        })
    }
}
