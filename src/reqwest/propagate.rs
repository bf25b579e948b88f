//! What is propagated with a request of reqwest.

use std::time::Duration;

use reqwest::Request;

use super::upload;
use crate::core::request::{CallContext, Deadline, Propagate};

/// Propagates the deadline of a call as reqwest's own timeout of the request, and how far its body has got.
///
/// What a caller sets with `RequestBuilder::timeout` is the deadline of the whole, retries
/// included; each layer cuts it to what is left. reqwest counts the reading of the body in, so that
/// the deadline holds for a body that is read after the layers are done; so does the
/// deadline of the [ready-made stack](crate::reqwest::client). No other limit of a
/// [timeout](crate::timeout) is written, for it ends with the head of the answer. The number of the
/// attempt, and what is measured, are not carried. A timeout of the client is not seen, and what a call
/// waits in the queue of a bulkhead is not taken off.
///
/// # Uploads
///
/// A body that is a stream (`Body::wrap`, `Body::wrap_stream`, a form of several parts) is the caller's part of
/// the call, and says nothing of who is called. Timeouts that carry with this count from the last part of it that
/// was sent, so that a slow upload ends when its stream does. One whose stream gives nothing for the whole limit
/// of the outermost timeout ends with [`RequestTimeout`](crate::Reason::RequestTimeout), one whose stream fails
/// with [`RequestBroken`](crate::Reason::RequestBroken). A circuit breaker further in counts neither.
/// [`BodyTimeoutLayer::requests`](crate::http::body_timeout::BodyTimeoutLayer::requests) outermost gives it an
/// idle limit of its own.
///
/// reqwest's timer knows nothing of that. So of such a request it is only told the deadline that the caller
/// set itself, which holds whatever is sent; the body of its answer is not bounded by the deadline of the stack.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap().block_on(async {
/// use bytes::Bytes;
/// use http_body_util::channel::Channel;
/// use seawall::{Error, Reason};
/// use std::convert::Infallible;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # async fn send(request: reqwest::Request) -> Result<reqwest::Response, reqwest::Error> {
/// #     use http_body_util::BodyExt;
/// #     request.body().is_some().then_some(()).unwrap();
/// #     let mut request = request;
/// #     request.body_mut().take().unwrap().collect().await?;
/// #     Ok(http::Response::new("").into())
/// # }
/// let api = ServiceBuilder::new()
///     .layer(seawall::reqwest::client("store").build()?)
///     .map_err(Error::Inner)
///     .service(service_fn(send)); // a client of reqwest
///
/// // Nobody writes to this body, and nobody says that it is over.
/// let (_upload, body) = Channel::<Bytes, Infallible>::new(1);
/// let mut request = reqwest::Request::new(reqwest::Method::PUT, "http://store/backup".parse()?);
/// *request.body_mut() = Some(reqwest::Body::wrap(body));
/// let stalled = api.oneshot(request).await.unwrap_err();
/// assert!(matches!(stalled, Error::Rejected(why) if why.reason() == Reason::RequestTimeout));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct InTimeout;

impl Propagate<Request> for InTimeout {
    fn extract(&self, request: &Request) -> CallContext {
        // A timeout begins when the request is sent, which is now.
        let deadline = request.timeout().map(|timeout| Deadline::after(*timeout));
        CallContext {
            deadline,
            unsigned: true,
            upload: upload::of(request),
            ..CallContext::default()
        }
    }

    fn inject(&self, request: &mut Request, call: &CallContext) {
        let is_streamed = upload::watch(request, call.upload.as_ref());
        let deadline = if is_streamed { call.caller_deadline() } else { call.body_deadline() };
        let left = deadline.map(|deadline| deadline.remaining());
        *request.timeout_mut() = left.filter(|left| *left < Duration::MAX);
    }
}
