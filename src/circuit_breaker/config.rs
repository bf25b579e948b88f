//! The settings of a circuit breaker.

use std::time::Duration;

use super::params::Params;
use crate::core::config::ConfigErrors;

/// The settings of a circuit breaker: plain values, which can be reloaded while calls are in flight.
///
/// Every value has a default; see the [table](crate::circuit_breaker#defaults). They are checked
/// when a layer is built from them or a running policy is [reloaded](super::CircuitBreakerHandle::reload).
///
/// ```
/// use seawall::circuit_breaker::{CircuitBreakerLayer, Config, Trip};
/// use std::time::Duration;
///
/// // From a file of settings (with the feature `serde`); what it does not name has its default.
/// let config: Config = serde_json::from_str(
///     r#"{
///         "trip": [
///             { "failure_rate": { "rate": 0.5, "over": { "time": "10s" }, "at_least": 20 } },
///             { "consecutive": { "failures": 5 } }
///         ],
///         "break_duration": "1s",
///         "max_break_duration": "30s"
///     }"#,
/// )?;
/// let rate = Trip::failure_rate(0.5).over_time(Duration::from_secs(10)).at_least(20);
/// assert_eq!(config.trip, rate.or(Trip::consecutive(5)));
///
/// let payments = CircuitBreakerLayer::from_config("payments", config)?;
/// assert_eq!(payments.handle().config().max_break_duration, Duration::from_secs(30));
/// assert!(serde_json::from_str::<Config>(r#"{ "breaks": "1s" }"#).is_err()); // there is no such setting
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Config {
    /// When the circuit opens: at least one rule.
    pub trip: Trip,
    /// Evidence expires after this time without a call. Longer than zero.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub evidence_ttl: Duration,
    /// How a dropped call counts. Any.
    pub abandonment: Abandonment,
    /// How long the circuit stays open at first, with jitter in the upper half. Longer than zero, at most
    /// [`max_break_duration`](Self::max_break_duration). The default becomes shorter if that is shorter.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub break_duration: Duration,
    /// The break doubles with each failed probe, up to this. At least [`break_duration`](Self::break_duration). The
    /// default becomes longer if that is longer.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub max_break_duration: Duration,
    /// A `Retry-After` of the server lengthens the break by no more than this. Any; zero: `Retry-After` is
    /// ignored.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub max_retry_after: Duration,
    /// The most concurrent probes while half open. It begins with one. 1 to 10,000.
    pub probes: u32,
    /// How long a probe waits for the inner service to become ready. Longer than zero.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub probe_deadline: Duration,
    /// While half open, the circuit closes when successes lead by this number. 1 closes it at the first
    /// success. 1 to 10,000.
    pub close_threshold: u32,
    /// While half open, the circuit opens again if the first probe fails, and after a success when failures lead by
    /// this number; also if this many probes were dropped after a long wait and none got a response.
    /// 1 to 10,000.
    pub reopen_threshold: u32,
    /// After closing, concurrency is limited for at most this time. The limit doubles with each success, so a healthy
    /// dependency reaches full load quickly. Any; zero: no limit.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub ramp: Duration,
    /// After closing, the admitted share of calls doubles from 1/16 to all over this time, for
    /// dependencies that come back cold. Any; zero: off.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub slow_start: Duration,
    /// Report what would be rejected, and reject nothing: either.
    pub shadow: bool,
}

/// Default [`Config::evidence_ttl`].
pub(crate) const EVIDENCE_TTL: Duration = Duration::from_secs(300);
/// Default [`Config::break_duration`].
pub(crate) const BREAK_DURATION: Duration = Duration::from_millis(50);
/// Default [`Config::max_break_duration`].
pub(crate) const MAX_BREAK_DURATION: Duration = Duration::from_millis(250);
/// Default [`Config::max_retry_after`].
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);
/// Default [`Config::probes`].
pub(crate) const PROBES: u32 = 64;
/// Default [`Config::probe_deadline`].
pub(crate) const PROBE_DEADLINE: Duration = Duration::from_secs(1);
/// Default [`Config::close_threshold`].
pub(crate) const CLOSE_THRESHOLD: u32 = 7;
/// Default [`Config::reopen_threshold`].
pub(crate) const REOPEN_THRESHOLD: u32 = 3;
/// Default [`Config::ramp`].
pub(crate) const RAMP: Duration = Duration::from_secs(1);
/// Default of the failure ratio that is tolerated.
pub(crate) const TOLERATED: f64 = 0.3;
/// Default of the failure ratio that is called broken.
pub(crate) const BROKEN: f64 = 0.7;
/// Default of the odds against a false trip.
pub(crate) const ODDS: u64 = 1_000_000;
/// Default window of a rate.
pub(crate) const OVER_CALLS: u32 = 100;

