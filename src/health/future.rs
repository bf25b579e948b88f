//! The future of a call through a health check.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project::{pin_project, pinned_drop};
use tower::Service;

use super::machine::Input;
use super::policy::Policy;
use crate::classify::{Classify, Verdict};
use crate::error::{CallError, Rejected};
use crate::outcome::Health;
use crate::shell::gate::Lane;
use crate::shell::meter::Ended;
use crate::shell::oneshot::Oneshot;

/// The future of a call through a health check. Dropping it drops the inner call.
#[pin_project(PinnedDrop)]
pub struct ResponseFuture<S, Req, C>
where
    S: Service<Req>,
{
    #[pin]
    attempt: Oneshot<S, Req>,
    stage: Stage<C>,
}

enum Stage<C> {
    Refused(Rejected),
    Calling(Arc<Lane<Policy>>, Arc<C>),
    Over,
}

impl<S, Req, C> ResponseFuture<S, Req, C>
where
    S: Service<Req>,
{
    pub(super) fn refused(rejected: Rejected) -> Self {
        Self { attempt: Oneshot::over(), stage: Stage::Refused(rejected) }
    }

    pub(super) fn calling(
        attempt: Oneshot<S, Req>,
        lane: Arc<Lane<Policy>>,
        classify: Arc<C>,
    ) -> Self {
        Self { attempt, stage: Stage::Calling(lane, classify) }
    }
}

impl<S, Req, C> Future for ResponseFuture<S, Req, C>
where
    S: Service<Req>,
    S::Error: CallError,
    C: Classify<S::Response, S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Stage::Calling(..) = this.stage {
            let result = ready!(this.attempt.poll(cx));
            if let Stage::Calling(lane, classify) = std::mem::replace(this.stage, Stage::Over) {
                let health = match classify.classify(result.as_ref()) {
                    Verdict::Now(outcome) => outcome.health,
                    Verdict::AtEnd => Health::Silent, // its end is not seen here
                };
                match health {
                    Health::Good => lane.learn(Input::Good),
                    Health::Bad => lane.learn(Input::Bad),
                    Health::Pushback | Health::Silent => {}
                }
                lane.reporter.meter(|handles| handles.counted(health.into()));
            }
            return Poll::Ready(result);
        }
        match std::mem::replace(this.stage, Stage::Over) {
            Stage::Refused(rejected) => Poll::Ready(Err(rejected.into())),
            _ => Poll::Pending, // polled after it was ready
        }
    }
}

#[pinned_drop]
impl<S, Req, C> PinnedDrop for ResponseFuture<S, Req, C>
where
    S: Service<Req>,
{
    fn drop(self: Pin<&mut Self>) {
        if let Stage::Calling(lane, _) = self.project().stage {
            lane.reporter.meter(|handles| handles.counted(Ended::Abandoned));
        }
    }
}

impl<S, Req, C> fmt::Debug for ResponseFuture<S, Req, C>
where
    S: Service<Req>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.stage {
            Stage::Refused(_) => "ResponseFuture(refused)",
            Stage::Calling(..) => "ResponseFuture(calling)",
            Stage::Over => "ResponseFuture(over)",
        })
    }
}
