//! The future of a call through a health check.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project::pin_project;
use tower::Service;

use super::flight::{self, Flight};
use crate::classify::{Classify, Verdict};
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
    Calling(Flight, Arc<C>),
    Over,
}

/// The inner call is polled: if this is dropped, it panicked.
struct Risk<'a, C>(&'a mut Stage<C>);

impl<C> Drop for Risk<'_, C> {
    fn drop(&mut self) {
        if let Stage::Calling(flight, _) = std::mem::replace(self.0, Stage::Over) {
            flight.end(Health::Bad);
        }
    }
}

impl<S, Req, C> ResponseFuture<S, Req, C>
where
    S: Service<Req>,
{
    pub(super) fn refused(rejected: Rejected) -> Self {
        Self { attempt: Oneshot::over(), stage: Stage::Refused(rejected) }
    }

    pub(super) fn calling(attempt: Oneshot<S, Req>, flight: Flight, classify: Arc<C>) -> Self {
        Self { attempt, stage: Stage::Calling(flight, classify) }
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
            let risk = Risk(this.stage);
            let polled = this.attempt.poll(cx);
            std::mem::forget(risk);
            let result = ready!(polled);
            if let Stage::Calling(flight, classify) = std::mem::replace(this.stage, Stage::Over) {
                let risk = flight::Risk::new(flight);
                let health = match classify.classify(result.as_ref()) {
                    Verdict::Now(outcome) => outcome.health,
                    Verdict::AtEnd => Health::Silent, // its end is not seen here
                };
                risk.over().end(health);
            }
            return Poll::Ready(result);
        }
        match std::mem::replace(this.stage, Stage::Over) {
            Stage::Refused(rejected) => Poll::Ready(Err(rejected.into())),
            _ => Poll::Pending, // polled after it was ready
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
