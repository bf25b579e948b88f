//! Rejections as gRPC answers.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode, Version};

use super::classify::Code;
use super::messages::write_message;
use super::rejection::details_of;
use crate::core::error::{CallError, Reason};
use crate::http::server::rejection_settings::{Asked, RejectionSettings, RenderRejection};
use crate::http::{HandleErrorLayer, RejectionResponseLayer, Render, ResponseBody};

/// Turns the errors of a stack into gRPC answers; the [`RejectionResponseLayer`] of gRPC.
///
/// An answer is headers alone (trailers-only), which every gRPC client understands: `UNAVAILABLE` for
/// rejections, `DEADLINE_EXCEEDED` where time ran out, with `grpc-retry-pushback-ms` where the time to
/// come back is known. Any other error is `INTERNAL`. The message names the kind of rejection, and no
/// name of your inside.
///
/// ```
/// use seawall::{Error, bulkhead::BulkheadLayer, grpc};
/// use std::convert::Infallible;
/// use tower::{ServiceBuilder, service_fn};
///
/// # use http::{Request, Response};
/// # async fn serve(_: Request<String>) -> Result<Response<String>, Infallible> { Ok(Response::default()) }
/// let server = ServiceBuilder::new()
///     .layer(grpc::respond())
///     .layer(BulkheadLayer::new("payments"))
///     .map_err(Error::Inner)
///     .service(service_fn(serve)); // Error = Infallible
/// # fn cannot_fail<S: tower::Service<Request<String>, Error = Infallible>>(_: S) {}
/// # cannot_fail(server);
/// ```
pub const fn respond() -> RejectionResponseLayer<Trailers> {
    RejectionResponseLayer::of(Trailers)
}

/// Turns the rejections of a client's stack into gRPC answers; the [`HandleErrorLayer`] of gRPC.
///
/// A generated client shows its caller any error of a layer as a status of code `Unknown`. With this
/// outermost a rejection is `UNAVAILABLE` or `DEADLINE_EXCEEDED` there, as if a server had said so, with
/// `grpc-retry-pushback-ms` where the time to come back is known. Its details say [who rejected](super::Rejection).
///
/// ```
/// use seawall::http::{RecordBodyLayer, ReplayBody};
/// use seawall::{ConfigErrors, Error, grpc};
/// use tonic::{body::Body, client::GrpcService, transport::Channel};
/// use tower::ServiceBuilder;
///
/// fn guard(channel: Channel) -> Result<impl GrpcService<Body>, ConfigErrors> {
///     Ok(ServiceBuilder::new()
///         .layer(grpc::rejections())
///         .layer(RecordBodyLayer::default())
///         .layer(grpc::client("orders").build()?)
///         .map_err(Error::Inner)
///         .map_request(|request: http::Request<ReplayBody<Body>>| request.map(Body::new))
///         .service(channel))
/// }
/// ```
pub const fn rejections() -> HandleErrorLayer<Trailers> {
    HandleErrorLayer::of(Trailers)
}

/// Renders rejections as trailers-only answers; see [`respond`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Trailers;

impl RenderRejection for Trailers {}

impl<B, E: CallError> Render<B, E> for Trailers {
    type Body = ResponseBody<B>;

    fn pass(&self, body: B) -> ResponseBody<B> {
        ResponseBody::new(body)
    }

    fn render(&self, error: Option<&E>) -> Response<ResponseBody<B>> {
        let asked = Asked { settings: RejectionSettings::SERVER, version: Version::HTTP_2 };
        Render::<B, E>::render_asked(self, &asked, error)
    }

    fn render_asked(&self, asked: &Asked, error: Option<&E>) -> Response<ResponseBody<B>> {
        let settings = &asked.settings;
        let Some(error) = error else { return answer(Code::UNAVAILABLE, "unavailable") };
        let Some(rejected) = error.rejected() else {
            return answer(Code::INTERNAL, "internal error");
        };
        let code = told_code(settings, rejected.reason());
        let mut response = answer(code, rejected.word());
        if settings.names
            && let Some(details) = details_of(rejected, code)
        {
            response.headers_mut().insert("grpc-status-details-bin", details);
        }
        if let Some(delay) = settings.delay(rejected) {
            // Rounded up: never earlier than told.
            let millis = delay.as_nanos().div_ceil(1_000_000);
            let millis = u64::try_from(millis).unwrap_or(u64::MAX);
            response.headers_mut().insert("grpc-retry-pushback-ms", HeaderValue::from(millis));
        }
        #[cfg(feature = "shards")]
        crate::http::server::rejection_settings::write_hint(response.headers_mut(), rejected);
        response
    }
}

/// The code for a reason, if it is answered with another status than usual.
fn told_code(settings: &RejectionSettings, reason: Reason) -> Code {
    match settings.status_of(reason) {
        StatusCode::TOO_MANY_REQUESTS => Code::RESOURCE_EXHAUSTED,
        StatusCode::SERVICE_UNAVAILABLE => Code::UNAVAILABLE,
        StatusCode::GATEWAY_TIMEOUT => Code::DEADLINE_EXCEEDED,
        _ => code_of(reason),
    }
}

/// The code that tells of a reason.
///
/// ```
/// use seawall::Reason;
/// use seawall::grpc::{Code, code_of};
///
/// assert_eq!(code_of(Reason::DeadlineExceeded), Code::DEADLINE_EXCEEDED);
/// assert_eq!(code_of(Reason::Full), Code::UNAVAILABLE);
/// ```
pub const fn code_of(reason: Reason) -> Code {
    Code::of_number(reason.grpc())
}

pub(super) fn answer<B: Default>(code: Code, message: &'static str) -> Response<B> {
    let mut response = Response::new(B::default());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(u16::from(code.number())));
    headers.insert("grpc-message", write_message(message));
    response
}
