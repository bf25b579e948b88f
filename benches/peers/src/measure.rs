//! Times contenders in turns, in short batches, so that the drift of a machine hits all alike.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::alloc::allocations;
use crate::drive::{Batch, Expect, Fork};
use crate::recorder;
use crate::rows::Row;
use crate::{enter, inner};

/// Calls in a batch.
pub const CALLS: u64 = 2000;
/// How long a batch may take, in nanoseconds; slower contenders have fewer calls in it.
const LONGEST_BATCH: u64 = 20_000_000;
/// How long the threads of a scaling measurement run at a time.
const STRETCH: Duration = Duration::from_millis(25);

/// One contender's cost.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    pub name: &'static str,
    /// Nanoseconds a call, in half of all batches.
    pub median: f64,
    /// Nanoseconds a call, in the best tenth of all batches.
    pub p10: f64,
    /// Allocations a call.
    pub allocations: f64,
}

/// What a second thread brings.
#[derive(Debug, Clone, Copy)]
pub struct Scaling {
    pub name: &'static str,
    /// Two threads' calls a second over one's.
    pub ratio: f64,
}

struct Runner {
    name: &'static str,
    batch: Batch,
    calls: u64,
    times: Vec<f64>,
}

/// Measures everybody in a row.
pub fn row(row: &Row, rounds: usize) -> Vec<Cost> {
    let mut runners: Vec<_> = row
        .contenders
        .iter()
        .map(|contender| {
            let mut batch = contender.fork()(row.holding);
            let calls = contender.calls.unwrap_or(CALLS);
            let warmed = Instant::now();
            for _ in 0..if contender.calls.is_some() { 1 } else { 5 } {
                row.expect.check(&mut batch, calls);
            }
            assert!(warmed.elapsed() < Duration::from_secs(1), "{}: too slow", contender.name);
            Runner { name: contender.name, batch, calls, times: Vec::with_capacity(rounds) }
        })
        .collect();
    let turns = runners.len();
    for round in 0..rounds {
        for turn in 0..turns {
            // Nobody always follows the same other.
            let runner = &mut runners[(turn + round) % turns];
            if runner.is_slow() && round % 100 != 0 {
                continue;
            }
            let started = Instant::now();
            row.expect.check(&mut runner.batch, runner.calls);
            let took = started.elapsed();
            runner.times.push(took.as_nanos() as f64 / runner.calls as f64);
            recorder::tidy();
        }
    }
    runners.into_iter().map(|runner| runner.cost(row.expect)).collect()
}

impl Runner {
    fn is_slow(&self) -> bool {
        self.times.last().is_some_and(|nanos| nanos * self.calls as f64 > LONGEST_BATCH as f64)
            || self.calls < CALLS
    }

    fn cost(mut self, expect: Expect) -> Cost {
        let before = allocations();
        expect.check(&mut self.batch, self.calls);
        let allocations = (allocations() - before) as f64 / self.calls as f64;
        let (median, p10) = (quantile(&mut self.times, 0.5), quantile(&mut self.times, 0.1));
        Cost { name: self.name, median, p10, allocations }
    }
}

fn quantile(times: &mut [f64], q: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    times[((times.len() - 1) as f64 * q) as usize]
}

/// Measures everybody in a row on one thread and on two, in turns.
pub fn scaling(row: &Row, rounds: usize) -> Vec<Scaling> {
    let contenders = row.contenders.iter().filter(|contender| contender.calls.is_none());
    contenders
        .map(|contender| {
            let fork = contender.fork();
            let mut ratios: Vec<_> = (0..rounds)
                .map(|_| throughput(row, &fork, 2) / throughput(row, &fork, 1))
                .collect();
            Scaling { name: contender.name, ratio: quantile(&mut ratios, 0.5) }
        })
        .collect()
}

/// Calls a second of so many threads, each with clones of its own of one policy.
fn throughput(row: &Row, fork: &Fork, threads: usize) -> f64 {
    let (ready, over) = (Barrier::new(threads + 1), AtomicBool::new(false));
    let calls = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..threads {
            let mut batch = fork(row.holding);
            let (ready, over, calls, expect) = (&ready, &over, &calls, row.expect);
            scope.spawn(move || {
                let _entered = enter();
                expect.check(&mut batch, CALLS / 10);
                let before = inner::calls();
                ready.wait();
                while !over.load(Ordering::Relaxed) {
                    expect.check(&mut batch, CALLS / 10);
                }
                calls.fetch_add(inner::calls() - before, Ordering::Relaxed);
            });
        }
        ready.wait();
        thread::sleep(STRETCH);
        over.store(true, Ordering::Relaxed);
    });
    calls.into_inner() as f64 / STRETCH.as_secs_f64()
}
