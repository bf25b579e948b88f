//! Two moves at once, of different keys between three owners, recorded in one directory with one map: every order of their steps,
//! with coordinators that stop anywhere and an owner that crashes. And what happens without each of the rules that keep them apart.

use super::super::machine::{Move, MoveRecord, MoveStep, Stance};
use crate::core::explore::{Broken, Model, explore, holds, scale};

/// The keys: each has a move that gives it to somebody else. Its owner before, and after.
const MOVES: [(usize, usize); 2] = [(0, 1), (2, 0)];
const OWNERS: usize = 3;
/// Of each key at most; the environment says how many of them there are.
const WRITES: usize = 2;

/// Which rules are kept.
#[derive(Clone, Copy)]
struct Rules {
    /// A hold ends when that very move is heard of, and not because a later map came.
    keeps: bool,
    /// A move is committed only where the map is the one that it began from.
    compares_maps: bool,
    /// An owner that starts again begins with the move that it reads.
    reads: bool,
    /// Whether it has to end well.
    ends: bool,
}

const KEPT: Rules = Rules { keeps: true, compares_maps: true, reads: true, ends: true };

/// Which owner has each key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Map {
    epoch: u64,
    owners: [usize; MOVES.len()],
}

const FIRST: Map = Map { epoch: 1, owners: [MOVES[0].0, MOVES[1].0] };

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Job {
    step: Move,
    written: MoveRecord,
    /// The map that it began from, and the one that it is to come to.
    from: Map,
    to: Map,
    /// The old owner was asked to hold, and has not heard of it yet.
    asked: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Owner {
    stance: Stance,
    map: Map,
    is_down: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Write {
    New,
    In(usize),
    Done,
    /// Its owner crashed: done or not, nobody confirmed it.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    map: Map,
    /// Each move has an epoch of its own.
    last_epoch: u64,
    jobs: [Job; MOVES.len()],
    owners: [Owner; OWNERS],
    /// Writes of each key, and the owners that have them, a bit for each.
    writes: [[Write; WRITES]; MOVES.len()],
    has: [[u8; WRITES]; MOVES.len()],
    crashes: u8,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Enters {
        key: usize,
        nth: usize,
        owner: usize,
    },
    IsDone {
        key: usize,
        nth: usize,
    },
    Recorded(usize),
    Held(usize),
    Settled(usize),
    Copied(usize),
    Committed(usize),
    CoordinatorStops(usize),
    /// The old owner writes that the move was given up.
    Aborts(usize),
    /// The old owner reads what is written of the move.
    Hears(usize),
    Adopts(usize),
    Crashes(usize),
    Starts(usize),
}

impl World {
    /// Whether an owner accepts writes of a key. Which map is meant is said by its epoch.
    fn accepts(&self, owner: usize, key: usize) -> bool {
        let is = &self.owners[owner];
        let moves = |job: &Job| Some(job.to.epoch) == is.stance.moving;
        let leaves = self.jobs.iter().any(|job| moves(job) && job.to.owners[key] != owner);
        !is.is_down && is.map.owners[key] == owner && !leaves
    }

    fn is_moving(&self, job: usize) -> bool {
        self.owners[MOVES[job].0].stance.moving == Some(self.jobs[job].to.epoch)
    }

    /// What follows for an owner that stands there now.
    fn stand(&mut self, owner: usize, stance: Stance, map: Map) {
        let to = self.jobs.iter().map(|job| job.to).find(|to| to.epoch == stance.map);
        let map = if map.epoch == stance.map { map } else { to.unwrap_or(map) };
        self.owners[owner] = Owner { stance, map, is_down: false };
    }

    fn hears(&mut self, job: usize) {
        let owner = MOVES[job].0;
        let (is, written) = (self.owners[owner], self.jobs[job].written);
        if let Some(stance) = is.stance.hears(self.jobs[job].to.epoch, written) {
            self.stand(owner, stance, is.map);
        }
    }

    fn aborts(&mut self, job: usize) {
        self.jobs[job].written = MoveRecord::Aborted;
        self.hears(job);
    }

    fn starts(&mut self, rules: Rules, owner: usize) {
        let own = (0..MOVES.len()).find(|job| MOVES[*job].0 == owner);
        let read = own.map(|job| (self.jobs[job].to.epoch, self.jobs[job].written));
        let stance = Stance::started(self.map.epoch, read.filter(|_| rules.reads));
        self.stand(owner, stance, self.map);
    }

    fn adopts(&mut self, rules: Rules, owner: usize) {
        let (is, map) = (self.owners[owner], self.map);
        let is_next = self.jobs.iter().any(|job| job.to == map);
        if let Ok(mut stance) = is.stance.adopts(map.epoch, is_next) {
            if !rules.keeps {
                stance.moving = None;
            }
            self.stand(owner, stance, map);
        }
    }

    fn is_undecided(&self, job: usize) -> bool {
        self.jobs[job].written == MoveRecord::Moving
    }

    /// In the end, when everybody is up, no coordinator goes on, and every owner has heard: each key has one owner that accepts.
    fn ends_well(&self, rules: Rules) -> bool {
        let mut world = self.clone();
        for owner in 0..OWNERS {
            if world.owners[owner].is_down {
                world.starts(rules, owner);
            }
        }
        for job in 0..MOVES.len() {
            if world.is_moving(job) && world.is_undecided(job) {
                world.aborts(job);
            }
            world.hears(job);
        }
        (0..OWNERS).for_each(|owner| world.adopts(rules, owner));
        let accepting = |key| (0..OWNERS).filter(|owner| world.accepts(*owner, key)).count();
        (0..MOVES.len()).all(|key| accepting(key) == 1)
    }
}

impl Model for Rules {
    type State = World;
    type Step = Step;

    fn start(&self) -> World {
        let writes = [0, 1].map(|nth| if nth < scale() { Write::New } else { Write::Unknown });
        let written = MoveRecord::None;
        let job = Job { step: Move::new(), written, from: FIRST, to: FIRST, asked: false };
        let stance = Stance::started(FIRST.epoch, None);
        World {
            map: FIRST,
            last_epoch: FIRST.epoch,
            jobs: [job; MOVES.len()],
            owners: [Owner { stance, map: FIRST, is_down: false }; OWNERS],
            writes: [writes; MOVES.len()],
            has: [[0; WRITES]; MOVES.len()],
            crashes: 1,
        }
    }

    fn steps(&self, world: &World) -> Vec<Step> {
        let mut steps = Vec::new();
        for key in 0..MOVES.len() {
            // The writes of a key are alike: the next new one will do.
            let new = world.writes[key].iter().position(|write| *write == Write::New);
            if let Some(nth) = new {
                let accepting = (0..OWNERS).filter(|owner| world.accepts(*owner, key));
                steps.extend(accepting.map(|owner| Step::Enters { key, nth, owner }));
            }
            for nth in 0..WRITES {
                let inside = matches!(world.writes[key][nth], Write::In(_));
                steps.extend(inside.then_some(Step::IsDone { key, nth }));
            }
        }
        for (nth, job) in world.jobs.iter().enumerate() {
            let (old, _) = MOVES[nth];
            let is_up = !world.owners[old].is_down;
            steps.extend(match job.step.next() {
                MoveStep::Record => Some(Step::Recorded(nth)),
                MoveStep::Hold => {
                    let inside = world.writes[nth].contains(&Write::In(old));
                    (is_up && world.is_moving(nth) && !inside).then_some(Step::Settled(nth))
                }
                MoveStep::Copy => Some(Step::Copied(nth)),
                MoveStep::Commit => Some(Step::Committed(nth)),
                MoveStep::Done | MoveStep::GivenUp => None,
            });
            let goes_on = !matches!(job.step.next(), MoveStep::Done | MoveStep::GivenUp);
            steps.extend(goes_on.then_some(Step::CoordinatorStops(nth)));
            steps.extend((job.asked && is_up).then_some(Step::Held(nth)));
            if is_up && world.is_moving(nth) {
                let abort = world.is_undecided(nth);
                steps.push(if abort { Step::Aborts(nth) } else { Step::Hears(nth) });
            }
        }
        for (nth, owner) in world.owners.iter().enumerate() {
            if owner.is_down {
                steps.push(Step::Starts(nth));
                continue;
            }
            let is_later = owner.stance.adopts(world.map.epoch, true).is_ok();
            steps.extend(is_later.then_some(Step::Adopts(nth)));
            steps.extend((world.crashes > 0).then_some(Step::Crashes(nth)));
        }
        steps
    }

    fn take(&self, world: &mut World, step: &Step) -> Result<(), String> {
        match *step {
            Step::Enters { key, nth, owner } => world.writes[key][nth] = Write::In(owner),
            Step::IsDone { key, nth } => {
                if let Write::In(owner) = world.writes[key][nth] {
                    world.has[key][nth] |= 1 << owner;
                    world.writes[key][nth] = Write::Done;
                }
            }
            Step::Recorded(nth) => {
                world.last_epoch += 1;
                let from = world.map;
                let mut to = Map { epoch: world.last_epoch, ..from };
                to.owners[nth] = MOVES[nth].1;
                let mut step = world.jobs[nth].step;
                step.took(true);
                world.jobs[nth] = Job { step, written: MoveRecord::Moving, from, to, asked: true };
            }
            Step::Held(nth) => {
                let owner = MOVES[nth].0;
                let (is, job) = (world.owners[owner], world.jobs[nth]);
                if let Ok(Some(stance)) = is.stance.holds(job.to.epoch, false, job.written) {
                    world.stand(owner, stance, is.map);
                }
                world.jobs[nth].asked = false;
            }
            Step::Settled(nth) => world.jobs[nth].step.took(true),
            Step::Copied(nth) => {
                let (old, new) = MOVES[nth];
                for has in world.has[nth].iter_mut().filter(|has| **has & (1 << old) != 0) {
                    *has |= 1 << new;
                }
                world.jobs[nth].step.took(true);
            }
            Step::Committed(nth) => {
                let job = world.jobs[nth];
                let is_its = !self.compares_maps || world.map == job.from;
                let done = job.written == MoveRecord::Moving && is_its;
                if done {
                    world.jobs[nth].written = MoveRecord::Committed;
                    world.map = job.to;
                }
                world.jobs[nth].step.took(done);
            }
            Step::CoordinatorStops(nth) => world.jobs[nth].step.took(false),
            Step::Aborts(nth) => world.aborts(nth),
            Step::Hears(nth) => world.hears(nth),
            Step::Adopts(owner) => world.adopts(*self, owner),
            Step::Crashes(owner) => {
                world.owners[owner].is_down = true;
                world.crashes -= 1;
                let inside = world.writes.iter_mut().flatten();
                for write in inside.filter(|write| **write == Write::In(owner)) {
                    *write = Write::Unknown;
                }
            }
            Step::Starts(owner) => world.starts(*self, owner),
        }
        Ok(())
    }

    fn check(&self, world: &World) -> Result<(), String> {
        for key in 0..MOVES.len() {
            let mut accepting = (0..OWNERS).filter(|owner| world.accepts(*owner, key));
            let first = accepting.next();
            holds(accepting.next().is_none(), "one owner accepts a key at a time")?;
            if let Some(owner) = first {
                let lost = (0..WRITES).any(|nth| {
                    world.writes[key][nth] == Write::Done && world.has[key][nth] & (1 << owner) == 0
                });
                holds(!lost, "who accepts has all that was confirmed")?;
            }
        }
        holds(!self.ends || world.ends_well(*self), "in the end each key has an owner")
    }

    fn is_within(&self, _: &World) -> bool {
        true
    }
}

// pitfall B55, B56
#[test]
fn two_moves_at_once_make_no_two_owners_and_lose_no_write() {
    let report = explore(&KEPT).unwrap();
    println!("two moves of keys at once: {report}");
    assert!(scale() > 1 || report.states == 60_542, "{report}");
}

fn broken(rules: Rules) -> Broken {
    explore(&rules).expect_err("a rule that nobody needs")
}

// pitfall B55
#[test]
fn a_commit_that_does_not_look_at_the_map_undoes_another() {
    let broken = broken(Rules { compares_maps: false, ends: false, ..KEPT });
    assert_eq!(broken.why, "one owner accepts a key at a time", "{broken:?}");
    assert!(broken.trace.len() <= 14, "{broken:?}");
}

/// Who commits is somebody else than who holds: an owner that lets go of keys because of a later map relies on a rule that others
/// have to keep. So it does not.
// pitfall B55, B56
#[test]
fn a_hold_that_ends_with_a_later_map_is_safe_only_where_commits_look_at_the_map() {
    let ends = Rules { keeps: false, ends: false, ..KEPT };
    assert!(explore(&ends).is_ok());
    let broken = broken(Rules { compares_maps: false, ..ends });
    assert_eq!(broken.why, "one owner accepts a key at a time", "{broken:?}");
}

// pitfall B39
#[test]
fn an_owner_that_starts_without_its_move_makes_two_owners() {
    let broken = broken(Rules { reads: false, ..KEPT });
    assert_eq!(broken.why, "one owner accepts a key at a time", "{broken:?}");
    assert!(broken.trace.len() <= 8, "{broken:?}");
}
