//! Failover: load goes to the next tier at once, and comes back slowly.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use seawall::circuit_breaker::{CircuitBreakerLayer, State, Trip};
use seawall::failover::Failover;
use seawall::propagate::{FromWithContext, WithContext};
use seawall::retry::{Backoff, RetryLayer};
use seawall::testing::{Broken, Contract, MockService, Scenario};
use seawall::{Error, Event, EventKind, Measurement, Reason, Rejected};
use tokio::sync::Semaphore;
use tokio::time::advance;
use tower::layer::layer_fn;
use tower::limit::ConcurrencyLimit;
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceExt, service_fn};

type Fail = Error<std::io::Error>;

const SECOND: Duration = Duration::from_secs(1);

/// The health of two tiers, in percent.
#[derive(Clone, Default)]
struct Health(Arc<[AtomicU32; 2]>);

impl Health {
    fn set(&self, near: u32, far: u32) {
        self.0[0].store(near, Ordering::Relaxed);
        self.0[1].store(far, Ordering::Relaxed);
    }

    fn of(&self, tier: &str) -> f64 {
        f64::from(self.0[usize::from(tier == "far")].load(Ordering::Relaxed)) / 100.0
    }
}

fn whole() -> Health {
    let health = Health::default();
    health.set(100, 100);
    health
}

fn says(name: &str) -> BoxCloneSyncService<(), String, Fail> {
    let name = name.to_owned();
    BoxCloneSyncService::new(service_fn(move |()| {
        let name = name.clone();
        async move { Ok(name) }
    }))
}

type Search = BoxCloneSyncService<(), String, Fail>;

fn search(health: &Health) -> (Search, Arc<Mutex<Vec<EventKind>>>) {
    let (health, heard) = (health.clone(), Arc::<Mutex<Vec<_>>>::default());
    let log = Arc::clone(&heard);
    let search = Failover::builder("search")
        .tiers(["near", "far"])
        .health(move |tier| health.of(tier))
        .observe(move |event: &Event| log.lock().unwrap().push(event.kind))
        .over(|tier| Ok(says(tier)))
        .unwrap();
    (BoxCloneSyncService::new(search), heard)
}

/// How many of 1,000 calls go to the first tier.
async fn near(search: &mut Search) -> usize {
    let mut near = 0;
    for _ in 0..1_000 {
        near += usize::from(search.ready().await.unwrap().call(()).await.unwrap() == "near");
    }
    near
}

#[tokio::test(start_paused = true)]
async fn load_spills_as_health_falls_and_comes_back_slowly() {
    let health = whole();
    let (mut search, heard) = search(&health);
    assert_eq!(near(&mut search).await, 1_000);
    health.set(72, 100);
    assert_eq!(near(&mut search).await, 1_000, "1.4 times 72 % is all");
    health.set(50, 100);
    assert!((600..800).contains(&near(&mut search).await));
    health.set(0, 100);
    assert_eq!(near(&mut search).await, 0, "at once");
    health.set(100, 100);
    advance(9 * SECOND).await;
    assert_eq!(near(&mut search).await, 0, "nine seconds are not ten");
    advance(SECOND + SECOND).await;
    assert!((10..150).contains(&near(&mut search).await), "five percent");
    for _ in 0..5 {
        advance(SECOND).await;
        near(&mut search).await;
    }
    assert_eq!(near(&mut search).await, 1_000);
    let changed = |from, to| EventKind::Changed {
        from,
        to,
        cause: "health",
        measurement: Measurement::Nothing,
    };
    assert_eq!(
        *heard.lock().unwrap(),
        [changed("first", "spilling"), changed("spilling", "first")]
    );
}

#[tokio::test(start_paused = true)]
async fn if_all_are_down_the_first_tier_is_asked() {
    let health = whole();
    let (mut search, heard) = search(&health);
    health.set(0, 0);
    assert_eq!(near(&mut search).await, 1_000);
    assert!(matches!(heard.lock().unwrap()[..], [EventKind::Changed { to: "panic", .. }]));
}

