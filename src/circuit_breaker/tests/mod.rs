//! The law, stepped by hand: no runtime, no clock, no threads.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "tests compute with small numbers"
)]

mod abandoned;
mod agreement;
mod explore;
mod extremes;
mod figures;
mod forgetting;
mod impatient;
mod keys;
#[cfg(seawall_loom)]
mod loom;
mod model;
mod rests;
mod rules;
mod states;
mod steering;

use std::time::Duration;

use super::config::Config;
use super::law::Law;
use super::machine::Breaker;
use crate::circuit_breaker::engine::step::{Command, Effect, Input, Pass, Verdict};
use crate::event::{Change, State};
use crate::outcome::{Health, Sample};
use crate::time::{Tick, nanos};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
const YEAR: u64 = 365 * 24 * 3600 * SECOND;

/// One machine, and the time and chance it is told of. Every step is held to the laws that hold for
/// all of them.
#[derive(Debug, Clone)]
struct Lab {
    law: Law,
    machine: Breaker,
    now: Tick,
    /// What an answer usually takes, if that was measured.
    usual: Option<u64>,
    /// What the machine draws next; the highest makes a rest its longest.
    draw: u64,
    changes: Vec<Change>,
}

impl Lab {
    fn new(config: &Config) -> Self {
        let law = Law::from_config(config).unwrap();
        let machine = Breaker::new(&law);
        Self { law, machine, now: Tick::ZERO, usual: Some(MS), draw: u64::MAX, changes: Vec::new() }
    }

    fn with(turn: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        turn(&mut config);
        Self::new(&config)
    }

    fn step(&mut self, input: Input) -> Effect {
        let (state, era) = (self.machine.state(), self.era());
        let effect = self.machine.step(&self.law, self.now, self.draw, input);
        let mut path = state;
        for change in effect.changes.iter().flatten() {
            assert_eq!(change.from, path, "a change starts where the last one ended");
            assert_ne!(change.from, change.to, "a state never changes into itself");
            path = change.to;
            self.changes.push(*change);
        }
        assert_eq!(path, self.machine.state(), "no change goes unreported");
        assert!(self.era() >= era, "eras only grow");
        assert!(path == state || self.era() > era, "each state is an era of its own");
        effect
    }

    fn state(&self) -> State {
        self.machine.state()
    }

    fn era(&self) -> u64 {
        self.machine.digest(&self.law).era
    }

    fn wait(&mut self, nanos: u64) {
        self.now = self.now.plus(nanos);
    }

    fn try_admit(&mut self) -> Option<Pass> {
        match self.step(Input::Admit).verdict {
            Verdict::Admit(pass) => Some(pass),
            Verdict::Refuse { .. } => None,
            other => panic!("not an answer to an Admit: {other:?}"),
        }
    }

    /// A call that is let through, and that its service left pending.
    fn admit(&mut self) -> Pass {
        let mut pass = self.try_admit().expect("admitted");
        pass.pending = true;
        pass
    }

    fn settle(&mut self, pass: Pass, health: Health) -> Effect {
        self.step(Input::Settle { pass, sample: sample(health) })
    }

    /// A call is given up that has waited in vain for longer than answers take.
    fn abandon(&mut self, pass: Pass) -> Effect {
        self.leave(pass, SECOND)
    }

    /// A call is given up after it has waited so long.
    fn leave(&mut self, pass: Pass, waited: u64) -> Effect {
        self.step(Input::Abandon { pass, waited: Some(waited), usual: self.usual })
    }

    fn command(&mut self, command: Command) {
        let _ = self.step(Input::Command(command));
    }

    /// A call, at once answered so.
    fn call(&mut self, health: Health) -> Effect {
        let pass = self.admit();
        self.settle(pass, health)
    }

    fn calls(&mut self, health: Health, times: usize) {
        for _ in 0..times {
            let _ = self.call(health);
        }
    }

    /// Fails until the circuit opens, and says how many calls that took.
    fn trip(&mut self) -> usize {
        assert_eq!(self.state(), State::Closed);
        for nth in 1..100_000 {
            let _ = self.call(Health::Bad);
            if self.state() == State::Open {
                return nth;
            }
        }
        panic!("never opened");
    }

    /// Waits for the rest to end.
    fn rest(&mut self) {
        self.now = self.machine.probes_at().expect("open");
    }

    /// How long the rest lasts from now.
    fn rest_left(&self) -> u64 {
        self.machine.probes_at().expect("open").since(self.now)
    }

    /// Succeeds until the circuit closes, and says how many probes that took.
    fn recover(&mut self) -> usize {
        self.rest();
        for nth in 1..100 {
            let _ = self.call(Health::Good);
            if self.state() == State::Closed {
                return nth;
            }
        }
        panic!("never closed");
    }
}

fn sample(health: Health) -> Sample {
    Sample { health, took: None, hint: None }
}

fn hint(health: Health, hint: Duration) -> Sample {
    Sample { hint: Some(nanos(hint)), ..sample(health) }
}

fn config(cases: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config { cases, failure_persistence: None, ..Default::default() }
}
