//! What an operator does: the switch, the settings, the drain.

use seawall::circuit_breaker::Position;
use seawall::testing::CountingWaker;

use super::{HELD_OPEN, Hand, World};
use crate::script::{Op, time_limit};
use crate::stacks::{KEYS, breaker_config, key};

impl World<'_> {
    pub(super) fn switch(&mut self, arg: u8) {
        let number = u32::from(arg / 8) % KEYS;
        let position = [Position::Open, Position::Closed, Position::Auto, Position::Auto];
        let position = position[usize::from(arg / 2 % 4)];
        let Some(breaker) = self.stack.breaker.of(number) else { return };
        let mut switch = breaker.switch(Position::Auto);
        switch.set(position);
        let is_open = position == Position::Open;
        self.hands[usize::from(arg % 2)] = Some(Hand { _switch: switch, is_open, number });
        self.lift_bars();
    }

    pub(super) fn is_held_open(&self, number: u32) -> bool {
        let has_keys = self.stack.has_keys();
        let of_it = |hand: &Hand| hand.is_open && (!has_keys || key(hand.number) == key(number));
        self.hands.iter().flatten().any(of_it)
    }

    /// Who was barred by a hand that has let go may get through in a later attempt.
    pub(super) fn lift_bars(&mut self) {
        let live: Vec<_> = self.calls.iter().map(|call| call.number).collect();
        for number in live.into_iter().filter(|number| !self.is_held_open(*number)) {
            let facts = &mut self.dependency.books().facts[number as usize];
            if facts.barred == Some(HELD_OPEN) {
                facts.barred = None;
            }
        }
    }

    pub(super) fn drain(&mut self, at: usize) {
        if self.drains.len() >= 4 {
            return;
        }
        let (mut drain, task) = ((self.stack.layers[at].drain)(), CountingWaker::new());
        if task.poll(&mut drain).is_pending() {
            self.drains.push((at, drain, task));
        }
        self.drained = true;
    }

    /// Every setting here is valid.
    pub(super) fn turn(&mut self, op: Op) {
        match op {
            Op::ReloadBulkhead(arg) => {
                let mut config = self.stack.bulkhead.config();
                config.limit = 1 + u32::from(arg % 4);
                config.queue = u32::from(arg / 4 % 4);
                self.limit = config.limit as usize;
                self.ceiling = self.ceiling.max(self.limit);
                self.stack.bulkhead.reload(config).unwrap();
            }
            Op::ReloadRetry(arg) => {
                let mut config = self.stack.retry.config();
                config.attempts = 1 + u32::from(arg % 4);
                self.attempts = config.attempts;
                self.stack.retry.reload(config).unwrap();
                let mut books = self.dependency.books();
                for call in &self.calls {
                    let most = &mut books.facts[call.number as usize].most;
                    *most = (*most).max(self.attempts);
                }
            }
            Op::ReloadTimeout(arg) => {
                if let Some(timeout) = &self.stack.timeout {
                    let mut config = timeout.config();
                    config.limit = time_limit(arg);
                    self.least_limit = self.least_limit.min(config.limit);
                    timeout.reload(config).unwrap();
                }
            }
            Op::ReloadBreaker(arg) => {
                let config = breaker_config(arg % 4, arg / 4 % 4);
                self.stack.breaker.turn(config);
            }
            Op::ReloadHealth(arg) => {
                if let Some(health) = &self.stack.health {
                    let mut config = health.config();
                    config.fall = 1 + u32::from(arg % 3);
                    config.rise = 1 + u32::from(arg / 4 % 3);
                    health.reload(config).unwrap();
                }
            }
            _ => {}
        }
    }
}