// pitfall B71
#[tokio::test(start_paused = true)]
async fn a_first_tier_that_flaps_each_second_gets_nothing() {
    let health = whole();
    let (mut search, _) = search(&health);
    for second in 0..120 {
        health.set(if second % 2 == 0 { 0 } else { 100 }, 100);
        assert_eq!(near(&mut search).await, 0, "second {second}");
        advance(SECOND).await;
    }
}

// pitfall B39
#[tokio::test(start_paused = true)]
async fn a_further_attempt_of_a_retry_goes_to_the_next_tier_and_is_paid_by_its_budget() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let failover = Failover::builder("search")
        .tiers(["near", "far"])
        .health(|_| 1.0)
        .propagate(FromWithContext)
        .over(move |tier| {
            let (count, is_near) = (Arc::clone(&count), tier == "near");
            Ok(service_fn(move |request: WithContext<bool>| {
                count.fetch_add(1, Ordering::Relaxed);
                let fails = is_near || request.request;
                async move {
                    if fails { Err(Fail::Inner(std::io::Error::other("reset"))) } else { Ok("far") }
                }
            }))
        })
        .unwrap();
    let retry = |copies: bool| {
        let copy = move |request: &WithContext<bool>| copies.then(|| request.clone());
        RetryLayer::builder("search")
            .attempts(2)
            .backoff(Backoff::none())
            .propagate(FromWithContext)
            .copy_with(copy)
    };
    let search = retry(true).build().unwrap().layer(failover.clone());
    assert_eq!(search.clone().oneshot(false.into()).await.unwrap(), "far");
    assert_eq!(asked.swap(0, Ordering::Relaxed), 2);
    assert!(search.oneshot(true.into()).await.is_err());
    assert_eq!(asked.swap(0, Ordering::Relaxed), 2, "each tier once");
    // What must not be copied is not repeated.
    let writes = retry(false).build().unwrap().layer(failover);
    assert!(writes.oneshot(false.into()).await.is_err());
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

// pitfall B52
#[tokio::test]
async fn a_tier_that_is_not_ready_is_passed_over() {
    #[derive(Clone)]
    struct Stuck;
    impl Service<()> for Stuck {
        type Response = String;
        type Error = Fail;
        type Future = std::future::Pending<Result<String, Fail>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fail>> {
            Poll::Pending
        }

        fn call(&mut self, (): ()) -> Self::Future {
            panic!("called though it is never ready")
        }
    }
    let mut search = Failover::builder("search")
        .tiers(["near", "far"])
        .health(|_| 1.0)
        .over(|tier| {
            Ok(match tier {
                "near" => BoxCloneSyncService::new(Stuck),
                tier => says(tier),
            })
        })
        .unwrap();
    assert_eq!(search.ready().await.unwrap().call(()).await.unwrap(), "far");
}

