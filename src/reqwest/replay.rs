//! Which requests of reqwest may be repeated.

use http::Extensions;
use reqwest::Request;

use crate::http::Replay;
use crate::request::CloneRequest;

/// By the same rules as any other, but for one: what was not sent is not told from what was, for reqwest
/// follows redirects, and a connection that was refused may be that of the second hop. So what must not
/// be repeated is not copied at all. Nor is a body that is a stream.
impl CloneRequest<Request> for Replay {
    fn clone_request(&self, request: &Request) -> Option<Request> {
        let allowed = self.permits(request.method(), request.headers(), &Extensions::new());
        allowed.then(|| request.try_clone()).flatten()
    }
}
