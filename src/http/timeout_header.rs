//! Headers that tell how much time is left.

use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::grpc_timeout::{format_timeout, parse_timeout};

/// How a header tells the time that is left.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimeoutHeader {
    /// Whole milliseconds, under this name.
    Millis(HeaderName),
    /// `grpc-timeout`: up to eight digits and a unit.
    Grpc,
}

impl TimeoutHeader {
    pub(super) fn name(&self) -> HeaderName {
        match self {
            Self::Millis(name) => name.clone(),
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
            Self::Grpc => parse_timeout(value),
        }
    }

    pub(super) fn write(&self, left: Duration) -> HeaderValue {
        match self {
            // Rounded down: the callee must not think it has more time than it has.
            Self::Millis(_) => {
                HeaderValue::from(u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
            }
            Self::Grpc => format_timeout(left),
        }
    }
}
