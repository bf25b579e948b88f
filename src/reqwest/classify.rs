//! What an answer of reqwest means.

use http::HeaderMap;
use reqwest::{Error, Response};

use crate::classify::{Classify, Verdict, of_rejection};
use crate::error::{CallError, causes};
use crate::http::{self as wire, AsError, HttpClassifier};
use crate::outcome::Outcome;

impl<E> Classify<Response, E> for HttpClassifier
where
    E: CallError + AsError,
{
    fn classify(&self, result: Result<&Response, &E>) -> Verdict {
        let outcome = match result {
            Ok(response) => wire::of_status(response.status(), response.headers()),
            Err(error) => match error.rejected() {
                Some(rejected) => of_rejection(rejected),
                None => causes(error.as_error())
                    .find_map(|cause| cause.downcast_ref())
                    .map_or_else(|| wire::of_error(error.as_error()), of_error),
            },
        };
        Verdict::Now(outcome)
    }
}

/// What an error of reqwest means.
///
/// | error | means |
/// | --- | --- |
/// | no connection came about, in whatever way; after a redirect, the last one | [`TRANSIENT`](Outcome::TRANSIENT), [unsent](Outcome::unsent) |
/// | of `error_for_status` | what the [status](crate::http::of_status) means |
/// | the request makes no sense | [`IGNORE`](Outcome::IGNORE), [unsent](Outcome::unsent) |
/// | too many redirects, or in a circle | [`FAILURE`](Outcome::FAILURE) |
/// | every other, a timeout too | [`TRANSIENT`](Outcome::TRANSIENT) |
///
/// ```
/// use seawall::circuit_breaker::CircuitBreakerLayer;
/// use seawall::{Error, Outcome, reqwest::of_error};
///
/// /// For calls that end with what the answer says, instead of with the answer.
/// fn judge(error: &Error<reqwest::Error>) -> Outcome {
///     match error {
///         Error::Inner(error) if error.is_decode() => Outcome::FAILURE,
///         Error::Inner(error) => of_error(error),
///         Error::Rejected(_) => Outcome::IGNORE,
///     }
/// }
///
/// let breaker = CircuitBreakerLayer::builder("api").classify_error(judge).build()?;
/// # drop(breaker);
/// let nonsense = reqwest::Client::new().get("no address").build().unwrap_err();
/// assert_eq!(judge(&Error::Inner(nonsense)), Outcome::IGNORE.unsent()); // no fault of the API
/// # Ok::<(), seawall::ConfigErrors>(())
/// ```
pub fn of_error(error: &Error) -> Outcome {
    if let Some(status) = error.status() {
        wire::of_status(status, &HeaderMap::new())
    } else if error.is_builder() {
        Outcome::IGNORE.unsent()
    } else if error.is_connect() {
        Outcome::TRANSIENT.unsent()
    } else if error.is_redirect() {
        Outcome::FAILURE
    } else {
        Outcome::TRANSIENT
    }
}
