//! The `grpc-timeout` header: how long the caller will wait.

use std::time::Duration;

use http::HeaderValue;

use crate::http as wire;

/// Reads a `grpc-timeout`: up to eight digits and a unit. `None` for anything else.
///
/// ```
/// use http::HeaderValue;
/// use seawall::grpc::{format_timeout, parse_timeout};
/// use std::time::Duration;
///
/// /// What to tell the next service, of which the way there and back takes a little.
/// fn pass_on(timeout: &HeaderValue, way: Duration) -> Option<HeaderValue> {
///     Some(format_timeout(parse_timeout(timeout)?.saturating_sub(way)))
/// }
///
/// let told = pass_on(&HeaderValue::from_static("2S"), Duration::from_millis(5));
/// assert_eq!(told, Some(HeaderValue::from_static("1995000u")));
/// assert_eq!(pass_on(&HeaderValue::from_static("soon"), Duration::ZERO), None);
/// ```
pub fn parse_timeout(value: &HeaderValue) -> Option<Duration> {
    wire::parse_timeout(value)
}

/// Writes a `grpc-timeout` in the finest unit that it fits, rounded down: the callee must not think
/// it has more time than it has. What is too long for the header (11,415 years) is cut to that.
pub fn format_timeout(timeout: Duration) -> HeaderValue {
    wire::format_timeout(timeout)
}
