//! Every state that a bulkhead and its callers can reach, within bounds.

use super::super::machine::{Effect, Input, Law, Occupancy};
use crate::explore::{Model, explore, holds, scale};

struct Case {
    laws: Vec<Law>,
    /// Calls that are inside or wait.
    calls: u32,
}

/// A bulkhead, and who its callers think is where.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    machine: Occupancy,
    law: usize,
    /// Callers by number: who is inside, and who waits, in order.
    inside: u32,
    waiting: u32,
    /// The highest limit since anybody who is inside came in.
    highest: u32,
    /// The limit was turned, and those who wait are still being let in, one step at a time.
    settling: bool,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Knock(Input),
    Turn(usize),
}

impl World {
    /// What the callers make of an answer.
    fn hear(&mut self, law: &Law, input: Input, effect: Effect) -> Result<(), String> {
        let room = self.inside < law.limit;
        match (input, effect) {
            (Input::Ask | Input::Stand, Effect::Enter) => {
                holds(room && self.waiting == 0, "enters where there is room, past nobody")?;
                self.inside += 1;
            }
            (Input::Ask | Input::Stand, Effect::Wait) => {
                holds(!room || self.waiting > 0, "nobody waits in front of a free place")?;
                let few = input == Input::Stand || self.waiting < law.queue;
                holds(few, "no queue is longer than it may be")?;
                self.waiting += 1;
            }
            (Input::Ask, Effect::Full) => {
                holds(!room || self.waiting > 0, "full is full")?;
                holds(self.waiting >= law.queue, "and so is the queue")?;
            }
            (Input::Leave, Effect::Done) => self.inside -= 1,
            // One out, one in; or one who went away.
            (Input::Leave, Effect::Next) | (Input::GiveUp, Effect::Done) => self.waiting -= 1,
            (Input::Settle, Effect::Done) => self.settling = false,
            (Input::Settle, Effect::Next) => {
                holds(room, "lets in where there is room")?;
                self.inside += 1;
                self.waiting -= 1;
            }
            _ => return Err(format!("{effect:?} is no answer to {input:?}")),
        }
        Ok(())
    }

    fn knock(&mut self, law: &Law, input: Input) -> Result<Effect, String> {
        let effect = self.machine.step(law, input);
        self.hear(law, input, effect)?;
        Ok(effect)
    }
}

impl Model for Case {
    type State = World;
    type Step = Step;

    fn start(&self) -> World {
        let highest = self.laws[0].limit;
        let machine = Occupancy::default();
        World { machine, law: 0, inside: 0, waiting: 0, highest, settling: false }
    }

    fn steps(&self, world: &World) -> Vec<Step> {
        let mut steps: Vec<_> = (0..self.laws.len()).map(Step::Turn).collect();
        steps.extend(world.settling.then_some(Step::Knock(Input::Settle)));
        if world.inside + world.waiting < self.calls {
            steps.extend([Input::Ask, Input::Stand].map(Step::Knock));
        }
        if world.inside > 0 {
            steps.push(Step::Knock(Input::Leave));
        }
        if world.waiting > 0 {
            steps.push(Step::Knock(Input::GiveUp));
        }
        steps
    }

    fn take(&self, world: &mut World, step: &Step) -> Result<(), String> {
        match *step {
            Step::Knock(input) => drop(world.knock(&self.laws[world.law], input)?),
            Step::Turn(law) => {
                world.law = law;
                world.settling = true;
                world.highest = world.highest.max(self.laws[law].limit);
            }
        }
        let limit = self.laws[world.law].limit;
        if world.inside <= limit {
            world.highest = limit; // those who came under a higher limit are gone
        }
        Ok(())
    }

    fn check(&self, world: &World) -> Result<(), String> {
        let World { machine, inside, waiting, .. } = *world;
        let limit = self.laws[world.law].limit;
        holds((machine.inside, machine.waiting) == (inside, waiting), "nobody is lost or doubled")?;
        holds(inside <= world.highest, "never more inside than the limit was")?;
        let full = waiting == 0 || inside >= limit;
        holds(full || world.settling, "nobody waits in front of a free place")?;
        holds(Occupancy::unpack(machine.pack()) == machine, "fits a word")?;
        // The way out: as those inside leave, all who wait come in, and in the end all are gone.
        let mut rest = world.clone();
        for _ in 0..inside + waiting {
            rest.knock(&self.laws[world.law], Input::Leave)?;
        }
        holds(rest.machine == Occupancy::default(), "all get in and out")
    }

    fn is_within(&self, _: &World) -> bool {
        true
    }
}

// pitfalls B11, B12, B26
#[test]
fn nobody_is_lost_doubled_or_kept_waiting_for_a_free_place() {
    let law = |limit, queue| Law { limit, queue, ..Law::of_defaults() };
    let case = Case {
        laws: (1..=4).flat_map(|limit| [0, 1, 3].map(|queue| law(limit, queue))).collect(),
        calls: 10 * scale(),
    };
    let report = explore(&case).unwrap();
    println!("bulkhead: {report}");
    assert!(report.states > 300, "{report}");
}
