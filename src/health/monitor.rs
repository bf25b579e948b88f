//! What a health check, its handles and its services share.

use std::fmt;
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::watch;

use super::checker::{Checker, Known};
use super::config::Config;
use super::machine::{Health, Input, Params};
use super::registry::Inner as Registry;
use crate::core::error::{Measurement, Reason, Rejected};
use crate::core::event::EventKind;
use crate::core::outcome;
use crate::core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::core::time::{self, Tick};
use crate::health::status::Status;
use crate::parts::spread;
use crate::shell::live::Live;
use crate::shell::meter::{Counter, Gauge, Handles, Histogram, Instruments, Labels, Recorder};
use crate::shell::reporter::{EventContext, Reporter};
use crate::shell::waiters::{WakerSlot, Wakers};

/// 1 while up, 0 while down.
const UP: &str = "seawall_health_up";
/// Checks, by result.
const CHECKS: &str = "seawall_health_checks_total";
/// How long checks took.
const CHECK_SECONDS: &str = "seawall_health_check_seconds";

/// A word expires when so many checks that should have followed it are missed.
const MISSED: u64 = 3;
/// But not sooner: a machine that is busy is late.
const PATIENCE: Duration = Duration::from_secs(1);

/// The health of one dependency.
pub(crate) struct Monitor {
    pub(super) reporter: Reporter<HealthMeter>,
    word: AtomicU64,
    config: Live<(Params, Config)>,
    /// [`Params::probe_one_in`] and [`Params::probe_interval`], for calls that find it down.
    probe_one_in: AtomicU32,
    probe_interval: AtomicU64,
    /// Calls that found it down, to let one in so many through.
    turned_away: AtomicU32,
    /// When it went down, or a call was last let through since.
    probed: AtomicU64,
    latest: watch::Sender<Latest>,
    last_error: Live<Option<Arc<str>>>,
    registries: Live<Vec<Weak<Registry>>>,
    /// Those who wait for an inner service that may never become ready while it is down.
    wakers: Wakers,
    pub(super) checker: Checker,
}

/// The last change, numbered so that an older one never overwrites it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Latest {
    pub(super) number: u32,
    pub(super) status: Status,
    pub(super) at: Tick,
}

pub(super) struct HealthMeter {
    up: Gauge,
    checks: [Counter; Checked::ALL.len()],
    seconds: Histogram,
}

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checked {
    Success,
    Failure,
    TimedOut,
    Panicked,
}

