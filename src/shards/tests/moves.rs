//! Every way in which keys can move between two owners, with writes, a coordinator that stops anywhere, and an
//! old owner that crashes twice. And what happens without each of the three rules.

use super::super::machine::{Move, MoveRecord, MoveStep, Refusal, Stance};
use crate::core::explore::{Broken, Model, explore, holds};

const WRITES: usize = 3;
const CRASHES: u8 = 2;

/// The map that the move begins from, and the one that it is to come to.
const OLD: u64 = 1;
const NEW: u64 = 2;
/// The keys of the move are its own, and it accepts writes of them.
const ACCEPTS: Stance = Stance { map: OLD, moving: None, closed: false };
const HOLDS: Stance = Stance { map: OLD, moving: Some(NEW), closed: false };
/// By the new map: the old owner refuses writes of those keys, the new one accepts them.
const OVER: Stance = Stance { map: NEW, moving: None, closed: false };

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
    Up(Stance),
    /// It looked, saw no commit, and is about to open (a broken rule).
    Reopening,
    Down,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    written: MoveRecord,
    old: Old,
    new: Stance,
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
        (self.old == Old::Up(ACCEPTS), self.new == OVER)
    }
}

impl Model for Rules {
    type State = World;
    type Step = Step;

    fn start(&self) -> World {
        World {
            written: MoveRecord::None,
            old: Old::Up(ACCEPTS),
            new: ACCEPTS, // by that map the keys are somebody else's
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
                (world.old == Old::Up(HOLDS) && settled).then_some(Step::Settled)
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
            Old::Up(ACCEPTS) => steps.extend(world.asked.then_some(Step::Held)),
            Old::Up(HOLDS) if world.written == MoveRecord::Committed => {
                steps.push(Step::OldHears);
            }
            Old::Up(HOLDS) if self.compares => {
                steps.extend(undecided.then_some(Step::OldAborts));
            }
            Old::Up(HOLDS) => steps.extend(undecided.then_some(Step::OldLooks)),
            Old::Up(_) => {}
            Old::Reopening => steps.push(Step::OldReopens),
            Old::Down => steps.push(Step::OldStarts),
        }
        let is_up = matches!(world.old, Old::Up(ACCEPTS | HOLDS));
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
                    let held = ACCEPTS.holds(NEW, false, read).ok().flatten();
                    world.old = Old::Up(held.unwrap_or(ACCEPTS));
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
            Step::OldHears => world.old = heard(world.written),
            Step::OldAborts => {
                world.written = MoveRecord::Aborted;
                world.old = heard(world.written);
            }
            Step::OldLooks => world.old = Old::Reopening,
            Step::OldReopens => world.old = Old::Up(ACCEPTS),
            Step::OldCrashes => {
                world.old = Old::Down;
                world.crashes -= 1;
                for write in world.writes.iter_mut().filter(|write| **write == Write::InOld) {
                    *write = Write::Unknown;
                }
            }
            Step::OldStarts => {
                world.old = Old::Up(Stance::started(OLD, Some((NEW, world.written))));
            }
            Step::NewHears => world.new = world.new.adopts(NEW, false).unwrap_or(world.new),
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

fn heard(written: MoveRecord) -> Old {
    Old::Up(HOLDS.hears(NEW, written).unwrap_or(HOLDS))
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
    for stance in [ACCEPTS, OVER] {
        assert_eq!(stance.hears(NEW, MoveRecord::Committed), None, "only who holds listens");
    }
}

#[test]
fn an_owner_takes_part_in_one_move_at_a_time_and_hears_of_no_other() {
    assert_eq!(ACCEPTS.holds(NEW, false, MoveRecord::None), Err(Refusal::NotRecorded));
    assert_eq!(ACCEPTS.holds(OLD, false, MoveRecord::Moving), Err(Refusal::Stale { present: 1 }));
    assert_eq!(HOLDS.holds(3, false, MoveRecord::Moving), Err(Refusal::Busy { to: NEW }));
    assert_eq!(HOLDS.holds(NEW, true, MoveRecord::Moving), Ok(None));
    assert_eq!(HOLDS.hears(3, MoveRecord::Committed), None);
    // A later map does not end it, and what is heard then does not bring back an earlier map.
    let later = HOLDS.adopts(3, false).unwrap();
    assert_eq!(later, Stance { map: 3, ..HOLDS });
    for read in [MoveRecord::Committed, MoveRecord::Aborted] {
        assert_eq!(later.hears(NEW, read), Some(Stance { map: 3, ..OVER }));
    }
    assert_eq!(HOLDS.adopts(NEW, false), Err(Refusal::Busy { to: NEW }), "another of its epoch");
    assert_eq!(HOLDS.adopts(NEW, true), Ok(OVER));
}

#[test]
fn an_owner_that_opens_goes_by_what_it_reads_and_forgets_no_hold() {
    let closed = Stance { closed: true, ..ACCEPTS };
    assert_eq!(closed.opens(0, None), Err(Refusal::Stale { present: OLD }));
    assert_eq!(closed.opens(OLD, None), Ok(ACCEPTS));
    assert_eq!(closed.opens(OLD, Some((NEW, MoveRecord::Moving))), Ok(HOLDS));
    assert_eq!(closed.opens(OLD, Some((NEW, MoveRecord::Committed))), Ok(OVER));
    assert_eq!(closed.opens(OLD, Some((NEW, MoveRecord::Aborted))), Ok(ACCEPTS));
    // It was asked to hold while it was closed: what was read before that says nothing of it.
    let asked = closed.holds(NEW, false, MoveRecord::Moving).unwrap().unwrap();
    for late in [None, Some((NEW, MoveRecord::None)), Some((9, MoveRecord::Aborted))] {
        assert_eq!(asked.opens(OLD, late), Ok(HOLDS));
    }
    assert_eq!(asked.opens(OLD, Some((NEW, MoveRecord::Committed))), Ok(OVER));
    let other = Some((9, MoveRecord::Moving));
    assert_eq!(asked.opens(OLD, other), Err(Refusal::Busy { to: NEW }));
}
