//! A day of a client, on the tests' clock: sparse traffic through the whole stack, to a dependency
//! whose mood changes every few minutes. What must hold at any time is looked at all the time.

use std::collections::BTreeMap;
use std::time::Duration;

use seawall::bulkhead::{BulkheadHandle, BulkheadLayer};
use seawall::circuit_breaker::{CircuitBreakerLayer, State, Transition};
use seawall::retry::{BudgetConfig, RetryHandle, RetryLayer};
use seawall::timeout::{TimeoutHandle, TimeoutLayer};
use seawall::{CallError, Error};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::util::BoxCloneService;
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::scene::{Boxed, Calls, Fail, Log, broken, ms, now};

const LIMIT: u32 = 4;
const QUEUE: u32 = 3;
/// No call takes longer.
const DEADLINE: Duration = ms(2000);

/// How the dependency is.
#[derive(Debug, Clone, Copy)]
enum Mood {
    Well,
    Fails,
    Hangs,
    Slow,
}

/// It has a mood for five minutes, and is well in the last quarter of an hour.
fn mood_at(seed: u64, since: Duration) -> Mood {
    const MOODS: [Mood; 6] =
        [Mood::Well, Mood::Well, Mood::Well, Mood::Fails, Mood::Hangs, Mood::Slow];
    if since >= Duration::from_secs((24 * 60 - 15) * 60) {
        return Mood::Well;
    }
    let mut rng = fastrand::Rng::with_seed(seed ^ (since.as_secs() / 300) << 8);
    MOODS[rng.usize(..MOODS.len())]
}

fn dependency(seed: u64) -> (Calls, Boxed) {
    let (calls, began) = (Calls::default(), now());
    let shared = calls.clone();
    let service = service_fn(move |request: u32| {
        let (alive, mood) = (shared.enter(), mood_at(seed, began.elapsed()));
        async move {
            let _alive = alive;
            match mood {
                Mood::Well => sleep(ms(5)).await,
                Mood::Slow => sleep(ms(200)).await,
                Mood::Hangs => std::future::pending().await,
                Mood::Fails => {
                    sleep(ms(1)).await;
                    return Err(Error::Inner(broken("moody")));
                }
            }
            Ok(request)
        }
    });
    (calls, BoxCloneService::new(service))
}

/// The stack, and all that can be seen of it.
struct Client {
    service: Boxed,
    calls: Calls,
    whole: TimeoutHandle,
    retry: RetryHandle,
    breaker: CircuitBreakerLayer,
    bulkhead: BulkheadHandle,
    attempt: TimeoutHandle,
    log: Log,
}

impl Client {
    fn new(seed: u64) -> Self {
        let log = Log::default();
        let (calls, dependency) = dependency(seed);
        let whole = TimeoutLayer::new("deadline", DEADLINE);
        let retry = RetryLayer::builder("day").attempts(5).cloned().build().unwrap();
        let breaker = CircuitBreakerLayer::builder("day").seed(seed).observe(log.observer());
        let breaker = breaker.build().unwrap();
        let bulkhead = BulkheadLayer::builder("day").limit(LIMIT).queue(QUEUE).max_wait(ms(300));
        let bulkhead = bulkhead.build().unwrap();
        let attempt = TimeoutLayer::new("attempt", ms(400));
        let (whole_handle, retry_handle) = (whole.handle(), retry.handle());
        let bulkhead_handle = bulkhead.handle();
        let attempt_handle = attempt.handle();
        let stack = ServiceBuilder::new().layer(whole).layer(retry).layer(breaker.clone());
        let service = stack.layer(bulkhead).layer(attempt).service(dependency);
        Self {
            service: BoxCloneService::new(service),
            calls,
            whole: whole_handle,
            retry: retry_handle,
            breaker,
            bulkhead: bulkhead_handle,
            attempt: attempt_handle,
            log,
        }
    }

    fn balance(&self) -> f64 {
        self.retry.budget().expect("it has a budget").balance()
    }

