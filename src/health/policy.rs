//! What a health check, its handles and its services share.

use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::config::Config;
use super::machine::{Health, Input, Law};
use super::registry::Inner as Registry;
use crate::error::{Measured, Reason, Rejected};
use crate::event::{EventKind, Status};
use crate::outcome;
use crate::shell::gate::{Hold, Lane};
use crate::shell::live::Live;
use crate::shell::meter::{Counter, Ended, Gauge, Handles, Histogram, Instruments, Labels};
use crate::shell::reporter::{Reporter, Speaker};
use crate::shell::waiters::{Lobby, Seat};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::time::Tick;

/// 1 while up, 0 while down.
const UP: &str = "seawall_health_up";
/// Checks, by result.
const CHECKS: &str = "seawall_health_checks_total";
/// How long checks took.
const CHECK_SECONDS: &str = "seawall_health_check_seconds";

/// One health.
pub(super) struct Policy {
    pub(super) reporter: Reporter<HealthMeter>,
    word: AtomicU64,
    config: Live<(Law, Config)>,
    /// Calls that found it down, to let one in so many through.
    turned_away: AtomicU32,
    latest: watch::Sender<Latest>,
    last_error: Live<Option<Arc<str>>>,
    registries: Live<Vec<Weak<Registry>>>,
    /// Those who wait for an inner service that may never become ready while it is down.
    lobby: Lobby,
    task: OnceLock<Task>,
}

/// The last change, numbered so that an older one never overwrites it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Latest {
    number: u32,
    pub(super) status: Status,
    pub(super) at: Tick,
}

/// A background task that ends with its owner.
struct Task(AbortHandle);

pub(super) struct HealthMeter {
    up: Gauge,
    checks: [Counter; Checked::ALL.len()],
    seconds: Histogram,
}

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checked {
    Good,
    Bad,
    TimedOut,
    Panicked,
}

impl Checked {
    const ALL: [&'static str; 4] = ["good", "bad", "timed_out", "panicked"];
}

impl Instruments for HealthMeter {
    const REASONS: &'static [Reason] = &[Reason::Unhealthy, Reason::Draining];
    const TIMES_CALLS: bool = false;

    fn new(labels: &Labels<'_>) -> Self {
        Self {
            up: labels.gauge(UP, "1 while up, 0 while down."),
            checks: labels.counters(CHECKS, "Checks, by result.", "result", Checked::ALL),
            seconds: labels.seconds(CHECK_SECONDS, "How long checks took."),
        }
    }

    fn level(&self) -> Option<&Gauge> {
        Some(&self.up)
    }
}

impl Policy {
    pub(super) fn new(reporter: Reporter<HealthMeter>, law: Law, config: Config) -> Self {
        let health = Health::new(config.initial);
        let at = reporter.clock.now();
        let policy = Self {
            reporter,
            word: AtomicU64::new(health.pack()),
            config: Live::new((law, config)),
            turned_away: AtomicU32::new(0),
            latest: watch::Sender::new(Latest { number: 0, status: health.status(), at }),
            last_error: Live::new(None),
            registries: Live::new(Vec::new()),
            lobby: Lobby::default(),
            task: OnceLock::new(),
        };
        policy.set_level();
        policy
    }

    /// Lets everyone who is parked look again.
    pub(super) fn wake_parked(&self) {
        self.lobby.wake();
    }

    pub(super) fn law(&self) -> Law {
        self.config.get().0
    }

    pub(super) fn config(&self) -> Config {
        self.config.get().1.clone()
    }

    pub(super) fn reload(&self, law: Law, config: Config) {
        self.config.set((law, config));
    }

    /// The task ends when this policy does.
    pub(super) fn own(&self, task: AbortHandle) {
        let _ = self.task.set(Task(task));
    }

    /// Whether there are checks, or live calls alone.
    pub(super) fn is_checked(&self) -> bool {
        self.task.get().is_some()
    }

    #[inline]
    fn health(&self) -> Health {
        Health::unpack(self.word.load(Ordering::Relaxed))
    }

    #[inline]
    pub(super) fn status(&self) -> Status {
        self.health().status()
    }

