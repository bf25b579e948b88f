//! Members beside each other: who is compared with whom, who takes what another one does not, and who is asked.

use seawall::bulkhead::BulkheadLayer;
use seawall::propagate::{FromWithContext, WithContext};
use seawall::retry::RetryLayer;

use super::*;

/// Members of two zones, of which the remote one is slower by nature.
#[tokio::test(start_paused = true)]
async fn a_remote_zone_is_slower_and_no_outlier() {
    let world = World::default();
    let zones = |(nth, one): (usize, Endpoint)| one.zone(if nth < 2 { "here" } else { "there" });
    let members = names(4).into_iter().enumerate().map(zones);
    let set = world.set(balance(Balance::RoundRobin), members);
    for (nth, takes) in [10, 10, 80, 80].into_iter().enumerate() {
        world.server(&format!("host-{nth}")).takes.store(takes, Ordering::Relaxed);
    }
    for nth in 0..1_000 {
        tokio::spawn(set.clone().oneshot(nth));
        sleep(2 * MS).await;
        assert!(states(&set.handle()).iter().all(|state| *state == State::Active));
    }
    world.server("host-3").takes.store(400, Ordering::Relaxed); // slower than its peer there
    for nth in 0..1_000 {
        tokio::spawn(set.clone().oneshot(nth));
        sleep(2 * MS).await;
    }
    assert_eq!(states(&set.handle())[3], State::Ejected);
}

/// Two members whose answers take exponentially distributed times, with a long tail: the slower one is so by chance.
#[tokio::test(start_paused = true)]
async fn of_two_equal_members_none_is_ejected_for_chance() {
    let random = Arc::new(Mutex::new(fastrand::Rng::with_seed(7)));
    let ejections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&ejections);
    let set = Endpoints::builder("search")
        .members(names(2))
        .seed(7)
        .observe(move |event: &Event| {
            if matches!(event.kind, EventKind::Changed { to: "ejected", .. }) {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        })
        .over(move |_| {
            let random = Arc::clone(&random);
            Ok(service_fn(move |_: u64| {
                let (even, tail) = {
                    let mut random = random.lock().unwrap();
                    (random.f64(), random.u32(0..100) == 0)
                };
                let took = MS.mul_f64(-10.0 * (1.0 - even).ln() * if tail { 50.0 } else { 1.0 });
                async move {
                    sleep(took).await;
                    Ok::<_, Fail>(String::new())
                }
            }))
        })
        .unwrap();
    for nth in 0..30_000 {
        tokio::spawn(set.clone().oneshot(nth));
        sleep(4 * MS).await;
    }
    assert_eq!(ejections.load(Ordering::Relaxed), 0);
}

/// What a caller gave up soon is no latency: a member that answers in 50 ms and is often given up after one is no faster
/// than it was.
#[tokio::test(start_paused = true)]
async fn calls_that_are_given_up_soon_make_no_member_look_fast() {
    let world = World::default();
    let mut set =
        world.set(Config { latency_factor: 0.0, ..balance(Balance::RoundRobin) }, names(1));
    world.server("host-0").takes.store(50, Ordering::Relaxed);
    let latency = |set: &Set| set.handle().endpoints()[0].latency;
    for given_up in [3, 20, 1] {
        let call = set.call(7);
        assert!(tokio::time::timeout(given_up * MS, call).await.is_err());
    }
    assert_eq!(latency(&set), Some(20 * MS), "it takes longer than the longest of them");
    set.call(7).await.unwrap();
    assert_eq!(latency(&set), Some(50 * MS));
}

