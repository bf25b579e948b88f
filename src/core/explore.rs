//! Explores every state that a machine and a small world around it can reach.
//!
//! Breadth first, so that what it finds wrong it finds by the shortest way. A machine is pure and
//! `Eq + Hash`, so a state that was seen need not be looked at again, and within its bounds the
//! search is exhaustive: all interleavings, not a sample of them.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::rc::Rc;

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// A machine, the world around it, and what must hold.
pub(crate) trait Model {
    /// The machine and what the world remembers of it.
    type State: Clone + Eq + Hash + fmt::Debug;
    /// One thing that can happen.
    type Step: Clone + fmt::Debug;

    fn start(&self) -> Self::State;

    /// All that can happen next.
    fn steps(&self, state: &Self::State) -> Vec<Self::Step>;

    /// Lets it happen. An error says which invariant is broken.
    fn take(&self, state: &mut Self::State, step: &Self::Step) -> Result<(), String>;

    /// What must hold in each state.
    fn check(&self, state: &Self::State) -> Result<(), String>;

    /// Whether a state is worth going on from; what is out of bounds is checked, and that is all.
    fn is_within(&self, state: &Self::State) -> bool;
}

/// What was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) states: usize,
    pub(crate) steps: usize,
    /// The length of the longest of the shortest ways.
    pub(crate) depth: usize,
}

/// An invariant that is broken, and the shortest way there.
pub(crate) struct Broken {
    pub(crate) why: String,
    pub(crate) trace: Vec<String>,
    state: String,
}

/// Every state within the bounds of the model.
pub(crate) fn explore<M: Model>(model: &M) -> Result<Report, Broken> {
    let mut search = Search::<M> { seen: HashSet::new(), next: VecDeque::new(), ways: Vec::new() };
    let mut report = Report { states: 0, steps: 0, depth: 0 };
    let start = model.start();
    if let Err(why) = model.check(&start) {
        return Err(Broken { why, trace: Vec::new(), state: format!("{start:#?}") });
    }
    search.add(start, None);
    while let Some((state, way, depth)) = search.next.pop_front() {
        report.states += 1;
        report.depth = depth;
        if !model.is_within(&state) {
            continue;
        }
        for step in model.steps(&state) {
            report.steps += 1;
            let mut after = M::State::clone(&state);
            let taken = model.take(&mut after, &step);
            let known = taken.is_ok() && search.seen.contains(&after);
            if known {
                continue;
            }
            if let Err(why) = taken.and_then(|()| model.check(&after)) {
                let mut trace = search.trace(way);
                trace.push(format!("{step:?}"));
                return Err(Broken { why, trace, state: format!("{after:#?}") });
            }
            search.add(after, Some((way, step, depth + 1)));
        }
    }
    Ok(report)
}

struct Search<M: Model> {
    seen: HashSet<Rc<M::State>>,
    /// Each with its place among the ways, and its distance from the start.
    next: VecDeque<(Rc<M::State>, usize, usize)>,
    /// How each state was reached first: from where, and by what.
    ways: Vec<Option<(usize, M::Step)>>,
}

impl<M: Model> Search<M> {
    fn add(&mut self, state: M::State, from: Option<(usize, M::Step, usize)>) {
        let state = Rc::new(state);
        let depth = from.as_ref().map_or(0, |(_, _, depth)| *depth);
        self.seen.insert(Rc::clone(&state));
        self.next.push_back((state, self.ways.len(), depth));
        self.ways.push(from.map(|(way, step, _)| (way, step)));
    }

    fn trace(&self, mut way: usize) -> Vec<String> {
        let mut trace = Vec::new();
        while let Some((from, step)) = &self.ways[way] {
            trace.push(format!("{step:?}"));
            way = *from;
        }
        trace.reverse();
        trace
    }
}

/// An invariant, in words.
pub(crate) fn holds(it_does: bool, what: &str) -> Result<(), String> {
    if it_does { Ok(()) } else { Err(what.to_owned()) }
}

/// By how much to stretch the bounds: the environment variable `SEAWALL_EXPLORE`, by default 1.
pub(crate) fn scale() -> u32 {
    let scale = std::env::var("SEAWALL_EXPLORE").ok().and_then(|scale| scale.parse().ok());
    scale.unwrap_or(1).max(1)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { states, steps, depth } = self;
        write!(f, "{states} states, {steps} steps, {depth} deep")
    }
}

impl fmt::Debug for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.why)?;
        for (nth, step) in self.trace.iter().enumerate() {
            writeln!(f, "{:>4}. {step}", nth + 1)?;
        }
        f.write_str(&self.state)
    }
}

// ===== long stories =====

/// Operations of a long story: a fault may need more of them than a search can afford.
pub(crate) const LONG: usize = 10_000;

/// Stories told from seeds that never change, so that every run tells the same.
pub(crate) fn stories<S: Strategy>(seeds: u8, story: S) -> impl Iterator<Item = S::Value> {
    (1..=seeds).map(move |seed| {
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        story.new_tree(&mut runner).expect("it rejects nothing").current()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two counters; they must not meet at `(2, 3)`.
    struct Counters;

    impl Model for Counters {
        type State = (u8, u8);
        type Step = bool;

        fn start(&self) -> (u8, u8) {
            (0, 0)
        }

        fn steps(&self, _: &(u8, u8)) -> Vec<bool> {
            vec![false, true]
        }

        fn take(&self, state: &mut (u8, u8), first: &bool) -> Result<(), String> {
            *(if *first { &mut state.0 } else { &mut state.1 }) += 1;
            Ok(())
        }

        fn check(&self, state: &(u8, u8)) -> Result<(), String> {
            if *state == (2, 3) { Err("they met".into()) } else { Ok(()) }
        }

        fn is_within(&self, state: &(u8, u8)) -> bool {
            state.0 + state.1 < 5
        }
    }

    /// The same without the bad end.
    struct Peaceful;

    impl Model for Peaceful {
        type State = (u8, u8);
        type Step = bool;

        fn start(&self) -> (u8, u8) {
            (0, 0)
        }

        fn steps(&self, state: &(u8, u8)) -> Vec<bool> {
            Counters.steps(state)
        }

        fn take(&self, state: &mut (u8, u8), first: &bool) -> Result<(), String> {
            Counters.take(state, first)
        }

        fn check(&self, _: &(u8, u8)) -> Result<(), String> {
            Ok(())
        }

        fn is_within(&self, state: &(u8, u8)) -> bool {
            Counters.is_within(state)
        }
    }

    #[test]
    fn a_broken_invariant_is_found_by_the_shortest_way() {
        let broken = explore(&Counters).unwrap_err();
        assert_eq!((broken.why.as_str(), broken.trace.len()), ("they met", 5));
        assert_eq!(broken.trace.iter().filter(|step| *step == "true").count(), 2);
    }

    #[test]
    fn every_state_is_counted_once() {
        // The triangle of all (a, b) with a + b ≤ 5, from whose inner 15 states two steps lead.
        let report = explore(&Peaceful).unwrap();
        assert_eq!(report, Report { states: 21, steps: 30, depth: 5 });
    }
}
