//! The future of a call through the bulkhead of a key.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project::pin_project;
use tokio::time::{Instant, Sleep};
use tower::Service;

use super::KeyedPart;
use super::permit::Permit;
use crate::bulkhead::limiter::Limiter;
use crate::core::classify::Classification;
use crate::core::completion::{CallGuard, Completion};
use crate::core::error::{CallError, Measurement, Reason, Rejected};
use crate::core::outcome::Outcome;
use crate::core::request::CallContext;
use crate::core::time;
use crate::shell::cell::Cell;
use crate::shell::in_flight::Hold;
use crate::shell::meter::Ended;
use crate::shell::oneshot::Oneshot;
use crate::shell::queue::{Standing, Ticket};

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
    completion: F,
}

/// Each is empty once its end was told.
#[derive(Debug)]
enum Stage {
    Rejected(Option<Rejected>),
    Queued(Waiter),
    Inside(Permit),
}

/// One who waits for a place; gives up when dropped.
#[derive(Debug)]
pub(super) struct Waiter {
    permits: u32,
    permit: Option<(Hold<Cell<KeyedPart>>, Ticket)>,
    began: Instant,
    /// When its patience ends, if ever.
    until: Option<Instant>,
    /// Whether that is the deadline of its caller, or the bulkhead's own limit.
    told: Option<Measurement>,
}

impl<S, Req, F> ResponseFuture<S, Req, F>
where
    S: Service<Req>,
{
    fn new(stage: Stage, attempt: Oneshot<S, Req>, completion: F) -> Self {
        Self { attempt, timer: None, stage, completion }
    }

    pub(super) fn rejected(rejected: Rejected, completion: F) -> Self {
        Self::new(Stage::Rejected(Some(rejected)), Oneshot::over(), completion)
    }

    #[inline]
    pub(super) fn inside(permit: Permit, attempt: Oneshot<S, Req>, completion: F) -> Self {
        Self::new(Stage::Inside(permit), attempt, completion)
    }

    pub(super) fn queued(waiter: Waiter, service: S, request: Req, completion: F) -> Self {
        Self::new(Stage::Queued(waiter), Oneshot::waiting(service, request), completion)
    }
}

impl<S, Req, F> Future for ResponseFuture<S, Req, F>
where
    S: Service<Req>,
    S::Error: CallError,
    F: Completion<S::Response>,
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
                        Ok(response) => Ok(settle(permit, response, this.completion)),
                        Err(error) => {
                            let result = Err(error);
                            permit.end(Ended::of(&result));
                            result
                        }
                    });
                }
                Stage::Queued(waiter) => match waiter.poll_place(cx, this.timer.as_mut()) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(permit) => {
                        this.timer.set(None);
                        match permit {
                            Ok(permit) => *this.stage = Stage::Inside(permit),
                            Err(rejected) => {
                                this.attempt.end();
                                return Poll::Ready(Err(rejected.into()));
                            }
                        }
                    }
                },
                Stage::Rejected(rejected) => {
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
fn settle<Res, F: Completion<Res>>(
    permit: &mut Permit,
    response: Res,
    completion: &F,
) -> F::Response {
    let response = match completion.at_head(response) {
        Ok(response) => {
            permit.end(Ended::Success);
            return response;
        }
        Err(response) => response,
    };
    let head = Classification::Now(Outcome::SUCCESS);
    let (ending, pass) = permit.take_ending();
    completion.wrap(response, CallGuard::of(ending, head, pass))
}

impl Waiter {
    pub(super) fn new(
        berth: Arc<Cell<KeyedPart>>,
        permits: u32,
        number: Ticket,
        patience: &Patience,
    ) -> Self {
        let Patience { began, until, told } = *patience;
        Self { permits, permit: Some((Hold::new(berth), number)), began, until, told }
    }

    fn poll_place(
        &mut self,
        cx: &mut Context<'_>,
        timer: Pin<&mut Option<Sleep>>,
    ) -> Poll<Result<Permit, Rejected>> {
        let Some((hold, number)) = &mut self.permit else { return Poll::Pending };
        let goes_on = hold.begin(|| true) && !hold.is_stopped();
        let Some(policy) = hold.get().map(|cell| cell.policy.bulkhead()) else {
            return Poll::Pending;
        };
        if !goes_on {
            let rejected = policy.reject(Reason::Draining, Measurement::Nothing);
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
            let cost = self.permits;
            let rejected = match standing {
                Standing::Barred => policy.reject(Reason::CostTooHigh, policy.dearness(cost)),
                _ => rejected(policy, self.told),
            };
            drop(hold.lose());
            self.permit = None;
            return Poll::Ready(Err(rejected));
        }
        policy.note_wait(time::now().saturating_duration_since(self.began));
        let Some((hold, _)) = self.permit.take() else { return Poll::Pending };
        Poll::Ready(Ok(Permit::new(hold, self.permits)))
    }

    fn leave(&mut self) {
        if let Some((mut hold, number)) = self.permit.take()
            && let Some(berth) = hold.lose()
        {
            berth.policy.bulkhead().give_up(&number, self.permits);
        }
    }
}

/// It waited in vain: as long as the bulkhead allows, or until the deadline of the call.
fn rejected(policy: &Limiter, told: Option<Measurement>) -> Rejected {
    if let Some(whose) = told {
        return policy.reject(Reason::DeadlineExceeded, whose);
    }
    policy.reject(Reason::QueueTimeout, policy.fullness())
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if let Some((hold, _)) = &self.permit
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
    told: Option<Measurement>,
}

impl Patience {
    /// No longer than `max_wait` nanoseconds from now, nor than the deadline of the call.
    pub(super) fn new(max_wait: u64, call: Option<CallContext>) -> Self {
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
            Stage::Rejected(_) => "ResponseFuture(rejected)",
            Stage::Queued(_) => "ResponseFuture(queued)",
            Stage::Inside(_) => "ResponseFuture(inside)",
        })
    }
}
