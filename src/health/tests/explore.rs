//! Every state that a health check can reach, within bounds.

use super::super::config::Config;
use super::super::machine::{Health, Input, Params};
use crate::core::explore::{Model, explore, holds, scale};
use crate::health::status::Status;

struct Case {
    all_params: Vec<Params>,
    initial: Status,
    changes: u32,
}

/// A health, and the checks of late.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    machine: Health,
    params: usize,
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
        World { machine: Health::new(self.initial), params: 0, starts: true, row: None }
    }

    fn steps(&self, _: &World) -> Vec<Step> {
        let turns = (0..self.all_params.len()).map(Step::Turn);
        turns.chain([Input::Success, Input::Failure].map(Step::Check)).collect()
    }

    fn take(&self, world: &mut World, step: &Step) -> Result<(), String> {
        let input = match *step {
            Step::Turn(params) => {
                world.params = params;
                return Ok(());
            }
            Step::Check(input) => input,
        };
        let params = &self.all_params[world.params];
        let before = world.machine;
        let row = match world.row {
            Some((last, row)) if last == input => row.saturating_add(1).min(6),
            _ => 1,
        };
        let changed = world.machine.step(params, input);
        let (status, limit, other) = match input {
            Input::Success if world.starts => (Status::Down, params.initial_rise, Status::Up),
            Input::Success => (Status::Down, params.rise, Status::Up),
            Input::Failure => (Status::Up, params.fall, Status::Down),
        };
        let due = before.status() == status && row >= limit;
        holds(changed == due.then_some(other), "it changes after so many in a row, no others")?;
        holds(world.machine.changes == before.changes + u32::from(due), "changes are counted")?;
        holds(!due || world.machine.status() == other, "and it is what it says")?;
        if Health::is_quiet(before.pack()) && input == Input::Success {
            holds(world.machine == before, "quiet: a good check changes nothing")?;
        }
        let surely_up = before.status() == Status::Up && input == Input::Success;
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
        let params = &self.all_params[world.params];
        let mut machine = world.machine;
        for _ in 0..params.rise.max(params.initial_rise) {
            let _ = machine.step(params, Input::Success);
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
        let params = |rise, fall| Params {
            rise,
            initial_rise: rise,
            fall,
            ..Params::of(&Config::default(), true)
        };
        let mut all_params: Vec<_> =
            (1..=3).flat_map(|rise| [1, 2, 4].map(|fall| params(rise, fall))).collect();
        all_params.push(Params { initial_rise: 1, ..params(3, 2) });
        all_params.push(Params { initial_rise: 3, ..params(1, 2) });
        let report = explore(&Case { all_params, initial, changes: 5 * scale() }).unwrap();
        println!("health, at first {initial}: {report}");
        assert!(report.states > 100, "{report}");
    }
}
