//! Errors of configurations, and settings that depend on each other.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;

use crate::core::origin::Origin;

mod keyed;

pub use keyed::{KeyedConfig, PerKey};
pub(crate) use keyed::{KeyedParams, MAX_KEYS};

/// An invalid configuration: all of its problems, and the policy it is for.
///
/// Its `Debug` is the same text with one problem per line, because an operator reads it when `main` returns it:
///
/// ```
/// use seawall::{ConfigErrors, circuit_breaker::CircuitBreakerLayer};
///
/// fn start() -> Result<(), ConfigErrors> {
///     let _breaker = CircuitBreakerLayer::builder("payments").probes(0).close_threshold(0).build()?;
///     Ok(())
/// }
///
/// let wrong = start().unwrap_err();
/// assert_eq!(
///     format!("{wrong:?}"),
///     "invalid configuration of circuit_breaker `payments`:\n  \
///      probes = 0: 1 to 10000\n  \
///      close_threshold = 0: 1 to 10000",
/// );
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    origin: Option<Origin>,
    problems: Vec<ConfigError>,
}

/// One problem of a configuration.
///
/// ```
/// use seawall::{ConfigError, circuit_breaker::CircuitBreakerLayer};
///
/// let wrong = CircuitBreakerLayer::builder("payments").probes(0).close_threshold(0).build().unwrap_err();
/// let fields: Vec<_> = wrong.iter().map(|problem: &ConfigError| problem.field).collect();
/// assert_eq!(fields, ["probes", "close_threshold"]);
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigError {
    /// The field, by the name of its setter.
    pub field: &'static str,
    /// The value that was given.
    pub value: String,
    /// What is accepted.
    pub accepted: Cow<'static, str>,
    /// The configurations that it is in, outermost first.
    within: Vec<Cow<'static, str>>,
}

impl ConfigError {
    pub(crate) fn new(
        field: &'static str,
        value: impl fmt::Debug,
        accepted: impl Into<Cow<'static, str>>,
    ) -> Self {
        let value = format!("{value:?}");
        Self { field, value, accepted: accepted.into(), within: Vec::new() }
    }

    /// The same of a configuration in which the field has another name.
    #[cfg(feature = "http")]
    pub(crate) fn of_field(self, field: &'static str, accepted: String) -> Self {
        Self { field, accepted: accepted.into(), ..self }
    }

    /// Where the field is in the configuration that was rejected: in that of a whole
    /// [stack](crate::stack) `retry.backoff.cap`, in that of a retry alone `backoff.cap`.
    ///
    /// ```
    /// use seawall::{bulkhead, stack};
    ///
    /// let config = bulkhead::Config { limit: 0, ..bulkhead::Config::default() };
    /// let wrong = stack::client("orders").bulkhead(config).cloned().build().unwrap_err();
    /// let paths: Vec<_> = wrong.iter().map(|problem| problem.path()).collect();
    /// assert_eq!(paths, ["bulkhead.limit"]);
    /// ```
    pub fn path(&self) -> String {
        let mut path = self.within.join(".");
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(self.field);
        path
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for outer in &self.within {
            write!(f, "{outer}.")?;
        }
        write!(f, "{} = {}: {}", self.field, self.value, self.accepted)
    }
}

impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StdError for ConfigError {}

impl ConfigErrors {
    pub(crate) fn of(problems: Vec<ConfigError>) -> Self {
        Self { origin: None, problems }
    }

    pub(crate) fn into_problems(self) -> Vec<ConfigError> {
        self.problems
    }

