//! The future of a call through a timeout.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::Service;

use super::policy::Flight;
use super::uploading::{Uploading, Word};
use crate::error::{CallError, Measured, Reason, Rejected, SetBy};
use crate::request::{Deadline, is_no_later};
use crate::shell::meter::{self, Ended};
use crate::shell::oneshot::Oneshot;
use crate::time;

/// The future of a call through a timeout.
///
/// The inner service is asked first: an answer that is there at the moment the time is up wins.
/// When the time is up, the inner future is dropped before the caller is told. Dropping this future
/// drops the inner one.
#[pin_project]
pub struct ResponseFuture<S, Req>
where
    S: Service<Req>,
{
    /// The body of the request, if it is still on its way. It goes before those who hold the body.
    uploading: Option<Uploading>,
    #[pin]
    attempt: Oneshot<S, Req>,
    #[pin]
    timer: Option<Sleep>,
    limits: Limits,
    fate: Fate,
}

/// Until when an answer is of use.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Nanoseconds from the first `Pending`; `u64::MAX` is no limit.
    pub(super) limit: u64,
    /// What came with the request, until it is known that the limit comes first.
    pub(super) deadline: Option<Deadline>,
    /// Who set that.
    pub(super) told: Measured,
    /// Whether a call that is not over by the deadline has hung: a layer further out had set it, and
    /// gave all of its time to this attempt.
    pub(super) hangs: bool,
}

/// Either is empty once its end was told.
#[derive(Debug)]
enum Fate {
    Refused(Option<Rejected>),
    Flying { flight: Flight, pending: bool },
}

impl<S, Req> ResponseFuture<S, Req>
where
    S: Service<Req>,
{
    pub(super) fn refused(rejected: Rejected) -> Self {
        let limits = Limits::of(u64::MAX);
        let fate = Fate::Refused(Some(rejected));
        Self { attempt: Oneshot::over(), timer: None, limits, fate, uploading: None }
    }

    #[inline]
    pub(super) fn flying(
        flight: Flight,
        attempt: Oneshot<S, Req>,
        limits: Limits,
        uploading: Option<Uploading>,
    ) -> Self {
        let fate = Fate::Flying { flight, pending: false };
        Self { attempt, timer: None, limits, fate, uploading }
    }
}

impl<S, Req> Future for ResponseFuture<S, Req>
where
    S: Service<Req>,
    S::Error: CallError,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let (flight, pending) = match this.fate {
            Fate::Flying { flight, pending } => (flight, pending),
            Fate::Refused(rejected) => {
                return match rejected.take() {
                    Some(rejected) => Poll::Ready(Err(rejected.into())),
                    None => Poll::Pending, // polled after it was ready
                };
            }
        };
        if !flight.hold.begin(|| this.attempt.as_ref().waits()) {
            return turn_away(flight, this.attempt, this.timer);
        }
        if let Poll::Ready(result) = this.attempt.as_mut().poll(cx) {
            this.timer.set(None);
            let blamed = this.uploading.as_ref().and_then(|it| it.blame(&result, flight));
            let late = || this.limits.overrule(flight, result.as_ref().err()?);
            if let Some(rejected) = blamed.or_else(late) {
                return Poll::Ready(Err(rejected.into()));
            }
            flight.end(|| Ended::of(&result));
            return Poll::Ready(result);
        }
        if flight.policy().is_none() {
            return Poll::Pending; // polled after it was ready
        }
        if !this.attempt.as_mut().park(&flight.hold, cx.waker()) {
            return turn_away(flight, this.attempt, this.timer);
        }
        let mut due = this.limits.are_nothing();
        if !std::mem::replace(pending, true) {
            let at = this.limits.start(flight);
            due |= at.is_some() && at <= flight.started; // a wait of nothing needs no timer
            this.timer.set(at.filter(|_| !due).map(sleep_until));
        }
        if !due && !rang(this.timer.as_mut(), cx) {
            return Poll::Pending;
        }
        if let Some(uploading) = this.uploading {
            while let Word::Wait(until) = uploading.ask(this.limits, flight) {
                this.timer.set(Some(sleep_until(until)));
                if !rang(this.timer.as_mut(), cx) {
                    return Poll::Pending;
                }
            }
        }
        this.attempt.end();
        this.timer.set(None);
        let rejected = match this.uploading.as_ref().and_then(|uploading| uploading.end(flight)) {
            Some(rejected) => Some(rejected),
            None => this.limits.expire(flight),
        };
        match rejected {
            Some(rejected) => Poll::Ready(Err(rejected.into())),
            None => Poll::Pending, // unreachable: a flight has a policy until it ends
        }
    }
}

