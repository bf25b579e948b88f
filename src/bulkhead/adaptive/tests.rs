//! The algorithm against simulated dependencies: workers, a queue, callers that leave at their deadline.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use super::config::{Adaptive, Bounds};
use super::machine::{AdaptiveLimit, CallStart, HowEnded};
use crate::core::time::Tick;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;

fn bounds() -> Bounds {
    Adaptive::default().check(&mut Vec::new())
}

type Draw = fn(&mut fastrand::Rng) -> u64;

/// 5 ms and an exponential 5 ms more.
fn short(rng: &mut fastrand::Rng) -> u64 {
    5 * MS + exponential(rng, 5 * MS)
}

/// Mean 50 ms, p95 112 ms.
fn lognormal(rng: &mut fastrand::Rng) -> u64 {
    let (u, v) = (1.0 - rng.f64(), rng.f64());
    let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
    ((0.05_f64.ln() - 0.18 + 0.6 * normal).exp() * 1e9) as u64
}

fn exponential(rng: &mut fastrand::Rng, mean: u64) -> u64 {
    (-(1.0 - rng.f64()).ln() * mean as f64) as u64
}

/// What happens to the dependency, and when.
#[derive(Clone, Copy)]
struct World {
    /// Backends behind one address, in turn. Workers of each.
    backends: usize,
    workers: usize,
    takes: Draw,
    /// Calls a second.
    arrivals: fn(u64) -> u64,
    deadline: u64,
    /// Workers that work.
    working: fn(u64) -> usize,
    /// Times as long, in percent, and what the way there and back takes.
    slower: fn(u64, usize) -> u64,
    distance: fn(u64) -> u64,
    ends: u64,
}