    /// What holds at any time.
    #[track_caller]
    fn check(&self) {
        let (busy, queued) = (self.bulkhead.in_flight(), self.bulkhead.queued());
        assert!(busy <= LIMIT && queued <= QUEUE, "{busy} in flight, {queued} wait");
        assert!(self.calls.alive() <= busy as usize, "a call without a place");
        assert!(
            (0.0..=BudgetConfig::default().cap).contains(&self.balance()),
            "{}",
            self.balance()
        );
        let state = self.breaker.handle().state();
        assert!(
            matches!(state, State::Closed | State::Open | State::HalfOpen),
            "nobody holds it: {state:?}"
        );
    }

    /// What holds when the last call is over.
    #[track_caller]
    fn check_at_rest(&self) {
        self.check();
        assert_eq!(self.calls.alive(), 0);
        assert_eq!((self.bulkhead.in_flight(), self.bulkhead.queued()), (0, 0));
        let timeouts = (self.whole.in_flight(), self.attempt.in_flight());
        assert_eq!((timeouts, self.retry.in_flight()), ((0, 0), 0));
        assert_eq!(self.breaker.in_flight(), 0);
    }

    /// A few calls within a second, some of which are dropped half-way.
    fn burst(&self, rng: &mut fastrand::Rng) -> JoinSet<Option<Result<u32, Fail>>> {
        let mut burst = JoinSet::new();
        for nth in 0..rng.u32(1..=16) {
            let service = self.service.clone();
            let (delay, dropped) = (ms(rng.u64(..1000)), rng.u32(..5) == 0);
            let patience = if dropped { ms(rng.u64(..500)) } else { 2 * DEADLINE };
            burst.spawn(async move {
                sleep(delay).await;
                timeout(patience, service.oneshot(nth)).await.ok()
            });
        }
        burst
    }
}

fn name(ending: Option<&Result<u32, Fail>>) -> &'static str {
    match ending {
        None => "dropped",
        Some(Ok(_)) => "answered",
        Some(Err(error)) => error.rejected().map_or("failed", |why| why.reason().as_str()),
    }
}

#[tokio::test(start_paused = true)]
async fn a_day_of_moods_leaves_nothing_behind() {
    const SEED: u64 = 0x5EA_7A11;
    let mut rng = fastrand::Rng::with_seed(SEED);
    let (began, client) = (now(), Client::new(SEED));
    let mut endings: BTreeMap<&str, usize> = BTreeMap::new();
    while began.elapsed() < Duration::from_secs(24 * 3600) {
        let (next, mut burst) = (now() + ms(rng.u64(10_000..60_000)), client.burst(&mut rng));
        while !burst.is_empty() {
            sleep(ms(rng.u64(1..100))).await;
            client.check();
            while let Some(ended) = burst.try_join_next() {
                *endings.entry(name(ended.unwrap().as_ref())).or_default() += 1;
            }
        }
        client.check_at_rest();
        tokio::time::sleep_until(next).await;
    }

    client.check_at_rest();
    assert_eq!(
        client.breaker.handle().state(),
        State::Closed,
        "it was well for a quarter of an hour"
    );
    assert!(client.balance() >= BudgetConfig::default().cap, "{}", client.balance());
    for ending in ["answered", "circuit_open", "dropped", "failed", "full", "timed_out"] {
        assert!(endings.contains_key(ending), "no call was {ending}: {endings:?}");
    }
    assert!(endings["answered"] > 10_000, "{endings:?}");
    assert_eq!(client.calls.most(), LIMIT as usize, "the bulkhead was full at times");
    check_path(&client.log);
}

/// Each change goes on where the one before it ended, along the arrows of the guide.
fn check_path(log: &Log) {
    use State::{Closed, HalfOpen, Open};
    let (mut state, mut closed) = (Closed, 0);
    for event in log.all() {
        let Some(change) = Transition::of(&event) else { continue };
        assert_eq!(change.from, state, "{change:?}");
        state = change.to;
        let arrows = [(Closed, Open), (Open, HalfOpen), (HalfOpen, Open), (HalfOpen, Closed)];
        assert!(arrows.contains(&(change.from, state)), "{change:?}");
        closed += usize::from(state == Closed);
    }
    assert_eq!(state, Closed);
    assert!(closed > 10, "it closed {closed} times");
}
