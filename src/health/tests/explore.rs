//! Every state that a health check can reach, within bounds.

use super::super::config::Config;
use super::super::machine::{Health, Input, Law};
use crate::event::Status;
use crate::explore::{Model, explore, holds, scale};

struct Case {
    laws: Vec<Law>,
    initial: Status,
    changes: u32,
}

/// A health, and the checks of late.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    machine: Health,
    law: usize,
    /// Before the first change, and the first good check while up.
    starts: bool,
    /// Checks in a row with the same result, since the last change.
    row: Option<(Input, u32)>,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Check(Input),
    Turn(usize),
}

impl Model for Case {
    type State = World;
    type Step = Step;

    fn start(&self) -> World {
        World { machine: Health::new(self.initial), law: 0, starts: true, row: None }
    }

    fn steps(&self, _: &World) -> Vec<Step> {
        let turns = (0..self.laws.len()).map(Step::Turn);
        turns.chain([Input::Good, Input::Bad].map(Step::Check)).collect()
    }

    fn take(&self, world: &mut World, step: &Step) -> Result<(), String> {
        let input = match *step {
            Step::Turn(law) => {
                world.law = law;
                return Ok(());
            }
            Step::Check(input) => input,
        };
        let law = &self.laws[world.law];
        let before = world.machine;
        let row = match world.row {
            Some((last, row)) if last == input => row.saturating_add(1).min(6),
            _ => 1,
        };
        let changed = world.machine.step(law, input);
        let (status, limit, other) = match input {
            Input::Good if world.starts => (Status::Down, law.initial_rise, Status::Up),
            Input::Good => (Status::Down, law.rise, Status::Up),
            Input::Bad => (Status::Up, law.fall, Status::Down),
        };
        let due = before.status() == status && row >= limit;
        holds(changed == due.then_some(other), "it changes after so many in a row, no others")?;
        holds(world.machine.changes == before.changes + u32::from(due), "changes are counted")?;
        holds(!due || world.machine.status() == other, "and it is what it says")?;
        if Health::is_quiet(before.pack()) && input == Input::Good {
            holds(world.machine == before, "quiet: a good check changes nothing")?;
        }
        let surely_up = before.status() == Status::Up && input == Input::Good;
        world.starts &= !due && !surely_up;
        let unknown = world.starts && world.machine.status() == Status::Up;
        holds(world.machine.is_unknown() == unknown, "bad checks alone do not say that it is up")?;
        holds(
            world.machine.is_surely_up() == (!world.starts && world.machine.status() == Status::Up),
            "surely",
        )?;
        world.row = (!due).then_some((input, row));
        Ok(())
    }

    fn check(&self, world: &World) -> Result<(), String> {
        holds(Health::unpack(world.machine.pack()) == world.machine, "fits a word")?;
        // The way out: so many good checks, whatever came before.
        let law = &self.laws[world.law];
        let mut machine = world.machine;
        for _ in 0..law.rise.max(law.initial_rise) {
            let _ = machine.step(law, Input::Good);
        }
        holds(Health::is_quiet(machine.pack()), "good checks bring it up")
    }

    fn is_within(&self, world: &World) -> bool {
        world.machine.changes < self.changes
    }
}

// pitfall B35
#[test]
fn it_changes_after_so_many_in_a_row_and_never_else() {
    for initial in [Status::Up, Status::Down] {
        let law = |rise, fall| Law {
            rise,
            initial_rise: rise,
            fall,
            ..Law::of(&Config::default(), true)
        };
        let mut laws: Vec<_> =
            (1..=3).flat_map(|rise| [1, 2, 4].map(|fall| law(rise, fall))).collect();
        laws.push(Law { initial_rise: 1, ..law(3, 2) });
        laws.push(Law { initial_rise: 3, ..law(1, 2) });
        let report = explore(&Case { laws, initial, changes: 5 * scale() }).unwrap();
        println!("health, at first {initial}: {report}");
        assert!(report.states > 100, "{report}");
    }
}
