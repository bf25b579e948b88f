//! Every state that a breaker and its callers can reach, within bounds, held to what must hold in
//! each. `docs/correctness.md` lists the bounds and the invariants.

mod promises;
mod world;

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::*;
use crate::circuit_breaker::engine::step::PassKind;
use crate::circuit_breaker::transition::TransitionCause;
use crate::circuit_breaker::{Abandonment, Trip};
use crate::core::explore::{Model, Report, explore, holds, scale};
use world::World;

/// Two sets of settings that hands switch between, and how far to look.
struct Case {
    all_params: [Params; 2],
    /// Calls in flight at a time.
    calls: usize,
    /// Changes of state and resets.
    eras: u64,
    /// Time, in steps of a millisecond.
    span: u64,
    /// Answers in an epoch, where they could go on for ever and each be a state of its own.
    answers: Option<u32>,
    hands: &'static [Command],
    retry_after: Option<u64>,
    seen: RefCell<BTreeSet<String>>,
}

/// What can happen. `draw`: chance, at either end.
#[derive(Debug, Clone, Copy)]
enum Step {
    Admit {
        draw: u64,
    },
    /// The service leaves a call pending for the first time.
    Pend {
        call: usize,
    },
    CallGuard {
        call: usize,
        signal: Signal,
        retry_after: Option<u64>,
        draw: u64,
    },
    Overdue {
        call: usize,
        draw: u64,
    },
    Abandon {
        call: usize,
        draw: u64,
    },
    Wait(u64),
    Order(Command),
    Turn,
}

const DRAWS: [u64; 2] = [0, u64::MAX];
const HEALTHS: [Signal; 4] = [Signal::Success, Signal::Failure, Signal::Pushback, Signal::Ignored];
const HANDS: [Command; 5] = [
    Command::Reset,
    Command::HoldOpen,
    Command::ReleaseOpen,
    Command::HoldClosed,
    Command::ReleaseClosed,
];

impl Model for Case {
    type State = World;
    type Step = Step;

    fn start(&self) -> World {
        World::new(&self.all_params[0])
    }

    fn steps(&self, world: &World) -> Vec<Step> {
        let params = &self.all_params[world.params];
        let mut steps = vec![Step::Wait(MS), Step::Turn];
        steps.extend(self.hands.iter().map(|hand| Step::Order(*hand)));
        let is_full = world.flying.len() >= self.calls;
        for draw in DRAWS {
            if !is_full {
                steps.push(Step::Admit { draw });
            }
            for (call, pass) in world.flying.iter().enumerate() {
                if call > 0 && world.flying[call - 1] == *pass {
                    continue; // its twin does
                }
                let retry_afters = [None, self.retry_after];
                for retry_after in &retry_afters[..=usize::from(self.retry_after.is_some())] {
                    steps.extend(HEALTHS.map(|signal| Step::CallGuard {
                        call,
                        signal,
                        retry_after: *retry_after,
                        draw,
                    }));
                }
                steps.push(Step::Abandon { call, draw });
                if pass.pending && !pass.overdue && params.slow_after.is_some() {
                    steps.push(Step::Overdue { call, draw });
                }
                if !pass.pending && pass.epoch == world.epoch() {
                    steps.push(Step::Pend { call });
                }
            }
        }
        steps
    }

    fn take(&self, world: &mut World, step: &Step) -> Result<(), String> {
        let effect = match *step {
            Step::Wait(nanos) => {
                world.now = world.now.plus(nanos);
                return Ok(());
            }
            Step::Pend { call } => {
                world.pend(&self.all_params[world.params], call);
                return Ok(());
            }
            Step::Admit { draw } => world.admit(&self.all_params, draw),
            Step::CallGuard { call, signal, retry_after, draw } => {
                world.settle(&self.all_params, call, signal, retry_after, draw)
            }
            Step::Overdue { call, draw } => world.overdue(&self.all_params, call, draw),
            Step::Abandon { call, draw } => world.abandon(&self.all_params, call, draw),
            Step::Order(command) => world.order(&self.all_params, command),
            Step::Turn => world.turn(&self.all_params),
        }?;
        for Transition { from, to, cause, .. } in effect.changes.iter().flatten() {
            self.seen.borrow_mut().insert(format!("{from} → {to}: {cause:?}"));
        }
        world.in_order();
        if self.answers.is_none() || !effect.changes.iter().all(Option::is_none) {
            world.answers = 0;
        }
        Ok(())
    }

    fn check(&self, world: &World) -> Result<(), String> {
        let params = &self.all_params[world.params];
        world.check(&self.all_params)?;
        promises::digest_agrees_with_step(world, params)?;
        promises::there_is_a_way_out(world, params)
    }

    fn is_within(&self, world: &World) -> bool {
        let few = self.answers.is_none_or(|answers| world.answers <= answers);
        few && world.now.0 <= self.span * MS && world.epoch() <= self.eras && world.is_bounded()
    }
}

