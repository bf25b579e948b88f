//! Explores a fence: terms that begin, calls of leaders and of a stranger, a store whose answers are late or lost, and a fence
//! that is restarted, or forgotten to make room.

use super::machine::{Heard, Look, Machine};
use crate::core::explore::{Model, explore};
use crate::parts::backoff::{Curve, Shape};

const PAUSE: Curve = Curve { base: 0, factor: 1_000, cap: 0, shape: Shape::None };
/// Terms that begin.
const TERMS: u64 = 3;
/// An epoch that nobody is given.
const STRANGER: u64 = 9;
/// Calls that wait.
const CALLS: usize = 2;
const RESTARTS: u8 = 1;

/// How the fence decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Right,
    /// Any higher epoch raises it.
    RaisesUnconfirmed,
    /// It lets in before its store has answered.
    OpensEarly,
    /// One that is forgotten takes the first epoch that comes for the highest.
    TrustsOnFirstUse,
    /// An answer that was on its way when a call came counts for it.
    TakesLateAnswers,
    /// An answer that is lower than one before it is taken.
    Sinks,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    fence: Machine,
    /// The latest term that began.
    granted: u64,
    /// A question on its way, and what the store answered.
    question: Option<(u64, Option<u64>)>,
    /// Calls that wait: by which epoch, for which question.
    calls: [Option<(u64, u64)>; CALLS],
    /// The highest epoch that was let in, by this fence or one before it.
    passed: u64,
    restarts: u8,
    /// It was forgotten, and nobody has come since.
    fresh: bool,
}

#[derive(Debug, Clone)]
enum Step {
    Begins,
    Call(u64),
    Looks(usize),
    Asks,
    Reads,
    /// A replica of the store that lags says this.
    ReadsOld,
    Answers,
    Fails,
    Restarts,
    Confirmed,
}

struct Fence(Rule);

impl Fence {
    fn look(&self, world: &mut World, epoch: u64, needs: u64) -> Result<Look, String> {
        let needs = match self.0 {
            Rule::TakesLateAnswers => needs - 1,
            _ => needs,
        };
        let look = match self.0 {
            Rule::RaisesUnconfirmed if epoch > world.fence.highest() => {
                world.fence.confirmed(epoch);
                Look::Pass
            }
            Rule::OpensEarly if !world.fence.has_spoken() && epoch < STRANGER => Look::Pass,
            Rule::TrustsOnFirstUse if world.fresh && epoch < STRANGER => {
                world.fence.hears(0, epoch, 0, &PAUSE, 0);
                Look::Pass
            }
            _ => world.fence.look(epoch, false, needs),
        };
        world.fresh = false;
        match look {
            Look::Pass if epoch < world.passed => {
                Err(format!("L6: {epoch} is let in after {}", world.passed))
            }
            Look::Pass if epoch > world.granted => Err(format!("{epoch} was given to nobody")),
            Look::Unknown if epoch <= world.granted => {
                Err(format!("{epoch} is refused for unknown"))
            }
            look => {
                if look == Look::Pass {
                    world.passed = epoch;
                }
                Ok(look)
            }
        }
    }
}

impl Model for Fence {
    type State = World;
    type Step = Step;

    fn start(&self) -> World {
        World {
            fence: Machine::default(),
            granted: 0,
            question: None,
            calls: [None; CALLS],
            passed: 0,
            restarts: 0,
            fresh: false,
        }
    }

    fn steps(&self, world: &World) -> Vec<Step> {
        let mut steps = vec![Step::Call(STRANGER)];
        steps.extend((1..=world.granted).map(Step::Call));
        if world.granted < TERMS {
            steps.push(Step::Begins);
        }
        let waiting = world.calls.iter().enumerate().filter(|(_, call)| call.is_some());
        steps.extend(waiting.map(|(nth, _)| Step::Looks(nth)));
        match world.question {
            None if world.calls.iter().any(Option::is_some) => steps.push(Step::Asks),
            None => {}
            Some((_, None)) => steps.extend([Step::Reads, Step::ReadsOld, Step::Fails]),
            Some((_, Some(_))) => steps.extend([Step::Answers, Step::Fails]),
        }
        if world.restarts < RESTARTS {
            steps.push(Step::Restarts);
        }
        steps.push(Step::Confirmed);
        steps
    }

