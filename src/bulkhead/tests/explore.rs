//! Every state that a bulkhead and its callers can reach, within bounds.

use super::super::machine::{Effect, Input, Kept, Occupancy, Params};
use crate::core::explore::{Model, explore, holds, scale};

struct Case {
    all_params: Vec<Params>,
    costs: Vec<u32>,
    /// Calls that are inside or wait.
    calls: u32,
}

/// A bulkhead, and who its callers think is where.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    machine: Occupancy,
    params: usize,
    /// What those who are inside take, sorted, and what those who wait need, in order.
    inside: Vec<u32>,
    waiting: Vec<u32>,
    /// Places that threads keep.
    kept: u32,
    /// The highest limit since anybody who is inside came in.
    highest: u32,
    /// There may be room for the next in the queue: it is still being let in, one step at a time.
    settling: bool,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Ask(u32),
    Stand,
    Leave(usize),
    GiveUp(usize),
    CallGuard,
    Turn(usize),
    Spread,
    /// One who leaves and whose place is kept.
    Keep(usize),
    /// One who comes in by a place that was kept.
    Take,
    CallIn,
}

impl World {
    fn taken(&self) -> u32 {
        self.inside.iter().sum()
    }

    fn call_in(&mut self, params: &Params) -> Result<(), String> {
        let (cost, next) = (std::mem::take(&mut self.kept), self.next_cost(params));
        self.machine = self.machine.called_in(cost);
        if !self.waiting.is_empty() {
            self.settling = self.settle(params, Input::Leave { cost, next })?;
        }
        Ok(())
    }

    fn next(&self, params: &Params) -> Option<usize> {
        let last = self.waiting.len().checked_sub(1)?;
        Some(if params.newest_first { last } else { 0 })
    }

    fn next_cost(&self, params: &Params) -> u32 {
        self.next(params).map_or(0, |next| self.waiting[next])
    }

    fn come_in(&mut self, cost: u32) {
        self.inside.push(cost);
        self.inside.sort_unstable();
    }

    /// Whether there is room for the next in the queue.
    fn has_room(&self, params: &Params) -> bool {
        self.next(params).is_some_and(|next| self.taken() + self.waiting[next] <= params.limit)
    }

    fn ask(&mut self, params: &Params, cost: u32, input: Input) -> Result<(), String> {
        let is_full = input != Input::Stand && self.waiting.len() >= params.queue as usize;
        if is_full
            && self.machine.kept == Kept::Some
            && self.machine.enter(params.limit, cost).is_none()
        {
            self.call_in(params)?; // as whoever cannot wait does
        }
        let room = self.taken() + cost <= params.limit;
        let next = self.waiting.is_empty() || params.newest_first;
        match self.machine.step(params, input) {
            Effect::TooDear => holds(cost > params.limit, "what could come in is not too dear"),
            Effect::Enter => {
                let free = cost == 0 || (room && next);
                holds(free && cost <= params.limit, "enters where there is room, in turn")?;
                self.come_in(cost);
                Ok(())
            }
            effect @ (Effect::Wait | Effect::WaitAndCallIn) => {
                holds(cost > 0 && cost <= params.limit, "who waits can come in one day")?;
                let calls_in = effect == Effect::WaitAndCallIn;
                holds(calls_in || !(room && next), "nobody waits in front of free places")?;
                let few = input == Input::Stand || self.waiting.len() < params.queue as usize;
                holds(few, "no queue is longer than it may be")?;
                holds(self.kept == 0 || self.machine.kept == Kept::CalledIn, "nothing is kept")?;
                self.waiting.push(cost);
                self.call_in(params)
            }
            Effect::Full => {
                holds(cost > 0 && !(room && next), "full is full")?;
                let full = input != Input::Stand && self.waiting.len() >= params.queue as usize;
                holds(full, "and so is the queue")
            }
            other => Err(format!("{other:?} is no answer to {input:?}")),
        }
    }

    /// Lets the next in the queue in, as the shell does until there is nobody more to let in.
    fn settle(&mut self, params: &Params, input: Input) -> Result<bool, String> {
        let has_room = self.has_room(params);
        match self.machine.step(params, input) {
            Effect::Next => {
                holds(has_room, "lets in where there is room for all it needs")?;
                let next = self.next(params).ok_or("nobody waits")?;
                let cost = self.waiting.remove(next);
                self.come_in(cost);
                Ok(true)
            }
            Effect::Done => holds(!has_room, "nobody is left out").map(|()| false),
            other => Err(format!("{other:?} is no answer to {input:?}")),
        }
    }

    fn leave(&mut self, params: &Params, who: usize) -> Result<(), String> {
        let (cost, next) = (self.inside.remove(who), self.next_cost(params));
        self.settling = self.settle(params, Input::Leave { cost, next })?;
        Ok(())
    }

    fn settle_all(&mut self, params: &Params) -> Result<(), String> {
        while self.settling {
            let next = self.next_cost(params);
            self.settling = self.settle(params, Input::CallGuard { next })?;
        }
        Ok(())
    }
}

impl Model for Case {
    type State = World;
    type Step = Step;