/// The policy was drained before the inner service was called.
#[inline(never)]
fn turn_away<S, Req, Res>(
    flight: &mut Flight,
    attempt: Pin<&mut Oneshot<S, Req>>,
    mut timer: Pin<&mut Option<Sleep>>,
) -> Poll<Result<Res, S::Error>>
where
    S: Service<Req>,
    S::Error: CallError,
{
    attempt.end();
    timer.set(None);
    match flight.turn_away() {
        Some(rejected) => Poll::Ready(Err(rejected.into())),
        None => Poll::Pending, // unreachable: a flight has a policy until it ends
    }
}

fn rang(timer: Pin<&mut Option<Sleep>>, cx: &mut Context<'_>) -> bool {
    timer.as_pin_mut().is_some_and(|sleep| time::poll_timer(sleep, cx).is_ready())
}

impl Limits {
    /// The limit of this layer, and no deadline.
    pub(super) const fn of(limit: u64) -> Self {
        Self { limit, deadline: None, told: Measured::CALLERS_DEADLINE, hangs: false }
    }

    /// The inner service is pending, for the first time: the clock starts now.
    fn start(&mut self, flight: &mut Flight) -> Option<Instant> {
        let endless = self.limit == u64::MAX && self.deadline.is_none();
        if endless && !meter::is_live() {
            return None;
        }
        let now = time::now();
        flight.started = Some(now);
        let own = now.checked_add(Duration::from_nanos(self.limit));
        let own = own.filter(|_| self.limit != u64::MAX);
        match (own, self.deadline.and_then(|deadline| deadline.instant())) {
            (Some(own), Some(told)) if is_no_later(own, told, self.limit) => {
                self.deadline = None; // ours comes first
                Some(own.min(told))
            }
            (own, None) => {
                self.deadline = None;
                own
            }
            (_, told) => told,
        }
    }

    /// Whether not even a pending service is waited for.
    const fn are_nothing(&self) -> bool {
        self.limit == 0
    }

    /// The inner service failed. When the deadline of the caller has passed, it is that which the
    /// caller is told of, not the word of whoever else knew the deadline and saw it first. And when our
    /// own limit has passed, which went further in as the deadline, it is that.
    #[inline(never)]
    fn overrule<E: CallError>(&self, flight: &mut Flight, error: &E) -> Option<Rejected> {
        let over = match (error.rejected(), self.deadline) {
            (None, Some(deadline)) => !self.hangs && deadline.is_past(),
            (Some(rejected), deadline) if rejected.is_of_own_deadline() => {
                deadline.is_some_and(|deadline| deadline.is_past())
                    || self.is_over(flight, rejected.measured())
            }
            _ => false,
        };
        if over { self.expire(flight) } else { None }
    }

    /// Whether the limit has passed, or was the deadline that has passed further in.
    fn is_over(&self, flight: &Flight, measured: Measured) -> bool {
        let limit = Duration::from_nanos(self.limit);
        self.deadline.is_none()
            && (measured == Measured::Deadline { set_by: SetBy::Layer, limit: self.limit }
                || flight
                    .started
                    .is_some_and(|at| time::now().saturating_duration_since(at) >= limit))
    }

    /// The time is up.
    fn expire(&self, flight: &mut Flight) -> Option<Rejected> {
        let reporter = &flight.policy()?.reporter;
        let rejected = match self.deadline {
            Some(_) if self.hangs => reporter.reject(Reason::TimedOut, self.told),
            Some(_) => reporter.reject(Reason::DeadlineExceeded, self.told),
            None => reporter.reject(Reason::TimedOut, Measured::Elapsed { limit: self.limit }),
        };
        flight.forget();
        Some(rejected)
    }
}

impl<S, Req> fmt::Debug for ResponseFuture<S, Req>
where
    S: Service<Req>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("limits", &self.limits).finish_non_exhaustive()
    }
}
