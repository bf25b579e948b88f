//! What an HTTP answer means.

mod over_http2;
mod proof;
mod requested_delay;
#[cfg(feature = "reqwest")]
mod reqwest_errors;

use std::error::Error as StdError;

use http::{HeaderMap, Response, StatusCode};
use tower::BoxError;

pub use over_http2::Http2Classifier;
use proof::UNTOUCHED;
pub use requested_delay::{requested_delay, retry_after};
#[cfg(feature = "reqwest")]
pub(crate) use reqwest_errors::{never_connected, of_reqwest_error};

use crate::core::classify::{Classification, Classify};
use crate::core::context::ClassifyContext;
use crate::core::error::{CallError, Error, Rejected};
use crate::core::outcome::Outcome;

/// Reads an HTTP answer: its status, its `Retry-After` when to come back, or the error that came instead.
///
/// | answer | means |
/// | --- | --- |
/// | 5xx, 408 | [`TRANSIENT`](Outcome::TRANSIENT): the dependency failed, ask again |
/// | 501, 505 | [`FAILURE`](Outcome::FAILURE): and would fail again |
/// | 425, 429 | [`PUSHBACK`](Outcome::PUSHBACK): it is well and asks for less |
/// | everything else | [`SUCCESS`](Outcome::SUCCESS): it answered as designed, if only with "no" |
/// | an error | what [`of_error`] says of it |
///
/// A [`Retry-After`](requested_delay()) of a failure or a pushback goes with it. Rejections by layers of this crate
/// are classified as everywhere.
///
/// What is due to the caller's deadline is no evidence: a 504 or 408, and an error that says that
/// time ran out, where [the caller's time ran out](ClassifyContext::may_have_timed_out); any error once
/// it has. For that the layer has to be told where to read the deadline, with its `.propagate(…)`.
#[derive(Debug, Clone, Copy, Default)]
pub struct HttpClassifier;

impl<B, E> Classify<Response<B>, E> for HttpClassifier
where
    E: CallError + AsError,
{
    fn classify(&self, result: Result<&Response<B>, &E>) -> Classification {
        self.classify_call(result, &ClassifyContext::default())
    }

    fn classify_call(
        &self,
        result: Result<&Response<B>, &E>,
        call: &ClassifyContext,
    ) -> Classification {
        let outcome = match result {
            Ok(response) => of_answer(response.status(), response.headers(), call),
            Err(error) => of_call_error(error, call),
        };
        Classification::Now(outcome)
    }
}

/// What an answer means to a call of which this is known.
pub(crate) fn of_answer(
    status: StatusCode,
    headers: &HeaderMap,
    call: &ClassifyContext,
) -> Outcome {
    match status {
        StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT if call.may_have_timed_out() => {
            Outcome::IGNORE
        }
        status => of_status(status, headers),
    }
}

/// What an error means to a call of which this is known.
pub(crate) fn of_call_error<E: CallError + AsError>(error: &E, call: &ClassifyContext) -> Outcome {
    if let Some(rejected) = error.rejected() {
        return Outcome::of_rejection(rejected);
    }
    let error = error.as_error();
    let late = call.is_past_deadline() || (call.may_have_timed_out() && proof::is_timeout(error));
    if late { Outcome::IGNORE } else { of_error(error) }
}

/// What a status means, with the `Retry-After` that came with it.
///
/// ```
/// use http::{HeaderMap, StatusCode};
/// use seawall::Outcome;
/// use seawall::circuit_breaker::CircuitBreakerLayer;
/// use seawall::http::of_status;
///
/// /// An API that answers 404 while it is being deployed.
/// fn classify(response: &http::Response<String>) -> Outcome {
///     match response.status() {
///         StatusCode::NOT_FOUND => Outcome::TRANSIENT,
///         status => of_status(status, response.headers()),
///     }
/// }
///
/// let layer = CircuitBreakerLayer::builder("api").classify_response(classify).build()?;
/// # drop(layer);
/// let (ok, none) = (StatusCode::OK, HeaderMap::new());
/// assert_eq!(of_status(ok, &none), Outcome::SUCCESS);
/// assert_eq!(of_status(StatusCode::TOO_MANY_REQUESTS, &none), Outcome::PUSHBACK);
/// # Ok::<(), seawall::ConfigErrors>(())
/// ```
pub fn of_status(status: StatusCode, headers: &HeaderMap) -> Outcome {
    let outcome = match status {
        StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => Outcome::FAILURE,
        StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => Outcome::PUSHBACK,
        StatusCode::REQUEST_TIMEOUT => Outcome::TRANSIENT,
        status if status.is_server_error() => Outcome::TRANSIENT,
        _ => return Outcome::SUCCESS,
    };
    match requested_delay(headers) {
        Some(delay) if outcome != Outcome::FAILURE => outcome.after(delay),
        _ => outcome,
    }
}

