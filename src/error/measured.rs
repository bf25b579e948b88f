//! What was measured when a layer decided.

use std::fmt;
use std::time::Duration;

/// What was observed, against which threshold, in which unit.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use seawall::{CallError, Error, Measured, timeout::TimeoutLayer};
/// use std::{convert::Infallible, future::pending, time::Duration};
///
/// let search = TimeoutLayer::new("search", Duration::from_millis(50));
/// let error = search.run(|| pending::<Result<(), Error<Infallible>>>()).await.unwrap_err();
/// let measured = error.rejected().unwrap().measured();
/// assert_eq!(measured, Measured::Elapsed { limit: 50_000_000 });
/// assert_eq!(measured.to_string(), "the limit is 50ms");
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Measured {
    /// Nothing was measured: the decision was made by hand, or by an absolute deadline.
    Nothing,
    /// By how much failures outweigh successes, in thousandths of a failure.
    Evidence {
        /// What had gathered.
        observed: u32,
        /// What decides.
        threshold: u32,
    },
    /// A count of failures in a row.
    Count {
        /// What was counted.
        observed: u32,
        /// What decides.
        threshold: u32,
    },
    /// A count of failures within some time.
    Recent {
        /// What was counted.
        observed: u32,
        /// What decides.
        threshold: u32,
    },
    /// The share of failed calls, in parts per million.
    FailureRate {
        /// What was seen.
        observed: u32,
        /// What decides.
        threshold: u32,
    },
    /// The share of slow calls, in parts per million.
    SlowRate {
        /// What was seen.
        observed: u32,
        /// What decides.
        threshold: u32,
    },
    /// How far the load has come back since the circuit closed.
    Recovering {
        /// Calls under way.
        in_flight: u32,
        /// What may be under way at a time; `u32::MAX` if that is not limited any more.
        limit: u32,
        /// The share of calls that is let through, in parts per million.
        share: u32,
    },
    /// Calls under way, and calls that wait for one to end.
    Occupied {
        /// Under way.
        in_flight: u32,
        /// What may be under way at a time.
        limit: u32,
        /// What waits.
        queued: u32,
    },
    /// A time limit, in nanoseconds.
    Elapsed {
        /// The limit.
        limit: u64,
    },
}

impl Measured {
    /// How near to its threshold something is, in parts per million.
    pub(crate) fn nearness(&self) -> u64 {
        match *self {
            Self::Evidence { observed, threshold }
            | Self::Count { observed, threshold }
            | Self::Recent { observed, threshold }
            | Self::FailureRate { observed, threshold }
            | Self::SlowRate { observed, threshold } => {
                u64::from(observed) * 1_000_000 / u64::from(threshold).max(1)
            }
            Self::Nothing
            | Self::Recovering { .. }
            | Self::Elapsed { .. }
            | Self::Occupied { .. } => 0,
        }
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |ppm: u32| f64::from(ppm) / 10_000.0;
        let failures = |milli: u32| f64::from(milli) / 1000.0;
        match *self {
            Self::Nothing => Ok(()),
            // What was gathered ends at the threshold, which need not be a whole number.
            Self::Evidence { observed, threshold } if observed >= threshold => {
                let most = failures(threshold).ceil();
                write!(f, "failures outweigh successes by {most}, {most} is the limit")
            }
            Self::Evidence { observed, threshold } => write!(
                f,
                "failures outweigh successes by {}, {} is the limit",
                (failures(observed) * 10.0).round() / 10.0,
                failures(threshold).ceil()
            ),
            Self::Count { observed, threshold } => {
                write!(f, "{observed} of {threshold} failures in a row")
            }
            Self::Recent { observed, threshold } => {
                write!(f, "{observed} of {threshold} recent failures")
            }
            Self::FailureRate { observed, threshold } => {
                let (observed, threshold) = (percent(observed), percent(threshold));
                write!(f, "{observed} % of calls failed, {threshold} % is the limit")
            }
            Self::SlowRate { observed, threshold } => {
                let (observed, threshold) = (percent(observed), percent(threshold));
                write!(f, "{observed} % of calls were slow, {threshold} % is the limit")
            }
            Self::Recovering { in_flight, limit, share } => {
                let is_limited = limit != u32::MAX;
                if is_limited {
                    write!(f, "{in_flight} of {limit} calls at a time")?;
                }
                if share < 1_000_000 {
                    let comma = if is_limited { ", " } else { "" };
                    write!(f, "{comma}{:.0} % of calls let through", percent(share))?;
                }
                Ok(())
            }
            Self::Occupied { in_flight, limit, queued } => {
                write!(f, "{in_flight} of {limit} in flight, {queued} waiting")
            }
            Self::Elapsed { limit } => {
                write!(f, "the limit is {:?}", Duration::from_nanos(limit))
            }
        }
    }
}
