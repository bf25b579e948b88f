//! Which requests of reqwest may be retried.

use http::Extensions;
use reqwest::Request;

use crate::core::request::CloneRequest;
use crate::http::Replay;

/// By the same rules as any other: what must not be retried is sent again only where nothing of it was
/// sent, which reqwest can [rarely prove](crate::reqwest::of_error) where it follows redirects. A body that
/// is a stream is not copied.
impl CloneRequest<Request> for Replay {
    fn clone_request(&self, request: &Request) -> Option<Request> {
        let allowed = self.permits(request.method(), request.headers(), &Extensions::new());
        allowed.then(|| request.try_clone()).flatten()
    }

    fn clone_unsent(&self, request: &Request) -> Option<Request> {
        request.try_clone()
    }
}
