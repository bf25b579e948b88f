//! Deadlines of our own, written into requests that go out.

use std::time::Duration;

use http::Request;
use tower::Layer;

use crate::core::request::{CallContext, Deadline};
use crate::http::TimeoutHeader;
use crate::http::amend::{Amend, Amended};

/// Writes how much time is left into each request that goes out, for the one who is called.
///
/// For clients, innermost. The time left is that of the deadline in the extensions
/// ([`InExtensions`](crate::http::InExtensions)), less a margin for the way back. A request without a
/// deadline, and a header that is there already with less, are left alone.
#[derive(Debug, Clone)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct WriteDeadlineLayer {
    header: TimeoutHeader,
    margin: Duration,
}

impl WriteDeadlineLayer {
    /// Writes this header.
    pub fn new(header: TimeoutHeader) -> Self {
        Self { header, margin: Duration::ZERO }
    }

    /// Keeps so much of the time left to itself, by default none. If no more is left than that, the
    /// callee is told that it has no time at all.
    pub fn margin(mut self, margin: Duration) -> Self {
        self.margin = margin;
        self
    }
}

impl<S> Layer<S> for WriteDeadlineLayer {
    type Service = WriteDeadline<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Amended::by(self, inner)
    }
}

/// Writes deadlines; see [`WriteDeadlineLayer`].
pub type WriteDeadline<S> = Amended<S, WriteDeadlineLayer>;

impl Amend for WriteDeadlineLayer {
    fn amend<B>(&self, request: &mut Request<B>) {
        let Self { header, margin } = self;
        let deadline = request.extensions().get::<CallContext>().and_then(|call| call.deadline);
        if let Some(deadline) = deadline.filter(|deadline| *deadline != Deadline::NEVER) {
            let name = header.name();
            let left = deadline.remaining().saturating_sub(*margin);
            let there = request.headers().get_all(&name).iter();
            let there = there.filter_map(|value| header.read(value)).min();
            let left = there.map_or(left, |there| there.min(left));
            request.headers_mut().insert(name, header.write(left));
        }
    }
}
