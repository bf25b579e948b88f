//! Every state that a bulkhead and its callers can reach, within bounds.

use super::super::machine::{Effect, Input, Law, Occupancy};
use crate::explore::{Model, explore, holds, scale};

struct Case {
    laws: Vec<Law>,
    costs: Vec<u32>,
    /// Calls that are inside or wait.
    calls: u32,
}

/// A bulkhead, and who its callers think is where.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    machine: Occupancy,
    law: usize,
    /// What those who are inside take, sorted, and what those who wait need, in order.
    inside: Vec<u32>,
    waiting: Vec<u32>,
    /// The highest limit since anybody who is inside came in.
    highest: u32,
    /// There may be room for the next in line: it is still being let in, one step at a time.
    settling: bool,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Ask(u32),
    Stand,
    Leave(usize),
    GiveUp(usize),
    Settle,
    Turn(usize),
}

impl World {
    fn taken(&self) -> u32 {
        self.inside.iter().sum()
    }

    fn next(&self, law: &Law) -> Option<usize> {
        let last = self.waiting.len().checked_sub(1)?;
        Some(if law.newest_first { last } else { 0 })
    }

    fn next_cost(&self, law: &Law) -> u32 {
        self.next(law).map_or(0, |next| self.waiting[next])
    }

    fn come_in(&mut self, cost: u32) {
        self.inside.push(cost);
        self.inside.sort_unstable();
    }

    /// Whether there is room for the next in line.
    fn has_room(&self, law: &Law) -> bool {
        self.next(law).is_some_and(|next| self.taken() + self.waiting[next] <= law.limit)
    }

    fn ask(&mut self, law: &Law, cost: u32, input: Input) -> Result<(), String> {
        let room = self.taken() + cost <= law.limit;
        let next = self.waiting.is_empty() || law.newest_first;
        match self.machine.step(law, input) {
            Effect::TooDear => holds(cost > law.limit, "what could come in is not too dear"),
            Effect::Enter => {
                let free = cost == 0 || (room && next);
                holds(free && cost <= law.limit, "enters where there is room, in turn")?;
                self.come_in(cost);
                Ok(())
            }
            Effect::Wait => {
                holds(cost > 0 && cost <= law.limit, "who waits can come in one day")?;
                holds(!(room && next), "nobody waits in front of free places")?;
                let few = input == Input::Stand || self.waiting.len() < law.queue as usize;
                holds(few, "no queue is longer than it may be")?;
                self.waiting.push(cost);
                Ok(())
            }
            Effect::Full => {
                holds(cost > 0 && !(room && next), "full is full")?;
                let full = input != Input::Stand && self.waiting.len() >= law.queue as usize;
                holds(full, "and so is the queue")
            }
            other => Err(format!("{other:?} is no answer to {input:?}")),
        }
    }

    /// Lets the next in line in, as the shell does until there is nobody more to let in.
    fn settle(&mut self, law: &Law, input: Input) -> Result<bool, String> {
        let has_room = self.has_room(law);
        match self.machine.step(law, input) {
            Effect::Next => {
                holds(has_room, "lets in where there is room for all it needs")?;
                let next = self.next(law).ok_or("nobody waits")?;
                let cost = self.waiting.remove(next);
                self.come_in(cost);
                Ok(true)
            }
            Effect::Done => holds(!has_room, "nobody is left out").map(|()| false),
            other => Err(format!("{other:?} is no answer to {input:?}")),
        }
    }

    fn leave(&mut self, law: &Law, who: usize) -> Result<(), String> {
        let (cost, next) = (self.inside.remove(who), self.next_cost(law));
        self.settling = self.settle(law, Input::Leave { cost, next })?;
        Ok(())
    }

    fn settle_all(&mut self, law: &Law) -> Result<(), String> {
        while self.settling {
            let next = self.next_cost(law);
            self.settling = self.settle(law, Input::Settle { next })?;
        }
        Ok(())
    }
}

impl Model for Case {
    type State = World;
    type Step = Step;

    fn start(&self) -> World {
        let (machine, highest) = (Occupancy::default(), self.laws[0].limit);
        let (inside, waiting) = (Vec::new(), Vec::new());
        World { machine, law: 0, inside, waiting, highest, settling: false }
    }

