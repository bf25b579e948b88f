//! The future of a call with a fallback.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project::pin_project;
use tower::Service;

use super::answer::Answer;
use super::service::{Said, Shared};
use super::terms::FellBack;
use crate::classify::Classify;
use crate::error::{CallError, Reason};
use crate::shell::gate::Lane;
use crate::shell::oneshot::Oneshot;

/// The future of a call with a fallback.
///
/// Dropping it drops the call under way; or, once that has failed, what answers instead.
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
    lane: Option<Arc<Lane<Shared<A, C>>>>,
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
        lane: Option<Arc<Lane<Shared<A, C>>>>,
    ) -> Self {
        Self { stage: Stage::Calling(attempt), kept: Some(kept), lane }
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
                    if let Some(lane) = this.lane.take() {
                        match &mut result {
                            Ok(response) => {
                                let source = lane.terms.reporter.source.clone();
                                let told = FellBack { source, reason, age };
                                lane.answer.mark(response, &told);
                                lane.terms.answered(reason);
                            }
                            Err(_) => lane.terms.failed(),
                        }
                    }
                    return Poll::Ready(result);
                }
                StageProj::Over => return Poll::Pending, // polled after it was ready
            };
            this.stage.set(Stage::Over); // nothing of the call goes on
            let (Some(lane), Some(kept)) = (this.lane.take(), this.kept.take()) else {
                return Poll::Ready(result);
            };
            let reason = match (lane.answers(result.as_ref()), &result) {
                (Said::Failed(reason), _) => reason,
                (Said::Good, Ok(response)) => {
                    lane.answer.succeeded(kept, response, &lane.terms);
                    return Poll::Ready(result);
                }
                _ => return Poll::Ready(result),
            };
            let Some(instead) = lane.answer.answer(kept, result.as_ref(), &lane.terms) else {
                return Poll::Ready(result);
            };
            drop(result); // a failed response has no reader
            *this.lane = Some(lane);
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
