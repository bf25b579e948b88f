//! Deadlines on the wire: read from requests that come in, written to requests that go out.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Request};
use tower::Layer;

use super::amend::{Amend, Amended};
use crate::core::config::{ConfigError, ConfigErrors};
use crate::core::request::{CallContext, Deadline};
use crate::core::time::nanos;

/// How a header tells the time that is left.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimeoutHeader {
    /// Whole milliseconds, under this name.
    Millis(HeaderName),
    /// `grpc-timeout`.
    #[cfg(feature = "grpc")]
    Grpc,
}

impl TimeoutHeader {
    pub(super) fn name(&self) -> HeaderName {
        match self {
            Self::Millis(name) => name.clone(),
            #[cfg(feature = "grpc")]
            Self::Grpc => HeaderName::from_static("grpc-timeout"),
        }
    }

    pub(super) fn read(&self, value: &HeaderValue) -> Option<Duration> {
        match self {
            Self::Millis(_) => {
                let value = value.to_str().ok()?.trim();
                let digits = value.bytes().all(|byte| byte.is_ascii_digit());
                let millis = || value.parse().unwrap_or(u64::MAX);
                (digits && !value.is_empty()).then(|| Duration::from_millis(millis()))
            }
            #[cfg(feature = "grpc")]
            Self::Grpc => crate::grpc::parse_timeout(value),
        }
    }

    pub(super) fn write(&self, left: Duration) -> HeaderValue {
        match self {
            // Rounded down: the callee must not think it has more time than it has.
            Self::Millis(_) => {
                HeaderValue::from(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
            }
            #[cfg(feature = "grpc")]
            Self::Grpc => crate::grpc::format_timeout(left),
        }
    }
}

// ===== ReadDeadlineLayer =====

/// The most time that a caller is given by default; see [`ReadDeadlineLayer::bounds`].
pub(crate) const DEADLINE_CAP: Duration = Duration::from_secs(60);

/// Reads how long the caller will wait from a header, and puts the deadline where
/// [`InExtensions`](super::InExtensions) finds it.
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

// ===== WriteDeadlineLayer =====

/// Writes how much time is left into each request that goes out, for the one who is called.
///
/// For clients, innermost. The time left is that of the deadline in the extensions
/// ([`InExtensions`](super::InExtensions)), less a margin for the way back. A request without a
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
