//! Which requests may be repeated.

use http::header::HeaderName;
use http::{Method, Request};

use crate::request::CloneRequest;

/// Copies buffered requests that are safe to repeat.
///
/// By default those are the idempotent methods (RFC 9110 §9.2.2: GET, HEAD, OPTIONS, TRACE, PUT,
/// DELETE). A request that bears an [idempotency key](Self::key_header) may be repeated whatever its
/// method: by sending one its author says that the server will act on it once.
#[derive(Debug, Clone, Default)]
pub struct Replay {
    key: Option<HeaderName>,
}

impl Replay {
    /// The usual name of the header with an idempotency key.
    pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

    /// Repeats requests with this header too. Switch it on where you send the header yourself, not
    /// where you forward it for someone you do not trust.
    #[must_use]
    pub fn key_header(mut self, name: HeaderName) -> Self {
        self.key = Some(name);
        self
    }

    /// Whether a request may be repeated.
    pub fn allows<B>(&self, request: &Request<B>) -> bool {
        // Tracing echoes, and every other safe method is idempotent as well.
        let idempotent =
            request.method().is_safe() || matches!(*request.method(), Method::PUT | Method::DELETE);
        idempotent || self.key.as_ref().is_some_and(|key| request.headers().contains_key(key))
    }
}

impl<B: Clone> CloneRequest<Request<B>> for Replay {
    fn clone_request(&self, request: &Request<B>) -> Option<Request<B>> {
        self.allows(request).then(|| request.clone())
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
        for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
            assert!(plain.clone_request(&request(method)).is_some(), "{method}");
        }
        for method in ["POST", "PATCH", "CONNECT", "MKCOL"] {
            assert!(plain.clone_request(&request(method)).is_none(), "{method}");
        }
        let mut keyed = request("POST");
        keyed.headers_mut().insert(Replay::IDEMPOTENCY_KEY, http::HeaderValue::from_static("1"));
        assert!(plain.clone_request(&keyed).is_none(), "it has to be asked for");
        let asked = plain.key_header(Replay::IDEMPOTENCY_KEY);
        assert_eq!(asked.clone_request(&keyed).expect("a copy").headers(), keyed.headers());
    }
}
