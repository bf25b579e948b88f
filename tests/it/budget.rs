//! The budget of retries, through the public API.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use seawall::bulkhead::BulkheadLayer;
use seawall::retry::{Backoff, Budget, RetryLayer, StopReason};
use seawall::timeout::TimeoutLayer;
use seawall::{Error, EventKind};
use tokio::time::advance;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::scene::{Boxed, Calls, Fail, Log, answering, broken, ms, now, taking};
use crate::support::{Ready, Reply, scripted};

fn near(balance: f64, tokens: f64) -> bool {
    (balance - tokens).abs() < 0.01
}

/// A layer that waits for nothing and draws on this budget.
fn drawing(
    budget: &Budget,
) -> RetryLayer<seawall::Classifier, seawall::retry::Chosen<seawall::retry::Cloned>> {
    let layer = RetryLayer::builder("x").backoff(Backoff::none()).budget(budget.clone());
    layer.cloned().build().unwrap()
}

async fn fails(service: &Boxed, calls: u32) {
    for n in 0..calls {
        assert!(service.clone().oneshot(n).await.is_err());
    }
}

// pitfall B20
#[tokio::test(start_paused = true)]
async fn it_begins_full_and_when_it_is_empty_there_are_no_retries() {
    let log = Log::default();
    let budget = Budget::builder().cap(10.0).per_second(0.0).build().unwrap();
    let layer = RetryLayer::builder("x").backoff(Backoff::none()).budget(budget.clone());
    let layer = layer.observe(log.observer()).cloned().build().unwrap();
    let (calls, inner) = answering(|_| Err(broken("no")));
    fails(&Boxed::new(layer.layer(inner)), 100).await;
    assert_eq!((calls.count(), budget.balance()), (110, 0.0));
    let dry = EventKind::Stopped { attempts: 1, why: StopReason::Budget.as_str() };
    assert_eq!(log.all().iter().filter(|kind| **kind == dry).count(), 95);
    assert_eq!(layer.handle().budget().map(Budget::balance), Some(0.0));
}

