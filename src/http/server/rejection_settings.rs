//! How rejections are answered: with which status, and what they say of coming back.

use std::time::Duration;

use http::header::{CONNECTION, HeaderMap, RETRY_AFTER};
use http::{HeaderValue, StatusCode, Version};

use super::render::status_of;
use crate::core::config::{ConfigError, ConfigErrors};
use crate::core::error::{Reason, Rejected};

/// Default of [`RejectionResponseLayer::retry_after`](crate::http::RejectionResponseLayer::retry_after).
pub(crate) const RETRY_AFTER_BUSY: Duration = Duration::from_secs(1);

/// What a renderer of rejections was told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RejectionSettings {
    retry_after: Option<Duration>,
    closes: bool,
    /// Whether an answer names who rejected: to ourselves, but to no peer.
    #[cfg(feature = "grpc")]
    pub(crate) names: bool,
    statuses: [Option<StatusCode>; Reason::ALL.len()],
}

/// A renderer of this crate, which can be told how to answer.
pub trait RenderRejection {}

/// What a [renderer](crate::http::Render) may want to know besides the error: how to answer, and to whom.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    pub(crate) settings: RejectionSettings,
    pub(crate) version: Version,
}

impl Asked {
    /// The version of HTTP that the request came in.
    pub const fn version(&self) -> Version {
        self.version
    }
}

impl RejectionSettings {
    /// Those of a server.
    pub(crate) const SERVER: Self = Self {
        retry_after: Some(RETRY_AFTER_BUSY),
        closes: true,
        #[cfg(feature = "grpc")]
        names: false,
        statuses: [None; Reason::ALL.len()],
    };
    /// Those of a client that answers itself: it invents nothing.
    pub(crate) const CLIENT: Self = Self {
        retry_after: None,
        closes: false,
        #[cfg(feature = "grpc")]
        names: true,
        ..Self::SERVER
    };

    pub(crate) const fn retry_after(&mut self, delay: Option<Duration>) {
        self.retry_after = delay;
    }

    pub(crate) const fn close_when_draining(&mut self, closes: bool) {
        self.closes = closes;
    }

    pub(crate) fn status(
        &mut self,
        reason: Reason,
        status: StatusCode,
    ) -> Result<(), ConfigErrors> {
        if !status.is_client_error() && !status.is_server_error() {
            let accepted = "a status of an error, 400 to 599";
            return Err(ConfigErrors::of(vec![ConfigError::new(
                "status",
                status.as_u16(),
                accepted,
            )]));
        }
        self.statuses[reason as usize] = Some(status);
        Ok(())
    }

    pub(crate) fn status_of(&self, reason: Reason) -> StatusCode {
        self.statuses[reason as usize].unwrap_or_else(|| status_of(reason))
    }

    /// After how long to come back: what the layer knows, or else a while where there was no room.
    pub(crate) fn delay(&self, rejected: &Rejected) -> Option<Duration> {
        let status = self.status_of(rejected.reason());
        let busy =
            matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
        rejected.retry_after().or(self.retry_after.filter(|_| busy))
    }

    /// Writes what goes with a rejection into the head of its answer.
    pub(crate) fn write(&self, headers: &mut HeaderMap, rejected: &Rejected, version: Version) {
        if let Some(delay) = self.delay(rejected) {
            // Whole seconds, rounded up: never earlier than told.
            let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        #[cfg(feature = "shards")]
        write_hint(headers, rejected);
        // Who comes again on this connection meets the same server. HTTP/2 says so with GOAWAY.
        if self.closes && rejected.reason() == Reason::Draining && version <= Version::HTTP_11 {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

/// Tells who is to be asked instead, if the layer knows. A name that has no place in a header is not told.
#[cfg(feature = "shards")]
pub(crate) fn write_hint(headers: &mut HeaderMap, rejected: &Rejected) {
    let Some(hint) = rejected.hint() else { return };
    let whole = hint.to_string();
    let is_readable = whole.parse::<crate::core::hint::Hint>().is_ok();
    let told = if is_readable { whole } else { format!("epoch={}", hint.epoch()) };
    if let Ok(told) = HeaderValue::try_from(told) {
        headers.insert(crate::core::hint::OWNER_HEADER, told);
    }
}
