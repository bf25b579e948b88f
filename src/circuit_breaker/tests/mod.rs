//! The algorithm, stepped by hand: no runtime, no clock, no threads.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "tests compute with small numbers"
)]

mod abandoned;
mod agreement;
mod breaks;
mod explore;
mod extremes;
mod figures;
mod forgetting;
mod impatient;
mod keys;
#[cfg(seawall_loom)]
mod loom;
mod model;
mod rules;
mod states;
mod steering;

use std::time::Duration;

use super::config::Config;
use super::machine::Breaker;
use super::params::Params;
use crate::circuit_breaker::engine::step::{Command, Decision, Effect, Input, Pass};
use crate::circuit_breaker::transition::{State, Transition};
use crate::core::outcome::{Sample, Signal};
use crate::core::time::{Tick, nanos};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
const YEAR: u64 = 365 * 24 * 3600 * SECOND;

/// One machine, and the time and chance it is told of. Every step is held to the parameters that hold for
/// all of them.
#[derive(Debug, Clone)]
struct Lab {
    params: Params,
    machine: Breaker,
    now: Tick,
    /// What an answer usually takes, if that was measured.
    usual: Option<u64>,
    /// What the machine draws next; the highest makes a break its longest.
    draw: u64,
    changes: Vec<Transition>,
}

impl Lab {
    fn new(config: &Config) -> Self {
        let params = Params::from_config(config).unwrap();
        let machine = Breaker::new(&params);
        Self {
            params,
            machine,
            now: Tick::ZERO,
            usual: Some(MS),
            draw: u64::MAX,
            changes: Vec::new(),
        }
    }

    fn with(turn: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        turn(&mut config);
        Self::new(&config)
    }

    fn step(&mut self, input: Input) -> Effect {
        let (state, epoch) = (self.machine.state(), self.epoch());
        let effect = self.machine.step(&self.params, self.now, self.draw, input);
        let mut path = state;
        for change in effect.changes.iter().flatten() {
            assert_eq!(change.from, path, "a change starts where the last one ended");
            assert_ne!(change.from, change.to, "a state never changes into itself");
            path = change.to;
            self.changes.push(*change);
        }
        assert_eq!(path, self.machine.state(), "no change goes unreported");
        assert!(self.epoch() >= epoch, "epochs only grow");
        assert!(path == state || self.epoch() > epoch, "each state is an epoch of its own");
        effect
    }

    fn state(&self) -> State {
        self.machine.state()
    }

    fn epoch(&self) -> u64 {
        self.machine.digest(&self.params).epoch
    }

    fn wait(&mut self, nanos: u64) {
        self.now = self.now.plus(nanos);
    }

    fn try_admit(&mut self) -> Option<Pass> {
        match self.step(Input::Admit).decision {
            Decision::Admit(pass) => Some(pass),
            Decision::Reject { .. } => None,
            other => panic!("not an answer to an Admit: {other:?}"),
        }
    }

    /// A call that is let through, and that its service left pending.
    fn admit(&mut self) -> Pass {
        let mut pass = self.try_admit().expect("admitted");
        pass.pending = true;
        pass
    }

    fn settle(&mut self, pass: Pass, signal: Signal) -> Effect {
        self.step(Input::CallGuard { pass, sample: sample(signal) })
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
    fn call(&mut self, signal: Signal) -> Effect {
        let pass = self.admit();
        self.settle(pass, signal)
    }

    fn calls(&mut self, signal: Signal, times: usize) {
        for _ in 0..times {
            let _ = self.call(signal);
        }
    }

    /// Fails until the circuit opens, and says how many calls that took.
    fn trip(&mut self) -> usize {
        assert_eq!(self.state(), State::Closed);
        for nth in 1..100_000 {
            let _ = self.call(Signal::Failure);
            if self.state() == State::Open {
                return nth;
            }
        }
        panic!("never opened");
    }

    /// Waits for the rest to end.
    fn break_duration(&mut self) {
        self.now = self.machine.probes_at().expect("open");
    }

    /// How long the break lasts from now.
    fn break_left(&self) -> u64 {
        self.machine.probes_at().expect("open").since(self.now)
    }

    /// Succeeds until the circuit closes, and says how many probes that took.
    fn recover(&mut self) -> usize {
        self.break_duration();
        for nth in 1..100 {
            let _ = self.call(Signal::Success);
            if self.state() == State::Closed {
                return nth;
            }
        }
        panic!("never closed");
    }
}

fn sample(signal: Signal) -> Sample {
    Sample { signal, took: None, retry_after: None }
}

fn requested_delay(signal: Signal, retry_after: Duration) -> Sample {
    Sample { retry_after: Some(nanos(retry_after)), ..sample(signal) }
}

fn config(cases: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config { cases, failure_persistence: None, ..Default::default() }
}