// pitfall B20
#[test]
fn what_it_lacks_is_counted() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let prometheus = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let budget = Budget::builder().cap(4.0).per_second(0.0).build().unwrap();
            let (_, inner) = answering(|_| Err(broken("no")));
            fails(&Boxed::new(drawing(&budget).layer(inner)), 5).await;
        });
    });
    let told = prometheus.render();
    let labels = r#"layer="retry",name="x""#;
    for line in [
        format!(r#"seawall_retry_stopped_total{{{labels},reason="budget"}} 3"#),
        format!(r#"seawall_retry_stopped_total{{{labels},reason="exhausted"}} 2"#),
        format!(r#"seawall_retry_retries_total{{{labels},reason="failure"}} 4"#),
        format!("seawall_retry_attempts_total{{{labels}}} 9"),
        format!("seawall_retry_budget_tokens{{{labels}}} 0"),
        format!(r#"seawall_calls_total{{{labels},outcome="failure"}} 5"#),
    ] {
        assert!(told.lines().any(|told| told == line), "no {line} in\n{told}");
    }
}

// pitfall B20: at every instant, counted where the calls arrive
#[test]
fn sixty_four_threads_get_no_more_than_the_burst_and_the_floor() {
    let budget = Budget::builder().cap(50.0).per_second(10.0).build().unwrap();
    let began = now();
    let (offered, arrived) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let broken_rule = Arc::new(AtomicU32::new(0));
    // Two layers, one budget: it is one balance.
    let layers = [drawing(&budget), drawing(&budget)];
    std::thread::scope(|scope| {
        for n in 0..64 {
            let layer = layers[n % 2].clone();
            let (offered, arrived) = (offered.clone(), arrived.clone());
            let broken_rule = broken_rule.clone();
            scope.spawn(move || {
                let (offers, rule) = (offered.clone(), broken_rule.clone());
                let service = layer.layer(service_fn(move |_: u32| {
                    // Arrivals first: what is offered meanwhile only widens the allowance.
                    let arrived = arrived.fetch_add(1, Ordering::SeqCst) + 1;
                    let offered = offers.load(Ordering::SeqCst);
                    let floor = began.elapsed().as_secs_f64() * 10.0;
                    let retries = arrived.saturating_sub(offered);
                    if f64::from(u32::try_from(retries).unwrap()) > 50.0 + floor + 1.0 {
                        rule.fetch_add(1, Ordering::SeqCst);
                    }
                    async { Err::<u32, _>(Fail::Inner(broken("no"))) }
                }));
                let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
                runtime.unwrap().block_on(async {
                    for n in 0..500 {
                        offered.fetch_add(1, Ordering::SeqCst);
                        assert!(service.clone().oneshot(n).await.is_err());
                    }
                });
            });
        }
    });
    assert_eq!(broken_rule.load(Ordering::SeqCst), 0, "more retries than were paid for");
    assert!(budget.balance() < 1.5, "{budget:?}");
}

// pitfall B20
#[tokio::test(start_paused = true)]
async fn it_fills_by_itself_and_a_long_rest_saves_up_no_more_than_its_cap() {
    let budget = Budget::builder().cap(10.0).per_second(2.0).build().unwrap();
    let (calls, inner) = answering(|_| Err(broken("no")));
    let service = Boxed::new(drawing(&budget).layer(inner));
    fails(&service, 100).await;
    assert_eq!(calls.count(), 110);
    advance(Duration::from_secs(2)).await;
    assert!(near(budget.balance(), 4.0), "{budget:?}");
    fails(&service, 100).await;
    assert_eq!(calls.count(), 110 + 104);
    // pitfall B7: a year in one step
    advance(Duration::from_secs(365 * 86_400)).await;
    assert!(near(budget.balance(), 10.0), "{budget:?}");
    fails(&service, 100).await;
    assert_eq!(calls.count(), 110 + 104 + 110);
}

#[tokio::test(start_paused = true)]
async fn a_success_pays_in_and_a_retry_that_succeeds_gets_its_price_back() {
    let budget = Budget::builder().cap(10.0).per_second(0.0).per_success(0.2).build().unwrap();
    let (_, inner) = answering(|nth| if nth % 2 == 1 { Err(broken("no")) } else { Ok(nth) });
    let service = Boxed::new(drawing(&budget).layer(inner));
    for _ in 0..10 {
        assert!(service.clone().oneshot(7).await.is_ok());
    }
    assert!(near(budget.balance(), 10.0), "helpful retries are not rationed: {budget:?}");

    let (calls, (_, taking)) = (Calls::default(), taking(ms(10)));
    let slowly = service_fn(move |request| {
        let (fails, answer) = (calls.note() % 2 == 1, taking.clone().oneshot(request));
        async move { if fails { Err(Error::Inner(broken("no"))) } else { answer.await } }
    });
    let slowly = Boxed::new(drawing(&budget).layer(slowly));
    for _ in 0..10 {
        assert!(slowly.clone().oneshot(7).await.is_ok());
    }
    assert!(near(budget.balance(), 10.0), "however long they take: {budget:?}");

    let down = Boxed::new(drawing(&budget).layer(answering(|_| Err(broken("no"))).1));
    fails(&down, 50).await;
    assert_eq!(format!("{budget:?}"), "Budget { balance: 0.0, .. }");
    let up = Boxed::new(drawing(&budget).layer(answering(Ok).1));
    for nth in 1_u32..=60 {
        assert!(up.clone().oneshot(7).await.is_ok());
        let tokens = (f64::from(nth) * 0.2).min(10.0);
        assert!(near(budget.balance(), tokens), "{budget:?} after {nth}");
    }
}

// The design's weak spot of a flat budget: 30 % errors must not use it up.
#[tokio::test(start_paused = true)]
async fn it_lasts_while_retries_succeed() {
    let budget = Budget::default();
    let rng = Arc::new(std::sync::Mutex::new(fastrand::Rng::with_seed(7)));
    let (calls, inner) =
        answering(
            move |nth| {
                if rng.lock().unwrap().f64() < 0.3 { Err(broken("no")) } else { Ok(nth) }
            },
        );
    let log = Log::default();
    let layer = RetryLayer::builder("x").attempts(5).backoff(Backoff::none());
    let layer = layer.budget(budget.clone()).observe(log.observer()).cloned().build().unwrap();
    let service = layer.layer(inner);
    let mut failed = 0;
    let mut least = f64::MAX;
    for n in 0..10_000 {
        failed += u32::from(service.clone().oneshot(n).await.is_err());
        least = least.min(budget.balance());
    }
    let dry = |kind: &EventKind| StopReason::of(kind) == Some(StopReason::Budget);
    assert!(!log.all().iter().any(dry), "the budget ran out");
    assert!(least > 20.0, "down to {least}");
    // 0.3⁵ of 10,000 is 24.
    assert!(failed < 60, "{failed} failed");
    assert!(calls.count() > 13_500 && calls.count() < 15_000, "{}", calls.count());
}

#[tokio::test(start_paused = true)]
async fn an_attempt_after_one_that_ran_out_of_time_may_cost_more() {
    let costly = || Budget::builder().cap(12.0).per_second(0.0).timeout_price(5.0);
    let budget = costly().price(1.5).build().unwrap();
    let (calls, inner) = taking(ms(100));
    let inner = TimeoutLayer::new("inner", ms(10)).layer(inner);
    fails(&Boxed::new(drawing(&budget).layer(inner)), 3).await;
    assert_eq!(calls.count(), 5, "two retries at five tokens");
    assert!(near(budget.balance(), 2.0), "{budget:?}");

    let budget = costly().price(1.5).build().unwrap();
    let (calls, inner) = answering(|_| Err(broken("no")));
    fails(&Boxed::new(drawing(&budget).layer(inner)), 10).await;
    assert_eq!(calls.count(), 18, "eight retries at one and a half");
}

#[tokio::test(start_paused = true)]
async fn others_can_join_it() {
    let budget = Budget::builder().cap(2.0).per_second(0.0).build().unwrap();
    let first = budget.withdraw().unwrap();
    let _second = budget.withdraw().unwrap();
    assert!(budget.withdraw().is_none());
    let (calls, inner) = answering(|_| Err(broken("no")));
    fails(&Boxed::new(drawing(&budget).layer(inner)), 1).await;
    assert_eq!(calls.count(), 1);
    first.give_back(&budget);
    assert!(near(budget.balance(), 1.0));
    budget.deposit();
    assert!(near(budget.balance(), 1.2));
}

// ----- a chain of services -----

/// One hop: retries with these over the next.
fn hop(name: &str, next: Boxed, retries: bool) -> Boxed {
    let answer = service_fn(move |n: u32| {
        let next = next.clone();
        // A service that fails because the one below failed says so in its own words.
        async move { next.oneshot(n).await.map_err(|_| Error::Inner(broken("bad gateway"))) }
    });
    if retries {
        Boxed::new(RetryLayer::new(name).cloned().layer(answer))
    } else {
        let all = RetryLayer::builder(name).no_budget().cloned().build().unwrap();
        Boxed::new(all.layer(answer))
    }
}

/// 100 calls a second for so many seconds through three hops, the bottom down. Returns what
/// arrived at the bottom in each second.
async fn at_the_bottom(budgets: bool, seconds: u32) -> Vec<usize> {
    let calls = Calls::default();
    let seen = calls.clone();
    let mut stack = Boxed::new(service_fn(move |_: u32| {
        seen.note();
        async { Err(Error::Inner(broken("down"))) }
    }));
    for name in ["c", "b", "a"] {
        stack = hop(name, stack, budgets);
    }
    let mut arrived = Vec::new();
    for _ in 0..seconds {
        let before = calls.count();
        for n in 0..100 {
            tokio::spawn(stack.clone().oneshot(n));
            tokio::time::sleep(ms(10)).await;
        }
        arrived.push(calls.count() - before);
    }
    arrived
}

// pitfall B21
#[tokio::test(start_paused = true)]
async fn three_hops_that_retry_do_not_multiply_what_the_bottom_gets() {
    let arrived = at_the_bottom(true, 10).await;
    for (second, calls) in arrived.iter().enumerate().skip(1) {
        assert!(*calls <= 120, "{calls} in second {second}: {arrived:?}");
    }
    assert!(arrived[0] <= 100 + 3 * 52, "more than the three bursts: {arrived:?}");
    // The measure can tell: without budgets it is 27 times what was offered.
    let multiplied = at_the_bottom(false, 3).await;
    assert!(multiplied[2] > 2_000, "{multiplied:?}");
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_does_not_begin_costs_nothing() {
    // The first attempt fails, and the second hangs.
    let calls = Arc::new(AtomicU32::new(0));
    let inner = |calls: Arc<AtomicU32>| {
        service_fn(move |_: u32| {
            let first = calls.fetch_add(1, Ordering::Relaxed) == 0;
            async move {
                if first { Err(Error::Inner(broken("no"))) } else { std::future::pending().await }
            }
        })
    };
    let wait = Backoff::fixed(ms(100));
    // The caller hangs up during the wait, or when the second attempt is in flight.
    for (patience, attempts, balance) in [(0, 1, 10.0), (500, 2, 9.0)] {
        calls.store(0, Ordering::Relaxed);
        let budget = Budget::builder().cap(10.0).per_second(0.0).build().unwrap();
        let layer = RetryLayer::builder("x").backoff(wait).budget(budget.clone()).cloned();
        let service = layer.build().unwrap().layer(inner(Arc::clone(&calls)));
        let mut call = Box::pin(service.oneshot(0));
        assert!(tokio::time::timeout(ms(patience), call.as_mut()).await.is_err());
        assert!(near(budget.balance(), 9.0), "it was paid for");
        drop::<Pin<Box<dyn Future<Output = Result<u32, Fail>>>>>(call);
        assert_eq!(calls.load(Ordering::Relaxed), attempts);
        assert!(near(budget.balance(), balance), "{} of {balance}", budget.balance());
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_never_gets_ready_costs_nothing() {
    let budget = Budget::builder().cap(10.0).per_second(0.0).build().unwrap();
    let layer = RetryLayer::builder("x").backoff(Backoff::none()).max_elapsed(ms(1000));
    let layer = layer.budget(budget.clone()).cloned().build().unwrap();
    let (handle, probe) = scripted(Ready::Yes, Reply::Fails);
    let mut service = layer.layer(probe);
    let call = service.ready().await.unwrap().call(7);
    handle.set_ready(Ready::No);
    assert_eq!(call.await, Err(Error::Inner(crate::support::Broken)));
    assert!(near(budget.balance(), 10.0), "{}", budget.balance());
}

// It was paid for a call that was never made.
#[tokio::test(start_paused = true)]
async fn a_retry_that_a_layer_of_ours_rejects_gets_its_price_back() {
    let budget = Budget::builder().cap(10.0).per_second(0.0).build().unwrap();
    let full = BulkheadLayer::builder("x").limit(1).queue(0).build().unwrap();
    let mut held = Box::pin(full.run(std::future::pending::<Result<u32, Fail>>));
    assert!(crate::scene::poll_once(&mut held).is_pending());
    let calls = Calls::default();
    let inner = service_fn(move |_: u32| {
        let (first, full) = (calls.note() == 1, full.clone());
        async move {
            let call = || async { Err(Error::Inner(broken("no"))) };
            if first { call().await } else { full.run(call).await }
        }
    });
    fails(&Boxed::new(drawing(&budget).layer(inner)), 1).await;
    assert!(near(budget.balance(), 10.0), "{}", budget.balance());
}