/// pitfall B22: the only member in use dies, while one that is ejected has recovered.
#[tokio::test(start_paused = true)]
async fn who_has_recovered_returns_when_all_others_die() {
    let minute = Duration::from_secs(60);
    let config = Config { ejection_time: minute, max_ejection_time: minute, ..Config::default() };
    let world = World::default();
    let mut set = world.set(config, names(2));
    world.server("host-0").fails.store(true, Ordering::Relaxed);
    call(&mut set, 100).await;
    assert_eq!(states(&set.handle()), [State::Ejected, State::Active]);
    world.server("host-0").fails.store(false, Ordering::Relaxed);
    for _ in 0..100 {
        call(&mut set, 1).await;
        advance(10 * MS).await;
    }
    assert_eq!(states(&set.handle()), [State::Ejected, State::Active], "it has not had its time");
    world.server("host-1").fails.store(true, Ordering::Relaxed);
    let mut bad = 0;
    for _ in 0..400 {
        bad += 1 - call(&mut set, 1).await;
        advance(10 * MS).await;
    }
    assert!(bad <= 22, "{bad} of 400 failed"); // five in a row, and probes
    assert_ne!(states(&set.handle())[0], State::Ejected);
}

/// All that are in use fail, and nobody knows better: all are used, and an event says so.
#[tokio::test(start_paused = true)]
async fn where_all_in_use_fail_all_are_used() {
    let heard: Arc<Mutex<Vec<[&str; 3]>>> = Arc::default();
    let (log, world) = (Arc::clone(&heard), World::default());
    let made = world.clone();
    let mut set = Endpoints::builder("search")
        .members(names(2))
        .seed(7)
        .observe(move |event: &Event| {
            if let EventKind::Changed { from, to, cause, .. } = event.kind
                && event.key.is_none()
            {
                log.lock().unwrap().push([from, to, cause]);
            }
        })
        .over(move |endpoint| Ok(made.client(endpoint)))
        .unwrap();
    world.server("host-0").fails.store(true, Ordering::Relaxed);
    call(&mut set, 100).await;
    world.server("host-1").fails.store(true, Ordering::Relaxed);
    call(&mut set, 100).await;
    world.calls();
    call(&mut set, 100).await;
    let calls = world.calls();
    assert!(calls.values().all(|calls| *calls > 20), "{calls:?}");
    world.server("host-0").fails.store(false, Ordering::Relaxed);
    for _ in 0..100 {
        call(&mut set, 1).await;
        advance(10 * MS).await;
    }
    assert!(call(&mut set, 100).await > 90);
    let heard = heard.lock().unwrap();
    assert_eq!(heard[0], ["normal", "panic", "all_fail"]);
    assert_eq!(heard[1][1], "normal");
}

// ===== readiness and rejections =====

/// Of many members one is ready.
#[tokio::test(start_paused = true)]
async fn the_only_one_that_is_ready_is_found() {
    for way in [Balance::PeakEwma, Balance::LeastLoad, Balance::RoundRobin] {
        let world = World::default();
        let mut set = world.set(balance(way), names(200));
        for nth in (0..200).filter(|nth| *nth != 123) {
            world.server(&format!("host-{nth}")).stuck.store(true, Ordering::Relaxed);
        }
        for nth in 0..20 {
            let mut call = Box::pin(set.call(nth));
            assert!(poll_once(&mut call).is_ready(), "{way:?}: call {nth} waits");
        }
        assert_eq!(world.calls()["host-123"], 20);
    }
}

/// Who is not ready is remembered: not each call asks all.
#[tokio::test(start_paused = true)]
async fn who_is_not_ready_is_not_asked_by_each_call() {
    #[derive(Clone)]
    struct Stuck(Arc<AtomicUsize>);
    impl Service<u64> for Stuck {
        type Response = u64;
        type Error = Fail;
        type Future = std::future::Pending<Result<u64, Fail>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fail>> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Poll::Pending
        }

        fn call(&mut self, _: u64) -> Self::Future {
            pending()
        }
    }
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let set = Endpoints::builder("search").members(names(1_000));
    let mut set = set.over(move |_| Ok(Stuck(Arc::clone(&counted)))).unwrap();
    drop(set.call(0));
    assert_eq!(asked.swap(0, Ordering::Relaxed), 1_000);
    (1..100).for_each(|nth| drop(set.call(nth)));
    assert!(asked.load(Ordering::Relaxed) < 1_000, "{asked:?}");
}

