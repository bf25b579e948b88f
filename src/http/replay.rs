//! Which requests may be retried.

use bytes::Bytes;
use http::header::HeaderName;
use http::{Extensions, HeaderMap, Method, Request};
use http_body_util::{Either, Empty, Full};

use super::ReplayBody;
use super::untrusted::Untrusted;
use crate::core::request::CloneRequest;

/// Repeats requests that are safe to repeat and whose body [can be sent again](ReplayableBody): held in
/// memory, or recorded while it is sent (see [`RecordBodyLayer`](crate::http::RecordBodyLayer)). Whatever
/// was [certainly never sent](crate::Sent::Never), because no connection came about or a layer further
/// in rejected it, is safe to repeat.
///
/// So every request is copied beforehand, with its headers and extensions. A copy of `Bytes`, `Full` and
/// what is recorded shares the body; one of a `String` or a `Vec` doubles it.
///
/// By default the others are the idempotent methods (RFC 9110 §9.2.2: GET, HEAD, OPTIONS, TRACE, PUT,
/// DELETE). A request that bears an [idempotency key](Self::key_header) may be retried whatever its
/// method: by sending one its author says that the server will act on it once. Every gRPC call is a
/// POST, so where they are idempotent say so with [`method`](Self::method).
#[derive(Debug, Clone, Default)]
pub struct Replay {
    key: Option<HeaderName>,
    methods: Vec<Method>,
}

impl Replay {
    /// The usual name of the header with an idempotency key.
    pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

    /// Repeats requests with this header too. Switch it on where you send the header yourself, not
    /// where you forward it for someone you do not trust. On a request that came through an
    /// [edge](crate::http::UntrustedHeadersLayer) it counts only if that one believes it.
    #[must_use]
    pub fn key_header(mut self, name: HeaderName) -> Self {
        self.key = Some(name);
        self
    }

    /// Repeats requests with this method too. Only you can know that every such request through this
    /// stack may be acted on twice.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.methods.push(method);
        self
    }

    /// Whether a request may be retried.
    pub fn allows<B>(&self, request: &Request<B>) -> bool {
        self.permits(request.method(), request.headers(), request.extensions())
    }

    pub(crate) fn permits(
        &self,
        method: &Method,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> bool {
        // Tracing echoes, and every other safe method is idempotent as well.
        let idempotent = method.is_safe() || matches!(*method, Method::PUT | Method::DELETE);
        idempotent
            || self.methods.contains(method)
            || self.key.as_ref().is_some_and(|key| {
                headers.contains_key(key) && Untrusted::lets_act_on(extensions, key)
            })
    }
}

impl<B: ReplayableBody> CloneRequest<Request<B>> for Replay {
    fn clone_request(&self, request: &Request<B>) -> Option<Request<B>> {
        if self.allows(request) { copy(request) } else { None }
    }

    fn clone_unsent(&self, request: &Request<B>) -> Option<Request<B>> {
        copy(request)
    }

    fn take_over(&self, copy: &mut Request<B>) -> bool {
        copy.body_mut().take_over()
    }
}

fn copy<B: ReplayableBody>(request: &Request<B>) -> Option<Request<B>> {
    let body = request.body().try_clone()?;
    let mut copy = Request::new(body);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    Some(copy)
}

