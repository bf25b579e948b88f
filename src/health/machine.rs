//! The algorithm of a health check: when it is up, and when it is down.

use std::time::Duration;

use super::config::{Config, PROBE_ONE_IN};
use crate::core::config::{ConfigError, ConfigErrors, Written};
use crate::core::time::nanos;
use crate::health::status::Status;

/// Config made ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Params {
    pub(crate) rise: u32,
    pub(crate) initial_rise: u32,
    pub(crate) fall: u32,
    pub(crate) probe_one_in: u32,
    /// Nanoseconds.
    pub(crate) probe_interval: u64,
    pub(crate) passive: bool,
    /// Nanoseconds, least and most.
    pub(crate) interval: (u64, u64),
    /// The same while down.
    pub(crate) down_interval: (u64, u64),
    /// Nanoseconds.
    pub(crate) timeout: u64,
}

/// One health, small enough to be one atomic word.
///
/// ```text
///   ┌────┐ ── `fall` bad in a row ─▶ ┌──────┐
///   │ Up │                           │ Down │
///   └────┘ ◀─ `rise` good in a row ─ └──────┘
/// ```
///
/// At the start `initial_rise` good ones are enough. The start is over with the first successful check while
/// up and with the first change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Health {
    up: bool,
    start: Start,
    /// Checks in a row that spoke against the status.
    against: u16,
    /// Changes so far.
    pub(crate) changes: u32,
}

/// What is known since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Start {
    /// Nothing.
    Unheard,
    /// Too little to say that it is up.
    Heard,
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Input {
    Success,
    Failure,
}

impl Health {
    pub(crate) const fn new(initial: Status) -> Self {
        let up = !matches!(initial, Status::Down);
        Self { up, start: Start::Unheard, against: 0, changes: 0 }
    }

    pub(crate) const fn status(self) -> Status {
        if self.up { Status::Up } else { Status::Down }
    }

    /// The one door. Returns the new status, if it changed.
    pub(crate) fn step(&mut self, params: &Params, input: Input) -> Option<Status> {
        let limit = match (self.up, self.start) {
            (true, _) => params.fall,
            (false, Start::Over) => params.rise,
            (false, _) => params.initial_rise,
        };
        self.start = self.start.max(Start::Heard);
        let speaks_against = (input == Input::Failure) == self.up;
        if !speaks_against {
            if self.up {
                self.start = Start::Over;
            }
            self.against = 0;
            return None;
        }
        self.against = self.against.saturating_add(1);
        if u32::from(self.against) < limit {
            return None;
        }
        self.start = Start::Over;
        Some(self.flip())
    }

    /// What it is taken for until it is known was turned.
    pub(crate) fn take_initial(&mut self, initial: Status) -> Option<Status> {
        (self.start != Start::Over && self.status() != initial).then(|| self.flip())
    }

    fn flip(&mut self) -> Status {
        self.up = !self.up;
        self.against = 0;
        self.changes = self.changes.wrapping_add(1);
        self.status()
    }

    /// Whether nothing that was heard says what it is: it is up, or down, only by its initial status.
    pub(crate) const fn is_unknown(self) -> bool {
        match self.start {
            Start::Unheard => true,
            Start::Heard => self.up,
            Start::Over => false,
        }
    }

    /// Whether it is up by what was heard.
    pub(crate) const fn is_surely_up(self) -> bool {
        self.up && matches!(self.start, Start::Over)
    }

    /// Whether one more good call would change nothing; asked after each, so without unpacking.
    pub(crate) const fn is_quiet(word: u64) -> bool {
        const CHANGES: u64 = !0 << 32;
        const QUIET: u64 = Health { up: true, start: Start::Over, against: 0, changes: 0 }.pack();
        word & !CHANGES == QUIET
    }

    pub(crate) const fn pack(self) -> u64 {
        (self.changes as u64) << 32
            | (self.start as u64) << 17
            | (self.against as u64) << 1
            | self.up as u64
    }

    pub(crate) const fn unpack(word: u64) -> Self {
        let start = match word >> 17 & 3 {
            0 => Start::Unheard,
            1 => Start::Heard,
            _ => Start::Over,
        };
        let (against, changes) = ((word >> 1) as u16, (word >> 32) as u32);
        Self { up: word & 1 == 1, start, against, changes }
    }
}

