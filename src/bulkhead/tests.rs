//! The algorithm of a bulkhead against a model that knows everyone by name.

mod explore;
#[cfg(seawall_loom)]
mod loom;

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;

use super::config::{Config, Order};
use super::machine::{Effect, Input, Kept, Occupancy, Params};
use crate::core::explore::{LONG, stories};

/// Everyone who is inside, and everyone who waits.
#[derive(Debug, Default)]
struct Model {
    /// By name, and how many places each takes.
    inside: Vec<(u32, u32)>,
    waiting: VecDeque<(u32, u32)>,
    names: u32,
}

impl Model {
    fn taken(&self) -> u32 {
        self.inside.iter().map(|(_, cost)| cost).sum()
    }

    fn next(&self, params: &Params) -> Option<usize> {
        let last = self.waiting.len().checked_sub(1)?;
        Some(if params.newest_first { last } else { 0 })
    }

    /// What the next in the queue costs.
    fn next_cost(&self, params: &Params) -> u32 {
        self.next(params).map_or(0, |next| self.waiting[next].1)
    }

    fn ask(&mut self, params: &Params, cost: u32, queue: usize) -> Effect {
        self.names += 1;
        let fits = self.taken() + cost <= params.limit;
        if cost > params.limit {
            Effect::TooDear
        } else if cost == 0 || (fits && (self.waiting.is_empty() || params.newest_first)) {
            self.inside.push((self.names, cost));
            Effect::Enter
        } else if self.waiting.len() < queue {
            self.waiting.push_back((self.names, cost));
            Effect::Wait
        } else {
            Effect::Full
        }
    }

    fn step(&mut self, params: &Params, input: Input) -> Effect {
        match input {
            Input::Ask(cost) => self.ask(params, cost, params.queue as usize),
            Input::Stand => self.ask(params, 1, usize::MAX),
            Input::Leave { cost, .. } => {
                let who = self.inside.iter().position(|(_, takes)| *takes == cost);
                self.inside.swap_remove(who.expect("it is inside"));
                self.let_in(params)
            }
            Input::GiveUp => {
                self.waiting.pop_front();
                Effect::Done
            }
            Input::CallGuard { .. } => self.let_in(params),
        }
    }

    fn let_in(&mut self, params: &Params) -> Effect {
        let Some(next) = self.next(params) else { return Effect::Done };
        if self.taken() + self.waiting[next].1 > params.limit {
            return Effect::Done;
        }
        let next = self.waiting.remove(next).expect("it waits");
        self.inside.push(next);
        Effect::Next
    }
}

proptest! {
    // pitfalls B10, B12
    #[test]
    fn it_agrees_with_a_model_that_knows_everyone_by_name(
        how in (0_u32..5, any::<bool>()),
        steps in prop::collection::vec(step(), 0..300),
    ) {
        agree(how, steps)?;
    }
}

#[test]
fn they_agree_for_as_long_as_a_long_story_is() {
    let story = ((0_u32..5, any::<bool>()), prop::collection::vec(step(), LONG));
    let names = stories(8, story).map(|(how, steps)| agree(how, steps).expect("they agree"));
    assert!(names.min() > Some(1_000), "few came");
}

/// The limit of the moment, what happens, and what it costs.
fn step() -> impl Strategy<Value = (u32, u8, u32)> {
    (1_u32..6, 0_u8..8, 0_u32..5)
}

/// Tells both the same story, and returns how many callers there were.
fn agree(
    (queue, newest_first): (u32, bool),
    steps: Vec<(u32, u8, u32)>,
) -> Result<u32, TestCaseError> {
    let (mut word, mut model) = (Occupancy::default().pack(), Model::default());
    for (limit, which, cost) in steps {
        let params =
            Params { limit, most: limit, queue, max_wait: 0, newest_first, adaptive: None };
        let mut at = Occupancy::unpack(word);
        let next = model.next_cost(&params);
        let input = match which {
            0..=2 => Input::Ask(cost),
            3 => Input::Stand,
            4 | 5 if !model.inside.is_empty() => {
                let who = cost as usize % model.inside.len();
                Input::Leave { cost: model.inside[who].1, next }
            }
            6 if at.waiting > 0 => Input::GiveUp,
            _ => Input::CallGuard { next },
        };
        let before = at.inside;
        prop_assert_eq!(at.step(&params, input), model.step(&params, input), "{:?}", input);
        prop_assert_eq!(at.inside, model.taken());
        prop_assert_eq!(at.waiting as usize, model.waiting.len());
        prop_assert!(at.inside <= before.max(limit), "above the limit");
        word = at.pack();
        prop_assert_eq!(Occupancy::unpack(word), at);
    }
    Ok(model.names)
}

#[test]
fn counts_that_cannot_be_do_not_wrap() {
    let params = Params { limit: 1, most: 1, ..Params::of_defaults() };
    let mut at = Occupancy::default();
    assert_eq!(at.step(&params, Input::Leave { cost: 1, next: 0 }), Effect::Done);
    assert_eq!(at.step(&params, Input::GiveUp), Effect::Done);
    assert_eq!(at.step(&params, Input::Leave { cost: u32::MAX, next: u32::MAX }), Effect::Done);
    assert_eq!(at, Occupancy::default());
    assert_eq!(at.step(&params, Input::Ask(u32::MAX)), Effect::TooDear);
    assert_eq!(at, Occupancy::default());
    // Whoever stands whatever the length of the line is bounded all the same.
    let mut at = Occupancy { inside: 1, waiting: 1_000_000, kept: Kept::None };
    assert_eq!(at.step(&params, Input::Stand), Effect::Full);
    assert_eq!(Occupancy::unpack(at.pack()), at);
}

#[test]
fn settings_are_accepted_up_to_their_bounds_and_no_further() {
    const MOST: u32 = 1_000_000;
    const WAIT: Duration = Duration::from_secs(1);
    let params = |limit, queue, max_wait| {
        let config = Config { limit, queue, max_wait, order: Order::NewestFirst, adaptive: None };
        Params::from_config(&config)
            .map_err(|wrong| wrong.iter().map(|problem| problem.field).collect::<Vec<_>>())
    };
    let accepted = |limit, queue, max_wait| {
        Ok(Params { limit, most: limit, queue, max_wait, newest_first: true, adaptive: None })
    };
    assert_eq!(params(1, 1, WAIT), accepted(1, 1, 1_000_000_000));
    assert_eq!(params(MOST, MOST, WAIT), accepted(MOST, MOST, 1_000_000_000));
    assert_eq!(params(1, 0, Duration::ZERO), accepted(1, 0, 0), "nobody waits");
    assert_eq!(params(1, 1, Duration::ZERO), Err(vec!["max_wait"]));
    assert_eq!(params(0, 0, WAIT), Err(vec!["limit"]));
    assert_eq!(params(MOST + 1, MOST + 1, WAIT), Err(vec!["limit", "queue"]));
    assert!(!Params::of_defaults().newest_first);
}
