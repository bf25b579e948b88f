//! Callers who leave before they can have been answered, by the thousand: the algorithm alone, so that whole
//! tables of rates and latencies are run in seconds.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;

/// How a dependency answers, and how its callers wait, in nanoseconds.
#[derive(Debug, Clone, Copy)]
struct Scene {
    /// What an answer takes; `u64::MAX` is never.
    answers_in: u64,
    /// When the impatient leave.
    leave_after: u64,
    /// Callers of a hundred that are impatient.
    impatient: u32,
    /// Time between two callers.
    every: u64,
}

/// How a call that is in flight will end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    Success,
    Left,
}

/// A breaker under traffic, and what its shell knows of it.
struct Town {
    lab: Lab,
    rng: fastrand::Rng,
    flying: BinaryHeap<Reverse<(Tick, u64, End)>>,
    passes: Vec<Option<(Pass, Tick, bool)>>,
    /// When the first of those who stay was let through.
    first_stayer: Option<Tick>,
}

impl Town {
    fn new(seed: u64) -> Self {
        let mut lab = Lab::with(|_| ());
        lab.usual = None;
        let rng = fastrand::Rng::with_seed(seed);
        Self { lab, rng, flying: BinaryHeap::new(), passes: Vec::new(), first_stayer: None }
    }

    /// The next caller: lets everything end that ends until then.
    fn caller(&mut self, at: Tick, scene: Scene) {
        while let Some(Reverse((end, ..))) = self.flying.peek()
            && *end <= at
        {
            self.land();
        }
        self.lab.now = at;
        self.lab.draw = self.rng.u64(..);
        let stays = self.rng.u32(..100) >= scene.impatient;
        let Some(mut pass) = self.lab.try_admit() else { return };
        pass.pending = true;
        if stays {
            self.first_stayer.get_or_insert(at);
        }
        let quiet = self.lab.machine.digest(&self.lab.params).quiet;
        let timed = !quiet || self.lab.usual.is_none();
        let (took, end) = if stays || scene.leave_after >= scene.answers_in {
            (scene.answers_in, End::Success)
        } else {
            (scene.leave_after, End::Left)
        };
        self.passes.push(Some((pass, at, timed)));
        if took != u64::MAX {
            self.flying.push(Reverse((at.plus(took), self.passes.len() as u64 - 1, end)));
        }
    }

    /// The next call ends.
    fn land(&mut self) {
        let Some(Reverse((at, nth, end))) = self.flying.pop() else { return };
        let Some((pass, began, timed)) = self.passes[nth as usize].take() else { return };
        self.lab.now = at;
        self.lab.draw = self.rng.u64(..);
        let waited = timed.then(|| at.since(began));
        match end {
            End::Success => {
                if let Some(took) = waited {
                    self.learn(took);
                }
                let sample = Sample { signal: Signal::Success, took: waited, retry_after: None };
                let _ = self.lab.step(Input::CallGuard { pass, sample });
            }
            End::Left => {
                let usual = self.lab.usual;
                let _ = self.lab.step(Input::Abandon { pass, waited, usual });
            }
        }
    }

    /// As `shell/common.rs` does.
    fn learn(&mut self, took: u64) {
        let next = match self.lab.usual {
            None => took,
            Some(usual) if took > usual => usual + (took - usual) / 4,
            Some(usual) => usual - (usual - took) / 16,
        };
        self.lab.usual = Some(next.max(1));
    }

    /// Traffic until `until` says that it is over. Returns how long it took.
    fn traffic(&mut self, scene: Scene, most: u64, until: impl Fn(&Lab) -> bool) -> u64 {
        let began = self.lab.now;
        let mut at = began;
        while at.since(began) < most && !until(&self.lab) {
            self.caller(at, scene);
            at = at.plus(scene.every);
        }
        self.lab.now.since(began)
    }

    /// Calls that all fail at once, for so long.
    fn outage(&mut self, scene: Scene, lasts: u64) {
        while self.land_all() {}
        let end = self.lab.now.plus(lasts);
        while self.lab.now < end {
            self.lab.draw = self.rng.u64(..);
            if let Some(pass) = self.lab.try_admit() {
                let _ = self.lab.settle(pass, Signal::Failure);
            }
            self.lab.wait(scene.every);
        }
        (self.flying, self.passes) = (BinaryHeap::new(), Vec::new());
    }

    fn land_all(&mut self) -> bool {
        let flies = !self.flying.is_empty();
        self.land();
        flies
    }
}

/// Whether the circuit of a dependency that answers opens within two seconds.
fn trips(scene: Scene, seed: u64, is_cold: bool) -> bool {
    let mut town = Town::new(seed);
    if !is_cold {
        town.learn(scene.answers_in);
    }
    town.traffic(scene, 2 * SECOND, |lab| lab.state() != State::Closed);
    town.lab.state() != State::Closed
}

