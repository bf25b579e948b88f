//! What is propagated with a request: in its extensions, and from there in a header.

use http::{HeaderValue, Request};

use super::TimeoutHeader;
use super::untrusted::Untrusted;
use crate::core::request::{CallContext, Deadline, Propagate};

/// Propagates the facts of a call in the extensions of its request.
///
/// They stay inside the process: nothing is read from the wire, nor written to it.
#[derive(Debug, Clone, Copy, Default)]
pub struct InExtensions;

impl<B> Propagate<Request<B>> for InExtensions {
    fn extract(&self, request: &Request<B>) -> CallContext {
        read(request)
    }

    fn inject(&self, request: &mut Request<B>, call: &CallContext) {
        write(request, call);
    }
}

/// Propagates the facts of a call in the extensions of its request, and reads its deadline from a header
/// too, where the code that makes the request has set one.
///
/// For clients: there the header is the word of your own code, such as `Request::set_timeout` of tonic.
/// The time in it counts from when the first layer reads it, retries included, and is cut to what
/// is left for each attempt. The earlier of header and extensions counts; a header that cannot be
/// read says nothing, and none is written where there was none
/// ([`WriteDeadlineLayer`](crate::http::WriteDeadlineLayer) does). On servers, where the header is the word of
/// somebody else, put an [edge](crate::http::UntrustedHeadersLayer) before it, or use
/// [`ReadDeadlineLayer`](crate::http::ReadDeadlineLayer), which has bounds.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use http::{HeaderName, Request, Response};
/// use seawall::http::{self as web, InTimeoutHeader, TimeoutHeader};
/// use seawall::{Error, Reason};
/// use std::time::Duration;
/// use tokio::time::Instant;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// let millis = TimeoutHeader::Millis(HeaderName::from_static("x-timeout-ms"));
/// let api = ServiceBuilder::new()
///     .layer(web::client("api").propagate(InTimeoutHeader::new(millis)).build()?)
///     .map_err(Error::Inner)
///     .service(service_fn(|_: Request<String>| {
///         std::future::pending::<Result<Response<String>, std::io::Error>>()
///     }));
///
/// let request = Request::get("http://api/").header("x-timeout-ms", "200").body(String::new())?;
/// let began = Instant::now();
/// let late = api.oneshot(request).await.unwrap_err();
/// assert!(matches!(late, Error::Rejected(why) if why.reason() == Reason::DeadlineExceeded));
/// assert!(began.elapsed() < Duration::from_millis(300)); // however many attempts
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InTimeoutHeader {
    header: TimeoutHeader,
}

/// What was written into the header, so that it is not read again: an instant that is written as a span,
/// rounded down, and read again would come nearer each time.
#[derive(Debug, Clone)]
struct Written(HeaderValue);

impl InTimeoutHeader {
    /// Reads and cuts this header.
    pub const fn new(header: TimeoutHeader) -> Self {
        Self { header }
    }
}

impl<B> Propagate<Request<B>> for InTimeoutHeader {
    fn extract(&self, request: &Request<B>) -> CallContext {
        let mut call = read(request);
        if Untrusted::is(request.extensions()) {
            return call; // the header is the word of somebody else, and the edge read it or not
        }
        let written = request.extensions().get().map(|Written(value)| value);
        let told = request.headers().get_all(self.header.name()).iter();
        let told = told.filter(|value| Some(*value) != written);
        // Of several the shortest counts.
        if let Some(told) = told.filter_map(|value| self.header.read(value)).min() {
            let told = Deadline::after(told);
            call.deadline = Some(call.deadline.map_or(told, |deadline| deadline.min(told)));
        }
        call
    }

    fn inject(&self, request: &mut Request<B>, call: &CallContext) {
        let name = self.header.name();
        let deadline = call.deadline.filter(|deadline| *deadline != Deadline::NEVER);
        if let Some(deadline) = deadline
            && request.headers().contains_key(&name)
        {
            let left = self.header.write(deadline.remaining());
            request.extensions_mut().insert(Written(left.clone()));
            request.headers_mut().insert(name, left);
        }
        write(request, call);
    }
}

/// What an extension holds, and how far the body has got. That is not in the `CallContext` there: whoever hands it on
/// to a request of its own has another body.
fn read<B>(request: &Request<B>) -> CallContext {
    let mut call: CallContext = request.extensions().get().cloned().unwrap_or_default();
    call.upload = request.extensions().get().cloned();
    call
}

fn write<B>(request: &mut Request<B>, call: &CallContext) {
    let mut call = call.clone();
    call.upload = None;
    // In its place, if it has one: to insert it anew is to allocate.
    match request.extensions_mut().get_mut::<CallContext>() {
        Some(place) => *place = call,
        None => drop(request.extensions_mut().insert(call)),
    }
}
