//! What is known of a call beside its answer: until when its caller waits, and how long it took.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::core::request::{CallContext, Deadline};
use crate::core::time;

/// An answer that says that time ran out may come this much before the caller's deadline, and a tenth
/// of the time that the attempt had: timers are coarse, and the way back takes its time.
const EARLY: Duration = Duration::from_millis(10);

/// What a layer knows of a call when it has the answer classified; see
/// [`Classify::classify_call`](crate::Classify::classify_call).
///
/// It holds the deadline that the caller set ([`CallContext::caller_deadline`]). The limits of the layers of
/// a stack are not among it: a dependency that hangs until one of those has failed.
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

    /// Of a call that begins now. No clock is read where there is no deadline.
    pub(crate) fn of(call: &CallContext) -> Self {
        call.caller_deadline().map_or_else(Self::default, Self::new)
    }

    /// Of a call that `began` then.
    pub(crate) const fn begun(deadline: Option<Deadline>, began: Option<Instant>) -> Self {
        Self { deadline, began }
    }

    /// The deadline of the caller, if the call has one and the layer was told where to
    /// [read](crate::Propagate) it.
    pub const fn deadline(&self) -> Option<Deadline> {
        self.deadline
    }

    /// Whether the deadline of the caller has passed. What ends a call from then on, without an answer,
    /// is no evidence against the dependency: everybody on the way who knew the deadline hung up.
    pub fn is_past_deadline(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline.is_past())
    }

    /// Whether an answer that says "time ran out" can be due to the deadline of the caller: no more than
    /// 10 ms, and a tenth of the time that the attempt had, are left. Whoever says so earlier speaks
    /// of a time limit of its own.
    pub fn may_have_timed_out(&self) -> bool {
        let Some(at) = self.deadline.and_then(|deadline| deadline.instant()) else { return false };
        let had = self.began.map(|began| at.saturating_duration_since(began));
        let early = EARLY.saturating_add(had.unwrap_or_default() / 10);
        at.saturating_duration_since(time::now()) <= early
    }
}

/// The time that a call really spent at its dependency.
///
/// Someone outside a retry who measures latency would take the waits between attempts for it. So
/// it sends a `AttemptTimes` along, in which the retry notes each attempt, and reads that instead.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use seawall::retry::{Backoff, RetryLayer};
/// use seawall::{WithContext, Error, FromWithContext, AttemptTimes};
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
    /// Nothing was measured yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// An attempt took so long.
    pub fn record(&self, took: Duration) {
        let took = time::nanos(took);
        self.0.count.fetch_add(1, Ordering::Relaxed);
        self.0.last.store(took, Ordering::Relaxed);
        self.0.nanos.fetch_add(took, Ordering::Relaxed);
    }

    /// How many attempts there were.
    pub fn attempts(&self) -> u32 {
        self.0.count.load(Ordering::Relaxed)
    }

    /// How long they took in all, without the waits in between.
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.0.nanos.load(Ordering::Relaxed))
    }

    /// How long the last one took.
    pub fn last(&self) -> Duration {
        Duration::from_nanos(self.0.last.load(Ordering::Relaxed))
    }
}
