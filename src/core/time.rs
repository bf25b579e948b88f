//! The one clock of the crate.
//!
//! Nothing else reads time. The clock is tokio's, so that a test that pauses tokio's time holds
//! every layer of this crate in its hand, and it is monotonic, so that no decision depends on the
//! wall clock (pitfalls B6, B7).

use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

/// Nanoseconds since a policy was made.
///
/// Arithmetic saturates: a `Tick` can neither overflow nor panic, and fits an atomic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct Tick(pub(crate) u64);

impl Tick {
    pub(crate) const ZERO: Self = Self(0);
    pub(crate) const NEVER: Self = Self(u64::MAX);

    pub(crate) const fn plus(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// Nanoseconds from `earlier` to here; zero if time went backwards.
    pub(crate) const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Whole nanoseconds of a duration, at most `u64::MAX` (584 years).
pub(crate) const fn nanos(duration: Duration) -> u64 {
    let seconds = duration.as_secs().saturating_mul(1_000_000_000);
    seconds.saturating_add(duration.subsec_nanos() as u64)
}

/// Where a policy's ticks are counted from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { origin: now() }
    }

    pub(crate) fn now(&self) -> Tick {
        self.tick(now())
    }

    pub(crate) fn tick(&self, instant: Instant) -> Tick {
        Tick(nanos(instant.saturating_duration_since(self.origin)))
    }

    /// The instant of a tick; `None` if it is too far away for a timer to ever reach it.
    pub(crate) fn instant(&self, tick: Tick) -> Option<Instant> {
        if tick == Tick::NEVER {
            return None;
        }
        self.origin.checked_add(Duration::from_nanos(tick.0))
    }
}

/// Polls a timer, whatever else was polled before it.
///
/// tokio gives each task a share of work at a time, and a timer that is polled when it is used up
/// says that it is pending. An inner future that uses it up at every poll must not put the timer off
/// for ever. When a runtime ends, all of its timers ring, and would panic if they were polled: what
/// outlives its runtime goes on waiting on the one where it is polled next, and is over where there is none.
pub(crate) fn poll_timer(mut timer: Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<()> {
    if timer.is_elapsed() {
        let at = timer.deadline();
        if at <= now() || !has_timers() {
            return Poll::Ready(());
        }
        timer.set(sleep_until(at));
    }
    pin!(unconstrained(timer)).poll(cx)
}

/// Whether there are timers here. Where there are none, making one panics.
pub(crate) fn has_timers() -> bool {
    Handle::try_current().is_ok()
}

/// A timer; `None` where there are none: outside of a runtime, or in one that was built without `enable_time`. tokio tells that
/// only by a panic.
#[cfg(any(feature = "bus", feature = "log"))]
pub(crate) fn timer(at: Instant) -> Option<Sleep> {
    if !has_timers() {
        return None;
    }
    std::panic::catch_unwind(|| sleep_until(at)).ok()
}

/// Whether a timer has rung when its time came, and not when its runtime ended.
pub(crate) fn has_rung(timer: &Sleep) -> bool {
    timer.is_elapsed() && timer.deadline() <= now()
}

/// Polls a timer that is made when it is first needed. A wait of nothing needs none, and so
/// no runtime either.
pub(crate) fn poll_until(
    mut timer: Pin<&mut Option<Sleep>>,
    at: Instant,
    cx: &mut Context<'_>,
) -> Poll<()> {
    if timer.is_none() {
        if at <= now() {
            return Poll::Ready(());
        }
        timer.set(Some(sleep_until(at)));
    }
    timer.as_pin_mut().map_or(Poll::Ready(()), |timer| poll_timer(timer, cx))
}

/// The same, of a timer in a box.
#[cfg(feature = "grpc")]
pub(crate) fn poll_boxed_until(
    timer: &mut Option<Pin<Box<Sleep>>>,
    at: Instant,
    cx: &mut Context<'_>,
) -> Poll<()> {
    if timer.is_none() && at <= now() {
        return Poll::Ready(());
    }
    poll_timer(timer.get_or_insert_with(|| Box::pin(sleep_until(at))).as_mut(), cx)
}

/// The wall clock, for the dates in headers and nothing else: no decision depends on it.
#[cfg(feature = "http")]
#[allow(clippy::disallowed_methods)] // the one place
pub(crate) fn wall_clock() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

#[cfg(not(all(test, seawall_loom)))]
#[allow(clippy::disallowed_methods)] // the one place
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[cfg(all(test, seawall_loom))]
pub(crate) use still::now;

/// Time where a test looks at all interleavings: it stands still until the test moves it, so that
/// every run of a model sees the same. Threads are loom's, all on one of std's.
#[cfg(all(test, seawall_loom))]
pub(crate) mod still {
    use std::cell::Cell;
    use std::sync::OnceLock;
    use std::time::Duration;

    use tokio::time::Instant;

    thread_local!(static PASSED: Cell<Duration> = const { Cell::new(Duration::ZERO) });

    pub(crate) fn now() -> Instant {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        *ORIGIN.get_or_init(Instant::now) + PASSED.get()
    }

    pub(crate) fn set(passed: Duration) {
        PASSED.set(passed);
    }
}
