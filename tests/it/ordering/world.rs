//! The world of the script: five layers in some order around a dependency that does as it is told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::{pending, poll_fn};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use seawall::bulkhead::{BulkheadHandle, BulkheadLayer};
use seawall::circuit_breaker::{CircuitBreakerHandle, CircuitBreakerLayer, State, Trip};
use seawall::health::{HealthHandle, HealthLayer, Status};
use seawall::retry::{Backoff, RetryLayer};
use seawall::timeout::TimeoutLayer;
use seawall::{Error, Reason};
use tokio::sync::watch;
use tokio::time::sleep;
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};

use crate::exposition::{Exposition, recorder};

pub(super) const MS: Duration = Duration::from_millis(1);
pub(super) const LIMIT: Duration = Duration::from_millis(100);
pub(super) const ATTEMPTS: u32 = 2;
/// So many failures in a row open the circuit.
pub(super) const TRIP: u32 = 4;
/// How long a slow answer takes: within the time limit, and two in a row are not.
const SLOW: Duration = Duration::from_millis(80);

pub(super) type Stack = BoxCloneSyncService<(), (), Error<Down>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Retry,
    Breaker,
    Bulkhead,
    Timeout,
    Health,
}

impl Kind {
    pub(super) const ALL: [Self; 5] =
        [Self::Retry, Self::Breaker, Self::Bulkhead, Self::Timeout, Self::Health];

    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Breaker => "circuit_breaker",
            Self::Bulkhead => "bulkhead",
            Self::Timeout => "timeout",
            Self::Health => "health",
        }
    }
}

/// From the outermost to the innermost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order(pub(super) [Kind; 5]);

impl Order {
    /// As few orders as have every three layers in every order of those three (a sequence covering array of
    /// strength three, chosen greedily): what layers do to each other is between two, or in the eyes of a third.
    pub(super) fn covering() -> Vec<Self> {
        let mut missing: BTreeSet<[Kind; 3]> =
            Self::all().into_iter().flat_map(Self::triples).collect();
        let mut chosen = Vec::new();
        while !missing.is_empty() {
            let gain = |order: &Self| order.triples().filter(|it| missing.contains(it)).count();
            let Some(best) = Self::all().into_iter().max_by_key(gain) else { break };
            for triple in best.triples() {
                missing.remove(&triple);
            }
            chosen.push(best);
        }
        chosen
    }

    fn triples(self) -> impl Iterator<Item = [Kind; 3]> {
        let Self(order) = self;
        let places = 0..order.len();
        let triples = places.clone().flat_map(move |a| {
            let places = places.clone();
            places.clone().flat_map(move |b| places.clone().map(move |c| (a, b, c)))
        });
        triples
            .filter(|(a, b, c)| a < b && b < c)
            .map(move |(a, b, c)| [order[a], order[b], order[c]])
    }

    fn all() -> Vec<Self> {
        fn extend(taken: &[Kind], all: &mut Vec<Order>) {
            if let Ok(order) = taken.try_into() {
                all.push(Order(order));
            }
            for kind in Kind::ALL.into_iter().filter(|kind| !taken.contains(kind)) {
                extend(&[taken, &[kind]].concat(), all);
            }
        }
        let mut all = Vec::new();
        extend(&[], &mut all);
        all
    }

    pub(super) fn outside(self, outer: Kind, inner: Kind) -> bool {
        let place = |kind| self.0.iter().position(|other| *other == kind);
        place(outer) < place(inner)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Success,
    Failure,
    Slow,
    Hang,
}

#[derive(Debug, thiserror::Error)]
#[error("down")]
pub(super) struct Down;

/// The dependency: does what comes next in the script, and counts.
#[derive(Default)]
struct Dependency {
    script: VecDeque<Step>,
    calls: u32,
}

struct World {
    stack: Stack,
    dependency: Arc<Mutex<Dependency>>,
    breaker: CircuitBreakerHandle,
    bulkhead: BulkheadHandle,
    health: HealthHandle,
    is_well: watch::Sender<bool>,
}

impl World {
    fn new(order: Order) -> Self {
        let (is_well, check) = watch::channel(true);
        let retry = RetryLayer::builder("x").attempts(ATTEMPTS).backoff(Backoff::fixed(10 * MS));
        let retry = retry.cloned().build().unwrap();
        let breaker = CircuitBreakerLayer::builder("x")
            .trip(Trip::consecutive(TRIP))
            .break_duration(Duration::from_secs(10))
            .max_break_duration(Duration::from_secs(10))
            .build()
            .unwrap();
        let bulkhead = BulkheadLayer::builder("x").limit(1).queue(1).build().unwrap();
        let timeout = TimeoutLayer::new("x", LIMIT);
        let health = HealthLayer::builder("x")
            .check(move || {
                let is_well = *check.borrow();
                async move { if is_well { Ok(()) } else { Err(Down) } }
            })
            .rise(1)
            .fall(1)
            .build()
            .unwrap();

        let dependency = Arc::new(Mutex::new(Dependency::default()));
        let inside = Arc::clone(&dependency);
        let innermost = service_fn(move |()| {
            let mut dependency = inside.lock().unwrap();
            dependency.calls += 1;
            let step = dependency.script.pop_front().expect("the script goes on");
            async move {
                match step {
                    Step::Success => Ok(()),
                    Step::Failure => Err(Error::Inner(Down)),
                    Step::Slow => {
                        sleep(SLOW).await;
                        Ok(())
                    }
                    Step::Hang => pending().await,
                }
            }
        });
        let mut stack = Stack::new(innermost);
        for kind in order.0.into_iter().rev() {
            stack = match kind {
                Kind::Retry => Stack::new(retry.layer(stack)),
                Kind::Breaker => Stack::new(breaker.layer(stack)),
                Kind::Bulkhead => Stack::new(bulkhead.layer(stack)),
                Kind::Timeout => Stack::new(timeout.layer(stack)),
                Kind::Health => Stack::new(health.layer(stack)),
            };
        }
        Self {
            stack,
            dependency,
            breaker: breaker.handle(),
            bulkhead: bulkhead.handle(),
            health: health.handle(),
            is_well,
        }
    }