    pub(super) fn latest(&self) -> Latest {
        *self.latest.borrow()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Latest> {
        self.latest.subscribe()
    }

    pub(super) fn last_error(&self) -> Option<Arc<str>> {
        Option::clone(&self.last_error.get())
    }

    pub(super) fn tell_registry(&self, registry: Weak<Registry>) {
        self.registries.update(|registries| {
            let mut registries = registries.clone();
            registries.retain(|registry| registry.strong_count() > 0);
            registries.push(registry);
            registries
        });
    }

    /// Whether a call may pass: while up always, while down one in so many.
    #[inline]
    pub(super) fn lets_through(&self) -> bool {
        self.health().status() == Status::Up || self.is_its_turn()
    }

    #[cold]
    fn is_its_turn(&self) -> bool {
        let one_in = self.law().let_through;
        one_in > 0 && {
            let nth = self.turned_away.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            nth.is_multiple_of(one_in)
        }
    }

    /// Leaves a waker for when it goes down. Returns `false` if it is down.
    pub(super) fn wait(&self, seat: &mut Seat, waker: &Waker) -> bool {
        self.lobby.wait(seat, waker, || self.status() == Status::Up)
    }

    pub(super) fn leave(&self, seat: &mut Seat) {
        self.lobby.leave(seat);
    }

    /// A live call ended.
    #[inline]
    pub(super) fn learn(&self, input: Input) {
        if input == Input::Good && self.health().is_quiet() {
            return;
        }
        let law = self.law();
        if law.learn {
            self.step(&law, input);
        }
    }

    /// A check ended.
    pub(super) fn checked(&self, how: Checked, took: Duration, error: Option<String>) {
        self.meter(|handles| handles.own.seconds.record(took));
        self.heard(how, error, &self.law());
    }

    /// The dependency said how it is. It knows, so there is nothing to confirm: one word is enough.
    pub(super) fn told(&self, error: Option<String>) {
        let how = if error.is_none() { Checked::Good } else { Checked::Bad };
        self.heard(how, error, &Law { rise: 1, fall: 1, ..self.law() });
    }

    /// It could not be heard how the dependency is.
    pub(super) fn lost(&self, how: Checked, error: String) {
        self.heard(how, Some(error), &self.law());
    }

    fn heard(&self, how: Checked, error: Option<String>, law: &Law) {
        if how == Checked::Good {
            if self.last_error.get().is_some() {
                self.last_error.set(None);
            }
        } else {
            self.last_error.set(error.map(Arc::from));
        }
        self.meter(|handles| {
            handles.own.checks.iter().for_each(Counter::touch); // there may be none to count at all
            handles.own.checks[how as usize].increment(1);
        });
        self.step(law, if how == Checked::Good { Input::Good } else { Input::Bad });
        self.tell_registries(); // changed or not: a recorder may have come meanwhile
    }

    fn step(&self, law: &Law, input: Input) {
        let (mut after, mut changed) = (self.health(), None);
        let step = |word| {
            after = Health::unpack(word);
            changed = after.step(law, input);
            Some(after.pack())
        };
        let _ = self.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, step);
        self.set_level();
        if let Some(status) = changed {
            if status == Status::Down {
                self.lobby.wake();
            }
            self.announce(after.changes, status);
        }
    }

    fn announce(&self, number: u32, status: Status) {
        let at = self.reporter.clock.now();
        self.latest.send_if_modified(|latest| {
            let newer = number.wrapping_sub(latest.number) < u32::MAX / 2;
            if newer {
                *latest = Latest { number, status, at };
            }
            newer
        });
        let speaker = Speaker { key: None, seq: u64::from(number) };
        self.reporter.tell(speaker, at, EventKind::Health { status });
        self.tell_registries();
    }

    fn tell_registries(&self) {
        let registries = self.registries.get();
        registries.iter().filter_map(Weak::upgrade).for_each(|registry| registry.look());
    }

    // ----- telling -----

    pub(super) fn reject(&self, reason: Reason) -> Rejected {
        self.reporter.reject_with(|fresh| self.set_up(fresh), reason, Measured::Nothing)
    }

    /// Runs `record` with the metric handles, if anybody records.
    pub(super) fn meter(&self, record: impl FnOnce(&Handles<HealthMeter>)) {
        self.reporter.meter.with(|fresh| self.set_up(fresh), record);
    }

    fn set_level(&self) {
        self.reporter.meter(|handles| self.set_up(handles));
    }

    fn set_up(&self, handles: &Handles<HealthMeter>) {
        handles.own.up.set(f64::from(u8::from(self.status() == Status::Up)));
    }
}

impl Policy {
    /// A call was answered, and this is what it says of the dependency.
    #[inline]
    pub(super) fn note_end(&self, health: outcome::Health) {
        match health {
            outcome::Health::Good => self.learn(Input::Good),
            outcome::Health::Bad => self.learn(Input::Bad),
            outcome::Health::Pushback | outcome::Health::Silent => {}
        }
        self.meter(|handles| handles.counted(health.into()));
    }
}

// ===== flights =====

/// A call under way: counted once, as abandoned if it is dropped.
pub(super) struct Flight(pub(super) Hold<Lane<Policy>>);

impl Flight {
    #[inline]
    pub(super) fn new(lane: Arc<Lane<Policy>>) -> Self {
        Self(Hold::new(lane))
    }

    /// Nobody will hear how the call ended.
    #[inline(never)]
    fn be_lost(&mut self) {
        if let Some(lane) = self.0.lose() {
            lane.meter(|handles| handles.counted(Ended::Abandoned));
        }
    }

    /// The call does not begin: the policy was drained before that.
    pub(super) fn turn_away(&mut self) -> Option<Rejected> {
        self.0.lose().map(|lane| lane.reject(Reason::Draining))
    }
}

impl Drop for Flight {
    #[inline]
    fn drop(&mut self) {
        if !self.0.is_over() {
            self.be_lost();
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("source", &self.reporter.source)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
