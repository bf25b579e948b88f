//! The number of an attempt on the wire, for the one who is called.

use http::{HeaderName, HeaderValue, Request};
use tower::Layer;

use crate::core::request::CallContext;
use crate::http::amend::{Amend, Amended};

/// Writes into each request that goes out how many attempts were sent before it, so that whoever is
/// called need not multiply them.
///
/// For clients, innermost. A first attempt bears no such header, and one that is there already is
/// replaced or taken out. The number is that of the retry further out, which has to
/// [carry](crate::retry::Builder::propagate) its facts [`InExtensions`](crate::http::InExtensions), and of
/// the attempts that the caller of this process told of, if [the edge](crate::http::UntrustedHeadersLayer::attempts) read it.
/// For gRPC the header is [`PREVIOUS_ATTEMPTS`](crate::grpc::PREVIOUS_ATTEMPTS) (gRFC A6).
///
/// ```
/// use http::{HeaderName, Request, Response};
/// use seawall::http::{HttpClassifier, InExtensions, Replay, WriteAttemptLayer};
/// use seawall::{Error, retry::RetryLayer};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let retry = RetryLayer::builder("api")
///     .classify(HttpClassifier)
///     .copy_with(Replay::default())
///     .propagate(InExtensions)
///     .build()?;
/// let client = ServiceBuilder::new()
///     .layer(retry)
///     .layer(WriteAttemptLayer::new(HeaderName::from_static("x-previous-attempts")))
///     .map_err(Error::Inner)
///     .service(service_fn(|request: Request<String>| async move {
///         let again = request.headers().contains_key("x-previous-attempts");
///         let status = if again { 200 } else { 503 };
///         Ok::<_, std::io::Error>(Response::builder().status(status).body(()).unwrap())
///     }));
/// assert_eq!(client.oneshot(Request::default()).await?.status(), 200);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct WriteAttemptLayer {
    name: HeaderName,
}

impl WriteAttemptLayer {
    /// Writes this header.
    pub const fn new(name: HeaderName) -> Self {
        Self { name }
    }
}

impl<S> Layer<S> for WriteAttemptLayer {
    type Service = WriteAttempt<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Amended::by(self, inner)
    }
}

/// Writes numbers of attempts; see [`WriteAttemptLayer`].
pub type WriteAttempt<S> = Amended<S, WriteAttemptLayer>;

impl Amend for WriteAttemptLayer {
    fn amend<B>(&self, request: &mut Request<B>) {
        let before = |call: &CallContext| {
            // What was never sent was no attempt to whoever is called.
            let ours = call.attempt.saturating_sub(1).saturating_sub(call.unsent);
            call.prior.saturating_add(ours)
        };
        match request.extensions().get().map_or(0, before) {
            0 => request.headers_mut().remove(&self.name),
            before => request.headers_mut().insert(self.name.clone(), HeaderValue::from(before)),
        };
    }
}