impl Default for Config {
    fn default() -> Self {
        Self {
            trip: Trip::default(),
            evidence_ttl: EVIDENCE_TTL,
            abandonment: Abandonment::Silence,
            break_duration: BREAK_DURATION,
            max_break_duration: MAX_BREAK_DURATION,
            max_retry_after: MAX_RETRY_AFTER,
            probes: PROBES,
            probe_deadline: PROBE_DEADLINE,
            close_threshold: CLOSE_THRESHOLD,
            reopen_threshold: REOPEN_THRESHOLD,
            ramp: RAMP,
            slow_start: Duration::ZERO,
            shadow: false,
        }
    }
}

impl Config {
    /// Checks these settings, as building a layer from them does.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        Params::from_config(self).map(|_| ())
    }
}

/// When the circuit opens: one rule, or several of which any suffices.
///
/// ```
/// use seawall::circuit_breaker::{CircuitBreakerLayer, Trip};
/// use std::time::Duration;
///
/// let classic = Trip::failure_rate(0.5).over_calls(100).at_least(20);
/// let watchful = Trip::default()
///     .or(Trip::consecutive(5))
///     .or(Trip::slow_rate(0.8, Duration::from_secs(2)).over_time(Duration::from_secs(10)));
/// assert_eq!((classic.rules().len(), watchful.rules().len()), (1, 3));
///
/// let payments = CircuitBreakerLayer::builder("payments").trip(watchful).build()?;
/// let misplaced = Trip::consecutive(5).at_least(20); // no window to which that could belong
/// assert!(CircuitBreakerLayer::builder("payments").trip(misplaced).build().is_err());
/// # drop(payments);
/// # Ok::<(), seawall::ConfigErrors>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Trip {
    pub(crate) rules: Vec<TripRule>,
    /// Setters that were called after a rule they do not belong to.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) misplaced: Vec<&'static str>,
}

/// One reason to open the circuit. All comparisons are *at least* (`≥`).
///
/// ```
/// use seawall::circuit_breaker::{Span, Trip, TripRule};
///
/// /// For the page that says when a circuit opens.
/// fn describe(trip: &Trip) -> Vec<String> {
///     let rules = trip.rules().iter().map(|rule| match rule {
///         TripRule::Consecutive { failures } => format!("{failures} failures in a row"),
///         TripRule::FailureRate { rate, over: Span::Calls(calls), .. } => {
///             format!("{:.0} % of the last {calls} calls failed", rate * 100.0)
///         }
///         TripRule::FailureRate { rate, over: Span::Time(span), .. } => {
///             format!("{:.0} % of the calls of the last {span:?} failed", rate * 100.0)
///         }
///         other => format!("{other:?}"),
///     });
///     rules.collect()
/// }
///
/// let trip = Trip::failure_rate(0.5).or(Trip::consecutive(5));
/// assert_eq!(describe(&trip), ["50 % of the last 100 calls failed", "5 failures in a row"]);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case", deny_unknown_fields))]
#[non_exhaustive]
pub enum TripRule {
    /// See [`Trip::evidence`].
    Evidence {
        /// The failure rate that is tolerated.
        tolerated: f64,
        /// The failure rate of a broken dependency.
        broken: f64,
        /// The odds against a false trip.
        odds: u64,
    },
    /// See [`Trip::consecutive`].
    Consecutive {
        /// The number of consecutive failures.
        failures: u32,
    },
    /// See [`Trip::failures_within`].
    FailuresWithin {
        /// The number of failures. 1 to 10,000.
        failures: u32,
        /// The time in which they happen. Longer than zero.
        #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
        within: Duration,
    },
    /// See [`Trip::failure_rate`].
    FailureRate {
        /// This share of calls failed.
        rate: f64,
        /// The window.
        over: Span,
        /// The least number of calls to decide; by default 10, or the size of the window.
        #[cfg_attr(feature = "serde", serde(default))]
        at_least: Option<u32>,
    },
    /// See [`Trip::slow_rate`].
    SlowRate {
        /// This share of calls was slow.
        rate: f64,
        /// A call that takes at least this long is slow, whether or not it was answered yet.
        #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
        threshold: Duration,
        /// The window.
        over: Span,
        /// The least number of calls to decide; by default 10, or the size of the window.
        #[cfg_attr(feature = "serde", serde(default))]
        at_least: Option<u32>,
    },
}

impl TripRule {
    pub(crate) fn slow_after(&self) -> Option<Duration> {
        match self {
            Self::SlowRate { threshold, .. } => Some(*threshold),
            _ => None,
        }
    }
}

/// Which calls a rate is taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Span {
    /// The last N calls, exactly.
    Calls(u32),
    /// The last span of time, to within a tenth.
    Time(#[cfg_attr(feature = "serde", serde(with = "humantime_serde"))] Duration),
}

impl Default for Trip {
    /// [`Trip::evidence`] with a failure ratio of 0.3 tolerated, 0.7 called broken, and odds of a
    /// million.
    fn default() -> Self {
        Self::evidence(TOLERATED, BROKEN, ODDS)
    }
}