impl Case {
    /// Small numbers, so that everything happens soon.
    fn new(first: impl FnOnce(&mut Config), second: impl FnOnce(&mut Config)) -> Self {
        let stretch = u64::from(scale() - 1);
        let mut small = Config {
            trip: Trip::consecutive(2),
            break_duration: Duration::from_millis(1),
            max_break_duration: Duration::from_millis(2),
            max_retry_after: Duration::from_millis(1),
            probes: 2,
            close_threshold: 2,
            reopen_threshold: 2,
            ramp: Duration::from_millis(1),
            ..Config::default()
        };
        first(&mut small);
        let params = |config: &Config| {
            let params = Params::from_config(config).unwrap();
            Params {
                probe_wait: MS,
                unmeasured: MS,
                least_wait: MS,
                long_wait: 2,
                cold_wait: 2,
                ..params
            }
        };
        let one = params(&small);
        second(&mut small);
        let other = params(&small);
        Self {
            all_params: [one, other],
            calls: 2,
            eras: 3 + stretch,
            span: 2 + stretch,
            answers: None,
            hands: &[],
            retry_after: None,
            seen: RefCell::default(),
        }
    }

    /// Looks at all of it, and holds the search to having seen every one of `changes`.
    fn run(self, name: &str, changes: &[&str]) -> Report {
        let report = explore(&self).unwrap();
        println!("breaker, {name}: {report}");
        let seen = self.seen.into_inner();
        for change in changes {
            assert!(seen.contains(*change), "never seen: {change}, but {seen:#?}");
        }
        report
    }
}

const LIFE: [&str; 4] = [
    "open → half_open: BreakOver",
    "half_open → closed: ProbesSucceeded",
    "half_open → open: ProbesFailed",
    "half_open → open: ProbesAbandoned",
];

// pitfalls B1, B2, B4, B5
#[test]
fn three_calls_and_no_hands() {
    let case = Case::new(|_| {}, |config| config.probes = 1);
    let report = Case { calls: 3, ..case }.run("three calls", &LIFE);
    assert!(report.states > 1_000, "{report}");
}

// pitfall B5
#[test]
fn two_hands_on_the_switch() {
    let case = Case::new(|_| {}, |config| config.trip = Trip::consecutive(1));
    let changes = [
        "closed → forced_open: Switch",
        "forced_open → closed: Switch",
        "forced_open → forced_closed: Switch",
        "half_open → forced_closed: Switch",
        "half_open → closed: Reset",
        "open → closed: Reset",
    ];
    Case { hands: &HANDS, calls: 1, answers: Some(2), ..case }.run("hands", &changes);
}

// field F9
#[test]
fn a_hand_that_need_not_be_kept() {
    let hands = &[Command::ForceOpen, Command::ForceClosed, Command::Release, Command::HoldOpen];
    let case = Case::new(|_| {}, |config| config.trip = Trip::consecutive(1));
    let changes = [
        "closed → forced_open: Switch",
        "forced_open → closed: Switch",
        "half_open → forced_closed: Switch",
        "forced_closed → closed: Switch",
    ];
    Case { hands, calls: 1, answers: Some(2), ..case }.run("standing hands", &changes);
}

#[test]
fn slow_calls_and_a_slow_start() {
    let slow = |config: &mut Config| {
        let slow = Trip::slow_rate(0.5, Duration::from_millis(1)).over_calls(2).at_least(1);
        config.trip = Trip::consecutive(2).or(slow);
        config.slow_start = Duration::from_millis(2);
        config.abandonment = Abandonment::After(Duration::from_millis(1));
    };
    let case = Case::new(slow, |config| config.probes = 1);
    let changes = [LIFE[0], LIFE[1], LIFE[2], "closed → open: SlowRate"];
    Case { calls: 2, retry_after: Some(2 * MS), ..case }.run("slow calls", &changes);
}

#[test]
fn evidence_that_is_forgotten() {
    let evidence = |config: &mut Config| {
        config.trip = Trip::evidence(0.2, 0.8, 15);
        config.evidence_ttl = Duration::from_millis(1);
    };
    let case = Case::new(evidence, |config| config.abandonment = Abandonment::Failure);
    let changes = [LIFE[0], LIFE[1], LIFE[2], LIFE[3], "closed → open: Evidence"];
    case.run("evidence", &changes);
}

#[test]
fn a_shadow_that_comes_and_goes() {
    let case = Case::new(|_| {}, |config| config.shadow = true);
    Case { hands: &[Command::HoldOpen, Command::ReleaseOpen], ..case }.run("shadow", &LIFE);
}

#[test]
fn a_window_of_calls_and_one_of_time() {
    let rate = |config: &mut Config| {
        config.trip = Trip::failure_rate(0.5).over_calls(3).at_least(2);
        config.abandonment = Abandonment::Ignore;
    };
    let case = Case::new(rate, |config| {
        config.trip = Trip::failure_rate(0.5).over_time(Duration::from_millis(2)).at_least(2);
    });
    let changes = [LIFE[0], LIFE[1], LIFE[2], "closed → open: FailureRate"];
    Case { answers: Some(3), ..case }.run("windows", &changes);
}
