//! The layers that stand between callers and the upstream. The rest of this program knows nothing
//! of them: it sees a service whose error is [`Failure`], and the gauges on its live table.
//!
//! ```text
//! caller → breaker → timeout → HTTP client → upstream
//! ```
//!
//! The timeout is inside the breaker, so that a call which ran out of time is evidence against the
//! upstream. Both end when the head of an answer arrives: a body may take as long as it needs.

use std::error::Error as StdError;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy::{self, Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use seawall::circuit_breaker::{CircuitBreakerHandle, CircuitBreakerLayer};
use seawall::timeout::TimeoutLayer;
use seawall::{ConfigErrors, Error, Observe, Outcome};
use tower::{Service, ServiceBuilder};

/// Why a call has no answer of the upstream: a layer ended it, or the client failed.
pub(crate) type Failure = Error<legacy::Error>;

/// The body of an answer when it leaves the stack.
pub(crate) type Answer = Incoming;

/// What the proxy asks of a stack.
pub(crate) trait Stack:
    Service<Request<Incoming>, Response = Response<Answer>, Error = Failure, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Stack for S where
    S: Service<Request<Incoming>, Response = Response<Answer>, Error = Failure, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// What is worth seeing of a stack while it works.
#[derive(Debug, Clone)]
pub(crate) struct Gauges {
    breaker: CircuitBreakerHandle,
}

impl Gauges {
    /// Names and values, for a line of the live table.
    pub(crate) fn read(&self) -> Vec<(&'static str, String)> {
        vec![("breaker", self.breaker.state().to_string())]
    }
}

/// Puts the layers around a client. `name` is the one in metrics and messages, `limit` is how long
/// a call may take, `observer` is told of what the breaker does.
pub(crate) fn build(
    name: &str,
    limit: Duration,
    observer: impl Observe + 'static,
) -> Result<(impl Stack, Gauges), ConfigErrors> {
    let breaker = CircuitBreakerLayer::builder(name)
        .classify_response(judge_answer)
        .classify_error(judge_failure)
        .observe(observer)
        .build()?;
    let gauges = Gauges { breaker: breaker.handle() };
    let stack = ServiceBuilder::new()
        .layer(breaker)
        .layer(TimeoutLayer::new(name, limit))
        .map_err(Error::Inner)
        .service(client());
    Ok((seawall::check(stack), gauges))
}

fn client() -> Client<HttpConnector, Incoming> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector)
}

/// What an answer says about the upstream.
fn judge_answer(answer: &Response<Incoming>) -> Outcome {
    match answer.status() {
        StatusCode::TOO_MANY_REQUESTS => Outcome::PUSHBACK,
        status if status.is_server_error() => Outcome::TRANSIENT,
        _ => Outcome::SUCCESS,
    }
}

/// What it says about the upstream that there is no answer.
fn judge_failure(failure: &Failure) -> Outcome {
    match failure {
        // Whoever can break off an upload must not be able to open the circuit for everyone.
        Error::Inner(error) if is_of_the_caller(error) => Outcome::IGNORE,
        _ => Outcome::TRANSIENT,
    }
}

/// Whether the client failed for want of the rest of the request's body.
///
/// hyper then names its user as the culprit, and what befell the caller's own connection as the
/// cause, which is an error of hyper's too.
pub(crate) fn is_of_the_caller(error: &legacy::Error) -> bool {
    cause_in_http(error).is_some_and(|client| client.is_user() && cause_in_http(client).is_some())
}

fn cause_in_http(error: &dyn StdError) -> Option<&hyper::Error> {
    error.source()?.downcast_ref()
}