    fn start(&self) -> World {
        let (machine, highest) = (Occupancy::default(), self.all_params[0].limit);
        let (inside, waiting) = (Vec::new(), Vec::new());
        World { machine, params: 0, inside, waiting, kept: 0, highest, settling: false }
    }

    fn steps(&self, world: &World) -> Vec<Step> {
        if world.settling {
            return vec![Step::CallGuard]; // in the line, where nobody else does anything meanwhile
        }
        let mut steps: Vec<_> = (0..self.all_params.len()).map(Step::Turn).collect();
        if world.inside.len() + world.waiting.len() < self.calls as usize {
            steps.extend(self.costs.iter().copied().map(Step::Ask));
            steps.push(Step::Stand);
        }
        steps.extend((0..world.inside.len()).map(Step::Leave));
        steps.extend((0..world.waiting.len()).map(Step::GiveUp));
        let limit = self.all_params[world.params].limit;
        if world.machine.spread(limit).is_some() {
            steps.push(Step::Spread);
        }
        if world.machine.kept == Kept::Some {
            steps.push(Step::CallIn);
        }
        if world.machine.lends(limit) {
            let ones = (0..world.inside.len()).filter(|who| world.inside[*who] == 1);
            steps.extend(ones.map(Step::Keep));
            steps.extend((world.kept > 0).then_some(Step::Take));
        }
        steps
    }

    fn take(&self, world: &mut World, step: &Step) -> Result<(), String> {
        let params = self.all_params[world.params];
        match *step {
            Step::Ask(cost) => world.ask(&params, cost, Input::Ask(cost))?,
            Step::Stand => world.ask(&params, 1, Input::Stand)?,
            Step::Leave(who) => world.leave(&params, who)?,
            Step::GiveUp(who) => {
                let effect = world.machine.step(&params, Input::GiveUp);
                holds(effect == Effect::Done, "whoever waits may go")?;
                world.waiting.remove(who);
                world.settling = true; // it may have been in the way
            }
            Step::CallGuard => {
                let next = world.next_cost(&params);
                world.settling = world.settle(&params, Input::CallGuard { next })?;
            }
            Step::Spread => {
                world.machine = world.machine.spread(params.limit).ok_or("there is no room")?;
            }
            Step::Keep(who) => world.kept += world.inside.remove(who),
            Step::Take => {
                world.kept -= 1;
                holds(world.taken() < params.limit, "comes in where there is room")?;
                world.come_in(1);
            }
            Step::CallIn => world.call_in(&params)?,
            Step::Turn(params) => {
                world.params = params;
                let params = self.all_params[params];
                world.highest = world.highest.max(params.limit);
                // Those who can never come in any more are sent away.
                while let Some(dear) = world.waiting.iter().position(|cost| *cost > params.limit) {
                    world.waiting.remove(dear);
                    let effect = world.machine.step(&params, Input::GiveUp);
                    holds(effect == Effect::Done, "whoever waits may be sent away")?;
                }
                world.settling = true;
            }
        }
        let limit = self.all_params[world.params].limit;
        if world.taken() <= limit {
            world.highest = limit; // those who came under a higher limit are gone
        }
        Ok(())
    }

    fn check(&self, world: &World) -> Result<(), String> {
        let params = self.all_params[world.params];
        let counted = (world.machine.inside, world.machine.waiting as usize);
        let there = (world.taken() + world.kept, world.waiting.len());
        holds(counted == there, "nobody is lost or doubled")?;
        let is_spread = world.machine.kept == Kept::Some;
        holds(world.kept == 0 || is_spread, "whoever keeps places can be found")?;
        holds(world.waiting.is_empty() || !is_spread, "nobody waits beside a place that is kept")?;
        holds(world.taken() <= world.highest, "never more places taken than there were")?;
        holds(!world.has_room(&params) || world.settling, "nobody waits in front of free places")?;
        holds(Occupancy::unpack(world.machine.pack()) == world.machine, "fits a word")?;
        // The way out: as those inside leave, all who wait come in, and in the end all are gone.
        let mut rest = world.clone();
        rest.settle_all(&params)?;
        rest.call_in(&params)?;
        rest.settle_all(&params)?;
        while !rest.inside.is_empty() {
            rest.leave(&params, 0)?;
            rest.settle_all(&params)?;
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
    let params = |limit, queue| Params { limit, most: limit, queue, ..Params::of_defaults() };
    let all_params =
        (1..=4).flat_map(|limit| [0, 1, 3].map(|queue| params(limit, queue))).collect();
    explored(&Case { all_params, costs: vec![1], calls: 10 * scale() }, 300);
}

// weights: one who costs much is neither overtaken for ever nor in the way for ever
#[test]
fn the_same_holds_whatever_calls_cost() {
    for newest_first in [false, true] {
        let params = |limit, queue| Params {
            limit,
            most: limit,
            queue,
            newest_first,
            ..Params::of_defaults()
        };
        let all_params = [1, 3, 4].map(|limit| params(limit, 2)).to_vec();
        explored(&Case { all_params, costs: vec![0, 1, 2, 3, 4], calls: 4 + scale() }, 1_000);
    }
}
