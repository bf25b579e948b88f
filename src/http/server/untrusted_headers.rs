//! Headers of untrusted callers: ignored unless they are switched on.

use http::{HeaderMap, HeaderName, HeaderValue, Request};
use tower::Layer;

use super::read_deadline::ReadDeadlineLayer;
use super::untrusted_config::UntrustedHeadersConfig;
use crate::core::config::{ConfigError, ConfigErrors};
use crate::core::request::CallContext;
use crate::http::Replay;
use crate::http::amend::{Amend, Amended};
use crate::http::untrusted::Untrusted;

/// Headers that speak of deadlines, attempts, idempotency, priority and owners: those of gRPC, of Envoy, of RFC
/// 9218, of the IETF draft on idempotency keys, and of this crate.
static STRIPPED: [HeaderName; 16] = [
    HeaderName::from_static("grpc-timeout"),
    HeaderName::from_static("grpc-previous-rpc-attempts"),
    HeaderName::from_static("x-envoy-attempt-count"),
    HeaderName::from_static("x-envoy-expected-rq-timeout-ms"),
    HeaderName::from_static("x-envoy-hedge-on-per-try-timeout"),
    HeaderName::from_static("x-envoy-max-retries"),
    HeaderName::from_static("x-envoy-retriable-header-names"),
    HeaderName::from_static("x-envoy-retriable-status-codes"),
    HeaderName::from_static("x-envoy-retry-grpc-on"),
    HeaderName::from_static("x-envoy-retry-on"),
    HeaderName::from_static("x-envoy-upstream-rq-per-try-timeout-ms"),
    HeaderName::from_static("x-envoy-upstream-rq-timeout-ms"),
    Replay::IDEMPOTENCY_KEY,
    PRIORITY,
    // Only those who are asked say who owns a key, and by which epoch: never those who ask.
    HeaderName::from_static("seawall-owner"),
    HeaderName::from_static("seawall-epoch"),
];

/// The most attempts that a caller is believed to have made; see [`UntrustedHeadersLayer::attempts`].
pub(crate) const ATTEMPTS_CAP: u32 = 100;
/// The longest idempotency key that passes, in bytes; see [`UntrustedHeadersLayer::key`].
pub(crate) const KEY_CAP: usize = 255;
/// The longest priority that is read, in bytes, all its lines together.
const PRIORITY_CAP: usize = 64;

const PRIORITY: HeaderName = HeaderName::from_static("priority");
/// What a request is that does not say how urgent it is (RFC 9218 §4.1).
const USUAL_URGENCY: u8 = 3;
const LEAST_URGENCY: u8 = 7;

/// Ignores or removes the headers of callers about deadlines, attempts, idempotency and priority, and reads or passes
/// those that you switch on, within bounds.
///
/// For servers and proxies, outside all other layers. Otherwise an untrusted caller could use these headers to stop your
/// retries, have calls repeated, or jump the queue. Switch on the headers of peers that you trust. All values are safe: an
/// invalid one counts as absent.
///
/// | switch | reads | within | inner layers get |
/// | --- | --- | --- | --- |
/// | [`deadline`](Self::deadline) | the time left | the floor and cap of [`ReadDeadlineLayer::bounds`] | [`CallContext::deadline`](crate::propagate::CallContext::deadline) |
/// | [`attempts`](Self::attempts) | attempts before this one | 0 to 100 | [`CallContext::prior`](crate::propagate::CallContext::prior) |
/// | [`key`](Self::key) | the idempotency key | one, printable ASCII, 1 to 255 bytes | the header |
/// | [`priority`](Self::priority) | `u` and `i` of RFC 9218 | the most urgent you allow, to 7 | the header, written anew |
///
/// [`new`](Self::new) removes all other headers of this kind, for proxies. [`pass_through`](Self::pass_through) leaves
/// them for the handler, which may need them (an idempotency key to recognise a repeated request), while inner layers
/// ignore them. The [ready-made servers](crate::http::server) use `pass_through`.
///
/// ```
/// use http::{HeaderName, Request};
/// use seawall::http::{UntrustedHeadersLayer, ReadDeadlineLayer, TimeoutHeader};
/// use std::time::Duration;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let timeout = TimeoutHeader::Millis(HeaderName::from_static("x-timeout-ms"));
/// let (floor, cap) = (Duration::from_millis(10), Duration::from_secs(10));
/// let server = ServiceBuilder::new()
///     .layer(UntrustedHeadersLayer::new().deadline(ReadDeadlineLayer::new(timeout).bounds(floor, cap)?))
///     .service(service_fn(|request: Request<()>| async move {
///         assert!(request.headers().is_empty());
///         let call = request.extensions().get::<seawall::propagate::CallContext>().unwrap();
///         assert!(call.deadline.unwrap().remaining() <= Duration::from_secs(10));
///         Ok::<_, std::io::Error>(())
///     }));
/// let request = Request::builder().header("x-timeout-ms", "3600000").header("priority", "u=0");
/// server.oneshot(request.body(())?).await?;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct UntrustedHeadersLayer {
    passes: bool,
    strip: Vec<HeaderName>,
    deadline: Option<ReadDeadlineLayer>,
    attempts: Option<HeaderName>,
    key: Option<HeaderName>,
    most_urgent: Option<u8>,
}

