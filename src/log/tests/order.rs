//! E2: a reader of all sees every event once, in one order that all readers agree on, however late appends
//! arrive that have their positions already. Three writers and two readers, all interleavings.

use crate::core::explore::{Model, explore, holds};
use crate::log::machine::visible;

const WRITERS: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Write {
    Idle,
    /// It has its position, and is not there yet.
    Running(u64),
    Done(u64),
    /// It has given up: its position stays empty.
    GaveUp,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    end: u64,
    writes: [Write; WRITERS],
    /// What each reader has seen, in its order, and after which position it reads next.
    readers: [(Vec<u64>, u64); 2],
}

#[derive(Debug, Clone)]
enum Step {
    Begin(usize),
    Commit(usize),
    GiveUp(usize),
    Read(usize),
}

/// Whether readers stop below what is under way.
struct Readers {
    stops: bool,
}

impl World {
    fn there(&self) -> Vec<u64> {
        let done = |write: &Write| match write {
            Write::Done(at) => Some(*at),
            _ => None,
        };
        let mut there: Vec<_> = self.writes.iter().filter_map(done).collect();
        there.sort_unstable();
        there
    }

    fn oldest_under_way(&self) -> Option<u64> {
        let running = |write: &Write| match write {
            Write::Running(at) => Some(*at),
            _ => None,
        };
        self.writes.iter().filter_map(running).min()
    }
}

impl Model for Readers {
    type State = World;
    type Step = Step;

    fn start(&self) -> World {
        World { end: 0, writes: [Write::Idle; WRITERS], readers: Default::default() }
    }

    fn steps(&self, world: &World) -> Vec<Step> {
        let mut steps = vec![Step::Read(0), Step::Read(1)];
        for (nth, write) in world.writes.iter().enumerate() {
            match write {
                Write::Idle => steps.push(Step::Begin(nth)),
                Write::Running(_) => steps.extend([Step::Commit(nth), Step::GiveUp(nth)]),
                Write::Done(_) | Write::GaveUp => {}
            }
        }
        steps
    }

    fn take(&self, world: &mut World, step: &Step) -> Result<(), String> {
        match *step {
            Step::Begin(nth) => {
                world.end += 1;
                world.writes[nth] = Write::Running(world.end);
            }
            Step::Commit(nth) => {
                if let Write::Running(at) = world.writes[nth] {
                    world.writes[nth] = Write::Done(at);
                }
            }
            Step::GiveUp(nth) => world.writes[nth] = Write::GaveUp,
            Step::Read(reader) => {
                let there = world.there();
                let horizon = if self.stops {
                    visible(world.end, world.oldest_under_way())
                } else {
                    there.last().copied().unwrap_or(0)
                };
                let (seen, after) = &mut world.readers[reader];
                seen.extend(there.into_iter().filter(|at| *at > *after && *at <= horizon));
                *after = horizon.max(*after);
            }
        }
        Ok(())
    }

    fn check(&self, world: &World) -> Result<(), String> {
        let there = world.there();
        for (seen, after) in &world.readers {
            holds(seen.is_sorted_by(|one, other| one < other), "E2: in order, and each once")?;
            let passed: Vec<_> = there.iter().copied().filter(|at| at <= after).collect();
            holds(*seen == passed, "E2: nothing that it has passed is missing")?;
        }
        Ok(())
    }

    fn is_within(&self, _: &World) -> bool {
        true // nothing happens twice
    }
}

// pitfall B69
#[test]
fn a_reader_skips_nothing_that_commits_late() {
    let report = explore(&Readers { stops: true }).unwrap();
    assert!(report.states > 500, "{report}");
}

// pitfall B69
#[test]
fn a_reader_that_goes_up_to_the_last_commit_skips() {
    let broken = explore(&Readers { stops: false }).unwrap_err();
    assert!(broken.why.contains("missing"), "{broken:?}");
    assert_eq!(broken.trace.len(), 5); // two begin, the second is there, one reads, the first is there
}