    /// `Ok` if nothing is wrong.
    pub(crate) fn none_of(problems: Vec<ConfigError>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self::of(problems)) }
    }

    /// The same, told of the policy that these settings were for.
    pub(crate) fn of_policy(mut self, origin: &Origin) -> Self {
        self.origin = Some(origin.clone());
        self
    }

    /// The same, told of a configuration that holds these settings as its field `outer`.
    pub(crate) fn within(mut self, outer: impl Into<Cow<'static, str>>) -> Self {
        let outer = outer.into();
        for problem in &mut self.problems {
            problem.within.insert(0, outer.clone());
        }
        self
    }

    /// The policy of this configuration; `None` if a configuration was validated by itself.
    ///
    /// ```
    /// use seawall::bulkhead::{BulkheadLayer, Config};
    ///
    /// let config = Config { limit: 0, ..Config::default() };
    /// assert_eq!(config.validate().unwrap_err().origin(), None);
    /// let wrong = BulkheadLayer::from_config("reports", config).unwrap_err();
    /// assert_eq!(wrong.origin().unwrap().name(), "reports");
    /// ```
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    fn head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid configuration")?;
        match &self.origin {
            Some(origin) => write!(f, " of {origin}"),
            None => Ok(()),
        }
    }

    /// Every problem, in the order of the fields.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigError> {
        self.problems.iter()
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
        self.head(f)?;
        for (nth, problem) in self.problems.iter().enumerate() {
            f.write_str(if nth == 0 { ": " } else { "; " })?;
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Debug for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head(f)?;
        for (nth, problem) in self.problems.iter().enumerate() {
            write!(f, "{}\n  {problem}", if nth == 0 { ":" } else { "" })?;
        }
        Ok(())
    }
}

impl StdError for ConfigErrors {}

// ===== settings that must agree =====

/// The settings that a builder was told by name. A value that a builder was told is meant, even if it
/// is the default's.
#[derive(Debug, Clone, Default)]
pub struct Written(Vec<&'static str>);

impl Written {
    pub(crate) fn add(&mut self, field: &'static str) {
        if !self.has(field) {
            self.0.push(field);
        }
    }

    pub(crate) fn has(&self, field: &'static str) -> bool {
        self.0.contains(&field)
    }
}

/// A setting with a partner that it must agree with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Side<T> {
    value: T,
    is_written: bool,
}

impl<T: Copy + PartialOrd> Side<T> {
    /// Plain settings do not tell what was left out from what was written and happens to be the
    /// default: the one is taken for the other.
    pub(crate) fn new(value: T, default: T) -> Self {
        Self { value, is_written: value != default }
    }

    /// The same, if somebody is known to have written it.
    pub(crate) fn or_written(mut self, is_written: bool) -> Self {
        self.is_written |= is_written;
        self
    }
}

/// Both as they take effect, `lower <= upper`: where they contradict each other, the one that nobody
/// wrote follows the other. `None` if both were written.
pub(crate) fn agree<T: Copy + PartialOrd>(lower: Side<T>, upper: Side<T>) -> Option<(T, T)> {
    agree_if(lower.value <= upper.value, lower, upper)
}

/// The same for `lower < upper`. One that follows becomes equal all the same: there is no telling how
/// much less its user would have meant.
pub(crate) fn agree_strictly<T: Copy + PartialOrd>(
    lower: Side<T>,
    upper: Side<T>,
) -> Option<(T, T)> {
    agree_if(lower.value < upper.value, lower, upper)
}

fn agree_if<T: Copy>(agrees: bool, lower: Side<T>, upper: Side<T>) -> Option<(T, T)> {
    match (lower, upper) {
        _ if agrees => Some((lower.value, upper.value)),
        (_, Side { is_written: false, .. }) => Some((lower.value, lower.value)),
        (Side { is_written: false, .. }, _) => Some((upper.value, upper.value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_that_contradict_the_one_that_nobody_wrote_follows() {
        const LOWER: u32 = 5;
        const UPPER: u32 = 10;
        let sides = |lower, upper| (Side::new(lower, LOWER), Side::new(upper, UPPER));
        let agreed = |(lower, upper)| agree(lower, upper);
        assert_eq!(agreed(sides(LOWER, UPPER)), Some((5, 10)));
        assert_eq!(agreed(sides(20, UPPER)), Some((20, 20)));
        assert_eq!(agreed(sides(LOWER, 2)), Some((2, 2)));
        assert_eq!(agreed(sides(7, 7)), Some((7, 7)));
        assert_eq!(agreed(sides(20, 19)), None);

        let (lower, upper) = sides(7, 7);
        assert_eq!(agree_strictly(lower, upper), None);
        let (lower, upper) = sides(10, UPPER);
        assert_eq!(agree_strictly(lower, upper), Some((10, 10)));
        assert_eq!(agree_strictly(lower, upper.or_written(true)), None);
    }

    #[test]
    fn what_was_told_twice_is_written_once() {
        let mut written = Written::default();
        written.add("rest");
        written.add("rest");
        assert_eq!(written.0, ["rest"]);
        assert!(!written.has("max_break_duration"));
    }
}