impl UntrustedHeadersLayer {
    /// Removes [all of them](Self::stripped), and reads none.
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves all of them for the handler. Inner layers ignore them, unless you switch them on here.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use http::Request;
    /// use seawall::http::{UntrustedHeadersLayer, Replay};
    /// use std::convert::Infallible;
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// let server = ServiceBuilder::new().layer(UntrustedHeadersLayer::pass_through()).service(service_fn(
    ///     |request: Request<()>| async move {
    ///         assert!(request.headers().contains_key("idempotency-key")); // for the handler
    ///         let repeats = Replay::default().key_header(Replay::IDEMPOTENCY_KEY);
    ///         Ok::<_, Infallible>(repeats.allows(&request)) // and for nobody else
    ///     },
    /// ));
    /// let request = Request::post("/orders").header("idempotency-key", "7").body(()).unwrap();
    /// assert_eq!(server.oneshot(request).await, Ok(false));
    /// # });
    /// ```
    pub fn pass_through() -> Self {
        Self { passes: true, ..Self::default() }
    }

    /// The layer with these settings, for instance from a configuration file.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings: field, value, and what is accepted.
    pub fn from_config(config: &UntrustedHeadersConfig) -> Result<Self, ConfigErrors> {
        config.build()
    }

    /// The headers that [`new`](Self::new) removes: those of gRPC, of Envoy, of RFC 9218 and of the IETF draft on idempotency
    /// keys, about deadlines, attempts, idempotency and priority; and `seawall-owner` and `seawall-epoch`.
    pub fn stripped() -> impl Iterator<Item = HeaderName> {
        STRIPPED.iter().cloned()
    }

    /// Removes this header too.
    pub fn strip(mut self, name: HeaderName) -> Self {
        self.strip.push(name);
        self
    }

    /// Reads the remaining time from this header, within its bounds.
    pub fn deadline(mut self, read: ReadDeadlineLayer) -> Self {
        self.deadline = Some(read);
        self
    }

    /// Reads the number of previous attempts from this header, so that a [retry](crate::retry) further in leaves retries to
    /// the caller.
    ///
    /// It holds a whole number, as [`WriteAttemptLayer`](crate::http::WriteAttemptLayer) writes it. Of several
    /// the greatest counts.
    pub fn attempts(mut self, name: HeaderName) -> Self {
        self.attempts = Some(name);
        self
    }

    /// Lets an idempotency key under this name pass, as [`Replay::key_header`] can be told to look
    /// for. What is no key, and what is there more than once, does not pass.
    pub fn key(mut self, name: HeaderName) -> Self {
        self.key = Some(name);
        self
    }

    /// Lets `priority` pass (RFC 9218), with an urgency of at best `most_urgent`: 0 is the most and 7
    /// the least there is. A request that does not say has an urgency of 3; if that is more than it
    /// may have, it is told so.
    ///
    /// # Errors
    ///
    /// If `most_urgent` is above 7.
    pub fn priority(mut self, most_urgent: u8) -> Result<Self, ConfigErrors> {
        if most_urgent > LEAST_URGENCY {
            let accepted = "0, the most urgent, to 7, the least";
            return Err(ConfigErrors::of(vec![ConfigError::new(
                "priority",
                most_urgent,
                accepted,
            )]));
        }
        self.most_urgent = Some(most_urgent);
        Ok(self)
    }

    pub(super) const fn believes_deadlines(&self) -> bool {
        self.deadline.is_some()
    }

