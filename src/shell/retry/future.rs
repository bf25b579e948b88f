//! The future of a call that may be attempted more than once.
#![allow(clippy::type_complexity, reason = "the future of a call with as many hooks")]

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project::{pin_project, pinned_drop};
use tokio::time::{Instant, Sleep};
use tower::Service;

use super::attempt_context::{AttemptContext, RequestTools, RetryCopy};
use super::attempts::go_on;
use super::guard::RetryGuard;
use super::repeat::{Asks, Attempts, Repeat};
use super::timing::took;
use crate::core::classify::Classify;
use crate::core::context::ClassifyContext;
use crate::core::error::{CallError, Rejected};
use crate::core::outcome::{Outcome, Retryable, Signal};
use crate::core::request::{CloneRequest, Propagate};
use crate::core::time;
use crate::core::upload::{excuse, excused};
use crate::shell::clone_source::Source;
use crate::shell::gate::{Complete, Lost, Policy, Stage};
use crate::shell::in_flight::Parked;
use crate::shell::oneshot::Oneshot;

/// The future of a call through a retry.
///
/// Dropping it drops the attempt in flight, or ends the wait for the next; nothing goes on.
#[pin_project(PinnedDrop)]
pub struct ResponseFuture<S, Req, T, W, A, C, R, K, U>
where
    S: Service<Req>,
    T: Repeat<U>,
    W: Policy,
    A: Policy,
{
    #[pin]
    pub(super) attempt: Oneshot<S, Req>,
    pub(super) call: RetryGuard<T, W, A, C, U>,
    pub(super) tools: RequestTools<R, K>,
    pub(super) copy: Option<RetryCopy<Req>>,
    pub(super) source: Option<Source<S>>,
    pub(super) attempt_context: Option<AttemptContext>,
    /// When the first attempt was first found pending, or failed.
    pub(super) started: Option<Instant>,
    #[pin]
    pub(super) rare: Rare<S::Error, T::Attempts>,
}

/// What most calls have nothing of, for they are answered well at once.
#[pin_project(project = RareProj)]
pub(super) enum Rare<E, N> {
    Nothing,
    /// It was pending, or an attempt failed. The one timer of the call is made when there is something to
    /// wait for.
    Busy(#[pin] Option<Sleep>, Busy<E, N>),
    /// The call was rejected, or, where it is not over, its first attempt. `None` once that was told.
    Rejected(Option<Rejected>),
}

/// What a call has been through, and what it waits for.
pub(super) struct Busy<E, N> {
    pub(super) attempts: N,
    pub(super) last_error: Option<E>,
    /// The end of the wait between two attempts, or of the patience for readiness.
    pub(super) until: Option<Instant>,
    /// Whether the attempt to come was found waiting for readiness.
    pub(super) has_waited: bool,
    /// When the policy of the whole wants to be asked, and whether it was told that the call is pending.
    pub(super) whole_at: Option<Instant>,
    pub(super) whole_knows: bool,
    /// When the policy of the attempt wants to be asked.
    pub(super) each_at: Option<Instant>,
    /// Whether there was a timer before.
    pub(super) is_timed: bool,
    pub(super) parked: Parked,
}

impl<E, N: Attempts> Busy<E, N> {
    pub(super) const fn new() -> Self {
        Self {
            attempts: N::FIRST,
            last_error: None,
            until: None,
            has_waited: false,
            whole_at: None,
            whole_knows: false,
            each_at: None,
            is_timed: false,
            parked: Parked::new(),
        }
    }
}

// ===== impl ResponseFuture =====

impl<S, Req, T, W, A, C, R, K, U> ResponseFuture<S, Req, T, W, A, C, R, K, U>
where
    S: Service<Req>,
    T: Repeat<U>,
    W: Policy,
    A: Policy,
{
    pub(super) fn rejected(rejected: Rejected, tools: RequestTools<R, K>, purse: U) -> Self {
        let call = RetryGuard::over(purse);
        Self::new(Oneshot::over(), call, tools, None, None, None).rejected_at_first(rejected)
    }

    /// The first attempt was rejected.
    pub(super) fn rejected_at_first(mut self, rejected: Rejected) -> Self {
        self.rare = Rare::Rejected(Some(rejected));
        self
    }

    #[inline]
    pub(super) fn new(
        attempt: Oneshot<S, Req>,
        call: RetryGuard<T, W, A, C, U>,
        tools: RequestTools<R, K>,
        copy: Option<RetryCopy<Req>>,
        source: Option<Source<S>>,
        attempt_context: Option<AttemptContext>,
    ) -> Self {
        let (started, rare) = (None, Rare::Nothing);
        Self { attempt, call, tools, copy, source, attempt_context, started, rare }
    }
}

impl<S, Req, T, W, A, C, R, K, U> Future for ResponseFuture<S, Req, T, W, A, C, R, K, U>
where
    S: Service<Req> + Clone,
    S::Error: CallError,
    T: Repeat<U>,
    W: Policy,
    A: Complete<S::Response>,
    U: Asks<Req, A>,
    C: Classify<S::Response, S::Error> + Send + Sync + 'static,
    R: CloneRequest<Req>,
    K: Propagate<Req>,
{
    type Output = Result<A::Response, S::Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.as_mut().project();
        if this.call.is_inside() && !is_too_late(&this.rare) {
            if !this.call.begin(|| this.attempt.as_ref().waits()) {
                return super::attempts::turn_away(self);
            }
            this.call.enter(); // the inner future, the classifier and the completion are user code
            // Each branch for itself: an answer is not moved as if it could be an error.
            match this.attempt.as_mut().poll(cx) {
                Poll::Ready(Ok(response)) => {
                    if this.attempt_context.is_some() && this.call.watches() {
                        this.call.leave();
                        return go_on(self, cx, Some((Ok(response), None)));
                    }
                    let context = context(this.attempt_context.as_ref());
                    let Some(core) = this.call.core() else { return Poll::Pending };
                    let head = core.classify.classify_call(Ok(&response), &context);
                    if is_last_word(&head.of_head()) {
                        if let Some(attempt_context) = this.attempt_context {
                            attempt_context.note_attempt();
                        }
                        if !matches!(*this.rare, Rare::Nothing) {
                            this.rare.set(Rare::Nothing);
                        }
                        let took = || took(*this.started);
                        return match this.call.succeed(response, head, context, took) {
                            Some(response) => Poll::Ready(Ok(response)),
                            None => Poll::Pending,
                        };
                    }
                    this.call.leave();
                    return go_on(self, cx, Some((Ok(response), Some(head))));
                }
                Poll::Ready(Err(error)) => {
                    this.call.leave();
                    return go_on(self, cx, Some((Err(error), None)));
                }
                Poll::Pending => {}
            }
            this.call.leave();
            if matches!(*this.rare, Rare::Nothing) && this.attempt.as_ref().is_called() {
                if W::PARTS + A::PARTS > 0 {
                    return self.begin_to_wait(cx);
                }
                if this.call.note(Stage::Called) {
                    *this.started = Some(time::now());
                }
                return Poll::Pending; // there is nothing else to wait for
            }
        }
        go_on(self, cx, None)
    }
}

