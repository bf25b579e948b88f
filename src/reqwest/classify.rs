//! What an answer of reqwest means.

use reqwest::{Error, Response};

use crate::core::classify::{Classification, Classify};
use crate::core::context::ClassifyContext;
use crate::core::error::CallError;
use crate::core::outcome::{Outcome, Retryable};
use crate::http::{self as wire, AsError, HttpClassifier};

impl<E> Classify<Response, E> for HttpClassifier
where
    E: CallError + AsError,
{
    fn classify(&self, result: Result<&Response, &E>) -> Classification {
        Classify::<Response, E>::classify_call(self, result, &ClassifyContext::default())
    }

    fn classify_call(
        &self,
        result: Result<&Response, &E>,
        call: &ClassifyContext,
    ) -> Classification {
        let outcome = match result {
            Ok(response) => wire::of_answer(response.status(), response.headers(), call),
            Err(error) => wire::of_call_error(error, call),
        };
        Classification::Now(outcome)
    }
}

/// The [`HttpClassifier`] of a client of reqwest that follows no redirects.
///
/// reqwest follows redirects by itself, and its errors do not say which hop they are of: that no
/// connection came about does not prove that nobody acted on the request. By itself only a
/// connection to the very address in the URL of the request is believed to be the first. Where the
/// client was built with `redirect::Policy::none()`, say so with this: then all that reqwest could not
/// send counts as [unsent](Outcome::unsent), and a POST is retried too.
///
/// ```
/// use seawall::reqwest::{self as web, WithoutRedirects};
/// use seawall::Error;
/// use tower::ServiceBuilder;
///
/// # fn client() -> Result<(), Box<dyn std::error::Error>> {
/// let client = reqwest::Client::builder()
///     .redirect(reqwest::redirect::Policy::none())
///     .retry(reqwest::retry::never())
///     .build()?;
/// let layers = web::client("api").classify(WithoutRedirects).build()?;
/// let api = ServiceBuilder::new().layer(layers).map_err(Error::Inner).service(client);
/// # let _ = seawall::check_service::<_, reqwest::Request>(api);
/// # Ok(()) }
/// # client().unwrap();
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct WithoutRedirects;

impl<E> Classify<Response, E> for WithoutRedirects
where
    E: CallError + AsError,
{
    fn classify(&self, result: Result<&Response, &E>) -> Classification {
        self.classify_call(result, &ClassifyContext::default())
    }

    fn classify_call(
        &self,
        result: Result<&Response, &E>,
        call: &ClassifyContext,
    ) -> Classification {
        let classification = HttpClassifier.classify_call(result, call);
        let (Classification::Now(outcome), Err(error)) = (classification, result) else {
            return classification;
        };
        let unsent =
            outcome.retryable != Retryable::Never && wire::never_connected(error.as_error());
        if unsent { outcome.unsent().into() } else { classification }
    }
}

/// What an error of reqwest means.
///
/// | error | means |
/// | --- | --- |
/// | no connection came about | [`TRANSIENT`](Outcome::TRANSIENT); [unsent](Outcome::unsent) if it was certainly not that of a redirect |
/// | a layer of this crate rejected the connection | what the [rejection](Outcome::of_rejection) means |
/// | a server of HTTP/2 promises not to have touched the request | nothing about it; may be asked again |
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
/// fn classify(error: &Error<reqwest::Error>) -> Outcome {
///     match error {
///         Error::Inner(error) if error.is_decode() => Outcome::FAILURE,
///         Error::Inner(error) => of_error(error),
///         Error::Rejected(_) => Outcome::IGNORE,
///     }
/// }
///
/// let breaker = CircuitBreakerLayer::builder("api").classify_error(classify).build()?;
/// # drop(breaker);
/// let nonsense = reqwest::Client::new().get("no address").build().unwrap_err();
/// assert_eq!(classify(&Error::Inner(nonsense)), Outcome::IGNORE.unsent()); // no fault of the API
/// # Ok::<(), seawall::ConfigErrors>(())
/// ```
///
/// An error of reqwest does not say of which hop it is. It is of the first if no connection came about
/// to the very address that the URL of the request names, or to the port that it names on
/// `localhost`. See [`WithoutRedirects`] for a client that follows none.
pub fn of_error(error: &Error) -> Outcome {
    wire::of_reqwest_error(error)
}