impl Checked {
    const ALL: [&'static str; 4] = ["success", "failure", "timed_out", "panicked"];
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

impl Monitor {
    pub(super) fn new(
        reporter: Reporter<HealthMeter>,
        params: Params,
        config: Config,
        known: Option<Known>,
    ) -> Self {
        let health = Health::new(config.initial);
        let at = reporter.clock.now();
        let policy = Self {
            reporter,
            word: AtomicU64::new(health.pack()),
            config: Live::new((params, config)),
            probe_one_in: AtomicU32::new(params.probe_one_in),
            probe_interval: AtomicU64::new(params.probe_interval),
            turned_away: AtomicU32::new(0),
            probed: AtomicU64::new(at.0),
            latest: watch::Sender::new(Latest { number: 0, status: health.status(), at }),
            last_error: Live::new(None),
            registries: Live::new(Vec::new()),
            wakers: Wakers::default(),
            checker: Checker::new(known),
        };
        policy.set_level();
        policy
    }

    pub(super) fn params(&self) -> Params {
        self.config.get().0
    }

    pub(super) fn config(&self) -> Config {
        self.config.get().1.clone()
    }

    /// The settings count from now on.
    pub(super) fn reload(&self, params: Params, config: Config) {
        let (initial, before) = (config.initial, self.params());
        self.probe_one_in.store(params.probe_one_in, Ordering::Relaxed);
        self.probe_interval.store(params.probe_interval, Ordering::Relaxed);
        self.config.set((params, config));
        self.change("reload", |health| health.take_initial(initial));
        if params != before {
            self.checker.holds_anew(self.reporter.clock.now(), self.patience());
            self.checker.turn();
        }
    }

    /// The interval that counts now, least and most.
    pub(super) fn interval(&self) -> (u64, u64) {
        let params = self.params();
        if self.health().is_surely_up() { params.interval } else { params.down_interval }
    }

    /// What is left of the pause between two checks when so much of it has passed; `turned`: and
    /// settings or status have changed.
    pub(super) fn pause(&self, draw: u64, passed: u64, turned: bool) -> u64 {
        let (least, most) = self.interval();
        let jitter = spread(most - least, draw);
        match least.saturating_add(jitter).checked_sub(passed) {
            Some(left) if turned => left.min(least.midpoint(most)),
            Some(left) => left,
            // That made it overdue: all who were reloaded at once must not check at once.
            None => jitter.min(least.midpoint(most)),
        }
    }

    /// When it is too late for the next word.
    fn patience(&self) -> Tick {
        let params = self.params();
        let between = params.interval.1.max(params.down_interval.1).saturating_add(params.timeout);
        let patience = between.saturating_mul(MISSED).max(time::nanos(PATIENCE));
        self.reporter.clock.now().plus(patience)
    }

    /// The task that checks is at work.
    pub(super) fn sign_of_life(&self) {
        self.checker.lives_until(self.patience());
    }

    /// Who listens has heard nothing new.
    pub(super) fn still_holds(&self) {
        self.checker.holds_until(self.patience());
    }

    /// The task that checks is gone with its runtime: whoever waits begins another.
    pub(super) fn stir(&self) {
        self.latest.send_modify(|_| ());
        let registries = self.registries.get();
        registries.iter().filter_map(Weak::upgrade).for_each(|registry| registry.stir());
    }

    /// Its status; unknown before the first check has said so, and when the last word has expired.
    pub(super) fn reported(&self) -> Status {
        let health = self.health();
        let is_unknown =
            || health.is_unknown() || self.checker.is_silent(self.reporter.clock.now());
        if self.checker.exists() && is_unknown() { Status::Unknown } else { health.status() }
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
            registries.retain(|known| known.strong_count() > 0 && !known.ptr_eq(&registry));
            registries.push(registry);
            registries
        });
    }

    /// Whether a call may pass: while up always, while down one in so many and one in so long.
    #[inline]
    pub(super) fn lets_through(&self) -> bool {
        self.health().status() == Status::Up || self.is_its_turn()
    }

