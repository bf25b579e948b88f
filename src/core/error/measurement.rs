//! What was measured when a layer decided.

use std::fmt;
use std::time::Duration;

/// What was measured, against which threshold, in which unit.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use seawall::{CallError, Error, Measurement, timeout::TimeoutLayer};
/// use std::{convert::Infallible, future::pending, time::Duration};
///
/// let search = TimeoutLayer::new("search", Duration::from_millis(50));
/// let error = search.run(|| pending::<Result<(), Error<Infallible>>>()).await.unwrap_err();
/// let measurement = error.rejected().unwrap().measurement();
/// assert_eq!(measurement, Measurement::Elapsed { limit: 50_000_000 });
/// assert_eq!(measurement.to_string(), "the limit is 50ms");
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Measurement {
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
    /// How much of the load is admitted since the circuit closed.
    Recovering {
        /// Calls in flight.
        in_flight: u32,
        /// The concurrency limit; `u32::MAX` if there is none any more.
        limit: u32,
        /// The share of calls that is admitted, in parts per million.
        share: u32,
    },
    /// Calls in flight, and calls that wait for one to end.
    Occupied {
        /// In flight.
        in_flight: u32,
        /// The limit.
        limit: u32,
        /// Calls in the queue.
        queued: u32,
    },
    /// A call that came before its turn.
    TooEarly {
        /// By this many nanoseconds.
        by: u64,
        /// Calls that wait for their turn.
        queued: u32,
    },
    /// What a call costs, in units of a limit.
    Cost {
        /// What it costs.
        cost: u32,
        /// What it may cost at most.
        most: u32,
    },
    /// A time limit, in nanoseconds.
    Elapsed {
        /// The limit.
        limit: u64,
    },
    /// The deadline of the call, which the caller or an outer layer had set.
    Deadline {
        /// Who had set it.
        set_by: SetBy,
        /// The time limit of the layer that set it, in nanoseconds; `u64::MAX` if no layer is known to
        /// have.
        limit: u64,
    },
    /// How far a replica has to be, and how far it is from that.
    Behind {
        /// By so much the best of them is behind; `u64::MAX` if that is not known.
        by: u64,
    },
    /// How old what is read may be, in nanoseconds.
    Age {
        /// The limit.
        limit: u64,
    },
    /// A place in a history that was not continued from there: what is in no history that is left.
    Branched {
        /// Which history.
        era: u32,
        /// How far in it.
        at: u64,
    },
    /// The [epoch](crate::propagate::CallContext::epoch) that counts.
    Epoch {
        /// The highest that is confirmed; 0 if none is.
        highest: u64,
        /// Whether the call says by which it is made.
        given: bool,
    },
}

/// Who set a deadline that has passed.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use seawall::{Deadline, Error, Measurement, SetBy};
/// use seawall::propagate::{FromWithContext, WithContext};
/// use seawall::timeout::TimeoutLayer;
/// use std::{convert::Infallible, future::pending, time::Duration};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// let search = ServiceBuilder::new()
///     .layer(TimeoutLayer::builder("search").limit(Duration::from_secs(1)).propagate(FromWithContext).build()?)
///     .map_err(Error::Inner)
///     .service(service_fn(|_: WithContext<&str>| pending::<Result<(), Infallible>>()));
///
/// let hurry = WithContext::new("tower", Deadline::after(Duration::from_millis(50)));
/// let Err(Error::Rejected(late)) = search.oneshot(hurry).await else { panic!("it never answers") };
/// assert!(matches!(late.measurement(), Measurement::Deadline { set_by: SetBy::Caller, .. }));
/// assert_eq!(late.to_string(), "timeout `search`: the caller's deadline has passed");
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SetBy {
    /// The caller: it came with the request.
    Caller,
    /// A layer further out in this process: the time limit of a whole call, or the most that a server
    /// [believes](crate::http::ReadDeadlineLayer::bounds) its callers.
    Layer,
    /// The caller or an outer layer: what carries the deadline does not say. So it is with the
    /// timeout of a request of reqwest, except to the outermost layer of the ready-made stack.
    Unknown,
}

impl fmt::Display for SetBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Caller => "the caller",
            Self::Layer => "a layer further out",
            Self::Unknown => "the caller or a layer further out",
        })
    }
}

impl Measurement {
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
            | Self::TooEarly { .. }
            | Self::Cost { .. }
            | Self::Elapsed { .. }
            | Self::Deadline { .. }
            | Self::Behind { .. }
            | Self::Age { .. }
            | Self::Branched { .. }
            | Self::Epoch { .. }
            | Self::Occupied { .. } => 0,
        }
    }
}

impl fmt::Display for Measurement {
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
            Self::TooEarly { by, queued } => {
                write!(f, "the next call may come in {:?}", Duration::from_nanos(by))?;
                if queued > 0 { write!(f, ", {queued} waiting") } else { Ok(()) }
            }
            Self::Cost { cost, most } => write!(f, "it costs {cost}, {most} is the limit"),
            Self::Elapsed { limit } => {
                write!(f, "the limit is {:?}", Duration::from_nanos(limit))
            }
            Self::Behind { by: u64::MAX } => f.write_str("nobody knows how far they are"),
            Self::Behind { by } => write!(f, "the best of them is {by} behind"),
            Self::Age { limit } => {
                write!(f, "not older than {:?} is asked for", Duration::from_nanos(limit))
            }
            Self::Branched { era, at } => {
                write!(f, "position {era}-{at} is in no history that is left")
            }
            Self::Epoch { highest, given: true } => write!(f, "the highest is {highest}"),
            Self::Epoch { highest, given: false } => {
                write!(f, "it has none, the highest is {highest}")
            }
            Self::Deadline { set_by, limit: u64::MAX } => {
                write!(f, "{set_by} had set the deadline")
            }
            Self::Deadline { set_by, limit } => {
                let limit = Duration::from_nanos(limit);
                write!(f, "{set_by} had set the deadline, with a limit of {limit:?}")
            }
        }
    }
}