/// What an answer is classified by.
#[inline]
pub(super) fn context(attempt_context: Option<&AttemptContext>) -> ClassifyContext {
    attempt_context.map_or_else(ClassifyContext::default, AttemptContext::context)
}

/// Whether an answer ends the call, whatever the retry is set to.
#[inline]
pub(super) const fn is_last_word(outcome: &Outcome) -> bool {
    matches!(outcome.signal, Signal::Success) && matches!(outcome.retryable, Retryable::Never)
}

/// Only a further attempt waits for readiness no longer than there is time. A service that is ready when
/// that is over is ready too late.
#[inline]
fn is_too_late<E, N>(rare: &Rare<E, N>) -> bool {
    match rare {
        Rare::Busy(Some(timer), Busy { until: Some(until), .. }) => {
            time::has_rung(timer) && *until <= time::now()
        }
        _ => false,
    }
}

#[pinned_drop]
impl<S, Req, T, W, A, C, R, K, U> PinnedDrop for ResponseFuture<S, Req, T, W, A, C, R, K, U>
where
    S: Service<Req>,
    T: Repeat<U>,
    W: Policy,
    A: Policy,
{
    #[inline]
    fn drop(self: Pin<&mut Self>) {
        if !self.call.is_over() {
            self.be_dropped();
        }
    }
}

impl<S, Req, T, W, A, C, R, K, U> ResponseFuture<S, Req, T, W, A, C, R, K, U>
where
    S: Service<Req>,
    T: Repeat<U>,
    W: Policy,
    A: Policy,
{
    /// It is dropped before the call is over.
    #[inline(never)]
    fn be_dropped(self: Pin<&mut Self>) {
        let this = self.project();
        let why = drop_attempt(this.call, this.attempt);
        this.call.lose(why);
    }
}

/// Drops what is left of an attempt, and says what those hear of it who admitted it.
pub(super) fn drop_attempt<S, Req, T, W, A, C, U>(
    call: &RetryGuard<T, W, A, C, U>,
    attempt: Pin<&mut Oneshot<S, Req>>,
) -> Lost
where
    S: Service<Req>,
    T: Repeat<U>,
    W: Policy,
    A: Policy,
{
    let own = call.excuses(); // while the body is still there
    let is_excused = excused(|| attempt.end()) || own;
    if own {
        excuse(); // those further out hear of it too
    }
    if is_excused && call.was_pending() { Lost::Excused } else { Lost::Dropped }
}

impl<S, Req, T, W, A, C, R, K, U> fmt::Debug for ResponseFuture<S, Req, T, W, A, C, R, K, U>
where
    S: Service<Req>,
    T: Repeat<U>,
    W: Policy,
    A: Policy,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attempts = match &self.rare {
            Rare::Busy(_, busy) => Some(busy.attempts),
            _ => None,
        };
        f.debug_struct("ResponseFuture")
            .field("is_over", &self.call.is_over())
            .field("attempts", &attempts)
            .finish_non_exhaustive()
    }
}