/// Nobody makes a tier healthy again that is known by its breaker, but calls to it.
#[tokio::test(start_paused = true)]
async fn load_returns_to_a_tier_whose_circuit_was_open() {
    let breaker = CircuitBreakerLayer::builder("near")
        .trip(Trip::consecutive(3))
        .break_duration(SECOND)
        .max_break_duration(SECOND)
        .build()
        .unwrap();
    let (handle, is_broken) = (breaker.handle(), Arc::new(AtomicBool::new(true)));
    let (broken, asked) = (Arc::clone(&is_broken), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    let is_well = move |tier: &str| tier == "far" || handle.state() == State::Closed;
    let mut search = Failover::builder("search")
        .tiers(["near", "far"])
        .health(move |tier| f64::from(u8::from(is_well(tier))))
        .over(move |tier| {
            if tier == "far" {
                return Ok(says(tier));
            }
            let (broken, count) = (Arc::clone(&broken), Arc::clone(&count));
            let near = service_fn(move |()| {
                count.fetch_add(1, Ordering::Relaxed);
                let is_broken = broken.load(Ordering::Relaxed);
                let reset = || Fail::Inner(std::io::Error::other("reset"));
                async move { if is_broken { Err(reset()) } else { Ok("near".to_owned()) } }
            });
            Ok(BoxCloneSyncService::new(breaker.layer(near)))
        })
        .unwrap();
    let mut served = [0, 0];
    let mut failed = 0;
    for tenth in 0..600 {
        if tenth == 100 {
            assert!((3..15).contains(&asked.load(Ordering::Relaxed)), "{asked:?}");
            assert!((3..15).contains(&failed), "the first ones, and one a second: {failed}");
            is_broken.store(false, Ordering::Relaxed);
        }
        match search.ready().await.unwrap().call(()).await {
            Ok(by) if tenth >= 500 => served[usize::from(by == "far")] += 1,
            Ok(_) => {}
            Err(_) => failed += 1,
        }
        advance(SECOND / 10).await;
    }
    assert_eq!(served, [100, 0], "back for good");
}

// pitfall B52
#[tokio::test(start_paused = true)]
async fn if_no_tier_is_ready_the_first_that_becomes_so_is_asked() {
    let open = Arc::new(Semaphore::new(0));
    let room = Arc::clone(&open);
    let search = Failover::builder("search")
        .tiers(["near", "far"])
        .health(|_| 1.0)
        .over(move |tier| {
            let room = if tier == "far" { Arc::clone(&room) } else { Arc::new(Semaphore::new(0)) };
            Ok(ConcurrencyLimit::with_semaphore(says(tier), room))
        })
        .unwrap();
    let call = tokio::spawn(search.oneshot(()));
    tokio::task::yield_now().await;
    open.add_permits(1);
    let told = tokio::time::timeout(SECOND, call).await.expect("far is ready").unwrap();
    assert_eq!(told.unwrap(), "far");
}

/// However many tiers there are.
// pitfall B52
#[tokio::test(start_paused = true)]
async fn the_last_of_sixteen_tiers_is_asked_and_waited_for_if_no_other_is_ready() {
    for free in [1, 0] {
        let open = Arc::new(Semaphore::new(free));
        let room = Arc::clone(&open);
        let search = Failover::builder("search")
            .tiers((0..16).map(|nth| format!("tier-{nth}")))
            .health(|_| 1.0)
            .over(move |tier| {
                let is_last = tier == "tier-15";
                let room = if is_last { Arc::clone(&room) } else { Arc::new(Semaphore::new(0)) };
                Ok(ConcurrencyLimit::with_semaphore(says(tier), room))
            })
            .unwrap();
        let call = tokio::spawn(search.oneshot(()));
        tokio::task::yield_now().await;
        open.add_permits(1 - free);
        let told = tokio::time::timeout(SECOND, call).await.expect("the last is ready").unwrap();
        assert_eq!(told.unwrap(), "tier-15");
    }
}

/// Each member of a tier has a circuit of its own, which closes by calls to that member.
#[tokio::test(start_paused = true)]
async fn load_returns_to_a_tier_of_several_members_whose_circuits_were_open() {
    let members: Vec<_> = (0..3)
        .map(|nth| {
            let breaker = CircuitBreakerLayer::builder(format!("near-{nth}"));
            let breaker = breaker.trip(Trip::consecutive(3)).break_duration(SECOND);
            breaker.max_break_duration(SECOND).build().unwrap()
        })
        .collect();
    let handles: Vec<_> = members.iter().map(CircuitBreakerLayer::handle).collect();
    let is_broken = Arc::new(AtomicBool::new(false));
    let broken = Arc::clone(&is_broken);
    let mut search = Failover::builder("search")
        .tiers(["near", "far"])
        .health(move |tier| {
            let closed = handles.iter().filter(|handle| handle.state() == State::Closed).count();
            if tier == "far" { 1.0 } else { f64::from(u32::try_from(closed).unwrap()) / 3.0 }
        })
        .over(move |tier| {
            if tier == "far" {
                return Ok(says(tier));
            }
            let work = |broken: Arc<AtomicBool>| {
                service_fn(move |()| {
                    let is_broken = broken.load(Ordering::Relaxed);
                    let reset = || Fail::Inner(std::io::Error::other("reset"));
                    async move { if is_broken { Err(reset()) } else { Ok("near".to_owned()) } }
                })
            };
            let all: Vec<_> =
                members.iter().map(|one| one.layer(work(Arc::clone(&broken)))).collect();
            let turn = Arc::new(AtomicUsize::new(0));
            Ok(BoxCloneSyncService::new(service_fn(move |()| {
                let nth = turn.fetch_add(1, Ordering::Relaxed) % all.len();
                all[nth].clone().oneshot(())
            })))
        })
        .unwrap();
    let mut well = [0; 6];
    for tenth in 0..1_800 {
        is_broken.store((300..900).contains(&tenth), Ordering::Relaxed);
        let told = search.ready().await.unwrap().call(()).await;
        well[tenth / 300] += usize::from(told.is_ok_and(|by| tenth < 1_500 || by == "near"));
        advance(SECOND / 10).await;
    }
    assert_eq!((well[0], well[5]), (300, 300), "{well:?}: back for good");
    assert!(well[2] >= 260, "{well:?}: one call in ten at most finds out how it is");
}

#[tokio::test(start_paused = true)]
async fn drained_it_rejects_and_waits_for_the_last_call() {
    let mut search = Failover::builder("search")
        .tiers(["near"])
        .health(|_| 1.0)
        .over(|_| Ok(service_fn(|()| std::future::pending::<Result<(), Fail>>())))
        .unwrap();
    let handle = search.handle();
    let mut call = Box::pin(search.call(()));
    let poll = |future: &mut std::pin::Pin<Box<dyn Future<Output = Result<(), Fail>>>>| {
        future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending()
    };
    let mut boxed: std::pin::Pin<Box<dyn Future<Output = Result<(), Fail>>>> =
        Box::pin(async move { call.as_mut().await });
    assert!(poll(&mut boxed));
    assert_eq!(handle.in_flight(), 1);
    assert!(tokio::time::timeout(SECOND, handle.drain()).await.is_err());
    let told = search.call(()).await.unwrap_err();
    let Error::Rejected(told) = told else { panic!("{told:?}") };
    assert_eq!(Rejected::reason(&told), Reason::Draining);
    drop(boxed);
    handle.drain().await;
}

// pitfall B33
#[tokio::test(start_paused = true)]
async fn it_keeps_the_contract_of_a_service() {
    let layer = || {
        layer_fn(|inner: MockService<u32, u32, Error<Broken>>| {
            let inner = Mutex::new(inner);
            let make = move |_: &str| Ok(inner.lock().unwrap().clone());
            Failover::builder("contract").tiers(["a", "b"]).health(|_| 1.0).over(make).unwrap()
        })
    };
    let contract = Contract::new(Scenario::echo(|| Error::Inner(Broken)), layer);
    contract.check().await.unwrap();
}

#[test]
fn what_is_wrong_is_told_all_at_once() {
    let wrong = Failover::builder("search")
        .tiers(["a", "", "a"])
        .health(|_| 1.0)
        .up_for(Duration::ZERO)
        .max_up_for(Duration::ZERO)
        .over(|tier| Ok(says(tier)));
    assert_eq!(
        format!("{:?}", wrong.unwrap_err()),
        "invalid configuration of failover `search`:\n  \
         tiers = \"\": names that are not empty\n  \
         tiers = \"a\": each name once\n  \
         up_for = 0ns: longer than zero"
    );
    let none =
        Failover::builder("search").health(|_| 1.0).max_up_for(SECOND).over(|tier| Ok(says(tier)));
    assert_eq!(
        none.unwrap_err().iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["tiers = 0: 1 to 16 tiers", "max_up_for = 1s: at least `up_for`, 10s"]
    );
    let broken = Failover::builder("search")
        .tiers(["a"])
        .health(|_| f64::NAN)
        .over(|_| Err::<BoxCloneSyncService<(), String, Fail>, _>("no address".into()));
    let told = broken.unwrap_err().to_string();
    assert!(told.contains(r#"over = "a": a service, and not the error: no address"#), "{told}");
}