/// How long after an outage the circuit is closed; and the same since somebody who stays was let through.
fn recovers_in(scene: Scene, seed: u64) -> (u64, u64) {
    let mut town = Town::new(seed);
    let calm = Scene { impatient: 0, ..scene };
    town.traffic(calm, 3 * scene.answers_in, |_| false);
    town.outage(scene, 2 * SECOND + seed % 250 * MS);
    let began = town.lab.now;
    town.first_stayer = None;
    let took = town.traffic(scene, 60 * SECOND, |lab| lab.state() == State::Closed);
    let stayer = town.first_stayer.map_or(took, |at| at.since(began));
    (took, took.saturating_sub(stayer))
}

/// How long until the circuit of a dependency that hangs is open.
fn hangs_for(scene: Scene, seed: u64, usual: Option<u64>) -> u64 {
    let mut town = Town::new(seed);
    town.lab.usual = usual;
    town.traffic(scene, 60 * SECOND, |lab| lab.state() == State::Open)
}

/// What the seeds of a scene come to, in milliseconds; times are those that 99 of a hundred seeds need.
#[derive(Debug)]
struct Row {
    cold_trips: usize,
    warm_trips: usize,
    calm: u64,
    crowd: u64,
    since_stayer: u64,
}

impl Row {
    fn of(scene: Scene, seeds: u64) -> Self {
        let calm = Scene { impatient: 0, ..scene };
        let trips = |is_cold| (0..seeds).filter(|seed| trips(scene, *seed, is_cold)).count();
        let of_99 = |time: &dyn Fn(u64) -> u64| {
            let mut times: Vec<_> = (0..seeds).map(time).collect();
            times.sort_unstable();
            times[(seeds * 99 / 100 - 1) as usize] / MS
        };
        Self {
            cold_trips: trips(true),
            warm_trips: trips(false),
            calm: of_99(&|seed| recovers_in(calm, seed).0),
            crowd: of_99(&|seed| recovers_in(scene, seed).0),
            since_stayer: of_99(&|seed| recovers_in(scene, seed).1),
        }
    }

    /// What is promised of a dependency that answers those who stay.
    #[track_caller]
    fn check(&self, scene: Scene, seeds: u64) {
        let in_a_hundred = (seeds / 100).max(1) as usize;
        assert!(self.cold_trips <= in_a_hundred, "{scene:?}: {self:?}");
        assert_eq!(self.warm_trips, 0, "{scene:?}: {self:?}");
        // Nobody can be answered before one comes who stays: of 44 callers one in 99 seeds of a hundred.
        let stayer = scene.every / MS * 44;
        let admitted = 2 * scene.leave_after / MS; // who waits for a place in the first rounds
        let bound = (2 * self.calm).max(self.calm + stayer + admitted);
        assert!(self.crowd <= bound, "{scene:?}: {self:?}");
        assert!(self.since_stayer <= self.calm, "{scene:?}: {self:?}");
    }
}

fn crowd(answers: u64, quarters: u64, every: u64) -> Scene {
    Scene {
        answers_in: answers * MS,
        leave_after: answers * MS * quarters / 4,
        impatient: 90,
        every: every * MS,
    }
}

// field F11
#[test]
fn a_crowd_of_whom_nine_in_ten_leave_harms_no_dependency_that_answers() {
    for scene in [crowd(5, 2, 2), crowd(20, 2, 1), crowd(100, 1, 2), crowd(50, 3, 20)] {
        Row::of(scene, 30).check(scene, 30);
    }
}

// field F11
#[test]
#[ignore = "22,500 runs take minutes: cargo test --release --lib every_crowd -- --ignored --nocapture"]
fn every_crowd_of_whom_nine_in_ten_leave() {
    for answers in [5, 20, 50, 100, 200] {
        for quarters in [1, 2, 3] {
            for every in [1, 2, 5, 10, 20] {
                let scene = crowd(answers, quarters, every);
                let row = Row::of(scene, 300);
                println!("{answers:4} ms, leave after {quarters}/4, every {every:2} ms: {row:?}");
                row.check(scene, 300);
            }
        }
    }
}

// field F11
#[test]
fn a_dependency_that_hangs_is_found_out_however_early_callers_leave() {
    for (leave_after, usual, most) in [
        (50, Some(20), 50 + 2 * 20 + 17), // each waited in vain; the first have no clock
        (30, Some(20), 30 + 2 * 20 + 544), // each left early
        (50, None, 50 + 3 * 50 + 61),     // nothing was ever measured
        (2_000, None, 2_000 + 17),
        (10, None, 10 + 3 * 10 + 544),
    ] {
        for impatient in [90, 100] {
            let leave_after = leave_after * MS;
            let scene = Scene { answers_in: u64::MAX, leave_after, impatient, every: MS };
            for seed in 0..5 {
                let took = hangs_for(scene, seed, usual.map(|usual: u64| usual * MS)) / MS;
                let most = if impatient == 100 { most } else { most * 5 / 4 };
                assert!(took <= most + 2, "{took} ms of {most}: {scene:?}, {usual:?}");
            }
        }
    }
}