/// A body that can be sent more than once.
///
/// Not every `Clone` is one: a clone of a channel shares what it gives. Implement it for a body of
/// your own, or copy with a closure and [`Replay::allows`].
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use http::{Request, Response};
/// use seawall::Error;
/// use seawall::http::{HttpClassifier, Replay, ReplayableBody};
/// use seawall::retry::RetryLayer;
/// use std::io;
/// use std::path::PathBuf;
/// use std::sync::atomic::{AtomicBool, Ordering};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// /// A body that is read from a file when it is sent, and can be read from there again.
/// struct FromFile(PathBuf);
///
/// impl ReplayableBody for FromFile {
///     fn try_clone(&self) -> Option<Self> {
///         Some(Self(self.0.clone()))
///     }
/// }
///
/// static BUSY: AtomicBool = AtomicBool::new(true);
/// let retry =
///     RetryLayer::builder("store").classify(HttpClassifier).copy_with(Replay::default()).build()?;
/// let store = ServiceBuilder::new().layer(retry).map_err(Error::Inner).service(service_fn(
///     |upload: Request<FromFile>| async move {
///         let status = if BUSY.swap(false, Ordering::Relaxed) { 503 } else { 201 };
///         let FromFile(path) = upload.into_body();
///         Ok::<_, io::Error>(Response::builder().status(status).body(path).unwrap())
///     },
/// ));
///
/// let upload = Request::put("http://store/backup").body(FromFile("backup.tar".into()))?;
/// let stored = store.oneshot(upload).await?;
/// assert_eq!((stored.status().as_u16(), stored.body().to_str()), (201, Some("backup.tar")));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub trait ReplayableBody: Sized {
    /// A body that begins where this one began, or `None` if that is no longer to be had.
    fn try_clone(&self) -> Option<Self>;

    /// A clone is to be sent now: whether it can be, and will be whole. See
    /// [`ReplayBody::take_over`].
    fn take_over(&mut self) -> bool {
        true
    }
}

impl<B> ReplayableBody for ReplayBody<B> {
    fn try_clone(&self) -> Option<Self> {
        self.try_clone()
    }

    fn take_over(&mut self) -> bool {
        self.take_over()
    }
}

/// Bodies that are held in memory as a whole.
macro_rules! held {
    ($($Body:ty),* $(,)?) => {
        $(impl ReplayableBody for $Body {
            fn try_clone(&self) -> Option<Self> {
                Some(self.clone())
            }
        })*
    };
}

held!(String, Vec<u8>, Bytes);

impl ReplayableBody for () {
    fn try_clone(&self) -> Option<Self> {
        Some(())
    }
}

impl ReplayableBody for &str {
    fn try_clone(&self) -> Option<Self> {
        Some(self)
    }
}

impl<D: Clone> ReplayableBody for Full<D> {
    fn try_clone(&self) -> Option<Self> {
        Some(self.clone())
    }
}

impl<D> ReplayableBody for Empty<D> {
    fn try_clone(&self) -> Option<Self> {
        Some(*self)
    }
}

impl<B: ReplayableBody> ReplayableBody for Option<B> {
    fn try_clone(&self) -> Option<Self> {
        self.as_ref().map_or(Some(None), |body| body.try_clone().map(Some))
    }

    fn take_over(&mut self) -> bool {
        self.as_mut().is_none_or(B::take_over)
    }
}

impl<L: ReplayableBody, R: ReplayableBody> ReplayableBody for Either<L, R> {
    fn try_clone(&self) -> Option<Self> {
        match self {
            Self::Left(body) => body.try_clone().map(Self::Left),
            Self::Right(body) => body.try_clone().map(Self::Right),
        }
    }

    fn take_over(&mut self) -> bool {
        match self {
            Self::Left(body) => body.take_over(),
            Self::Right(body) => body.take_over(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // pitfall B29
    #[test]
    fn idempotent_methods_are_repeated_and_others_only_with_a_key() {
        let request = |method| {
            let request = Request::builder().method(method);
            request.body("body").expect("a request")
        };
        let plain = Replay::default();
        let repeats = |replay: &Replay, request: &Request<&'static str>| {
            replay.clone_request(request).is_some()
        };
        for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
            assert!(repeats(&plain, &request(method)), "{method}");
        }
        for method in ["POST", "PATCH", "CONNECT", "MKCOL"] {
            assert!(!repeats(&plain, &request(method)), "{method}");
            assert!(plain.clone_unsent(&request(method)).is_some(), "{method} that was not sent");
        }
        let mut keyed = request("POST");
        keyed.headers_mut().insert(Replay::IDEMPOTENCY_KEY, http::HeaderValue::from_static("1"));
        assert!(!repeats(&plain, &keyed), "it has to be asked for");
        let named = plain.clone().method(http::Method::POST);
        assert!(repeats(&named, &request("POST")), "it was named");
        assert!(!repeats(&named, &request("PATCH")), "it was not");
        let asked = plain.key_header(Replay::IDEMPOTENCY_KEY);
        assert_eq!(asked.clone_request(&keyed).expect("a copy").headers(), keyed.headers());
    }
}
