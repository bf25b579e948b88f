//! The law of a bulkhead against a model that knows everyone by name.

mod explore;
#[cfg(seawall_loom)]
mod loom;

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;

use super::config::{Config, Order};
use super::machine::{Effect, Input, Law, Occupancy};
use crate::explore::{LONG, stories};

/// Everyone who is inside, and everyone who waits.
#[derive(Debug, Default)]
struct Model {
    inside: Vec<u32>,
    waiting: VecDeque<u32>,
    names: u32,
}

impl Model {
    fn step(&mut self, law: &Law, input: Input) -> Effect {
        match input {
            Input::Ask | Input::Stand => {
                self.names += 1;
                let stands = input == Input::Stand || self.waiting.len() < law.queue as usize;
                if self.inside.len() < law.limit as usize && self.waiting.is_empty() {
                    self.inside.push(self.names);
                    Effect::Enter
                } else if stands {
                    self.waiting.push_back(self.names);
                    Effect::Wait
                } else {
                    Effect::Full
                }
            }
            Input::Leave => {
                self.inside.pop();
                self.let_in(law)
            }
            Input::GiveUp => {
                self.waiting.pop_front();
                Effect::Done
            }
            Input::Settle => self.let_in(law),
        }
    }

    fn let_in(&mut self, law: &Law) -> Effect {
        if self.inside.len() >= law.limit as usize {
            return Effect::Done;
        }
        match self.waiting.pop_front() {
            Some(next) => {
                self.inside.push(next);
                Effect::Next
            }
            None => Effect::Done,
        }
    }
}

proptest! {
    // pitfalls B10, B12
    #[test]
    fn it_agrees_with_a_model_that_knows_everyone_by_name(
        queue in 0_u32..5,
        steps in prop::collection::vec(step(), 0..300),
    ) {
        agree(queue, steps)?;
    }
}

#[test]
fn they_agree_for_as_long_as_a_long_story_is() {
    let story = (0_u32..5, prop::collection::vec(step(), LONG));
    let names = stories(8, story).map(|(queue, steps)| agree(queue, steps).expect("they agree"));
    assert!(names.min() > Some(1_000), "few came");
}

/// The limit of the moment, and what happens.
fn step() -> impl Strategy<Value = (u32, u8)> {
    (1_u32..5, 0_u8..7)
}

/// Tells both the same story, and returns how many callers there were.
fn agree(queue: u32, steps: Vec<(u32, u8)>) -> Result<u32, TestCaseError> {
    let (mut word, mut model) = (Occupancy::default().pack(), Model::default());
    for (limit, which) in steps {
        let law = Law { limit, queue, max_wait: 0, newest_first: false };
        let mut at = Occupancy::unpack(word);
        let input = match which {
            0..=2 => Input::Ask,
            3 => Input::Stand,
            4 if at.inside > 0 => Input::Leave,
            5 if at.waiting > 0 => Input::GiveUp,
            _ => Input::Settle,
        };
        let before = at.inside;
        prop_assert_eq!(at.step(&law, input), model.step(&law, input), "{:?}", input);
        prop_assert_eq!(at.inside as usize, model.inside.len());
        prop_assert_eq!(at.waiting as usize, model.waiting.len());
        prop_assert!(at.inside <= before.max(limit), "above the limit");
        word = at.pack();
        prop_assert_eq!(Occupancy::unpack(word), at);
    }
    Ok(model.names)
}

#[test]
fn counts_that_cannot_be_do_not_wrap() {
    let law = Law { limit: 1, queue: 0, max_wait: 0, newest_first: false };
    let mut at = Occupancy::default();
    assert_eq!(at.step(&law, Input::Leave), Effect::Done);
    assert_eq!(at.step(&law, Input::GiveUp), Effect::Done);
    assert_eq!(at, Occupancy::default());
    // Whoever stands whatever the length of the line is bounded all the same.
    let mut at = Occupancy { inside: 1, waiting: 1_000_000 };
    assert_eq!(at.step(&law, Input::Stand), Effect::Full);
    assert_eq!(Occupancy::unpack(at.pack()), at);
}

#[test]
fn settings_are_accepted_up_to_their_bounds_and_no_further() {
    const MOST: u32 = 1_000_000;
    const WAIT: Duration = Duration::from_secs(1);
    let law = |limit, queue, max_wait| {
        let config = Config { limit, queue, max_wait, order: Order::NewestFirst };
        Law::from_config(&config)
            .map_err(|wrong| wrong.iter().map(|problem| problem.field).collect::<Vec<_>>())
    };
    let accepted = |limit, queue, max_wait| Ok(Law { limit, queue, max_wait, newest_first: true });
    assert_eq!(law(1, 1, WAIT), accepted(1, 1, 1_000_000_000));
    assert_eq!(law(MOST, MOST, WAIT), accepted(MOST, MOST, 1_000_000_000));
    assert_eq!(law(1, 0, Duration::ZERO), accepted(1, 0, 0), "nobody waits");
    assert_eq!(law(1, 1, Duration::ZERO), Err(vec!["max_wait"]));
    assert_eq!(law(0, 0, WAIT), Err(vec!["limit"]));
    assert_eq!(law(MOST + 1, MOST + 1, WAIT), Err(vec!["limit", "queue"]));
    assert!(!Law::of_defaults().newest_first);
}