    #[cold]
    fn is_its_turn(&self) -> bool {
        let one_in = self.probe_one_in.load(Ordering::Relaxed);
        if one_in == 0 {
            return false;
        }
        let nth = self.turned_away.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let (now, probed) = (self.reporter.clock.now(), self.probed.load(Ordering::Relaxed));
        if nth.is_multiple_of(one_in) {
            self.probed.store(now.0, Ordering::Relaxed);
            return true;
        }
        // Of those who come at the same time one passes.
        let swap = || {
            self.probed
                .compare_exchange(probed, now.0, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        };
        now.since(Tick(probed)) >= self.probe_interval.load(Ordering::Relaxed) && swap()
    }

    /// Leaves a waker for when it goes down. Returns `false` if it is down.
    pub(super) fn wait(&self, slot: &mut WakerSlot, waker: &Waker) -> bool {
        self.wakers.wait(slot, waker, || self.status() == Status::Up)
    }

    pub(super) fn leave(&self, slot: &mut WakerSlot) {
        self.wakers.leave(slot);
    }

    /// A live call ended, and said this of the dependency.
    #[inline]
    pub(super) fn note_end(&self, health: outcome::Signal, recorder: Recorder) {
        match health {
            outcome::Signal::Success => self.passive(Input::Success),
            outcome::Signal::Failure => self.passive(Input::Failure),
            outcome::Signal::Pushback | outcome::Signal::Ignored => {}
        }
        let fresh = |fresh: &Handles<'_, _>| self.set_up(fresh);
        self.reporter
            .meter
            .with_recorder(recorder, fresh, |handles| handles.counted(health.into()));
    }

    #[inline]
    fn passive(&self, input: Input) {
        if input == Input::Success && Health::is_quiet(self.word.load(Ordering::Relaxed)) {
            return;
        }
        let params = self.params();
        if params.passive {
            self.step(&Params { initial_rise: params.rise, ..params }, input, "call");
        }
    }

    /// A check ended.
    pub(super) fn checked(&self, how: Checked, took: Duration, error: Option<String>) {
        self.meter(|handles| handles.record(&handles.own.seconds, took));
        self.heard(how, error, &self.params(), "check");
    }

    /// The dependency said how it is. It knows, so there is nothing to confirm: one word is enough.
    pub(super) fn told(&self, error: Option<String>) {
        let how = if error.is_none() { Checked::Success } else { Checked::Failure };
        let at_once = Params { rise: 1, initial_rise: 1, fall: 1, ..self.params() };
        self.heard(how, error, &at_once, "update");
    }

    /// It could not be heard how the dependency is.
    pub(super) fn lost(&self, how: Checked, error: String) {
        self.heard(how, Some(error), &self.params(), "check");
    }

    fn heard(&self, how: Checked, error: Option<String>, params: &Params, cause: &'static str) {
        if how == Checked::Success {
            if self.last_error.get().is_some() {
                self.last_error.set(None);
            }
        } else {
            self.last_error.set(error.map(Arc::from));
        }
        self.meter(|handles| {
            handles.own.checks.iter().for_each(Counter::touch); // there may be none to count at all
            handles.increment(&handles.own.checks[how as usize]);
        });
        self.still_holds();
        let input = if how == Checked::Success { Input::Success } else { Input::Failure };
        self.step(params, input, cause);
        self.tell_registries(); // changed or not: a recorder may have come meanwhile
    }

    fn step(&self, params: &Params, input: Input, cause: &'static str) {
        self.change(cause, |health| health.step(params, input));
    }

    /// `cause` is the word for it in events.
    fn change(&self, cause: &'static str, mut change: impl FnMut(&mut Health) -> Option<Status>) {
        let (mut after, mut changed) = (self.health(), None);
        let step = |word| {
            after = Health::unpack(word);
            changed = change(&mut after);
            Some(after.pack())
        };
        let _ = self.word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, step);
        self.set_level();
        if let Some(status) = changed {
            if status == Status::Down {
                self.probed.store(self.reporter.clock.now().0, Ordering::Relaxed);
                self.wakers.wake();
            }
            self.announce(after.changes, status, cause);
            self.checker.turn(); // the next check may be due at another time
        }
    }

    fn announce(&self, number: u32, status: Status, cause: &'static str) {
        let at = self.reporter.clock.now();
        self.latest.send_if_modified(|latest| {
            let newer = number.wrapping_sub(latest.number) < u32::MAX / 2;
            if newer {
                *latest = Latest { number, status, at };
            }
            newer
        });
        let context = EventContext { key: None, seq: u64::from(number) };
        let from = if status == Status::Up { Status::Down } else { Status::Up };
        let (from, to) = (from.as_str(), status.as_str());
        let changed = EventKind::Changed { from, to, cause, measurement: Measurement::Nothing };
        self.reporter.tell(context, at, changed);
        self.tell_registries();
    }

    fn tell_registries(&self) {
        let registries = self.registries.get();
        registries.iter().filter_map(Weak::upgrade).for_each(|registry| registry.look());
    }

    // ----- telling -----

    pub(super) fn reject(&self, reason: Reason) -> Rejected {
        self.reporter.reject_with(|fresh| self.set_up(fresh), reason, Measurement::Nothing)
    }

    /// Runs `record` with the metric handles, if anybody records.
    pub(super) fn meter(&self, record: impl FnOnce(&Handles<'_, HealthMeter>)) {
        self.reporter.meter.with(|fresh| self.set_up(fresh), record);
    }

    fn set_level(&self) {
        self.reporter.meter(|handles| self.set_up(handles));
    }

    fn set_up(&self, handles: &Handles<'_, HealthMeter>) {
        handles.set(&handles.own.up, f64::from(u8::from(self.status() == Status::Up)));
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health")
            .field("origin", &self.reporter.origin)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