fn limited(
    world: &World,
    members: usize,
    limit: u32,
) -> impl Service<u64, Error = Fail, Response = String, Future: Unpin> + Clone + use<> {
    let made = world.clone();
    let set = Endpoints::builder("search").members(names(members)).balance(Balance::RoundRobin);
    let set = set.over(move |endpoint| {
        let limit = BulkheadLayer::builder(endpoint.name()).limit(limit).queue(0).build()?;
        Ok(Boxed::new(limit.layer(made.client(endpoint))))
    });
    Boxed::new(set.unwrap())
}

/// A member that is full is left alone until a call to it ends, and no longer.
#[tokio::test(start_paused = true)]
async fn who_is_full_is_chosen_again_as_soon_as_a_call_ends() {
    let world = World::default();
    let mut set = limited(&world, 2, 1);
    (0..2).for_each(|nth| world.server(&format!("host-{nth}")).takes.store(5, Ordering::Relaxed));
    let (one, other) = (set.call(0), set.call(1));
    assert!(set.call(2).await.is_err(), "both are full");
    assert!(set.call(3).await.is_err());
    one.await.unwrap();
    other.await.unwrap();
    for nth in 0..20 {
        let (one, other) = (set.call(nth), set.call(nth));
        assert_ne!(one.await.unwrap(), other.await.unwrap());
    }
}

/// One that rejects a call ends no retry around the set: another takes it, at once, and within the budget.
#[tokio::test(start_paused = true)]
async fn what_one_rejects_another_takes_at_once() {
    let world = World::default();
    let made = world.clone();
    let set = Endpoints::builder("search")
        .members(names(3))
        .balance(Balance::RoundRobin)
        .propagate(FromWithContext)
        .over(move |endpoint| {
            let hour = Duration::from_secs(3600);
            let breaker = CircuitBreakerLayer::builder(endpoint.name())
                .break_duration(hour)
                .max_break_duration(hour)
                .build()?;
            if endpoint.name() == "host-1" {
                breaker.handle().force_open();
            }
            let client = made.client(endpoint);
            let client = tower::ServiceBuilder::new()
                .map_request(|request: WithContext<u64>| request.request)
                .service(client);
            Ok(breaker.layer(client))
        })
        .unwrap();
    let retry = RetryLayer::builder("search").cloned().propagate(FromWithContext);
    let mut search = retry.build().unwrap().layer(set);
    for nth in 0..100 {
        let mut call = Box::pin(search.ready().await.unwrap().call(WithContext::from(nth)));
        assert!(matches!(poll_once(&mut call), Poll::Ready(Ok(_))), "nobody waits");
    }
    let calls = world.calls();
    assert!(calls["host-0"] > 30 && calls["host-2"] > 30 && calls["host-1"] == 0, "{calls:?}");
}

/// Where all of them do, the retry ends as it would without a set.
#[tokio::test(start_paused = true)]
async fn what_all_reject_is_not_asked_on_and_on() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let set = Endpoints::builder("search").members(names(3)).over(move |endpoint| {
        let breaker = CircuitBreakerLayer::builder(endpoint.name()).build()?;
        breaker.handle().force_open();
        let counted = Arc::clone(&counted);
        let counts = layer_fn(move |inner: Boxed| {
            let counted = Arc::clone(&counted);
            tower::ServiceBuilder::new()
                .map_request(move |request: u64| {
                    counted.fetch_add(1, Ordering::Relaxed);
                    request
                })
                .service(inner)
        });
        Ok(counts.layer(Boxed::new(
            breaker.layer(service_fn(|_: u64| async { Ok::<_, Fail>(String::new()) })),
        )))
    });
    let retry = RetryLayer::builder("search").cloned().build().unwrap();
    let mut search = retry.layer(set.unwrap());
    let error = search.ready().await.unwrap().call(7).await.unwrap_err();
    assert_eq!(error.rejected().map(Rejected::reason), Some(Reason::CircuitOpen));
    assert_eq!(asked.load(Ordering::Relaxed), 3, "each once");
}

// ===== subsets =====