    /// What the dependency shall do next; what is left of before is forgotten.
    fn script(&self, steps: &[Step]) {
        let mut dependency = self.dependency.lock().unwrap();
        dependency.script = steps.iter().copied().collect();
    }

    async fn call(&self) -> Answer {
        Answer::of(self.stack.clone().oneshot(()).await)
    }

    async fn becomes(&self, status: Status) {
        let mut watch = self.health.watch();
        self.is_well.send_replace(status == Status::Up);
        while watch.status() != status {
            watch.changed().await;
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Success,
    Failure,
    Ended(Reason),
}

impl Answer {
    pub(super) fn of(result: Result<(), Error<Down>>) -> Self {
        match result {
            Ok(()) => Self::Success,
            Err(Error::Inner(_)) => Self::Failure,
            Err(Error::Rejected(why)) => Self::Ended(why.reason()),
        }
    }
}

/// What was seen from outside, from the dependency, and by each layer.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Seen {
    pub(super) answers: Vec<Answer>,
    pub(super) inner_calls: u32,
    /// Whether a call holds its place in the bulkhead while it waits between two attempts.
    pub(super) place_held: bool,
    pub(super) counts: BTreeMap<Kind, Counts>,
}

/// What one layer counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) good: u32,
    pub(super) bad: u32,
    pub(super) silent: u32,
    pub(super) abandoned: u32,
    pub(super) rejected: u32,
}

impl Counts {
    fn minus(self, other: Self) -> Self {
        Self {
            good: self.good - other.good,
            bad: self.bad - other.bad,
            silent: self.silent - other.silent,
            abandoned: self.abandoned - other.abandoned,
            rejected: self.rejected - other.rejected,
        }
    }
}

/// The acts of the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Act {
    /// Four calls whose first attempt fails and whose second does not.
    Flaky,
    /// One call whose first attempt is never answered.
    Hang,
    /// Two calls at once, for one place; every answer takes 80 ms.
    Queue,
    /// One call while the health check is down.
    Down,
    /// The dependency fails until the circuit opens; one call more.
    Outage,
}

pub(super) async fn run(order: Order) -> BTreeMap<Act, Seen> {
    let recorder = recorder();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let world = World::new(order);
    let mut acts = BTreeMap::new();
    let (mut calls, mut counted) = (0, BTreeMap::new());
    for act in [Act::Flaky, Act::Hang, Act::Queue, Act::Down, Act::Outage] {
        let mut seen = Seen::default();
        play(&world, act, &mut seen).await;
        seen.inner_calls = world.dependency.lock().unwrap().calls - calls;
        calls += seen.inner_calls;
        let shown = Exposition::of(&recorder);
        for kind in Kind::ALL {
            let now = read(&shown, kind);
            let before = counted.insert(kind, now).unwrap_or_default();
            seen.counts.insert(kind, now.minus(before));
        }
        acts.insert(act, seen);
    }
    acts
}

async fn play(world: &World, act: Act, seen: &mut Seen) {
    match act {
        Act::Flaky => {
            for _ in 0..4 {
                world.script(&[Step::Failure, Step::Success]);
                let mut call = pin!(world.call());
                let waits = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending())).await;
                assert!(waits, "for the second attempt");
                seen.place_held = world.bulkhead.in_flight() == 1;
                seen.answers.push(call.await);
            }
        }
        Act::Hang => {
            world.script(&[Step::Hang, Step::Success]);
            seen.answers.push(world.call().await);
        }
        Act::Queue => {
            world.script(&[Step::Slow; 4]);
            let (first, second) = tokio::join!(world.call(), world.call());
            seen.answers.extend([first, second]);
        }
        Act::Down => {
            world.becomes(Status::Down).await;
            seen.answers.push(world.call().await);
            world.becomes(Status::Up).await;
        }
        Act::Outage => {
            world.breaker.reset(); // a call that timed out before counts in some orders
            world.script(&[Step::Failure; 20]);
            while world.breaker.state() == State::Closed {
                seen.answers.push(world.call().await);
            }
            seen.answers.push(world.call().await);
        }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // small counts
pub(super) fn read(shown: &Exposition, kind: Kind) -> Counts {
    let sum = |metric, more: &[(&str, &str)]| {
        shown.sum(metric, &[&[("layer", kind.label())], more].concat()) as u32
    };
    let calls = |outcome| sum("seawall_calls_total", &[("outcome", outcome)]);
    Counts {
        good: calls("success"),
        bad: calls("failure"),
        silent: calls("ignored"),
        abandoned: calls("abandoned"),
        rejected: sum("seawall_rejections_total", &[]),
    }
}