impl Trip {
    fn of(rule: TripRule) -> Self {
        Self { rules: vec![rule], misplaced: Vec::new() }
    }

    /// Opens once the evidence that calls fail in a ratio of `broken`, and not of `tolerated`, has
    /// odds of `odds` to one (CUSUM, Page 1954). Needs no minimum volume and has no window.
    pub fn evidence(tolerated: f64, broken: f64, odds: u64) -> Self {
        Self::of(TripRule::Evidence { tolerated, broken, odds })
    }

    /// Opens after this number of consecutive failures.
    pub fn consecutive(failures: u32) -> Self {
        Self::of(TripRule::Consecutive { failures })
    }

    /// Opens after `failures` failures within a span of time, however many calls succeeded in between. In a
    /// file: `{ "failures_within": { "failures": 5, "within": "10s" } }`.
    ///
    /// ```
    /// use seawall::circuit_breaker::{CircuitBreakerLayer, Trip};
    /// use std::time::Duration;
    ///
    /// let payments = CircuitBreakerLayer::builder("payments")
    ///     .trip(Trip::failures_within(5, Duration::from_secs(10)))
    ///     .build()?;
    /// # drop(payments);
    /// # Ok::<(), seawall::ConfigErrors>(())
    /// ```
    pub fn failures_within(failures: u32, within: Duration) -> Self {
        Self::of(TripRule::FailuresWithin { failures, within })
    }

    /// Opens when this share of the last 100 calls failed, with at least 10 calls.
    pub fn failure_rate(rate: f64) -> Self {
        Self::of(TripRule::FailureRate { rate, over: Span::Calls(OVER_CALLS), at_least: None })
    }

    /// Opens when this share of the last 100 calls took at least `threshold`, but not on fewer
    /// than 10 calls. A call in flight counts as slow as soon as it crosses the threshold.
    pub fn slow_rate(rate: f64, threshold: Duration) -> Self {
        Self::of(TripRule::SlowRate {
            rate,
            threshold,
            over: Span::Calls(OVER_CALLS),
            at_least: None,
        })
    }

    /// Takes the rate over the last `size` calls.
    #[must_use]
    pub fn over_calls(self, size: u32) -> Self {
        self.adjust("over_calls", |over, _| *over = Span::Calls(size))
    }

    /// Takes the rate over the last `span` of time.
    #[must_use]
    pub fn over_time(self, span: Duration) -> Self {
        self.adjust("over_time", |over, _| *over = Span::Time(span))
    }

    /// Does not decide on fewer calls than this.
    #[must_use]
    pub fn at_least(self, calls: u32) -> Self {
        self.adjust("at_least", |_, least| *least = Some(calls))
    }

    /// Opens for any of these reasons too.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        self.rules.extend(other.rules);
        self.misplaced.extend(other.misplaced);
        self
    }

    /// The rules, in the order in which they are asked.
    pub fn rules(&self) -> &[TripRule] {
        &self.rules
    }

    fn adjust(
        mut self,
        setter: &'static str,
        turn: impl FnOnce(&mut Span, &mut Option<u32>),
    ) -> Self {
        match self.rules.last_mut() {
            Some(
                TripRule::FailureRate { over, at_least, .. }
                | TripRule::SlowRate { over, at_least, .. },
            ) => turn(over, at_least),
            _ => self.misplaced.push(setter),
        }
        self
    }
}

/// How a dropped call counts: its future was dropped because the caller went away or a timeout outside the
/// breaker fired.
///
/// A call that is dropped before the inner service was called never counts.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::circuit_breaker::{Abandonment, CircuitBreakerLayer, State, Trip};
/// use seawall::Error;
/// use std::time::Duration;
/// use std::{convert::Infallible, future::pending};
/// use tokio::time::timeout;
///
/// // Callers of this one have patience: if they leave, something is wrong with it.
/// let reports = CircuitBreakerLayer::builder("reports")
///     .trip(Trip::consecutive(2))
///     .abandonment(Abandonment::Failure)
///     .build()?;
/// for _ in 0..2 {
///     let report = reports.run(|| pending::<Result<(), Error<Infallible>>>());
///     assert!(timeout(Duration::from_millis(5), report).await.is_err()); // the caller leaves
/// }
/// assert_eq!(reports.handle().state(), State::Open);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Abandonment {
    /// It counts as a failure if it waited long, until the next response clears all such failures. So a dependency
    /// that hangs opens the circuit, and impatient callers of a healthy one do not. The
    /// [guide](crate::circuit_breaker#how-it-decides) says how long is long.
    Silence,
    /// It does not count.
    Ignore,
    /// It is a failure.
    Failure,
    /// It is a failure if the caller waited at least this long.
    After(#[cfg_attr(feature = "serde", serde(with = "humantime_serde"))] Duration),
}
