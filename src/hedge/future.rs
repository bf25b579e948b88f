//! The future of a call that may be attempted again beside the first attempt.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project::{pin_project, pinned_drop};
use tokio::time::{Instant, Sleep};
use tower::Service;

use super::machine::{Failure, Race, Verdict};
use super::service::Shared;
use super::terms::Came;
use crate::core::classify::Classify;
use crate::core::error::CallError;
use crate::core::outcome::{Retryable, Signal};
use crate::core::request::CloneRequest;
use crate::core::time;
use crate::shell::clone_source::Source;
use crate::shell::in_flight::Stripe;
use crate::shell::oneshot::Oneshot;

/// How long nothing is hedged after the dependency asked for less load, unless it said for how long.
const QUIET: Duration = Duration::from_secs(1);

/// What a further attempt needs.
pub(super) struct Further<S, Req, R> {
    pub(super) request: Req,
    pub(super) copy: R,
    pub(super) source: Source<S>,
}

/// The future of a call through a hedge.
///
/// Dropping it drops all attempts that are in flight.
#[pin_project(PinnedDrop)]
pub struct ResponseFuture<S, Req, C, R>
where
    S: Service<Req>,
{
    #[pin]
    first: Oneshot<S, Req>,
    /// Those beside the first. Nothing is allocated until there is one.
    others: Vec<Pin<Box<Oneshot<S, Req>>>>,
    further: Option<Further<S, Req, R>>,
    /// When the next one may begin.
    #[pin]
    timer: Option<Sleep>,
    /// When the call was first found pending, or failed.
    started: Option<Instant>,
    race: Race,
    /// `None` when the call is over.
    stripe: Option<Arc<Stripe<Shared<C>>>>,
}

/// Which attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    First,
    Other(usize),
}

impl<S, Req, C, R> ResponseFuture<S, Req, C, R>
where
    S: Service<Req>,
{
    #[inline]
    pub(super) const fn new(
        first: Oneshot<S, Req>,
        further: Option<Further<S, Req, R>>,
        stripe: Option<Arc<Stripe<Shared<C>>>>,
    ) -> Self {
        Self {
            first,
            others: Vec::new(),
            further,
            timer: None,
            started: None,
            race: Race::begin(),
            stripe,
        }
    }
}

impl<S, Req, C, R> Future for ResponseFuture<S, Req, C, R>
where
    S: Service<Req> + Clone,
    S::Error: CallError,
    C: Classify<S::Response, S::Error>,
    R: CloneRequest<Req>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.as_mut().project();
        if let Poll::Ready(result) = this.first.poll(cx) {
            return self.result(Which::First, result, cx);
        }
        self.wait(cx)
    }
}

