//! What makes answers of errors.

use std::fmt;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode, Version};

use super::rejection_settings::{Asked, RejectionSettings, RenderRejection};
use crate::core::error::{CallError, Reason, Rejected};
use crate::http::ResponseBody;

/// Makes an answer of an error, for a service whose answers have a body `B`.
pub trait Render<B, E> {
    /// The body of all answers.
    type Body;

    /// The body of an answer of the service inside.
    fn pass(&self, body: B) -> Self::Body;

    /// The answer. `None` stands for an inner service that has failed for good and told so before.
    fn render(&self, error: Option<&E>) -> Response<Self::Body>;

    /// The same, by one who heeds [how it is asked](Asked). By default that makes no difference.
    fn render_asked(&self, asked: &Asked, error: Option<&E>) -> Response<Self::Body> {
        let _ = asked;
        self.render(error)
    }
}

/// Renders rejections as problem documents; see [`RejectionResponseLayer`](crate::http::RejectionResponseLayer).
#[derive(Debug, Clone, Copy, Default)]
pub struct ProblemDetails;

/// A closure renders, with the body of the service inside.
#[derive(Clone, Copy)]
pub struct RenderBy<F>(pub(super) F);

/// A closure renders, with bytes.
#[derive(Clone, Copy)]
pub struct RenderBytes<F>(pub(super) F);

impl<B, E, F: Fn(Option<&E>) -> Response<B>> Render<B, E> for RenderBy<F> {
    type Body = B;

    fn pass(&self, body: B) -> B {
        body
    }

    fn render(&self, error: Option<&E>) -> Response<B> {
        (self.0)(error)
    }
}

impl<B, E, T, F> Render<B, E> for RenderBytes<F>
where
    F: Fn(Option<&E>) -> Response<T>,
    T: Into<Bytes>,
{
    type Body = ResponseBody<B>;

    fn pass(&self, body: B) -> ResponseBody<B> {
        ResponseBody::new(body)
    }

    fn render(&self, error: Option<&E>) -> Response<ResponseBody<B>> {
        (self.0)(error).map(ResponseBody::own)
    }
}

impl<F> fmt::Debug for RenderBytes<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RenderBytes(closure)")
    }
}

impl<F> fmt::Debug for RenderBy<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RenderBy(closure)")
    }
}

impl RenderRejection for ProblemDetails {}

impl<B, E: CallError> Render<B, E> for ProblemDetails {
    type Body = ResponseBody<B>;

    fn pass(&self, body: B) -> ResponseBody<B> {
        ResponseBody::new(body)
    }

    fn render(&self, error: Option<&E>) -> Response<ResponseBody<B>> {
        let asked = Asked { settings: RejectionSettings::SERVER, version: Version::HTTP_2 };
        Render::<B, E>::render_asked(self, &asked, error)
    }

    fn render_asked(&self, asked: &Asked, error: Option<&E>) -> Response<ResponseBody<B>> {
        match error.map(CallError::rejected) {
            Some(Some(rejected)) => answer_to(rejected, asked),
            Some(None) => problem(StatusCode::INTERNAL_SERVER_ERROR, "internal_error"),
            None => problem(StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        }
    }
}

/// A rejection as an HTTP answer: status, `Retry-After`, and a small problem document.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use http::{Response, StatusCode};
/// use seawall::bulkhead::BulkheadLayer;
/// use seawall::http::rejection_response;
/// use seawall::{CallError, Error};
/// use std::convert::Infallible;
///
/// /// In a handler that calls through a layer itself.
/// async fn report(reports: &BulkheadLayer) -> Response<String> {
///     let made = reports.run(|| async { Ok::<_, Error<Infallible>>("ready".to_owned()) }).await;
///     match made {
///         Ok(report) => Response::new(report),
///         Err(Error::Rejected(why)) => rejection_response(&why),
///         Err(Error::Inner(never)) => match never {},
///     }
/// }
///
/// let reports = BulkheadLayer::new("reports");
/// assert_eq!(report(&reports).await.status(), StatusCode::OK);
/// reports.drain().await;
/// let rejected = report(&reports).await;
/// assert_eq!(rejected.status(), StatusCode::SERVICE_UNAVAILABLE);
/// assert!(rejected.body().contains(r#""reason":"draining""#));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub fn rejection_response<B: From<String>>(rejected: &Rejected) -> Response<B> {
    answer_to(rejected, &Asked { settings: RejectionSettings::CLIENT, version: Version::HTTP_2 })
}

fn answer_to<B: From<String>>(rejected: &Rejected, asked: &Asked) -> Response<B> {
    let Asked { settings, version } = asked;
    let mut response = problem(settings.status_of(rejected.reason()), rejected.word());
    settings.write(response.headers_mut(), rejected, *version);
    response
}

/// The status that tells of a reason: 504 where time ran out, 408 and 400 where the caller did not send
/// its request in time or broke it off, 503 for the rest.
///
/// ```
/// use http::StatusCode;
/// use seawall::{Reason, http::status_of};
///
/// assert_eq!(status_of(Reason::TimedOut), StatusCode::GATEWAY_TIMEOUT);
/// assert_eq!(status_of(Reason::CircuitOpen), StatusCode::SERVICE_UNAVAILABLE);
/// ```
pub fn status_of(reason: Reason) -> StatusCode {
    StatusCode::from_u16(reason.http()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
}

/// A problem document (RFC 9457). `kind` is one of our own words, which needs no escaping.
fn problem<B: From<String>>(status: StatusCode, kind: &str) -> Response<B> {
    let title = status.canonical_reason().unwrap_or_default();
    let code = status.as_u16();
    let body =
        format!(r#"{{"type":"about:blank","title":"{title}","status":{code},"reason":"{kind}"}}"#);
    let mut response = Response::new(B::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
