//! What is wrong with a configuration.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

/// A configuration that was refused: everything that is wrong with it, at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(Vec<ConfigError>);

/// One thing that is wrong with a configuration.
///
/// ```
/// use seawall::{ConfigError, circuit_breaker::CircuitBreakerLayer};
///
/// let wrong = CircuitBreakerLayer::builder("payments").probes(0).close_at(0).build().unwrap_err();
/// let fields: Vec<_> = wrong.iter().map(|problem: &ConfigError| problem.field).collect();
/// assert_eq!(fields, ["probes", "close_at"]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} = {value}: {accepted}")]
#[non_exhaustive]
pub struct ConfigError {
    /// The field, by the name of its setter.
    pub field: &'static str,
    /// The value that was given.
    pub value: String,
    /// What is accepted.
    pub accepted: Cow<'static, str>,
}

impl ConfigError {
    pub(crate) fn new(
        field: &'static str,
        value: impl fmt::Debug,
        accepted: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self { field, value: format!("{value:?}"), accepted: accepted.into() }
    }
}

impl ConfigErrors {
    pub(crate) fn of(problems: Vec<ConfigError>) -> Self {
        Self(problems)
    }

    pub(crate) fn into_problems(self) -> Vec<ConfigError> {
        self.0
    }

    /// `Ok` if nothing is wrong.
    pub(crate) fn none_of(problems: Vec<ConfigError>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self(problems)) }
    }

    /// Every problem, in the order of the fields.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigError> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a ConfigErrors {
    type Item = &'a ConfigError;
    type IntoIter = std::slice::Iter<'a, ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid configuration")?;
        for (nth, problem) in self.0.iter().enumerate() {
            f.write_str(if nth == 0 { ": " } else { "; " })?;
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl StdError for ConfigErrors {}