impl Params {
    /// Everything that is wrong with the settings, or the algorithm they make; `checked` says whether there
    /// is a check, or live calls alone.
    pub(crate) fn from_config(config: &Config, checked: bool) -> Result<Self, ConfigErrors> {
        Self::from_written(config, checked, &Written::default())
    }

    /// The same for settings of which some are known to have been written.
    pub(crate) fn from_written(
        config: &Config,
        checked: bool,
        written: &Written,
    ) -> Result<Self, ConfigErrors> {
        ConfigErrors::none_of(Self::problems(config, checked, written))?;
        Ok(Self::of(config, checked))
    }

    fn problems(config: &Config, checked: bool, written: &Written) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        let mut wrong = |field, value: &dyn std::fmt::Debug, accepted: &'static str| {
            problems.push(ConfigError::new(field, value, accepted));
        };
        if config.interval.is_zero() {
            wrong("interval", &config.interval, "longer than zero");
        }
        if config.down_interval == Some(Duration::ZERO) {
            wrong("down_interval", &Duration::ZERO, "longer than zero");
        }
        if !(0.0..=1.0).contains(&config.jitter) {
            wrong("jitter", &config.jitter, "0 to 1");
        }
        if config.timeout.is_zero() {
            wrong("timeout", &config.timeout, "longer than zero");
        }
        let rises =
            [("rise", config.rise), ("initial_rise", config.initial_rise), ("fall", config.fall)];
        for (field, value) in rises {
            if !(1..=10_000).contains(&value) {
                wrong(field, &value, "1 to 10000");
            }
        }
        if !matches!(config.initial, Status::Up | Status::Down) {
            wrong("initial", &config.initial, "up or down");
        }
        if config.probe_interval.is_zero() {
            wrong("probe_interval", &config.probe_interval, "longer than zero");
        }
        if !checked && !config.passive && written.has("passive") {
            wrong(
                "passive",
                &config.passive,
                "true where there is no check: nothing would ever change",
            );
        }
        let lets_none = config.probe_one_in == 0 && written.has("probe_one_in");
        if !checked && config.passive && lets_none {
            let accepted = "1 or more where there is no check: once down it would stay down";
            wrong("probe_one_in", &config.probe_one_in, accepted);
        }
        problems
    }

    /// The parameters of settings with which nothing is wrong. Where live calls alone say how it is, they are
    /// learnt from, and some are let through: settings that would leave it as it is for ever were not
    /// written, or rejected.
    pub(crate) fn of(config: &Config, checked: bool) -> Self {
        let probe_one_in = match config.probe_one_in {
            0 if !checked => PROBE_ONE_IN,
            one_in => one_in,
        };
        let per_mille = (config.jitter * 1000.0).round() as u64;
        let spread = |interval| {
            let interval = nanos(interval);
            let spread = (u128::from(interval) * u128::from(per_mille) / 1000) as u64;
            (interval - spread, interval.saturating_add(spread))
        };
        Self {
            rise: config.rise,
            initial_rise: config.initial_rise,
            fall: config.fall,
            probe_one_in,
            probe_interval: nanos(config.probe_interval),
            passive: config.passive || !checked,
            interval: spread(config.interval),
            down_interval: spread(config.down_interval.unwrap_or(config.interval)),
            timeout: nanos(config.timeout),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::explore::{LONG, stories};
    use proptest::prelude::*;

    fn params(rise: u32, fall: u32) -> Params {
        Params { rise, initial_rise: rise, fall, ..Params::of(&Config::default(), true) }
    }

    /// The fields that are complained of.
    fn complaints(checked: bool, turn: impl FnOnce(&mut Config)) -> Vec<&'static str> {
        let (mut config, mut written) = (Config::default(), Written::default());
        turn(&mut config);
        written.add("passive");
        written.add("probe_one_in");
        let problems = Params::problems(&config, checked, &written);
        problems.into_iter().map(|problem| problem.field).collect()
    }

    #[test]
    fn settings_are_accepted_up_to_their_bounds_and_no_further() {
        const NONE: [&str; 0] = [];
        for accepted in [1, 10_000] {
            let turn = |config: &mut Config| (config.rise, config.fall) = (accepted, accepted);
            assert_eq!(complaints(true, turn), NONE);
        }
        for rejected in [0, 10_001] {
            let turn = |config: &mut Config| (config.rise, config.fall) = (rejected, rejected);
            assert_eq!(complaints(true, turn), ["rise", "fall"]);
            assert_eq!(complaints(true, |config| config.initial_rise = rejected), ["initial_rise"]);
        }
        for (jitter, wrong) in [(0.0, false), (1.0, false), (-0.1, true), (1.1, true)] {
            assert_eq!(!complaints(true, |config| config.jitter = jitter).is_empty(), wrong);
        }
        let zero = |config: &mut Config| {
            (config.interval, config.timeout) = (Duration::ZERO, Duration::ZERO);
        };
        assert_eq!(complaints(true, zero), ["interval", "timeout"]);
        let zero = |config: &mut Config| {
            (config.down_interval, config.probe_interval) = (Some(Duration::ZERO), Duration::ZERO);
        };
        assert_eq!(complaints(true, zero), ["down_interval", "probe_interval"]);
        assert_eq!(complaints(true, |config| config.initial = Status::Degraded), ["initial"]);
    }

    #[test]
    fn without_a_check_something_else_must_bring_it_back() {
        for (checked, passive, probe_one_in, complaint) in [
            (true, false, 0, None),
            (true, true, 0, None),
            (false, true, 1, None),
            (false, true, 0, Some("probe_one_in")),
            (false, false, 0, Some("passive")),
            (false, false, 1, Some("passive")),
        ] {
            let turn = |config: &mut Config| {
                (config.passive, config.probe_one_in) = (passive, probe_one_in);
            };
            assert_eq!(complaints(checked, turn).into_iter().next(), complaint);
            assert_eq!(complaints(checked, turn).len(), usize::from(complaint.is_some()));
        }
    }

    #[test]
    fn an_interval_is_spread_by_its_jitter_to_both_sides() {
        const SECOND: u64 = 1_000_000_000;
        let of = |jitter| {
            let interval = Duration::from_secs(10);
            Params::of(&Config { interval, jitter, ..Config::default() }, true).interval
        };
        assert_eq!(of(0.0), (10 * SECOND, 10 * SECOND));
        assert_eq!(of(0.3), (7 * SECOND, 13 * SECOND));
        assert_eq!(of(1.0), (0, 20 * SECOND));
    }

    // pitfall B35
    #[test]
    fn alternating_checks_change_nothing() {
        for initial in [Status::Up, Status::Down] {
            let mut health = Health::new(initial);
            for _ in 0..100 {
                assert_eq!(health.step(&params(2, 2), Input::Failure), None);
                assert_eq!(health.step(&params(2, 2), Input::Success), None);
            }
        }
    }

    proptest! {
        // pitfall B35
        #[test]
        fn it_changes_when_the_last_so_many_all_spoke_against_it(
            rise in 1_u32..5, fall in 1_u32..5, checks in prop::collection::vec(any::<bool>(), 0..200)
        ) {
            agree(rise, fall, &checks)?;
        }
    }

    #[test]
    fn it_does_so_however_long_the_story() {
        let story = (1_u32..5, 1_u32..5, prop::collection::vec(any::<bool>(), LONG));
        for (rise, fall, checks) in stories(8, story) {
            let changes = agree(rise, fall, &checks).expect("it agrees");
            assert!(changes > 100, "{changes} changes");
        }
    }

    /// Holds it against the list of all checks, and returns how often it changed.
    fn agree(rise: u32, fall: u32, checks: &[bool]) -> Result<u32, TestCaseError> {
        let (params, mut health) = (params(rise, fall), Health::new(Status::Up));
        let (mut up, mut since) = (true, 0);
        for (nth, good) in checks.iter().enumerate() {
            let input = if *good { Input::Success } else { Input::Failure };
            let changed = health.step(&params, input);
            let limit = if up { fall } else { rise } as usize;
            let seen = &checks[since..=nth];
            let against = seen.iter().rev().take_while(|good| **good != up).count();
            if against >= limit {
                (up, since) = (!up, nth + 1);
                prop_assert!(changed.is_some());
            } else {
                prop_assert_eq!(changed, None);
            }
            prop_assert_eq!(health.status() == Status::Up, up);
            prop_assert_eq!(Health::unpack(health.pack()), health);
            // The shell keeps to itself what would change nothing.
            let mut after = health;
            let _ = after.step(&params, Input::Success);
            prop_assert_eq!(Health::is_quiet(health.pack()), after == health);
        }
        Ok(health.changes)
    }
}
