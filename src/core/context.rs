//! The context of a call for classifiers: the caller's deadline, and times of attempts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::core::request::{CallContext, Deadline};
use crate::core::time;

/// An answer that says that time ran out may come this much before the caller's deadline, and a tenth
/// of the time that the attempt had: timers are coarse, and the way back takes its time.
const EARLY: Duration = Duration::from_millis(10);

/// The context of a call for a classifier; see
/// [`Classify::classify_call`](crate::Classify::classify_call).
///
/// It has the caller's deadline ([`CallContext::caller_deadline`]), without the limits of the stack's layers: a
/// dependency that hangs until one of those has failed.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use seawall::{ClassifyContext, Deadline};
/// use std::time::Duration;
///
/// let context = ClassifyContext::new(Deadline::after(Duration::from_secs(1)));
/// tokio::time::sleep(Duration::from_millis(500)).await;
/// assert!(!context.may_have_timed_out()); // a 504 now is somebody else's timer
/// tokio::time::sleep(Duration::from_millis(450)).await;
/// assert!(context.may_have_timed_out()); // a 504 now may well be the caller's deadline
/// assert!(!context.is_past_deadline());
/// tokio::time::sleep(Duration::from_millis(50)).await;
/// assert!(context.is_past_deadline());
/// # });
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct ClassifyContext {
    deadline: Option<Deadline>,
    /// When the attempt began; known only where there is a deadline.
    began: Option<Instant>,
}

impl ClassifyContext {
    /// Of a call that begins now, whose caller waits until `deadline`.
    pub fn new(deadline: Deadline) -> Self {
        let deadline = Some(deadline).filter(|deadline| *deadline != Deadline::NEVER);
        Self { deadline, began: deadline.map(|_| time::now()) }
    }

    /// Of a call that begins now. No clock is read where there is no deadline, nor where nobody `classifies`.
    #[inline]
    pub(crate) fn of(call: &mut CallContext, classifies: bool) -> Self {
        let deadline = call.caller_deadline();
        let began = (classifies && deadline.is_some()).then(|| call.now());
        Self { deadline, began }
    }

    /// Of a call that `began` then.
    pub(crate) const fn begun(deadline: Option<Deadline>, began: Option<Instant>) -> Self {
        Self { deadline, began }
    }

    /// The caller's deadline, if the call has one and the layer [propagates](crate::propagate::Propagate) it.
    pub const fn deadline(&self) -> Option<Deadline> {
        self.deadline
    }

    /// Whether the caller's deadline has passed. A call that ends without a response after that does not count against the
    /// dependency, because every service on the way that knew the deadline gave up.
    pub fn is_past_deadline(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline.is_past())
    }

    /// Whether a response that means "timed out" can be due to the caller's deadline: at most 10 ms plus a tenth of the
    /// attempt's time are left. An earlier one is due to another limit.
    pub fn may_have_timed_out(&self) -> bool {
        let Some(at) = self.deadline.and_then(|deadline| deadline.instant()) else { return false };
        let had = self.began.map(|began| at.saturating_duration_since(began));
        let early = EARLY.saturating_add(had.unwrap_or_default() / 10);
        at.saturating_duration_since(time::now()) <= early
    }
}

/// The time that the attempts of a call took.
///
/// Latency that is measured outside a retry includes backoff. An outer layer sends an `AttemptTimes` with the request,
/// in which the retry records each attempt.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use seawall::retry::{Backoff, RetryLayer};
/// use seawall::Error;
/// use seawall::propagate::{AttemptTimes, FromWithContext, WithContext};
/// use std::io;
/// use std::time::Duration;
/// use tokio::time::{Instant, sleep};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// let retry = RetryLayer::builder("search")
///     .cloned()
///     .propagate(FromWithContext)
///     .backoff(Backoff::fixed(Duration::from_secs(1)))
///     .build()?;
/// let search = ServiceBuilder::new().layer(retry).map_err(Error::Inner).service(service_fn(
///     |request: WithContext<&'static str>| async move {
///         sleep(Duration::from_millis(30)).await;
///         if request.call.attempt == 1 { Err(io::Error::other("reset")) } else { Ok("found") }
///     },
/// ));
///
/// let (started, measure) = (Instant::now(), AttemptTimes::new());
/// let mut request = WithContext::from("tower");
/// request.call.measure = Some(measure.clone());
/// assert_eq!(search.oneshot(request).await?, "found");
///
/// assert!(started.elapsed() >= Duration::from_secs(1)); // with the wait between the attempts
/// assert_eq!(measure.attempts(), 2);
/// assert!(measure.total() < Duration::from_millis(100)); // without
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, Default)]
pub struct AttemptTimes(Arc<Attempts>);

#[derive(Debug, Default)]
struct Attempts {
    count: AtomicU32,
    nanos: AtomicU64,
    last: AtomicU64,
}

impl AttemptTimes {
    /// No attempt yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records the time of an attempt.
    pub fn record(&self, took: Duration) {
        let took = time::nanos(took);
        self.0.count.fetch_add(1, Ordering::Relaxed);
        self.0.last.store(took, Ordering::Relaxed);
        self.0.nanos.fetch_add(took, Ordering::Relaxed);
    }

    /// The number of attempts.
    pub fn attempts(&self) -> u32 {
        self.0.count.load(Ordering::Relaxed)
    }

    /// Their total time, without backoff.
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.0.nanos.load(Ordering::Relaxed))
    }

    /// The time of the last attempt.
    pub fn last(&self) -> Duration {
        Duration::from_nanos(self.0.last.load(Ordering::Relaxed))
    }
}
