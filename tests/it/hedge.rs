//! Hedge, through the public API.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::pending;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use seawall::circuit_breaker::CircuitBreakerLayer;
use seawall::hedge::{Config, HedgeLayer};
use seawall::retry::{Budget, Never, RetryLayer};
use seawall::{CallError, Error, EventKind, Outcome};
use tokio::time::{advance, sleep};
use tower::util::BoxCloneService;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::scene::{Broken, ByWord, Fail, broken, ms, now, poll_once, settle};

/// What one attempt does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Answer(u64),
    Fail(u64),
    FailForGood(u64),
    PushBack(u64),
    Hang,
}

/// A dependency whose attempts do one after the other what is written, then hang.
#[derive(Clone, Default)]
struct Dependency {
    script: Arc<Mutex<VecDeque<Does>>>,
    asked: Arc<AtomicU32>,
    in_flight: Arc<AtomicUsize>,
}

struct Under(Arc<AtomicUsize>);

impl Drop for Under {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Dependency {
    fn that(does: impl IntoIterator<Item = Does>) -> Self {
        let script = Arc::new(Mutex::new(does.into_iter().collect()));
        Self { script, ..Self::default() }
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }

    fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Answers with the number of the attempt.
    fn service(&self) -> BoxCloneService<u32, u32, Fail> {
        let here = self.clone();
        BoxCloneService::new(service_fn(move |_: u32| {
            let nth = here.asked.fetch_add(1, Ordering::Relaxed) + 1;
            let does = here.script.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            here.in_flight.fetch_add(1, Ordering::Relaxed);
            let under = Under(Arc::clone(&here.in_flight));
            async move {
                let _under = under;
                let fails = |outcome| Err(Error::Inner(Broken { what: "failed", outcome }));
                match does.unwrap_or(Does::Hang) {
                    Does::Answer(after) => {
                        sleep(ms(after)).await;
                        Ok(nth)
                    }
                    Does::Fail(after) => {
                        sleep(ms(after)).await;
                        fails(Outcome::TRANSIENT)
                    }
                    Does::FailForGood(after) => {
                        sleep(ms(after)).await;
                        fails(Outcome::FAILURE)
                    }
                    Does::PushBack(after) => {
                        sleep(ms(after)).await;
                        fails(Outcome::PUSHBACK.after(Duration::from_secs(3)))
                    }
                    Does::Hang => pending().await,
                }
            }
        }))
    }
}

type Layered = HedgeLayer<ByWord, seawall::retry::Cloned>;

fn hedge(delay: u64) -> Layered {
    HedgeLayer::builder("search").delay(ms(delay)).classify(ByWord).cloned().build().unwrap()
}

/// The result of a call, and how many milliseconds it took.
async fn call(layer: &Layered, dependency: &Dependency) -> (Result<u32, Fail>, u128) {
    let began = now();
    let result = layer.layer(dependency.service()).oneshot(7).await;
    (result, began.elapsed().as_millis())
}

// pitfall B19: a call ends if and only if no attempt can win any more.
#[tokio::test(start_paused = true)]
async fn every_way_that_two_attempts_can_end() {
    let failed = || Err(Error::Inner(broken("failed")));
    // What the first does, what the second does; the result, and when.
    let cases = [
        (Does::Answer(5), Does::Hang, Ok(1), 5),
        (Does::Answer(30), Does::Answer(90), Ok(1), 30),
        (Does::Answer(30), Does::Answer(5), Ok(2), 15),
        (Does::Answer(30), Does::Fail(5), Ok(1), 30),
        (Does::Answer(30), Does::Hang, Ok(1), 30),
        (Does::Fail(30), Does::Answer(50), Ok(2), 60),
        (Does::Fail(30), Does::Fail(50), failed(), 60),
        (Does::Fail(30), Does::Fail(5), failed(), 30),
        // No hedge was begun yet: it begins at once.
        (Does::Fail(2), Does::Answer(5), Ok(2), 7),
        (Does::Fail(2), Does::Fail(5), failed(), 7),
        (Does::Hang, Does::Answer(5), Ok(2), 15),
    ];
    for (first, second, result, took) in cases {
        let dependency = Dependency::that([first, second]);
        let ended = call(&hedge(10), &dependency).await;
        assert_eq!(ended, (result, took), "{first:?}, {second:?}");
        assert_eq!(dependency.in_flight(), 0, "{first:?}, {second:?}: a loser goes on");
        assert!(dependency.asked() <= 2);
    }
}

#[tokio::test(start_paused = true)]
async fn two_attempts_that_hang_hang_until_they_are_dropped() {
    let dependency = Dependency::that([Does::Hang, Does::Fail(5), Does::Answer(5)]);
    let layer = hedge(10);
    let mut future = Box::pin(layer.layer(dependency.service()).oneshot(7));
    assert!(tokio::time::timeout(Duration::from_secs(60), &mut future).await.is_err());
    assert_eq!((dependency.asked(), dependency.in_flight(), layer.in_flight()), (2, 1, 1));
    drop(future);
    assert_eq!((dependency.in_flight(), layer.in_flight()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_is_final_ends_the_call_whoever_is_in_flight() {
    let dependency = Dependency::that([Does::Hang, Does::FailForGood(5)]);
    let (result, took) = call(&hedge(10), &dependency).await;
    assert!(result.is_err());
    assert_eq!((took, dependency.in_flight()), (15, 0));
    let dependency = Dependency::that([Does::FailForGood(5), Does::Answer(1)]);
    assert!(call(&hedge(10), &dependency).await.0.is_err());
    assert_eq!(dependency.asked(), 1);
}

#[tokio::test(start_paused = true)]
async fn as_many_attempts_as_were_set_each_after_the_delay() {
    let layer = HedgeLayer::builder("search")
        .delay(ms(10))
        .max_hedges(3)
        .classify(ByWord)
        .cloned()
        .build()
        .unwrap();
    let dependency = Dependency::that([Does::Hang, Does::Hang, Does::Hang, Does::Answer(5)]);
    assert_eq!(call(&layer, &dependency).await, (Ok(4), 35));
    assert_eq!((dependency.asked(), dependency.in_flight()), (4, 0));
}

#[tokio::test(start_paused = true)]
async fn the_delay_counts_from_when_the_last_attempt_began() {
    let layer = HedgeLayer::builder("search")
        .delay(ms(10))
        .max_hedges(2)
        .classify(ByWord)
        .cloned()
        .build()
        .unwrap();
    let dependency = Dependency::that([Does::Fail(2), Does::Hang, Does::Answer(5)]);
    assert_eq!(call(&layer, &dependency).await, (Ok(3), 17)); // 2, and 10 more, and 5
}

#[tokio::test(start_paused = true)]
async fn a_year_of_pushback_is_not_believed_and_what_is_ignored_pays_nothing() {
    let budget = Budget::builder().cap(1.0).per_second(0.0).per_success(1.0).build().unwrap();
    let layer = HedgeLayer::builder("search").delay(ms(10)).classify_result(
        |result: Result<&u32, &Broken>| match result {
            Ok(_) => Outcome::SUCCESS,
            Err(error) => error.outcome,
        },
    );
    let layer = layer.budget(budget.clone()).cloned().build().unwrap();
    let year = Duration::from_secs(31_536_000);
    let asks = service_fn(move |_: u32| async move {
        Err::<u32, _>(Error::Inner(Broken { what: "busy", outcome: Outcome::PUSHBACK.after(year) }))
    });
    layer.layer(asks).oneshot(7).await.unwrap_err();
    advance(Duration::from_secs(31)).await;
    let dependency = Dependency::that([Does::Hang, Does::Answer(5)]);
    assert_eq!(layer.layer(dependency.service()).oneshot(7).await, Ok(2));
    assert_eq!(budget.balance(), 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_failure_waits_for_nobody_if_that_was_switched_off() {
    let config = Config { on_failure: false, delay: Some(ms(10)), ..Config::default() };
    let layer =
        HedgeLayer::builder("search").config(config).classify(ByWord).cloned().build().unwrap();
    let dependency = Dependency::that([Does::Fail(2), Does::Answer(5)]);
    let (result, took) = call(&layer, &dependency).await;
    assert!(result.is_err());
    assert_eq!((took, dependency.asked()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn the_budget_bounds_what_is_hedged_and_successes_fill_it() {
    let layer = hedge(10);
    let budget = layer.handle().budget().unwrap().clone();
    assert_eq!(budget.balance(), 40.0);
    let slow = || Dependency::that([Does::Answer(30), Does::Answer(90)]);
    let mut hedged = 0;
    for _ in 0..200 {
        let dependency = slow();
        call(&layer, &dependency).await.0.unwrap();
        hedged += dependency.asked() - 1;
    }
    // 40, a tenth of 200, and one a second for 6 s.
    assert!((60..=70).contains(&hedged), "{hedged}");
}

#[tokio::test(start_paused = true)]
async fn retry_and_hedge_share_one_budget() {
    let budget = Budget::builder().cap(2.0).per_second(0.0).per_success(0.5).build().unwrap();
    let hedge = HedgeLayer::builder("search")
        .delay(ms(10))
        .budget(budget.clone())
        .classify(ByWord)
        .cloned()
        .build()
        .unwrap();
    let retry = RetryLayer::builder("search").budget(budget.clone()).classify(ByWord);
    let retry = retry.cloned().build().unwrap();
    let dependency =
        Dependency::that([Does::Fail(30), Does::Fail(30), Does::Fail(1), Does::Fail(1)]);
    let stack = ServiceBuilder::new().layer(retry).layer(hedge).service(dependency.service());
    assert!(stack.oneshot(7).await.is_err());
    // The first hedge and one retry; nothing is left for another hedge.
    assert_eq!((dependency.asked(), budget.balance()), (3, 0.0));
}

#[tokio::test(start_paused = true)]
async fn pushback_ends_the_call_and_nothing_is_hedged_until_then() {
    let layer = hedge(10);
    let dependency = Dependency::that([Does::PushBack(2)]);
    assert!(call(&layer, &dependency).await.0.is_err());
    assert_eq!(dependency.asked(), 1);
    let slow = || Dependency::that([Does::Answer(30), Does::Answer(5)]);
    for (wait, asked) in [(0, 1), (2_000, 1), (1_100, 2)] {
        advance(ms(wait)).await;
        let dependency = slow();
        call(&layer, &dependency).await.0.unwrap();
        assert_eq!(dependency.asked(), asked, "after {wait} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_condition_of_the_users_is_asked_before_each_hedge() {
    let room = Arc::new(AtomicUsize::new(0));
    let asked = Arc::clone(&room);
    let layer = HedgeLayer::builder("search")
        .delay(ms(10))
        .only_if(move || asked.load(Ordering::Relaxed) > 0)
        .cloned()
        .build()
        .unwrap();
    for (there_is, attempts) in [(0, 1), (1, 2)] {
        room.store(there_is, Ordering::Relaxed);
        let dependency = Dependency::that([Does::Answer(30), Does::Answer(5)]);
        layer.layer(dependency.service()).oneshot(7).await.unwrap();
        assert_eq!(dependency.asked(), attempts);
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_may_not_be_repeated_are_not() {
    let layer = HedgeLayer::builder("search").delay(ms(10)).copy_with(Never).build().unwrap();
    let dependency = Dependency::that([Does::Answer(30), Does::Answer(5)]);
    assert_eq!(layer.layer(dependency.service()).oneshot(7).await.unwrap(), 1);
    let even = |nth: &u32| nth.is_multiple_of(2).then_some(*nth);
    let layer = HedgeLayer::builder("search").delay(ms(10)).copy(even).build().unwrap();
    for (request, attempts) in [(7, 1), (8, 2)] {
        let dependency = Dependency::that([Does::Answer(30), Does::Answer(5)]);
        layer.layer(dependency.service()).oneshot(request).await.unwrap();
        assert_eq!(dependency.asked(), attempts);
    }
}

#[tokio::test(start_paused = true)]
async fn the_delay_is_learnt_from_good_answers() {
    let layer = HedgeLayer::builder("search").classify(ByWord).cloned().build().unwrap();
    let handle = layer.handle();
    // Nothing is known yet.
    let dependency = Dependency::that([Does::Answer(5_000), Does::Answer(5)]);
    assert_eq!(call(&layer, &dependency).await, (Ok(1), 5_000));
    assert_eq!(handle.delay(), None);
    for nth in 0..200 {
        let took = if nth % 10 == 9 { 100 } else { 20 };
        call(&layer, &Dependency::that([Does::Answer(took)])).await.0.unwrap();
    }
    let delay = handle.delay().unwrap();
    assert!((ms(20)..=ms(102)).contains(&delay), "{delay:?}");
    let dependency = Dependency::that([Does::Hang, Does::Answer(5)]);
    assert_eq!(call(&layer, &dependency).await.0, Ok(2));
}

/// If all answers become slow, that is not a tail: the budget stops it, and the percentile follows.
#[tokio::test(start_paused = true)]
async fn a_dependency_that_becomes_slow_gets_little_more_load() {
    let layer = HedgeLayer::builder("search").classify(ByWord).cloned().build().unwrap();
    for _ in 0..300 {
        call(&layer, &Dependency::that([Does::Answer(20)])).await.0.unwrap();
    }
    let mut attempts = 0;
    for _ in 0..1_000 {
        let dependency = Dependency::that([Does::Answer(200), Does::Answer(200)]);
        call(&layer, &dependency).await.0.unwrap();
        attempts += dependency.asked();
    }
    assert!(attempts <= 1_050, "{attempts} for 1,000 calls");
    assert!(layer.handle().delay().unwrap() >= ms(190));
}

#[tokio::test(start_paused = true)]
async fn a_rejection_further_in_is_not_followed_by_another_attempt() {
    let breaker = CircuitBreakerLayer::new("search");
    breaker.handle().force_open();
    let dependency = Dependency::that([Does::Answer(1)]);
    let stack = ServiceBuilder::new().layer(hedge(10)).layer(breaker).service(dependency.service());
    let rejected = stack.oneshot(7).await.unwrap_err();
    assert!(rejected.rejected().is_some());
    assert_eq!(dependency.asked(), 0);
}

/// Ready when it is told to be; says how often it was cloned and called.
struct Slowly {
    ready: Arc<AtomicUsize>,
    called: Arc<AtomicUsize>,
    is_ready: Cell<bool>,
}

impl Clone for Slowly {
    fn clone(&self) -> Self {
        let (ready, called) = (Arc::clone(&self.ready), Arc::clone(&self.called));
        Self { ready, called, is_ready: Cell::new(false) }
    }
}

impl Service<u32> for Slowly {
    type Response = u32;
    type Error = Fail;
    type Future = std::future::Pending<Result<u32, Fail>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fail>> {
        if self.ready.load(Ordering::Relaxed) == 0 {
            return Poll::Pending;
        }
        self.is_ready.set(true);
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: u32) -> Self::Future {
        assert!(self.is_ready.take(), "called before it was ready");
        self.called.fetch_add(1, Ordering::Relaxed);
        pending()
    }
}

// pitfall B33
#[tokio::test(start_paused = true)]
async fn a_hedge_is_made_on_a_clone_that_became_ready() {
    let inner =
        Slowly { ready: Arc::default(), called: Arc::default(), is_ready: Cell::new(false) };
    let (ready, called) = (Arc::clone(&inner.ready), Arc::clone(&inner.called));
    ready.store(1, Ordering::Relaxed);
    let mut service = hedge(10).layer(inner);
    let mut future = Box::pin(service.ready().await.unwrap().call(7));
    assert!(poll_once(&mut future).is_pending());
    ready.store(0, Ordering::Relaxed);
    advance(ms(11)).await;
    assert!(poll_once(&mut future).is_pending());
    assert_eq!(called.load(Ordering::Relaxed), 1); // the clone is not ready
    ready.store(1, Ordering::Relaxed);
    assert!(poll_once(&mut future).is_pending());
    assert_eq!(called.load(Ordering::Relaxed), 2);
}

#[test]
fn answers_at_the_first_poll_need_no_runtime_and_neither_does_who_waits() {
    let mut service = hedge(10).layer(service_fn(|nth: u32| async move { Ok::<_, Fail>(nth) }));
    let mut call = Box::pin(service.call(7));
    assert_eq!(poll_once(&mut call), Poll::Ready(Ok(7)));
    let mut service = hedge(10).layer(service_fn(|_: u32| pending::<Result<u32, Fail>>()));
    let mut call: Pin<Box<_>> = Box::pin(service.call(7));
    assert!(poll_once(&mut call).is_pending());
}

#[tokio::test(start_paused = true)]
async fn observers_hear_of_each_hedge() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&heard);
    let layer = HedgeLayer::builder("search")
        .delay(ms(10))
        .observe(move |event: &seawall::Event| {
            if let EventKind::Hedging { attempt, after } = event.kind {
                told.lock().unwrap().push((attempt, after));
            }
        })
        .cloned()
        .build()
        .unwrap();
    let dependency = Dependency::that([Does::Hang, Does::Answer(5)]);
    layer.layer(dependency.service()).oneshot(7).await.unwrap();
    settle().await;
    assert_eq!(*heard.lock().unwrap(), [(2, ms(10))]);
}

#[test]
fn a_reload_is_all_or_nothing_and_errors_name_the_layer() {
    let handle = hedge(10).handle();
    let wrong = Config { percentile: 20, max_hedges: 0, ..handle.config() };
    let problems = handle.reload(wrong).unwrap_err().to_string();
    for word in ["hedge", "search", "percentile", "max_hedges", "50 to 99"] {
        assert!(problems.contains(word), "{word}: {problems}");
    }
    assert_eq!(handle.delay(), Some(ms(10)));
    handle.reload(Config { delay: Some(ms(30)), ..handle.config() }).unwrap();
    assert_eq!(handle.delay(), Some(ms(30)));
}
