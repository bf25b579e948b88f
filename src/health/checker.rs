//! Who checks: a task on the runtime of whoever uses the health, begun again where that is gone.

use std::pin::pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::{Either, select};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::unconstrained;
use tokio::time::{Instant, sleep};

use super::check::{self, Check};
use super::listen::{self, Listen};
use super::monitor::Monitor;
use crate::core::sync::atomic::{AtomicU64, Ordering};
use crate::core::time::{self, Tick};
use crate::shell::task::Task;

/// How it gets known whether the dependency is up.
#[derive(Clone)]
pub(super) enum Known {
    ByAsking(Check),
    ByListening(Listen),
}

/// The task that checks, and when it was last heard of.
pub(super) struct Checker {
    /// `None`: live calls alone say how it is.
    known: Option<Known>,
    task: Task,
    /// Told when settings or status change, for waits depend on both.
    turned: Arc<Notify>,
    /// A task that lives has given a sign by then.
    alive_until: AtomicU64,
    /// The last word holds until then.
    word_until: AtomicU64,
}

/// A task at work.
pub(super) struct Shift {
    policy: Weak<Monitor>,
    turned: Arc<Notify>,
    number: u64,
}

// ===== impl Checker =====

impl Checker {
    pub(super) fn new(known: Option<Known>) -> Self {
        Self {
            task: Task::new(known.is_some()),
            known,
            turned: Arc::default(),
            alive_until: AtomicU64::new(0),
            word_until: AtomicU64::new(u64::MAX),
        }
    }

    /// Whether there are checks, or live calls alone.
    pub(super) fn exists(&self) -> bool {
        self.known.is_some()
    }

    /// Whether nobody checks, though somebody should.
    #[inline]
    pub(super) fn is_idle(&self) -> bool {
        self.task.is_idle()
    }

    /// Waits count anew, from now on.
    pub(super) fn turn(&self) {
        self.turned.notify_waiters();
    }

    /// The last word is believed until then.
    pub(super) fn holds_until(&self, until: Tick) {
        self.word_until.store(until.0, Ordering::Relaxed);
    }

    /// The task gave a sign of life, and is to give the next by then.
    pub(super) fn lives_until(&self, until: Tick) {
        self.alive_until.store(until.0, Ordering::Relaxed);
    }

    /// The settings were turned: what holds now holds until then.
    pub(super) fn holds_anew(&self, now: Tick, until: Tick) {
        for held in [&self.alive_until, &self.word_until] {
            let anew = |before| (before >= now.0).then_some(until.0);
            let _ = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, anew);
        }
    }

    /// Whether the last word is too old to be believed.
    pub(super) fn is_silent(&self, now: Tick) -> bool {
        self.exists() && now.0 > self.word_until.load(Ordering::Relaxed)
    }
}

/// Sees to it that somebody checks: begins a task if there is none, or none that gives a sign of
/// life, as on a runtime that nobody drives any more.
pub(super) fn tend(monitor: &Arc<Monitor>) {
    let Some(running) = monitor.checker.task.running() else { return };
    let is_overdue =
        || monitor.reporter.clock.now().0 > monitor.checker.alive_until.load(Ordering::Relaxed);
    if monitor.checker.is_idle() || is_overdue() {
        begin(monitor, running);
    }
}

#[cold]
fn begin(monitor: &Arc<Monitor>, seen: u64) {
    let Some(known) = &monitor.checker.known else { return };
    if Handle::try_current().is_err() {
        return; // the next one who looks may be inside a runtime
    }
    monitor.sign_of_life(); // before it begins, or somebody else would take it for missing
    monitor.checker.task.begin(seen, |number| {
        let turned = Arc::clone(&monitor.checker.turned);
        let shift = Shift { policy: Arc::downgrade(monitor), turned, number };
        match known.clone() {
            Known::ByAsking(check) => Either::Left(check::run(shift, check)),
            Known::ByListening(listen) => Either::Right(listen::run(shift, listen)),
        }
    });
}

// ===== impl Shift =====

impl Shift {
    /// The policy, if anybody still holds it.
    pub(super) fn policy(&self) -> Option<Arc<Monitor>> {
        self.policy.upgrade()
    }

    /// Returns when nothing is left of a wait, asked for `left` nanoseconds after `passed` of them,
    /// now and whenever settings or status change; `None` once nobody holds the policy.
    pub(super) async fn wait(
        &self,
        from: Instant,
        mut left: impl FnMut(&Monitor, u64) -> u64 + Send,
    ) -> Option<()> {
        // A check that uses up its share of each poll must not put off its own end.
        unconstrained(async {
            loop {
                let mut turned = pin!(self.turned.notified());
                turned.as_mut().enable(); // before the look, or a turn could fall in between
                let left = {
                    let policy = self.policy.upgrade()?;
                    policy.sign_of_life();
                    let passed = time::now().saturating_duration_since(from);
                    Duration::from_nanos(left(&policy, time::nanos(passed)))
                };
                if let Either::Left(_) = select(pin!(sleep(left)), turned).await {
                    return Some(());
                }
            }
        })
        .await
    }
}

impl Drop for Shift {
    fn drop(&mut self) {
        let Some(policy) = self.policy.upgrade() else { return };
        // After a panic, as on a runtime without timers, the next task waits until this one is
        // missed: begun again at once it would panic again, for ever.
        if !std::thread::panicking() && policy.checker.task.end(self.number) {
            policy.stir();
        }
    }
}