    fn sift<B>(&self, request: &mut Request<B>) {
        if let Some(deadline) = &self.deadline {
            deadline.take(request);
        }
        if let Some(name) = &self.attempts {
            let prior = attempts_in(request.headers_mut(), name, ATTEMPTS_CAP);
            if prior > 0 {
                let call = request.extensions_mut().get_or_insert_with(CallContext::default);
                call.prior = call.prior.max(prior);
            }
        }
        let headers = request.headers_mut();
        let key = self.key.as_ref().and_then(|name| Some((name, key_in(headers, name)?)));
        let priority = self.most_urgent.and_then(|most| priority_in(headers, most));
        // Most requests have none of them, and to look at the few fields that there are is cheaper than to
        // ask for each of a dozen.
        let stripped = || STRIPPED.iter().filter(|_| !self.passes);
        let theirs = || stripped().chain(&self.strip).chain(&self.key);
        let is_theirs = |name: &HeaderName| {
            (may_be_stripped(name) && stripped().any(|theirs| theirs == name))
                || self.strip.contains(name)
                || self.key.as_ref() == Some(name)
        };
        if headers.keys().any(is_theirs) {
            for name in theirs() {
                headers.remove(name);
            }
        }
        if let Some((name, key)) = key {
            headers.insert(name, key);
        }
        if self.most_urgent.is_some() {
            headers.remove(PRIORITY);
        }
        if let Some(priority) = priority {
            headers.insert(PRIORITY, priority);
        }
        request.extensions_mut().insert(Untrusted::but_for(self.key.clone()));
    }
}

/// Whether one of the `STRIPPED` begins like this.
fn may_be_stripped(name: &HeaderName) -> bool {
    ["gr", "x-e", "id", "pr", "seawall-"].iter().any(|start| name.as_str().starts_with(start))
}

/// How many attempts a caller tells of: the most, where it says so more than once, at most `cap`,
/// and none where it makes no sense. Takes the header out.
fn attempts_in(headers: &mut HeaderMap, name: &HeaderName, cap: u32) -> u32 {
    let read = |value: &HeaderValue| -> Option<u32> {
        let value = value.to_str().ok()?.trim();
        let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| value.parse().unwrap_or(u32::MAX))
    };
    let told = headers.get_all(name).iter().filter_map(read).max();
    headers.remove(name);
    told.unwrap_or(0).min(cap)
}

fn key_in(headers: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let key = values.next().filter(|_| values.next().is_none())?;
    let visible = key.as_bytes().iter().all(|byte| (b' '..=b'~').contains(byte));
    (visible && (1..=KEY_CAP).contains(&key.len())).then(|| key.clone())
}

/// The members that RFC 9218 knows, of a dictionary (RFC 9651 §3.2) of which the last word counts, be it
/// on one line or on several. What cannot be read says nothing, and so does a request of usual
/// urgency, unless that is more than it may have.
fn priority_in(headers: &HeaderMap, most_urgent: u8) -> Option<HeaderValue> {
    let lines: Vec<_> = headers.get_all(PRIORITY).iter().collect();
    let length: usize = lines.iter().map(|line| line.len()).sum();
    let lines: Option<Vec<_>> = lines.into_iter().map(|line| line.to_str().ok()).collect();
    let lines = lines.filter(|lines| !lines.is_empty() && length <= PRIORITY_CAP);
    if lines.is_none() && most_urgent <= USUAL_URGENCY {
        return None;
    }
    let (mut urgency, mut incremental) = (USUAL_URGENCY, false);
    for member in lines.iter().flatten().flat_map(|line| line.split(',')) {
        match member.trim() {
            "i" | "i=?1" => incremental = true,
            "i=?0" => incremental = false,
            // What is unknown, or out of range, is ignored (§4).
            member => {
                if let Some([digit @ b'0'..=b'7']) = member.strip_prefix("u=").map(str::as_bytes) {
                    urgency = digit - b'0';
                }
            }
        }
    }
    let urgency = urgency.max(most_urgent);
    let incremental = if incremental { ", i" } else { "" };
    HeaderValue::try_from(format!("u={urgency}{incremental}")).ok()
}

impl<S> Layer<S> for UntrustedHeadersLayer {
    type Service = UntrustedHeaders<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Amended::by(self, inner)
    }
}

/// Believes nobody; see [`UntrustedHeadersLayer`].
pub type UntrustedHeaders<S> = Amended<S, UntrustedHeadersLayer>;

impl Amend for UntrustedHeadersLayer {
    fn amend<B>(&self, request: &mut Request<B>) {
        self.sift(request);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stripped_is_looked_for() {
        assert!(STRIPPED.iter().all(may_be_stripped));
    }
}
