//! E1, E3 and E5: versions without gaps or doubles, fences, and folds, explored in full within bounds; each with a twin
//! that breaks it.

use crate::core::explore::{Model, explore, holds, scale};
use crate::log::machine::{Expect, Fold, Law, Terms, Verdict, is_usable};

const STREAMS: usize = 2;

/// A writer reads the version of a stream, and appends later, with what it has read, in the name of its epoch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Writer {
    read: Option<(usize, u64)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct World {
    law: Law,
    versions: [u64; STREAMS],
    /// What is in the log: stream, version, position, the epoch, and the version that its writer had read.
    log: Vec<(usize, u64, u64, u64, u64)>,
    writers: Vec<Writer>,
    appends: u32,
}

#[derive(Debug, Clone)]
enum Step {
    Look(usize, usize),
    Append { writer: usize, events: u64 },
}

/// Three writers, of which the second and third are a leader and the one after it, if it is `fenced`.
struct Writers {
    is_expecting: bool,
    is_fencing: bool,
    most: u32,
}

impl Writers {
    fn lawful() -> Self {
        Self { is_expecting: true, is_fencing: true, most: 3 + scale() - 1 }
    }

    const EPOCHS: [u64; 3] = [0, 1, 2];
}

impl Model for Writers {
    type State = World;
    type Step = Step;

    fn start(&self) -> World {
        World { writers: vec![Writer::default(); 3], ..World::default() }
    }

    fn steps(&self, world: &World) -> Vec<Step> {
        let mut steps = Vec::new();
        for (writer, Writer { read }) in world.writers.iter().enumerate() {
            match read {
                None => steps.extend((0..STREAMS).map(|stream| Step::Look(writer, stream))),
                Some(_) => {
                    steps.extend((0..=2).map(|events| Step::Append { writer, events }));
                }
            }
        }
        steps
    }

    fn take(&self, world: &mut World, step: &Step) -> Result<(), String> {
        match *step {
            Step::Look(writer, stream) => {
                world.writers[writer].read = Some((stream, world.versions[stream]));
            }
            Step::Append { writer, events } => {
                let (stream, read) = world.writers[writer].read.take().unwrap();
                world.appends += 1;
                let expect = match read {
                    _ if !self.is_expecting => Expect::Any,
                    0 => Expect::NoStream,
                    read => Expect::At(read),
                };
                let epoch = Self::EPOCHS[writer];
                let fence = if self.is_fencing { epoch } else { 0 };
                let before = (world.law, world.versions[stream]);
                let verdict =
                    world.law.append(&mut world.versions[stream], Terms { expect, events, fence });
                match verdict {
                    Verdict::Stored { after, last, version } => {
                        holds(last - after == events, "all or nothing")?;
                        for nth in 1..=events {
                            let at = version - events + nth;
                            world.log.push((stream, at, after + nth, epoch, read + nth));
                        }
                    }
                    _ => holds(
                        before == (world.law, world.versions[stream]),
                        "what does not land changes nothing",
                    )?,
                }
            }
        }
        Ok(())
    }

    fn check(&self, world: &World) -> Result<(), String> {
        for stream in 0..STREAMS {
            let versions: Vec<_> =
                world.log.iter().filter(|row| row.0 == stream).map(|row| row.1).collect();
            let whole: Vec<_> = (1..=world.versions[stream]).collect();
            holds(versions == whole, "E1: versions have no gap and no double")?;
        }
        let decided = world.log.iter().all(|row| row.1 == row.4);
        holds(decided, "E1: events are those of the version that their writer has read")?;
        let positions: Vec<_> = world.log.iter().map(|row| row.2).collect();
        holds(positions == (1..=world.law.end).collect::<Vec<_>>(), "positions have no gap")?;
        let mut highest = 0;
        for (_, _, _, epoch, _) in world.log.iter().filter(|row| row.3 != 0) {
            holds(*epoch >= highest, "E3: no append lands after that of a later leader")?;
            highest = *epoch;
        }
        Ok(())
    }

    fn is_within(&self, world: &World) -> bool {
        world.appends < self.most
    }
}

#[test]
fn versions_have_no_gap_and_fences_hold() {
    let report = explore(&Writers::lawful()).unwrap();
    assert!(report.states > 5_000, "{report}");
}

#[test]
fn a_log_that_expects_nothing_loses_a_decision() {
    let broken = explore(&Writers { is_expecting: false, ..Writers::lawful() }).unwrap_err();
    assert!(broken.why.starts_with("E1: events are those"), "{broken:?}");
    assert_eq!(broken.trace.len(), 4); // two look, two append
}

#[test]
fn a_log_that_does_not_fence_lets_the_old_leader_write() {
    let broken = explore(&Writers { is_fencing: false, ..Writers::lawful() }).unwrap_err();
    assert!(broken.why.starts_with("E3"), "{broken:?}");
}

// ===== folds =====

/// The order matters, and so does how often.
fn evolve(state: u64, event: u64) -> u64 {
    state * 10 + event
}

fn fold(start: Fold<u64>, events: &[(u64, u64)]) -> Option<Fold<u64>> {
    events.iter().try_fold(start, |fold, (version, event)| {
        fold.take(*version, |state| evolve(state, *event))
    })
}

// E5, for all logs of up to seven events, all snapshots of them, and all places from which the rest is read.
#[test]
fn a_snapshot_and_the_rest_are_the_same_as_all() {
    for length in 0..=7_u64 {
        let events: Vec<_> = (1..=length).map(|version| (version, version % 9 + 1)).collect();
        let all = fold(Fold::default(), &events).unwrap();
        for at in 0..=length {
            let snapshot = fold(Fold::default(), &events[..at as usize]).unwrap();
            for from in 0..=length {
                let folded = fold(snapshot, &events[from as usize..]);
                // What it has already is passed over; what is missing is told.
                assert_eq!(folded.is_some(), from <= at || from == length, "{at} {from}");
                if from <= at {
                    assert_eq!(folded, Some(all));
                }
            }
        }
    }
}

// The twin: who folds whatever comes counts an event twice as soon as a page overlaps the snapshot.
#[test]
fn a_fold_that_takes_whatever_comes_differs() {
    let naive = |start: Fold<u64>, events: &[(u64, u64)]| {
        events.iter().fold(start.state, |state, (_, event)| evolve(state, *event))
    };
    let events = [(1, 1), (2, 2), (3, 3)];
    let snapshot = fold(Fold::default(), &events[..2]).unwrap();
    let all = fold(Fold::default(), &events).unwrap();
    assert_ne!(naive(snapshot, &events[1..]), all.state);
    assert_eq!(fold(snapshot, &events[1..]), Some(all));
}

#[test]
fn a_snapshot_of_other_code_is_not_used() {
    assert!(is_usable(3, 3));
    assert!(!is_usable(2, 3) && !is_usable(4, 3)); // nor that of code that is newer: it was rolled back
}