#[tokio::test(start_paused = true)]
async fn a_subset_is_used_and_follows_the_list() {
    let world = World::default();
    let over = |id: &str| {
        let world = world.clone();
        let set = Endpoints::builder("search").members(names(100)).subset(5, id);
        set.over(move |endpoint| Ok(world.client(endpoint))).unwrap()
    };
    let used = |set: &Set| {
        let all = set.handle().endpoints();
        all.iter().map(|one| one.endpoint.name().to_owned()).collect::<Vec<_>>()
    };
    let (mut set, again, other) = (over("a"), over("a"), over("b"));
    assert_eq!(used(&set), used(&again));
    assert_ne!(used(&set), used(&other));
    assert_eq!(call(&mut set, 100).await, 100);
    assert_eq!(world.calls().values().filter(|calls| **calls > 0).count(), 5);

    // Three of the five go, and others of the fleet: not half of the list is gone.
    let gone = used(&set)[..3].to_vec();
    let stay = |one: &Endpoint| !gone.contains(&one.name().to_owned());
    set.handle().adopt(names(100).into_iter().filter(stay)).unwrap();
    assert_eq!(used(&set).iter().filter(|name| gone.contains(name)).count(), 0);
    assert_eq!(used(&set).len(), 5);
    assert!(matches!(set.handle().adopt(names(20)), Err(AdoptError::Shrunk { before: 97, .. })));

    let wrong = Endpoints::builder("search").members(names(2)).subset(0, "");
    let wrong = wrong.over(|_| Ok(service_fn(|_: u64| async { Ok::<_, Fail>(()) }))).err().unwrap();
    let AdoptError::Invalid(problems) = wrong else { panic!("{wrong:?}") };
    assert_eq!(problems.iter().count(), 2, "{problems}");
}

/// A further attempt goes to another member than the one before, also if that has answered somebody else meanwhile.
#[tokio::test(start_paused = true)]
async fn a_further_attempt_goes_to_another_member() {
    let asked = Arc::new(AtomicUsize::new(0));
    // Nobody is ejected.
    let config = Config { consecutive_failures: 0, max_ejected: 0.0, ..Config::default() };
    let set = Endpoints::builder("search")
        .members(names(2))
        .config(config)
        .propagate(FromWithContext)
        .seed(7)
        .over(move |endpoint| {
            let (is_flaky, asked) = (endpoint.name() == "host-0", Arc::clone(&asked));
            Ok(service_fn(move |_: WithContext<u64>| {
                let fails = is_flaky && asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
                async move {
                    sleep(5 * MS).await;
                    if fails { Err(Fail::Inner(std::io::Error::other("down"))) } else { Ok(()) }
                }
            }))
        })
        .unwrap();
    let retry = RetryLayer::builder("search").cloned().attempts(2).propagate(FromWithContext);
    let search = retry.no_budget().build().unwrap().layer(set);
    let mut calls = Vec::new();
    for nth in 0..1_000 {
        calls.push(tokio::spawn(search.clone().oneshot(WithContext::from(nth))));
        sleep(MS).await;
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

/// Probes are slow or failed calls: few of few calls.
#[tokio::test(start_paused = true)]
async fn probes_are_no_more_than_a_small_share_of_the_calls() {
    let config = Config { ejection_time: Duration::from_secs(30), ..Config::default() };
    let world = World::default();
    let mut set = world.set(config, names(4));
    for _ in 0..200 {
        call(&mut set, 1).await;
        advance(10 * MS).await; // a hundred calls a second
    }
    world.server("host-2").fails.store(true, Ordering::Relaxed);
    for _ in 0..200 {
        call(&mut set, 1).await;
        advance(10 * MS).await;
    }
    assert_eq!(states(&set.handle())[2], State::Ejected);
    world.calls();
    for _ in 0..2_000 {
        call(&mut set, 1).await;
        advance(10 * MS).await;
    }
    let probes = world.calls()["host-2"];
    assert!((6..=10).contains(&probes), "{probes} of 2,000"); // without the bound: 80
}