impl<S, Req, C, R> ResponseFuture<S, Req, C, R>
where
    S: Service<Req> + Clone,
    S::Error: CallError,
    C: Classify<S::Response, S::Error>,
    R: CloneRequest<Req>,
{
    /// The first attempt has no answer, now or any more.
    #[inline(never)]
    fn wait(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<S::Response, S::Error>> {
        let mut nth = 0;
        loop {
            let mut this = self.as_mut().project();
            if let Some(other) = this.others.get_mut(nth) {
                if let Poll::Ready(result) = other.as_mut().poll(cx) {
                    return self.result(Which::Other(nth), result, cx);
                }
                nth += 1;
                continue;
            }
            // All are pending: is it time for another one?
            let Some(stripe) = this.stripe.as_ref() else { return Poll::Pending };
            let params = stripe.terms.params();
            if this.further.is_none() || !this.race.has_room(&params) {
                this.timer.set(None);
                return Poll::Pending;
            }
            if this.timer.is_none() {
                let now = time::now();
                this.started.get_or_insert(now);
                let due = stripe.terms.delay().and_then(|delay| now.checked_add(delay));
                let Some(due) = due.filter(|_| time::has_timers()) else { return Poll::Pending };
                this.timer.set(Some(tokio::time::sleep_until(due)));
            }
            let Some(timer) = this.timer.as_mut().as_pin_mut() else { return Poll::Pending };
            if time::poll_timer(timer, cx).is_pending() {
                return Poll::Pending;
            }
            this.timer.set(None);
            if !self.as_mut().begin_another() {
                return Poll::Pending; // it is asked once
            }
        }
    }

    /// Begins another attempt, if there may be one.
    fn begin_another(self: Pin<&mut Self>) -> bool {
        let mut this = self.project();
        this.timer.set(None); // the next delay counts from now
        let Some(stripe) = this.stripe.as_ref() else { return false };
        let Some(Further { mut request, copy, source }) = this.further.take() else { return false };
        // A copy that draws on its original may not be complete yet.
        if !copy.take_over(&mut request) || !stripe.terms.pays() {
            return false;
        }
        let service = source.make();
        if this.race.begun() < stripe.terms.params().max_hedges {
            let next = copy.clone_request(&request);
            *this.further = next.map(|request| Further { request, copy, source });
        }
        this.race.begin_another();
        this.others.push(Box::pin(Oneshot::waiting(service, request)));
        let after = this.started.map(|started| time::now().saturating_duration_since(started));
        stripe.terms.begins(this.race.begun(), after.unwrap_or_default());
        true
    }

    /// An attempt has a result.
    fn result(
        mut self: Pin<&mut Self>,
        which: Which,
        result: Result<S::Response, S::Error>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<S::Response, S::Error>> {
        let this = self.as_mut().project();
        if let Which::Other(nth) = which {
            drop(this.others.swap_remove(nth)); // it is over, and holds nothing any longer
        }
        let Some(stripe) = this.stripe.as_ref() else { return Poll::Ready(result) };
        let terms = &stripe.terms;
        let outcome = stripe.classify.classify(result.as_ref()).of_head();
        let failure = match outcome.signal {
            Signal::Success => {
                terms.deposit();
                if let Some(started) = *this.started {
                    // That of the whole call: of one that was hedged it is known that it is slow.
                    terms.answered(time::now().saturating_duration_since(started));
                }
                None
            }
            Signal::Pushback => {
                terms.push_back(outcome.retry_after().unwrap_or(QUIET));
                Some(Failure::Final)
            }
            _ if outcome.rejected => Some(Failure::Rejected),
            Signal::Ignored => Some(Failure::Final), // it says nothing, and is the result of the call
            _ if outcome.retryable == Retryable::Never => Some(Failure::Final),
            Signal::Failure => Some(Failure::Transient),
        };
        let verdict = this.race.result(&terms.params(), failure);
        let goes_on = match verdict {
            Verdict::End => false,
            Verdict::Wait => true,
            Verdict::Next => {
                this.started.get_or_insert_with(time::now);
                self.as_mut().begin_another()
            }
        };
        if goes_on {
            if let (Which::Other(_), Some(stripe)) = (which, self.as_ref().project_ref().stripe) {
                stripe.terms.came(Came::Failed);
            }
            drop(result); // another one will be that of the call
            return self.wait(cx);
        }
        self.end(which, failure.is_none());
        Poll::Ready(result)
    }

    /// The call is over: nothing of it goes on.
    fn end(self: Pin<&mut Self>, which: Which, is_good: bool) {
        let mut this = self.project();
        if let (Which::Other(_), Some(stripe)) = (which, this.stripe.as_ref()) {
            stripe.terms.came(if is_good { Came::Won } else { Came::Failed });
        }
        this.first.as_mut().end();
        lose_all(this.others, this.stripe.as_ref());
        this.further.take();
        this.timer.set(None);
        this.stripe.take();
    }
}

/// Drops what is still in flight.
fn lose_all<F, C>(others: &mut Vec<F>, stripe: Option<&Arc<Stripe<Shared<C>>>>) {
    let lost = others.len();
    others.clear();
    if let Some(stripe) = stripe {
        (0..lost).for_each(|_| stripe.terms.came(Came::Lost));
    }
}

#[pinned_drop]
impl<S, Req, C, R> PinnedDrop for ResponseFuture<S, Req, C, R>
where
    S: Service<Req>,
{
    #[inline]
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        if !this.others.is_empty() {
            lose_all(this.others, this.stripe.as_ref());
        }
    }
}

impl<S, Req, C, R> fmt::Debug for ResponseFuture<S, Req, C, R>
where
    S: Service<Req>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("attempts", &self.race.begun())
            .field("is_over", &self.stripe.is_none())
            .finish_non_exhaustive()
    }
}