    fn steps(&self, world: &World) -> Vec<Step> {
        if world.settling {
            return vec![Step::Settle]; // in the line, where nobody else does anything meanwhile
        }
        let mut steps: Vec<_> = (0..self.laws.len()).map(Step::Turn).collect();
        if world.inside.len() + world.waiting.len() < self.calls as usize {
            steps.extend(self.costs.iter().copied().map(Step::Ask));
            steps.push(Step::Stand);
        }
        steps.extend((0..world.inside.len()).map(Step::Leave));
        steps.extend((0..world.waiting.len()).map(Step::GiveUp));
        steps
    }

    fn take(&self, world: &mut World, step: &Step) -> Result<(), String> {
        let law = self.laws[world.law];
        match *step {
            Step::Ask(cost) => world.ask(&law, cost, Input::Ask(cost))?,
            Step::Stand => world.ask(&law, 1, Input::Stand)?,
            Step::Leave(who) => world.leave(&law, who)?,
            Step::GiveUp(who) => {
                let effect = world.machine.step(&law, Input::GiveUp);
                holds(effect == Effect::Done, "whoever waits may go")?;
                world.waiting.remove(who);
                world.settling = true; // it may have been in the way
            }
            Step::Settle => {
                let next = world.next_cost(&law);
                world.settling = world.settle(&law, Input::Settle { next })?;
            }
            Step::Turn(law) => {
                world.law = law;
                let law = self.laws[law];
                world.highest = world.highest.max(law.limit);
                // Those who can never come in any more are sent away.
                while let Some(dear) = world.waiting.iter().position(|cost| *cost > law.limit) {
                    world.waiting.remove(dear);
                    let effect = world.machine.step(&law, Input::GiveUp);
                    holds(effect == Effect::Done, "whoever waits may be sent away")?;
                }
                world.settling = true;
            }
        }
        let limit = self.laws[world.law].limit;
        if world.taken() <= limit {
            world.highest = limit; // those who came under a higher limit are gone
        }
        Ok(())
    }

    fn check(&self, world: &World) -> Result<(), String> {
        let law = self.laws[world.law];
        let counted = (world.machine.inside, world.machine.waiting as usize);
        holds(counted == (world.taken(), world.waiting.len()), "nobody is lost or doubled")?;
        holds(world.taken() <= world.highest, "never more places taken than there were")?;
        holds(!world.has_room(&law) || world.settling, "nobody waits in front of free places")?;
        holds(Occupancy::unpack(world.machine.pack()) == world.machine, "fits a word")?;
        // The way out: as those inside leave, all who wait come in, and in the end all are gone.
        let mut rest = world.clone();
        rest.settle_all(&law)?;
        while !rest.inside.is_empty() {
            rest.leave(&law, 0)?;
            rest.settle_all(&law)?;
        }
        holds(rest.machine == Occupancy::default(), "all get in and out")
    }

    fn is_within(&self, _: &World) -> bool {
        true
    }
}

fn explored(case: &Case, states: usize) {
    let report = explore(case).unwrap();
    println!("bulkhead: {report}");
    assert!(report.states > states, "{report}");
}

// pitfalls B11, B12, B26
#[test]
fn nobody_is_lost_doubled_or_kept_waiting_for_a_free_place() {
    let law = |limit, queue| Law { limit, queue, ..Law::of_defaults() };
    let laws = (1..=4).flat_map(|limit| [0, 1, 3].map(|queue| law(limit, queue))).collect();
    explored(&Case { laws, costs: vec![1], calls: 10 * scale() }, 300);
}

// weights: one who costs much is neither overtaken for ever nor in the way for ever
#[test]
fn the_same_holds_whatever_calls_cost() {
    for newest_first in [false, true] {
        let law = |limit, queue| Law { limit, queue, newest_first, ..Law::of_defaults() };
        let laws = [1, 3, 4].map(|limit| law(limit, 2)).to_vec();
        explored(&Case { laws, costs: vec![0, 1, 2, 3, 4], calls: 4 + scale() }, 1_000);
    }
}
