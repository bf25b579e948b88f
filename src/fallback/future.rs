//! The future of a call with a fallback.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project::pin_project;
use tower::Service;

use super::answer::Answer;
use super::service::{AnswerKind, Shared};
use super::terms::FellBack;
use crate::core::classify::Classify;
use crate::core::error::{CallError, Reason};
use crate::shell::in_flight::Stripe;
use crate::shell::oneshot::Oneshot;

/// The future of a call with a fallback.
///
/// Dropping it drops the call in flight; or, once that has failed, what answers instead.
#[pin_project]
pub struct ResponseFuture<S, Req, A, C>
where
    S: Service<Req>,
    A: Answer<Req, S::Response, S::Error>,
{
    #[pin]
    stage: Stage<Oneshot<S, Req>, A::Future>,
    kept: Option<A::Kept>,
    /// `None`, if nothing is to be answered.
    stripe: Option<Arc<Stripe<Shared<A, C>>>>,
}

#[pin_project(project = StageProj)]
enum Stage<F, G> {
    Calling(#[pin] F),
    Answering(#[pin] G, Option<Reason>, Option<Duration>),
    Over,
}

impl<S, Req, A, C> ResponseFuture<S, Req, A, C>
where
    S: Service<Req>,
    A: Answer<Req, S::Response, S::Error>,
{
    #[inline]
    pub(super) fn calling(
        attempt: Oneshot<S, Req>,
        kept: A::Kept,
        stripe: Option<Arc<Stripe<Shared<A, C>>>>,
    ) -> Self {
        Self { stage: Stage::Calling(attempt), kept: Some(kept), stripe }
    }
}

impl<S, Req, A, C> Future for ResponseFuture<S, Req, A, C>
where
    S: Service<Req>,
    S::Error: CallError,
    A: Answer<Req, S::Response, S::Error>,
    C: Classify<S::Response, S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let result = match this.stage.as_mut().project() {
                StageProj::Calling(future) => ready!(future.poll(cx)),
                StageProj::Answering(future, reason, age) => {
                    let (mut result, reason, age) = (ready!(future.poll(cx)), *reason, *age);
                    this.stage.set(Stage::Over);
                    if let Some(stripe) = this.stripe.take() {
                        match &mut result {
                            Ok(response) => {
                                let origin = stripe.terms.reporter.origin.clone();
                                let told = FellBack { origin, reason, age };
                                stripe.answer.mark(response, &told);
                                stripe.terms.answered(reason);
                            }
                            Err(_) => stripe.terms.failed(),
                        }
                    }
                    return Poll::Ready(result);
                }
                StageProj::Over => return Poll::Pending, // polled after it was ready
            };
            this.stage.set(Stage::Over); // nothing of the call goes on
            let (Some(stripe), Some(kept)) = (this.stripe.take(), this.kept.take()) else {
                return Poll::Ready(result);
            };
            let reason = match (stripe.answers(result.as_ref()), &result) {
                (AnswerKind::Failed(reason), _) => reason,
                (AnswerKind::Success, Ok(response)) => {
                    stripe.answer.succeeded(kept, response, &stripe.terms);
                    return Poll::Ready(result);
                }
                _ => return Poll::Ready(result),
            };
            let Some(instead) = stripe.answer.answer(kept, result.as_ref(), &stripe.terms) else {
                return Poll::Ready(result);
            };
            drop(result); // a failed response has no reader
            *this.stripe = Some(stripe);
            this.stage.set(Stage::Answering(instead.future, reason, instead.age));
        }
    }
}

impl<S, Req, A, C> fmt::Debug for ResponseFuture<S, Req, A, C>
where
    S: Service<Req>,
    A: Answer<Req, S::Response, S::Error>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.stage {
            Stage::Calling(_) => "ResponseFuture(in flight)",
            Stage::Answering(..) => "ResponseFuture(answering)",
            Stage::Over => "ResponseFuture(over)",
        })
    }
}
