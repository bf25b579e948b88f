//! Deadlines of callers, read from requests that come in.

use std::time::Duration;

use http::Request;
use tower::Layer;

use crate::core::config::{ConfigError, ConfigErrors};
use crate::core::request::{CallContext, Deadline};
use crate::core::time::nanos;
use crate::http::TimeoutHeader;
use crate::http::amend::{Amend, Amended};

/// The most time that a caller is given by default; see [`ReadDeadlineLayer::bounds`].
pub(crate) const DEADLINE_CAP: Duration = Duration::from_secs(60);

/// Reads how long the caller will wait from a header, and puts the deadline where
/// [`InExtensions`](crate::http::InExtensions) finds it.
///
/// For servers. Nothing that comes from outside is trusted: a timeout is raised to a floor and cut
/// to a cap, one that cannot be read counts as none, a deadline that is there already can only move
/// closer, and the header does not go on further in. Put it outside the layers that carry a
/// deadline: an outer [`timeout`](crate::timeout) then rejects what is expired on arrival.
///
/// ```
/// use http::{HeaderName, Request};
/// use seawall::http::{InExtensions, ReadDeadlineLayer, TimeoutHeader};
/// use seawall::{Error, timeout::TimeoutLayer};
/// use std::time::Duration;
/// use tower::{ServiceBuilder, service_fn};
///
/// let header = TimeoutHeader::Millis(HeaderName::from_static("x-timeout-ms"));
/// let server = ServiceBuilder::new()
///     .layer(ReadDeadlineLayer::new(header).bounds(Duration::ZERO, Duration::from_secs(10))?)
///     .layer(TimeoutLayer::builder("orders").limit(Duration::from_secs(10)).propagate(InExtensions).build()?)
///     .map_err(Error::Inner)
///     .service(service_fn(|_: Request<String>| async { Ok::<_, std::io::Error>(()) }));
/// # let _ = seawall::check_service::<_, Request<String>>(server);
/// # Ok::<(), seawall::ConfigErrors>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct ReadDeadlineLayer {
    header: TimeoutHeader,
    floor: Duration,
    cap: Duration,
}

impl ReadDeadlineLayer {
    /// Reads this header.
    pub fn new(header: TimeoutHeader) -> Self {
        Self { header, floor: Duration::ZERO, cap: DEADLINE_CAP }
    }

    /// A caller is given at least `floor`, by default no time, and at most `cap`, by default a
    /// minute.
    ///
    /// # Errors
    ///
    /// A cap below the floor.
    pub fn bounds(mut self, floor: Duration, cap: Duration) -> Result<Self, ConfigErrors> {
        if cap < floor {
            let accepted = format!("at least floor = {floor:?}");
            return Err(ConfigErrors::of(vec![ConfigError::new("cap", cap, accepted)]));
        }
        (self.floor, self.cap) = (floor, cap);
        Ok(self)
    }

    /// Takes the header out of a request, and puts what it says into the extensions.
    pub(super) fn take<B>(&self, request: &mut Request<B>) {
        let Self { header, floor, cap } = self;
        let name = header.name();
        // Whoever stands in between may have added one: the shortest counts.
        let told = request.headers().get_all(&name).iter().filter_map(|value| header.read(value));
        let told = told.min();
        request.headers_mut().remove(name); // every copy of it
        if let Some(timeout) = told {
            let told = Deadline::after(timeout.max(*floor));
            let call = request.extensions_mut().get_or_insert_with(CallContext::default);
            call.deadline = Some(call.deadline.map_or(told, |deadline| deadline.min(told)));
            if timeout > *cap {
                call.cut_to(nanos(*cap), false); // that is ours, and not what the caller said
            }
        }
    }
}

impl<S> Layer<S> for ReadDeadlineLayer {
    type Service = ReadDeadline<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Amended::by(self, inner)
    }
}

/// Reads deadlines; see [`ReadDeadlineLayer`].
pub type ReadDeadline<S> = Amended<S, ReadDeadlineLayer>;

impl Amend for ReadDeadlineLayer {
    fn amend<B>(&self, request: &mut Request<B>) {
        self.take(request);
    }
}
