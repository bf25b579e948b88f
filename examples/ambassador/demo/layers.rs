//! What the layers of the ambassador did: each attempt, and their gauges at every moment.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use seawall::circuit_breaker::State;
use seawall::health::Status;
use tokio::time::{Instant, interval_at};

use super::now;
use super::script::Stage;
use super::tally::share;
use crate::stack::{Gauges, Reading};

/// Between two looks at the gauges.
const LOOK: Duration = Duration::from_millis(10);

/// A diary of the layers. Times are since the start of the show.
#[derive(Debug)]
pub(crate) struct Layers {
    start: Instant,
    attempts: Mutex<Vec<Duration>>,
    readings: Mutex<Vec<(Duration, Reading)>>,
}

/// A stage in a few numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Account {
    /// Attempts that went to the upstream.
    pub(crate) attempts: u32,
    pub(crate) in_flight_most: u32,
    pub(crate) queued_most: u32,
    pub(crate) budget_least: f64,
    /// Shares of the looks.
    pub(crate) not_closed: f64,
    pub(crate) down: f64,
}

impl Layers {
    pub(crate) fn from(start: Instant) -> Self {
        Self { start, attempts: Mutex::default(), readings: Mutex::default() }
    }

    /// An attempt goes to the upstream.
    pub(crate) fn attempt(&self) {
        let at = now() - self.start;
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).push(at);
    }

    /// Attempts between these two moments.
    pub(crate) fn attempts_in(&self, from: Duration, to: Duration) -> u32 {
        let attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = attempts.iter().rev().take_while(|at| **at >= from);
        count(recent.filter(|at| **at < to).count())
    }

    /// Looks at the gauges again and again.
    pub(crate) async fn keep_looking(&self, gauges: &Gauges) {
        let mut looks = interval_at(self.start, LOOK);
        loop {
            looks.tick().await;
            let reading = (now() - self.start, gauges.read());
            self.readings.lock().unwrap_or_else(PoisonError::into_inner).push(reading);
        }
    }

    pub(crate) fn account_of(&self, stage: &Stage) -> Account {
        let readings = self.readings.lock().unwrap_or_else(PoisonError::into_inner);
        let seen: Vec<Reading> = readings
            .iter()
            .filter(|(at, _)| (stage.from..stage.to).contains(at))
            .map(|(_, reading)| *reading)
            .collect();
        let share_of = |is_so: fn(&Reading) -> bool| {
            let so = seen.iter().filter(|reading| is_so(reading)).count();
            share(count(so), count(seen.len()))
        };
        Account {
            attempts: self.attempts_in(stage.from, stage.to),
            in_flight_most: seen.iter().map(|reading| reading.in_flight).max().unwrap_or(0),
            queued_most: seen.iter().map(|reading| reading.queued).max().unwrap_or(0),
            budget_least: seen.iter().map(|reading| reading.budget).fold(f64::INFINITY, f64::min),
            not_closed: share_of(|reading| reading.breaker != State::Closed),
            down: share_of(|reading| reading.health == Status::Down),
        }
    }
}

fn count(many: usize) -> u32 {
    u32::try_from(many).unwrap_or(u32::MAX)
}
