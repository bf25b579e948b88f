//! What must hold after each thing that happens.

use seawall::circuit_breaker::State;
use seawall::{CallError, Error, Reason, Rejected};

use super::{Asked, Broken, Flying, World, note, now, rule};
use crate::dependency::Fail;

impl World<'_> {
    /// After each thing that happens.
    pub(super) fn check(&mut self) -> Broken {
        let mut books = self.dependency.books();
        if let Some(breach) = books.breaches.first() {
            return Err(breach.clone());
        }
        let live = self.calls.len();
        let (alive, reserved, ceiling) = (books.alive, books.reserved, self.ceiling);
        let peak = std::mem::replace(&mut books.peak, alive);
        drop(books);
        rule(peak <= ceiling, || format!("{peak} inner calls at a time, and room for {ceiling}"))?;
        rule(alive <= live, || format!("{alive} inner calls for {live} calls"))?;
        let ready = self.services.iter().filter(|slot| slot.state == Asked::IsReady);
        let holders = live + ready.count();
        rule(reserved <= holders, || format!("{reserved} reservations of {holders} holders"))?;
        let inside = self.stack.bulkhead.in_flight() as usize;
        let queued = self.stack.bulkhead.queued() as usize;
        rule(inside <= ceiling, || format!("{inside} in a bulkhead with room for {ceiling}"))?;
        rule(alive <= inside, || format!("{alive} inner calls, {inside} in the bulkhead"))?;
        rule(inside + queued <= live, || {
            format!("{inside} in the bulkhead and {queued} in its queue, of {live} calls")
        })?;
        // Those who were in when the limit shrank may stay.
        self.ceiling = inside.max(self.limit);
        for layer in &self.stack.layers {
            let in_flight = (layer.in_flight)();
            rule(in_flight <= live, || {
                format!("{in_flight} in flight by the count of {}, of {live} calls", layer.label)
            })?;
        }
        for hand in self.hands.iter().flatten().filter(|hand| hand.is_open) {
            let state = self.stack.breaker.of(hand.number).map(|breaker| breaker.state());
            // A drained layer has forgotten its keys.
            let is = state.map_or(self.drained, |state| state == State::ForcedOpen);
            rule(is, || format!("it is held open, and {state:?}"))?;
        }
        note(self.seen, "queued", u64::from(queued > 0));
        Ok(())
    }

    /// One answer for each call, of a kind that it may have.
    pub(super) fn may_answer(&mut self, call: &Flying, answer: &Result<u32, Fail>) -> Broken {
        let number = call.number;
        let books = self.dependency.books();
        let facts = books.facts[number as usize].clone();
        let readiness_failed = books.readiness_failed;
        drop(books);
        note(self.seen, "repeated", u64::from(facts.inner_calls > 1));
        self.ended = answer.as_ref().err().and_then(CallError::rejected).map(Rejected::reason);
        let may = match answer {
            Ok(said) => {
                self.answered_well += 1;
                note(self.seen, "answered well", 1);
                facts.answered_well && *said == number
            }
            Err(Error::Inner(_)) => {
                note(self.seen, "failed", 1);
                facts.failed || readiness_failed
            }
            Err(Error::Rejected(why)) => {
                note(self.seen, why.reason().as_str(), 1);
                let waited = now() - call.began;
                let by = why.origin().layer();
                match why.reason() {
                    Reason::CircuitOpen => by == "circuit_breaker",
                    Reason::Full | Reason::QueueTimeout => by == "bulkhead",
                    Reason::Unhealthy => by == "health" && self.stack.health.is_some(),
                    Reason::Draining => self.drained,
                    Reason::TimedOut => waited >= self.least_limit,
                    Reason::DeadlineExceeded => self.plan.propagates,
                    _ => false,
                }
            }
        };
        let waited = now() - call.began;
        rule(may, || format!("call {number} ended after {waited:?} with {answer:?}: {facts:?}"))
    }
}