impl World {
    const fn new(workers: usize, takes: Draw, arrivals: fn(u64) -> u64, deadline: u64) -> Self {
        Self {
            backends: 1,
            workers,
            takes,
            arrivals,
            deadline,
            working: |_| usize::MAX,
            slower: |_, _| 100,
            distance: |_| 0,
            ends: 60 * SECOND,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive,
    GiveUp(u64),
    Done(usize, u64),
    Answer(u64),
}

/// Of the calls that came in a time.
#[derive(Debug, Default, Clone, Copy)]
struct Count {
    came: u64,
    answered: u64,
    refused: u64,
}

struct Run {
    world: World,
    limit: AdaptiveLimit,
    rng: fastrand::Rng,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    number: u64,
    turn: usize,
    calls: BTreeMap<u64, CallStart>,
    queues: Vec<VecDeque<u64>>,
    busy: Vec<usize>,
    seconds: Vec<Count>,
}

impl Run {
    fn of(world: World, bounds: Bounds, seed: u64) -> Self {
        let mut run = Self {
            world,
            limit: AdaptiveLimit::new(bounds),
            rng: fastrand::Rng::with_seed(seed),
            events: BinaryHeap::new(),
            number: 0,
            turn: 0,
            calls: BTreeMap::new(),
            queues: vec![VecDeque::new(); world.backends],
            busy: vec![0; world.backends],
            seconds: vec![Count::default(); (world.ends / SECOND) as usize + 1],
        };
        run.at(0, Event::Arrive);
        while let Some(Reverse((now, _, event))) = run.events.pop() {
            if now > world.ends {
                break;
            }
            run.happens(now, event);
        }
        run
    }

    fn at(&mut self, when: u64, event: Event) {
        self.number += 1;
        self.events.push(Reverse((when, self.number, event)));
    }

    fn in_flight(&self) -> u32 {
        u32::try_from(self.calls.len()).unwrap()
    }

    fn happens(&mut self, now: u64, event: Event) {
        match event {
            Event::Arrive => {
                let gap = SECOND / (self.world.arrivals)(now);
                let next = now + exponential(&mut self.rng, gap);
                self.at(next, Event::Arrive);
                let second = (now / SECOND) as usize;
                self.seconds[second].came += 1;
                if self.in_flight() >= self.limit.limit() {
                    self.seconds[second].refused += 1;
                    return;
                }
                let id = self.number;
                let start = self.limit.start(Tick(now), self.in_flight() + 1);
                self.calls.insert(id, start);
                self.at(now + self.world.deadline, Event::GiveUp(id));
                let backend = self.turn % self.world.backends;
                self.turn += 1;
                self.queues[backend].push_back(id);
            }
            Event::GiveUp(id) => self.end(now, id, HowEnded::Dropped),
            Event::Done(backend, id) => {
                self.busy[backend] -= 1;
                self.at(now + (self.world.distance)(now), Event::Answer(id));
            }
            Event::Answer(id) => {
                if let Some(start) = self.calls.get(&id) {
                    self.seconds[(start.sent.0 / SECOND) as usize].answered += 1;
                }
                self.end(now, id, HowEnded::Answered);
            }
        }
        for backend in 0..self.world.backends {
            let workers = self.world.workers.min((self.world.working)(now));
            while self.busy[backend] < workers {
                let Some(id) = self.queues[backend].pop_front() else { break };
                let takes = (self.world.takes)(&mut self.rng);
                let takes = takes * (self.world.slower)(now, backend) / 100;
                self.busy[backend] += 1;
                self.at(now + takes, Event::Done(backend, id));
            }
        }
    }

    fn end(&mut self, now: u64, id: u64, how: HowEnded) {
        let in_flight = self.in_flight();
        if let Some(start) = self.calls.remove(&id) {
            self.limit.end(Tick(now), start, how, in_flight);
        }
    }

    fn between(&self, from: usize, to: usize) -> Count {
        self.seconds[from..to].iter().fold(Count::default(), |sum, second| Count {
            came: sum.came + second.came,
            answered: sum.answered + second.answered,
            refused: sum.refused + second.refused,
        })
    }
}

/// Answers in time of those from `from` to `to`, in thousandths of `of`.
fn share(answered: u64, of: u64) -> u64 {
    answered * 1_000 / of
}

// ----- pitfall B23: an adaptive limit that drifts or collapses -----

/// 2,000 calls a second is all that this dependency can do.
const CAPACITY: u64 = 2_000;

#[test]
fn under_lasting_overload_all_that_the_dependency_can_do_is_done_in_time() {
    for arrivals in [|_| 2_400, |_| 3_000, |_| 6_000, |_| 20_000] as [fn(u64) -> u64; 4] {
        let run = Run::of(World::new(20, short, arrivals, 50 * MS), bounds(), 7);
        let done = run.between(2, 59);
        let share = share(done.answered, CAPACITY * 57);
        assert!(share >= 990, "{arrivals:?}: {share} of 1,000, limit {}", run.limit.limit());
    }
}

#[test]
fn when_capacity_is_halved_and_doubled_it_is_found_again() {
    let halved = |now: u64| if now / SECOND / 20 == 1 { 10 } else { 20 };
    let world = World { working: halved, ..World::new(20, short, |_| 6_000, 50 * MS) };
    let run = Run::of(world, bounds(), 7);
    for (from, capacity) in [(10, CAPACITY), (30, CAPACITY / 2), (50, CAPACITY)] {
        let done = run.between(from, from + 9);
        assert!(share(done.answered, capacity * 9) >= 980, "{from}: {done:?}");
    }
}

#[test]
fn it_begins_as_well_as_it_goes_on_though_it_knows_nothing() {
    let run = Run::of(World::new(20, short, |_| 6_000, 50 * MS), bounds(), 7);
    let first = run.between(0, 3);
    assert!(share(first.answered, CAPACITY * 3) >= 950, "{first:?}");
}

#[test]
fn while_the_load_is_what_the_dependency_can_do_nobody_is_refused() {
    let run = Run::of(World::new(20, short, |_| 1_400, 50 * MS), bounds(), 7);
    let all = run.between(0, 59);
    assert!(all.refused * 500 <= all.came, "{all:?}"); // 0.2 %
}

#[test]
fn a_small_and_a_large_dependency_are_found_alike() {
    let small = World::new(1, short, |_| 300, 200 * MS);
    let large = World::new(400, short, |_| 60_000, 100 * MS);
    let large = World { ends: 20 * SECOND, ..large };
    for (world, capacity) in [(small, 100), (large, 40_000)] {
        let run = Run::of(world, bounds(), 7);
        let seconds = (world.ends / SECOND) as usize - 1;
        let done = run.between(5, seconds);
        let share = share(done.answered, capacity * (seconds as u64 - 5));
        assert!(share >= 960, "{capacity}: {share}, limit {}", run.limit.limit());
    }
}

// ----- what befalls it: 20 workers, 400 calls a second at most, 260 come -----

const fn storm() -> World {
    World::new(20, lognormal, |_| 260, SECOND)
}

const fn is_during(now: u64) -> bool {
    now >= 30 * SECOND && now < 38 * SECOND
}

#[test]
fn when_a_tenth_is_left_the_limit_comes_down_and_comes_back() {
    let world = World { working: |now| if is_during(now) { 2 } else { usize::MAX }, ..storm() };
    for seed in 1..=5 {
        let run = Run::of(world, bounds(), seed);
        let (during, after) = (run.between(30, 38), run.between(41, 59));
        // A tenth of 400 are 40 a second: 320 in all.
        assert!(share(during.answered, 320) >= 850, "{seed}: {during:?}");
        assert!(share(after.answered, after.came) >= 990, "{seed}: {after:?}");
    }
}

#[test]
fn distance_is_taken_for_what_it_is() {
    let world = World { distance: |now| if now >= 30 * SECOND { 100 * MS } else { 0 }, ..storm() };
    for seed in 1..=5 {
        let run = Run::of(world, bounds(), seed);
        let after = run.between(35, 59);
        assert!(
            share(after.answered, after.came) >= 980,
            "{seed}: {after:?}, {}",
            run.limit.limit()
        );
    }
}

/// The one that no known limit passes: what is slow is one server of four, not the dependency.
#[test]
fn one_bad_server_behind_a_balancer_does_not_bring_the_limit_down() {
    let world = World {
        backends: 4,
        workers: 5,
        slower: |now, backend| if backend == 0 && is_during(now) { 5_000 } else { 100 },
        ..storm()
    };
    for seed in 1..=5 {
        let run = Run::of(world, bounds(), seed);
        let during = run.between(30, 37);
        // Three of four calls meet a good one.
        assert!(share(during.answered, during.came) >= 720, "{seed}: {during:?}");
        assert!(during.refused * 50 <= during.came, "{seed}: {during:?}");
    }
}

#[test]
fn a_hang_is_noticed_and_its_end_too() {
    let world = World { working: |now| if is_during(now) { 0 } else { usize::MAX }, ..storm() };
    for seed in 1..=5 {
        let run = Run::of(world, bounds(), seed);
        let (during, after) = (run.between(32, 38), run.between(41, 59));
        assert!(during.refused * 10 >= during.came * 9, "{seed}: {during:?}");
        assert!(share(after.answered, after.came) >= 990, "{seed}: {after:?}");
    }
}

#[test]
fn while_few_call_the_limit_holds_still() {
    let run = Run::of(World::new(20, short, |_| 50, SECOND), bounds(), 7);
    assert_eq!(run.limit.limit(), bounds().initial);
}

// ----- what counts -----

/// A limit that has seen `calls` calls of 10 ms, one after the other.
fn settled(calls: u64) -> (AdaptiveLimit, u64) {
    let mut limit = AdaptiveLimit::new(bounds());
    for nth in 0..calls {
        let start = limit.start(Tick(nth * 20 * MS), 1);
        limit.end(Tick(nth * 20 * MS + 10 * MS), start, HowEnded::Answered, 1);
    }
    (limit, calls * 20 * MS)
}

/// What the limit is after so many calls in a row that took so long and ended so, a full house each time.
fn after(how: HowEnded, took: u64) -> u32 {
    let (mut limit, now) = settled(300);
    for nth in 0..50 {
        let sent = now + nth * 200 * MS;
        let start = limit.start(Tick(sent), 40);
        limit.end(Tick(sent + took), start, how, 40);
    }
    limit.limit()
}

#[test]
fn fast_errors_say_nothing_and_slow_ones_do() {
    assert_eq!(after(HowEnded::Failed, 2 * MS), 40);
    assert!(after(HowEnded::Failed, 100 * MS) < 10);
}

#[test]
fn dropped_calls_count_if_they_should_have_been_answered() {
    assert_eq!(after(HowEnded::Dropped, 2 * MS), 40);
    assert!(after(HowEnded::Dropped, 15 * MS) < 10);
}

#[test]
fn pushback_lowers_the_limit_and_what_is_ignored_does_not() {
    assert!(after(HowEnded::Pushback, MS) < 10);
    assert_eq!(after(HowEnded::Ignored, 100 * MS), 40);
}

#[test]
fn good_answers_raise_it_only_while_it_is_taken() {
    assert!(after(HowEnded::Answered, 10 * MS) > 50);
    let (limit, _) = settled(3_000);
    assert_eq!(limit.limit(), 40);
}

#[test]
fn it_stays_within_its_bounds() {
    let narrow = Bounds { initial: 5, min: 4, max: 6, tolerance: 60 };
    let mut limit = AdaptiveLimit::new(narrow);
    for nth in 0..5_000 {
        let start = limit.start(Tick(nth * 20 * MS), 6);
        let (took, how) = if nth % 1_000 < 500 {
            (10 * MS, HowEnded::Answered)
        } else {
            (MS, HowEnded::Pushback)
        };
        limit.end(Tick(nth * 20 * MS + took), start, how, 6);
        assert!((4..=6).contains(&limit.limit()), "{nth}: {}", limit.limit());
    }
}
