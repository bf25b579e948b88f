//! Every way in which keys can move between two owners, with writes, a coordinator that stops anywhere, and an
//! old owner that crashes twice. And what happens without each of the three rules.

use super::super::machine::{Move, MoveRecord, MoveStep, Part};
use crate::core::explore::{Broken, Model, explore, holds};

const WRITES: usize = 3;
const CRASHES: u8 = 2;

/// Which rules are kept.
struct Rules {
    /// Whoever holds opens again by compare-and-set.
    compares: bool,
    /// The move is written before anybody holds.
    records: bool,
    /// The old owner says that it holds when its writes in flight are settled.
    settles: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Write {
    New,
    InOld,
    InNew,
    DoneOld,
    DoneNew,
    /// Its owner crashed: done or not, nobody confirmed it.
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Old {
    Up(Part),
    /// It looked, saw no commit, and is about to open (a broken rule).
    Reopening,
    Down,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    written: MoveRecord,
    old: Old,
    new: Part,
    coordinator: Move,
    /// The old owner was asked to hold, and has not heard of it yet.
    asked: bool,
    writes: [Write; WRITES],
    /// What each owner has, a bit for each write.
    old_data: u8,
    new_data: u8,
    crashes: u8,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Enters(usize),
    IsDone(usize),
    Recorded,
    Held,
    Settled,
    Copied,
    Committed,
    CoordinatorStops,
    OldHears,
    OldAborts,
    OldLooks,
    OldReopens,
    OldCrashes,
    OldStarts,
    NewHears,
}

impl World {
    fn bits(&self, of: Write) -> u8 {
        (0..WRITES).filter(|nth| self.writes[*nth] == of).map(|nth| 1 << nth).sum()
    }

    fn accepts(&self) -> (bool, bool) {
        (self.old == Old::Up(Part::Accepts), self.new == Part::Accepts)
    }
}

impl Model for Rules {
    type State = World;
    type Step = Step;

    fn start(&self) -> World {
        World {
            written: MoveRecord::None,
            old: Old::Up(Part::Accepts),
            new: Part::Refuses,
            coordinator: Move::new(),
            asked: false,
            writes: [Write::New; WRITES],
            old_data: 0,
            new_data: 0,
            crashes: CRASHES,
        }
    }

    fn steps(&self, world: &World) -> Vec<Step> {
        let (old, new) = world.accepts();
        let mut steps = Vec::new();
        for (nth, write) in world.writes.iter().enumerate() {
            match write {
                Write::New => steps.extend((old || new).then_some(Step::Enters(nth))),
                Write::InOld => steps.extend((world.old != Old::Down).then_some(Step::IsDone(nth))),
                Write::InNew => steps.push(Step::IsDone(nth)),
                _ => {}
            }
        }
        let coordinator = match world.coordinator.next() {
            MoveStep::Record => Some(Step::Recorded),
            MoveStep::Hold => {
                let settled = !self.settles || world.bits(Write::InOld) == 0;
                (world.old == Old::Up(Part::Holds) && settled).then_some(Step::Settled)
            }
            MoveStep::Copy => Some(Step::Copied),
            MoveStep::Commit => Some(Step::Committed),
            MoveStep::Done | MoveStep::GivenUp => None,
        };
        steps.extend(coordinator);
        if !matches!(world.coordinator.next(), MoveStep::Done | MoveStep::GivenUp) {
            steps.push(Step::CoordinatorStops);
        }
        let undecided = matches!(world.written, MoveRecord::None | MoveRecord::Moving);
        match world.old {
            Old::Up(Part::Accepts) => steps.extend(world.asked.then_some(Step::Held)),
            Old::Up(Part::Holds) if world.written == MoveRecord::Committed => {
                steps.push(Step::OldHears);
            }
            Old::Up(Part::Holds) if self.compares => {
                steps.extend(undecided.then_some(Step::OldAborts));
            }
            Old::Up(Part::Holds) => steps.extend(undecided.then_some(Step::OldLooks)),
            Old::Up(Part::Refuses) => {}
            Old::Reopening => steps.push(Step::OldReopens),
            Old::Down => steps.push(Step::OldStarts),
        }
        let is_up = matches!(world.old, Old::Up(Part::Accepts | Part::Holds));
        steps.extend((is_up && undecided && world.crashes > 0).then_some(Step::OldCrashes));
        steps.extend((world.written == MoveRecord::Committed && !new).then_some(Step::NewHears));
        steps
    }

    fn take(&self, world: &mut World, step: &Step) -> Result<(), String> {
        let undecided = if self.records { MoveRecord::Moving } else { MoveRecord::None };
        match *step {
            Step::Enters(nth) => {
                world.writes[nth] = if world.accepts().0 { Write::InOld } else { Write::InNew };
            }
            Step::IsDone(nth) if world.writes[nth] == Write::InOld => {
                world.writes[nth] = Write::DoneOld;
                world.old_data |= 1 << nth;
            }
            Step::IsDone(nth) => {
                world.writes[nth] = Write::DoneNew;
                world.new_data |= 1 << nth;
            }
            Step::Recorded => {
                let done = world.written == MoveRecord::None;
                if self.records && done {
                    world.written = MoveRecord::Moving;
                }
                world.asked = done;
                world.coordinator.took(done);
            }
            Step::Held => {
                // Without a record there is nothing to read but that nobody gave it up.
                let read = if self.records { world.written } else { MoveRecord::Moving };
                if world.written != MoveRecord::Aborted {
                    world.old = Old::Up(Part::Accepts.asked(read));
                }
                world.asked = false;
            }
            Step::Settled => world.coordinator.took(true),
            Step::Copied => {
                world.new_data |= world.old_data;
                world.coordinator.took(true);
            }
            Step::Committed => {
                let done = world.written == undecided;
                if done {
                    world.written = MoveRecord::Committed;
                }
                world.coordinator.took(done);
            }
            Step::CoordinatorStops => world.coordinator.took(false),
            Step::OldHears => world.old = Old::Up(Part::Holds.heard(world.written)),
            Step::OldAborts => {
                world.written = MoveRecord::Aborted;
                world.old = Old::Up(Part::Holds.heard(world.written));
            }
            Step::OldLooks => world.old = Old::Reopening,
            Step::OldReopens => world.old = Old::Up(Part::Accepts),
            Step::OldCrashes => {
                world.old = Old::Down;
                world.crashes -= 1;
                for write in world.writes.iter_mut().filter(|write| **write == Write::InOld) {
                    *write = Write::Unknown;
                }
            }
            Step::OldStarts => world.old = Old::Up(Part::started(world.written)),
            Step::NewHears => world.new = world.new.took_over(world.written),
        }
        Ok(())
    }

    fn check(&self, world: &World) -> Result<(), String> {
        let (old, new) = world.accepts();
        holds(!(old && new), "one owner accepts at a time")?;
        let confirmed = world.bits(Write::DoneOld);
        holds(!new || confirmed & !world.new_data == 0, "no confirmed write is lost in the copy")?;
        let at_new = world.bits(Write::DoneNew);
        holds(!old || at_new == 0, "no confirmed write is behind the old owner")
    }

    fn is_within(&self, _: &World) -> bool {
        true
    }
}

// pitfall B55, B39
#[test]
fn there_are_never_two_owners_and_no_confirmed_write_is_lost() {
    let report = explore(&Rules { compares: true, records: true, settles: true }).unwrap();
    println!("move of keys: {report}");
    assert_eq!(report.states, 5_276);
}

fn broken(rules: &Rules) -> Broken {
    explore(rules).expect_err("a rule that nobody needs")
}

// pitfall B55
#[test]
fn whoever_looks_and_opens_again_makes_two_owners() {
    let broken = broken(&Rules { compares: false, records: true, settles: true });
    assert_eq!(broken.why, "one owner accepts at a time", "{broken:?}");
    assert!(broken.trace.len() <= 8, "{broken:?}");
}

// pitfall B55
#[test]
fn a_hold_that_is_in_memory_only_makes_two_owners() {
    let broken = broken(&Rules { compares: true, records: false, settles: true });
    assert_eq!(broken.why, "one owner accepts at a time", "{broken:?}");
    assert!(broken.trace.len() <= 8, "{broken:?}");
}

// pitfall B55
#[test]
fn a_copy_before_writes_are_settled_loses_one() {
    let broken = broken(&Rules { compares: true, records: true, settles: false });
    assert_eq!(broken.why, "no confirmed write is lost in the copy", "{broken:?}");
    assert!(broken.trace.len() <= 8, "{broken:?}");
}

/// What is over stays over, whatever else is said to have happened.
#[test]
fn a_move_that_is_over_stays_so() {
    let mut job = Move::default();
    for _ in 0..4 {
        job.took(true);
    }
    job.took(false);
    assert_eq!(job.next(), MoveStep::Done);
    let mut given_up = Move::new();
    given_up.took(false);
    given_up.took(true);
    assert_eq!(given_up.next(), MoveStep::GivenUp);
    for part in [Part::Accepts, Part::Refuses] {
        assert_eq!(part.heard(MoveRecord::Committed), part, "only who holds listens");
    }
}
