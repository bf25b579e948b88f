//! What is learnt of endpoints, and what must not be left behind.

use super::*;

/// A thread that saw a burst to an endpoint, and chooses it no more for that, learns that the burst is over.
#[tokio::test(start_paused = true)]
async fn a_burst_of_another_thread_is_forgotten_when_it_is_over() {
    let world = World::default();
    let mut set = world.set(balance(Balance::LeastLoad), names(2));
    let (busy, idle) = (world.server("host-0"), world.server("host-1"));
    idle.stuck.store(true, Ordering::Relaxed);
    busy.takes.store(1_000_000, Ordering::Relaxed);
    let burst: Vec<_> = (0..100)
        .map(|nth| {
            let mut call = Box::pin(set.call(nth));
            assert!(poll_once(&mut call).is_pending());
            call
        })
        .collect();
    busy.takes.store(0, Ordering::Relaxed);
    let (clock, mut other) = (tokio::runtime::Handle::current(), set.clone());
    let (seen, wait_for_it) = std::sync::mpsc::channel();
    let (go_on, wait_for_end) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        let _same_clock = clock.enter();
        let mut call = |nth| assert!(poll_once(&mut Box::pin(other.call(nth))).is_ready());
        call(0); // it looks at the others, and will not until it had 15 more
        seen.send(()).unwrap();
        wait_for_end.recv().unwrap();
        (1..=200).for_each(&mut call);
        world.calls();
        (1..=400).for_each(&mut call);
        world.calls()
    });
    wait_for_it.recv().unwrap();
    drop(burst);
    idle.stuck.store(false, Ordering::Relaxed);
    advance(300 * MS).await;
    go_on.send(()).unwrap();
    let calls = thread.join().unwrap();
    assert!(calls["host-0"] > 120 && calls["host-1"] > 120, "{calls:?}");
}

/// A classifier that panics is one that says no good.
#[tokio::test(start_paused = true)]
async fn a_classifier_that_panics_leaves_nothing_in_flight_and_counts_as_a_failure() {
    let mut set = Endpoints::builder("search")
        .members(["a", "b", "c"])
        .classify_result(|result: Result<&String, &std::io::Error>| {
            assert!(result.is_ok_and(|name| name != "b"), "scripted: classify");
            Outcome::SUCCESS
        })
        .over(|endpoint| {
            let name = endpoint.name().to_owned();
            Ok(service_fn(move |_: u64| {
                let name = name.clone();
                async move { Ok::<_, Fail>(name) }
            }))
        })
        .unwrap();
    let handle = set.handle();
    let mut panics = 0;
    for nth in 0..2_000 {
        let call = std::panic::AssertUnwindSafe(|| poll_once(&mut Box::pin(set.call(nth))));
        panics += usize::from(std::panic::catch_unwind(call).is_err());
        advance(MS).await;
    }
    assert!(handle.endpoints().iter().all(|one| one.in_flight == 0));
    assert_eq!(states(&handle), [State::Active, State::Ejected, State::Active]);
    assert!((5..300).contains(&panics), "{panics}");
}

/// However often it was ejected, it is asked before it returns.
#[tokio::test(start_paused = true)]
async fn a_dead_endpoint_never_returns_however_often_it_was_ejected() {
    let world = World::default();
    let mut set = world.set(Config::default(), names(4));
    world.server("host-2").fails.store(true, Ordering::Relaxed);
    call(&mut set, 400).await;
    assert_eq!(states(&set.handle())[2], State::Ejected);
    for _ in 0..12_000 {
        call(&mut set, 4).await;
        advance(10 * MS).await;
        assert_eq!(states(&set.handle())[2], State::Ejected);
    }
}

/// Clones that are kept after the end keep no connection open once they were told.
#[tokio::test(start_paused = true)]
async fn a_clone_that_is_told_of_the_drain_drops_its_services() {
    let (alive, world) = (Arc::new(()), World::default());
    let kept = Arc::clone(&alive);
    let mut set = Endpoints::builder("search")
        .members(names(3))
        .over(move |endpoint| {
            let (client, kept) = (world.client(endpoint), Arc::clone(&kept));
            Ok(tower::ServiceBuilder::new()
                .map_request(move |nth: u64| {
                    assert!(Arc::strong_count(&kept) > 0);
                    nth
                })
                .service(client))
        })
        .unwrap();
    for nth in 0..50 {
        set.ready().await.unwrap().call(nth).await.unwrap();
    }
    let before = Arc::strong_count(&alive);
    set.handle().drain().await;
    assert!(set.call(50).await.is_err());
    assert_eq!(Arc::strong_count(&alive), before - 3);
}

#[test]
fn probes_come_more_often_than_ejections() {
    let config = Config { probe_interval: Duration::from_secs(2), ..Config::default() };
    let over = |_: &Endpoint| Ok(service_fn(|_: u64| async { Ok::<_, Fail>(()) }));
    let wrong = Endpoints::builder("search").config(config).members(names(2)).over(over);
    assert_eq!(
        wrong.err().unwrap().to_string(),
        "invalid configuration of endpoints `search`: probe_interval = 2s: less than ejection_time, 1s"
    );
}