/// What an error means, by what caused it:
///
/// | cause | means |
/// | --- | --- |
/// | a layer of this crate rejected it, around the connections of the client for instance | what the [rejection](Outcome::of_rejection) means |
/// | a server of HTTP/2 promises not to have touched the request (`REFUSED_STREAM`, `GOAWAY`) | nothing about the dependency; [unsent](Outcome::unsent) |
/// | no connection came about: name, connection, TLS | [`TRANSIENT`](Outcome::TRANSIENT), [unsent](Outcome::unsent) |
/// | every other | [`TRANSIENT`](Outcome::TRANSIENT) |
///
/// The errors of hyper, hyper-util's `legacy::Client`, tonic's `Channel` and, with the feature `reqwest`,
/// [reqwest](crate::reqwest::of_error) are understood, and [`io::Error`](std::io::Error)s.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::retry::{Backoff, RetryLayer};
/// use seawall::{Error, Outcome, http::of_error};
/// use std::io::{self, ErrorKind};
///
/// #[derive(Debug, thiserror::Error)]
/// enum SendError {
///     #[error("the request is too large")]
///     TooLarge,
///     #[error("the connection failed")]
///     Io(#[from] io::Error),
/// }
///
/// /// What we know better, and for the rest what it means everywhere.
/// fn classify(error: &Error<SendError>) -> Outcome {
///     match error {
///         Error::Inner(SendError::TooLarge) => Outcome::IGNORE,
///         error => of_error(error),
///     }
/// }
///
/// let rejected = SendError::from(io::Error::from(ErrorKind::ConnectionRefused));
/// assert_eq!(classify(&Error::Inner(rejected)), Outcome::TRANSIENT.unsent()); // safe to repeat
/// let reset = SendError::from(io::Error::from(ErrorKind::ConnectionReset));
/// assert_eq!(classify(&Error::Inner(reset)), Outcome::TRANSIENT);
///
/// let api = RetryLayer::builder("api").classify_error(classify).backoff(Backoff::none()).build()?;
/// let sent = api.run(|| async { Err::<(), _>(Error::Inner(SendError::TooLarge)) }).await;
/// assert!(matches!(sent, Err(Error::Inner(SendError::TooLarge))));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub fn of_error(error: &(dyn StdError + 'static)) -> Outcome {
    #[cfg(feature = "reqwest")]
    if let Some(error) = crate::core::error::causes(error).find_map(|cause| cause.downcast_ref()) {
        return of_reqwest_error(error);
    }
    if proof::is_untouched(error) {
        return UNTOUCHED;
    }
    let outcome = Rejected::find(error).map_or(Outcome::TRANSIENT, Outcome::of_rejection);
    if proof::never_left(error) { outcome.unsent() } else { outcome }
}

/// An error type whose causes can be looked at. [`Error`] and [`BoxError`] are; for an enum of your
/// own, return `self`.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::http::{AsError, HttpClassifier};
/// use seawall::retry::RetryLayer;
/// use seawall::{CallError, Rejected};
/// use std::error::Error;
/// use std::io;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// /// An error type of your own, instead of `seawall::Error`.
/// #[derive(Debug, thiserror::Error)]
/// enum ApiError {
///     #[error(transparent)]
///     Rejected(#[from] Rejected),
///     #[error("the connection failed")]
///     Io(#[from] io::Error),
/// }
///
/// impl CallError for ApiError {
///     fn rejected(&self) -> Option<&Rejected> {
///         match self {
///             Self::Rejected(rejected) => Some(rejected),
///             Self::Io(_) => None,
///         }
///     }
/// }
///
/// impl AsError for ApiError {
///     fn as_error(&self) -> &(dyn Error + 'static) {
///         self
///     }
/// }
///
/// let retry = RetryLayer::builder("api").classify(HttpClassifier).cloned().build()?;
/// let api = ServiceBuilder::new().layer(retry).map_err(ApiError::from).service(service_fn(
///     |path: &'static str| async move { Ok::<_, io::Error>(http::Response::new(path)) },
/// ));
/// assert_eq!(api.oneshot("/orders").await?.status(), 200);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub trait AsError {
    /// The error itself.
    fn as_error(&self) -> &(dyn StdError + 'static);
}

impl<E: StdError + 'static> AsError for Error<E> {
    fn as_error(&self) -> &(dyn StdError + 'static) {
        self
    }
}

impl AsError for BoxError {
    fn as_error(&self) -> &(dyn StdError + 'static) {
        &**self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::outcome::{Retryable, Sent, Signal};
    use std::io::{self, ErrorKind};
    use std::time::Duration;

    fn status(code: u16) -> Outcome {
        of_status(StatusCode::from_u16(code).expect("a status"), &HeaderMap::new())
    }

    // pitfall B29
    #[test]
    fn the_table_of_statuses() {
        for good in [200, 204, 301, 304, 400, 401, 403, 404, 409, 410, 418, 422] {
            assert_eq!(status(good), Outcome::SUCCESS, "{good}");
        }
        for bad in [408, 500, 502, 503, 504, 507, 599] {
            assert_eq!(status(bad), Outcome::TRANSIENT, "{bad}");
        }
        assert_eq!([status(501), status(505)], [Outcome::FAILURE; 2]);
        assert_eq!([status(425), status(429)], [Outcome::PUSHBACK; 2]);
    }

    #[test]
    fn a_hint_goes_with_what_may_be_asked_again() {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::RETRY_AFTER, http::HeaderValue::from_static("7"));
        let told = |status| of_status(status, &headers).retry_after();
        assert_eq!(told(StatusCode::SERVICE_UNAVAILABLE), Some(Duration::from_secs(7)));
        assert_eq!(told(StatusCode::TOO_MANY_REQUESTS), Some(Duration::from_secs(7)));
        assert_eq!(told(StatusCode::NOT_IMPLEMENTED), None);
        assert_eq!(told(StatusCode::OK), None);
    }

    #[test]
    fn a_connection_that_never_came_about_is_found_in_the_chain() {
        let rejected = io::Error::from(ErrorKind::ConnectionRefused);
        let wrapped: Error<io::Error> = Error::Inner(io::Error::other(rejected));
        let outcome = of_error(wrapped.as_error());
        assert_eq!((outcome.signal, outcome.sent), (Signal::Failure, Sent::Never));
        assert_eq!(outcome.retryable, Retryable::Yes { after: None });
        let reset = io::Error::from(ErrorKind::ConnectionReset);
        assert_eq!(of_error(&reset).sent, Sent::Unknown);
    }
}
