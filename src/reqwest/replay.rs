//! Which requests of reqwest may be repeated.

use reqwest::Request;

use crate::http::Replay;
use crate::request::CloneRequest;

/// By the same rules as any other; a body that is a stream is not copied.
impl CloneRequest<Request> for Replay {
    fn clone_request(&self, request: &Request) -> Option<Request> {
        request.try_clone()
    }

    fn repeats(&self, copy: &Request) -> bool {
        self.permits(copy.method(), copy.headers())
    }
}
