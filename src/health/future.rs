//! The future of a call through a health check.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project::pin_project;
use tower::Service;

use super::flight::{Flight, Risk};
use crate::classify::{Classify, Verdict};
use crate::context::CallContext;
use crate::error::{CallError, Rejected};
use crate::outcome::Health;
use crate::shell::oneshot::Oneshot;

/// The future of a call through a health check. Dropping it drops the inner call.
#[pin_project]
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
    Calling(Flight, Arc<C>, CallContext),
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
        flight: Flight,
        classify: Arc<C>,
        context: CallContext,
    ) -> Self {
        Self { attempt, stage: Stage::Calling(flight, classify, context) }
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
        let mut this = self.project();
        if let Stage::Calling(flight, classify, context) = this.stage {
            if !flight.0.begin(|| this.attempt.as_ref().waits()) {
                return turn_away(this.stage, this.attempt);
            }
            let risk = Risk::of(flight);
            let Poll::Ready(result) = this.attempt.as_mut().poll(cx) else {
                risk.over();
                if !this.attempt.as_mut().park(&flight.0, cx.waker()) {
                    return turn_away(this.stage, this.attempt);
                }
                return Poll::Pending;
            };
            let health = match classify.classify_call(result.as_ref(), context) {
                Verdict::Now(outcome) => outcome.health,
                Verdict::AtEnd => Health::Silent, // its end is not seen here
            };
            risk.over();
            flight.end(health);
            *this.stage = Stage::Over;
            return Poll::Ready(result);
        }
        match std::mem::replace(this.stage, Stage::Over) {
            Stage::Refused(rejected) => Poll::Ready(Err(rejected.into())),
            _ => Poll::Pending, // polled after it was ready
        }
    }
}

/// The policy was drained before the inner service was called.
#[inline(never)]
fn turn_away<S, Req, Res, C>(
    stage: &mut Stage<C>,
    attempt: Pin<&mut Oneshot<S, Req>>,
) -> Poll<Result<Res, S::Error>>
where
    S: Service<Req>,
    S::Error: CallError,
{
    attempt.end();
    match std::mem::replace(stage, Stage::Over) {
        Stage::Calling(mut flight, ..) => match flight.turn_away() {
            Some(rejected) => Poll::Ready(Err(rejected.into())),
            None => Poll::Pending, // unreachable: a flight has a policy until it ends
        },
        Stage::Refused(_) | Stage::Over => Poll::Pending, // unreachable: it was calling
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
