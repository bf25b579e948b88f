//! The settings of the edge, for instance from a file.

use std::time::Duration;

use http::HeaderName;

use super::read_deadline::{DEADLINE_CAP, ReadDeadlineLayer};
use super::untrusted_headers::UntrustedHeadersLayer;
use crate::core::config::{ConfigError, ConfigErrors};
use crate::http::TimeoutHeader;

const A_NAME: &str = "a header name: lower or upper case letters, digits, `-`";

/// The settings of an [`UntrustedHeadersLayer`]: plain values, for instance from a file.
///
/// ```
/// use seawall::http::{UntrustedHeadersConfig, UntrustedHeadersLayer};
///
/// // With the feature `serde`; what the file does not name has its default.
/// let config: UntrustedHeadersConfig = serde_json::from_str(
///     r#"{ "deadline_header": "x-timeout-ms", "deadline_cap": "10s", "priority": 2 }"#,
/// )?;
/// let edge = UntrustedHeadersLayer::from_config(&config)?;
/// # drop(edge);
///
/// let wrong = UntrustedHeadersConfig { priority: Some(9), ..UntrustedHeadersConfig::default() };
/// assert_eq!(
///     UntrustedHeadersLayer::from_config(&wrong).unwrap_err().to_string(),
///     "invalid configuration: priority = 9: 0, the most urgent, to 7, the least",
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct UntrustedHeadersConfig {
    /// Whether what is not believed is handed on to the handler, as
    /// [`pass_through`](UntrustedHeadersLayer::pass_through) does. By default it is taken out.
    pub pass_through: bool,
    /// Headers that are taken out besides: names of headers.
    pub strip: Vec<String>,
    /// The header that is believed about the time left, a name: `grpc-timeout`, or any other,
    /// of whole milliseconds. `None`: no header is.
    pub deadline_header: Option<String>,
    /// The least time that a caller is given, no longer than [`deadline_cap`](Self::deadline_cap).
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub deadline_floor: Duration,
    /// The most time that a caller is given: any duration.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub deadline_cap: Duration,
    /// The header that is believed about the attempts before this one, a name. `None`: no header is.
    pub attempts_header: Option<String>,
    /// The header in which an idempotency key passes, a name. `None`: no key does.
    pub key_header: Option<String>,
    /// The best urgency with which `priority` passes (RFC 9218): 0, the most urgent, to 7. `None`: it does
    /// not.
    pub priority: Option<u8>,
}

impl Default for UntrustedHeadersConfig {
    fn default() -> Self {
        Self {
            pass_through: false,
            strip: Vec::new(),
            deadline_header: None,
            deadline_floor: Duration::ZERO,
            deadline_cap: DEADLINE_CAP,
            attempts_header: None,
            key_header: None,
            priority: None,
        }
    }
}

impl UntrustedHeadersConfig {
    /// Checks these settings, as making a layer from them does.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        UntrustedHeadersLayer::from_config(self).map(drop)
    }

    pub(super) fn build(&self) -> Result<UntrustedHeadersLayer, ConfigErrors> {
        let mut problems = Vec::new();
        let mut edge = if self.pass_through {
            UntrustedHeadersLayer::pass_through()
        } else {
            UntrustedHeadersLayer::new()
        };
        for name in self.strip.iter().filter_map(|name| named("strip", name, &mut problems)) {
            edge = edge.strip(name);
        }
        let mut one = |field, name: &Option<String>| named(field, name.as_ref()?, &mut problems);
        if let Some(name) = one("attempts_header", &self.attempts_header) {
            edge = edge.attempts(name);
        }
        if let Some(name) = one("key_header", &self.key_header) {
            edge = edge.key(name);
        }
        if let Some(name) = one("deadline_header", &self.deadline_header) {
            let read = ReadDeadlineLayer::new(timeout_header(name));
            match read.bounds(self.deadline_floor, self.deadline_cap) {
                Ok(read) => edge = edge.deadline(read),
                Err(wrong) => problems.extend(wrong.into_problems().into_iter().map(renamed)),
            }
        }
        if let Some(most_urgent) = self.priority {
            match edge.clone().priority(most_urgent) {
                Ok(with) => edge = with,
                Err(wrong) => problems.extend(wrong.into_problems()),
            }
        }
        ConfigErrors::none_of(problems)?;
        Ok(edge)
    }
}

fn named(
    field: &'static str,
    name: &String,
    problems: &mut Vec<ConfigError>,
) -> Option<HeaderName> {
    let parsed = name.parse().ok();
    if parsed.is_none() {
        problems.push(ConfigError::new(field, name, A_NAME));
    }
    parsed
}

fn timeout_header(name: HeaderName) -> TimeoutHeader {
    let grpc = TimeoutHeader::Grpc;
    if name == grpc.name() { grpc } else { TimeoutHeader::Millis(name) }
}

/// The bounds of a [`ReadDeadlineLayer`] have other names here.
fn renamed(problem: ConfigError) -> ConfigError {
    if problem.field != "cap" {
        return problem;
    }
    let accepted = problem.accepted.replace("floor", "deadline_floor");
    problem.of_field("deadline_cap", accepted)
}