    fn take(&self, world: &mut World, step: &Step) -> Result<(), String> {
        match *step {
            Step::Begins => world.granted += 1,
            Step::Call(epoch) => {
                let needs = world.fence.needs();
                if self.look(world, epoch, needs)? == Look::Wait
                    && let Some(free) = world.calls.iter_mut().find(|call| call.is_none())
                {
                    *free = Some((epoch, needs));
                }
            }
            Step::Looks(nth) => {
                let Some((epoch, needs)) = world.calls[nth] else { return Ok(()) };
                if self.look(world, epoch, needs)? != Look::Wait {
                    world.calls[nth] = None;
                }
            }
            Step::Asks => world.question = Some((world.fence.asks(), None)),
            Step::Reads => world.question.as_mut().expect("asked").1 = Some(world.granted),
            // It answers less than it answered before: what it said is not to be believed.
            Step::ReadsOld => {
                let old = world.fence.highest().saturating_sub(1);
                if world.fence.has_spoken() && old < world.fence.highest() {
                    world.question.as_mut().expect("asked").1 = Some(old);
                }
            }
            Step::Answers => {
                let Some((number, Some(said))) = world.question.take() else { return Ok(()) };
                let before = world.fence.highest();
                let heard = if self.0 == Rule::Sinks && said < before {
                    world.fence = Machine::default();
                    world.fence.hears(number, said, 0, &PAUSE, 0)
                } else {
                    world.fence.hears(number, said, 0, &PAUSE, 0)
                };
                if heard == Heard::Forgot && said >= before {
                    return Err("a good answer is taken for a forgetful one".into());
                }
            }
            Step::Fails => {
                world.question = None;
                world.fence.fails(0, &PAUSE, 0);
            }
            Step::Restarts => {
                world.fence = Machine::default();
                (world.question, world.calls) = (None, [None; CALLS]);
                world.restarts += 1;
                world.fresh = true;
            }
            Step::Confirmed => drop(world.fence.confirmed(world.granted)),
        }
        Ok(())
    }

    fn check(&self, world: &World) -> Result<(), String> {
        if world.fence.highest() > world.granted {
            return Err(format!("at {} it fences out {}", world.fence.highest(), world.granted));
        }
        if !world.fence.has_spoken() && world.fence.open_at() != 0 {
            return Err("it is open, and its store has not answered".into());
        }
        Ok(())
    }

    fn is_within(&self, world: &World) -> bool {
        world.fence.needs() <= 4
    }
}

// pitfall B48, B49
#[test]
fn a_fence_lets_in_what_is_confirmed_and_never_less_than_before() {
    let report = explore(&Fence(Rule::Right)).unwrap_or_else(|broken| panic!("{broken:?}"));
    assert!(report.states > 10_000, "{report:?}");
}

#[test]
fn weaker_rules_are_found_out() {
    let twins = [
        (Rule::RaisesUnconfirmed, "was given to nobody"),
        (Rule::OpensEarly, "L6"),
        (Rule::TrustsOnFirstUse, "L6"),
        (Rule::TakesLateAnswers, "for unknown"),
        (Rule::Sinks, ""),
    ];
    for (rule, why) in twins {
        let broken =
            explore(&Fence(rule)).err().unwrap_or_else(|| panic!("{rule:?} is not found out"));
        assert!(broken.why.contains(why), "{rule:?}: {broken:?}");
    }
}

#[test]
fn a_call_without_an_epoch_passes_by_setting_and_not_before_the_store_has_answered() {
    let mut fence = Machine::default();
    let needs = fence.needs();
    assert_eq!(fence.look(0, false, needs), Look::Fenced);
    assert_eq!(fence.look(0, true, needs), Look::Wait);
    let question = fence.asks();
    assert_eq!(fence.hears(question, 0, 0, &PAUSE, 0), Heard::Opened);
    assert_eq!(fence.look(0, true, needs), Look::Pass);
    assert_eq!((fence.look(0, false, needs), fence.open_at()), (Look::Fenced, 0));
}

#[test]
fn pauses_grow_while_the_store_does_not_answer() {
    let curve = super::Config::default().curve();
    let mut fence = Machine::default();
    let mut last = 0;
    for nth in 0..12_u32 {
        fence.fails(0, &curve, u64::MAX / 2);
        let pause = fence.next();
        assert!(pause >= last, "{nth}: {pause}");
        last = pause;
    }
    assert!((800_000_000..=1_200_000_000).contains(&last), "{last}");
    let question = fence.asks();
    fence.hears(question, 1, 0, &curve, 0);
    assert!((100_000_000..=150_000_000).contains(&fence.next()), "{}", fence.next());
}
