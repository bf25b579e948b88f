//! Endpoints: calls are spread over the addresses of a service, and kept from those that are worse than the others.

mod learning;
mod peers;
mod sources;

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use seawall::circuit_breaker::{CircuitBreakerLayer, Trip};
use seawall::endpoints::{
    AdoptError, Balance, Config, Endpoint, Endpoints, EndpointsHandle, State,
};
use seawall::testing::{Broken, Contract, MockService, Scenario};
use seawall::{CallError, Error, Event, EventKind, Outcome, Reason, Rejected};
use tokio::time::{advance, sleep};
use tower::layer::layer_fn;
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceExt, service_fn};

type Fail = Error<std::io::Error>;
type Boxed = BoxCloneSyncService<u64, String, Fail>;
type Set = Endpoints<Boxed>;

const MS: Duration = Duration::from_millis(1);

/// What the test makes of the endpoints, by their names.
#[derive(Clone, Default)]
struct World(Arc<Mutex<BTreeMap<String, Arc<Server>>>>);

#[derive(Default)]
struct Server {
    calls: AtomicUsize,
    fails: AtomicBool,
    stuck: AtomicBool,
    /// Milliseconds.
    takes: AtomicU64,
}

impl World {
    fn server(&self, name: &str) -> Arc<Server> {
        Arc::clone(self.0.lock().unwrap().entry(name.to_owned()).or_default())
    }

    /// Calls to each since it was last asked.
    fn calls(&self) -> BTreeMap<String, usize> {
        let all = self.0.lock().unwrap();
        all.iter().map(|(name, one)| (name.clone(), one.calls.swap(0, Ordering::Relaxed))).collect()
    }

    fn client(&self, endpoint: &Endpoint) -> Boxed {
        Boxed::new(Client {
            name: endpoint.name().to_owned(),
            server: self.server(endpoint.name()),
        })
    }

    fn set(&self, config: Config, members: impl IntoIterator<Item = Endpoint>) -> Set {
        let world = self.clone();
        Endpoints::builder("search")
            .config(config)
            .members(members)
            .seed(7)
            .over(move |endpoint| Ok(world.client(endpoint)))
            .unwrap()
    }
}

#[derive(Clone)]
struct Client {
    name: String,
    server: Arc<Server>,
}

impl Service<u64> for Client {
    type Response = String;
    type Error = Fail;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<String, Fail>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fail>> {
        if self.server.stuck.load(Ordering::Relaxed) { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn call(&mut self, _: u64) -> Self::Future {
        let (name, server) = (self.name.clone(), Arc::clone(&self.server));
        Box::pin(async move {
            server.calls.fetch_add(1, Ordering::Relaxed);
            let takes = server.takes.load(Ordering::Relaxed);
            if takes > 0 {
                sleep(Duration::from_millis(takes)).await;
            }
            if server.fails.load(Ordering::Relaxed) {
                return Err(Error::Inner(std::io::Error::other("down")));
            }
            Ok(name)
        })
    }
}

fn names(count: usize) -> Vec<Endpoint> {
    (0..count).map(|nth| Endpoint::new(format!("host-{nth}"))).collect()
}

fn balance(balance: Balance) -> Config {
    Config { balance, ..Config::default() }
}

fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn states(handle: &EndpointsHandle) -> Vec<State> {
    handle.endpoints().iter().map(|one| one.state).collect()
}

async fn call(set: &mut Set, count: u64) -> usize {
    let mut good = 0;
    for nth in 0..count {
        good += usize::from(set.ready().await.unwrap().call(nth).await.is_ok());
    }
    good
}

// ===== choice =====

#[tokio::test(start_paused = true)]
async fn calls_are_spread_evenly_in_each_way() {
    for way in [Balance::PeakEwma, Balance::LeastLoad, Balance::RoundRobin] {
        let world = World::default();
        let mut set = world.set(balance(way), names(5));
        let calls: Vec<_> = (0..500).map(|nth| set.call(nth)).collect(); // all at the same time
        assert_eq!(set.handle().in_flight(), 500);
        for call in calls {
            call.await.unwrap();
        }
        for (name, calls) in world.calls() {
            assert!((80..=120).contains(&calls), "{way:?}: {name} had {calls} of 500");
        }
        assert_eq!(set.handle().in_flight(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn weights_count_in_each_way() {
    for way in [Balance::PeakEwma, Balance::LeastLoad, Balance::RoundRobin] {
        let world = World::default();
        let members = names(3).into_iter().zip([1, 2, 5]).map(|(one, weight)| one.weight(weight));
        let mut set = world.set(balance(way), members);
        let calls: Vec<_> = (0..800).map(|nth| set.call(nth)).collect();
        for call in calls {
            call.await.unwrap();
        }
        let calls: Vec<_> = world.calls().into_values().collect();
        for (calls, fair) in calls.iter().zip([100, 200, 500]) {
            assert!(calls.abs_diff(fair) <= fair / 3, "{way:?}: {calls} instead of {fair}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn round_robin_takes_turns() {
    let world = World::default();
    let mut set = world.set(balance(Balance::RoundRobin), names(3));
    for _ in 0..10 {
        call(&mut set, 3).await;
        assert!(world.calls().values().all(|calls| *calls == 1));
    }
}

/// A slow endpoint gets less, before anything is ejected.
#[tokio::test(start_paused = true)]
async fn the_slower_one_gets_less() {
    let world = World::default();
    let config = Config { latency_factor: 0.0, ..Config::default() };
    let set = world.set(config, names(4));
    (0..4).for_each(|nth| world.server(&format!("host-{nth}")).takes.store(10, Ordering::Relaxed));
    world.server("host-2").takes.store(100, Ordering::Relaxed);
    for nth in 0..1000 {
        tokio::spawn(set.clone().oneshot(nth));
        sleep(2 * MS).await;
    }
    let calls = world.calls();
    assert!(calls["host-2"] < 60, "{calls:?}");
    assert!(calls["host-1"] > 200, "{calls:?}");
}

/// pitfall B22: an endpoint that fails at once has few calls in flight and no latency. It must not look fast.
#[tokio::test(start_paused = true)]
async fn an_endpoint_that_fails_fast_attracts_no_calls() {
    for way in [Balance::PeakEwma, Balance::LeastLoad] {
        let world = World::default();
        let set = world.set(balance(way), names(4));
        (1..4).for_each(|nth| {
            world.server(&format!("host-{nth}")).takes.store(20, Ordering::Relaxed);
        });
        world.server("host-0").fails.store(true, Ordering::Relaxed);
        for nth in 0..2000 {
            tokio::spawn(set.clone().oneshot(nth));
            sleep(MS).await;
        }
        let calls = world.calls();
        assert!(calls["host-0"] < 60, "{way:?}: {calls:?}");
    }
}

// ===== readiness =====

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_not_ready_is_passed_over() {
    for way in [Balance::PeakEwma, Balance::LeastLoad, Balance::RoundRobin] {
        let world = World::default();
        let mut set = world.set(balance(way), names(3));
        world.server("host-1").stuck.store(true, Ordering::Relaxed);
        assert_eq!(call(&mut set, 100).await, 100);
        let calls = world.calls();
        assert_eq!(calls["host-1"], 0);
        assert!(calls["host-0"] > 20 && calls["host-2"] > 20, "{way:?}: {calls:?}");
    }
}

/// Where none is ready, the call waits for whoever is so first.
#[tokio::test(start_paused = true)]
async fn a_call_waits_for_the_first_that_is_ready() {
    let doors: Arc<Mutex<BTreeMap<String, Arc<tokio::sync::Semaphore>>>> = Arc::default();
    let made = Arc::clone(&doors);
    let mut set = Endpoints::builder("search")
        .members(["a", "b", "c"])
        .over(move |endpoint| {
            let name = endpoint.name().to_owned();
            let door = Arc::new(tokio::sync::Semaphore::new(0));
            made.lock().unwrap().insert(name.clone(), Arc::clone(&door));
            let says = service_fn(move |_: u64| {
                let name = name.clone();
                async move { Ok::<_, Fail>(name) }
            });
            Ok(tower::limit::ConcurrencyLimit::with_semaphore(says, door))
        })
        .unwrap();
    let waits = tokio::spawn(set.call(7));
    tokio::task::yield_now().await;
    assert!(!waits.is_finished());
    doors.lock().unwrap()["b"].add_permits(1);
    assert_eq!(waits.await.unwrap().unwrap(), "b");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_whose_readiness_fails_is_a_failed_one_and_another_is_asked() {
    #[derive(Clone)]
    struct Refuses(Arc<AtomicUsize>, bool);
    impl Service<u64> for Refuses {
        type Response = u64;
        type Error = Fail;
        type Future = std::future::Ready<Result<u64, Fail>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fail>> {
            if !self.1 {
                return Poll::Ready(Ok(()));
            }
            self.0.fetch_add(1, Ordering::Relaxed);
            Poll::Ready(Err(Error::Inner(std::io::Error::other("refused"))))
        }

        fn call(&mut self, request: u64) -> Self::Future {
            std::future::ready(Ok(request))
        }
    }
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let over = move |down: &'static [&'static str]| {
        let counted = Arc::clone(&counted);
        let set = Endpoints::builder("search").members(["a", "b", "c"]);
        set.over(move |one| Ok(Refuses(Arc::clone(&counted), down.contains(&one.name())))).unwrap()
    };
    let mut set = over(&["b"]);
    for nth in 0..100 {
        assert_eq!(set.ready().await.unwrap().call(nth).await.unwrap(), nth);
    }
    assert_eq!(states(&set.handle())[1], State::Ejected);
    assert!(asked.swap(0, Ordering::Relaxed) <= 6);
    let mut none = over(&["a", "b", "c"]);
    assert!(none.call(7).await.is_err());
    assert_eq!(asked.load(Ordering::Relaxed), 3, "each is asked once");
}

/// Whose circuit is open rejects, and is left alone.
#[tokio::test(start_paused = true)]
async fn an_endpoint_whose_circuit_is_open_is_passed_over() {
    let config = Config { consecutive_failures: 0, ..Config::default() };
    let world = World::default();
    let made = world.clone();
    let mut set = Endpoints::builder("search")
        .config(config)
        .members(names(3))
        .over(move |endpoint| {
            let hour = Duration::from_secs(3600);
            let breaker = CircuitBreakerLayer::builder(endpoint.name())
                .trip(Trip::consecutive(1))
                .break_duration(hour)
                .max_break_duration(hour)
                .build()?;
            Ok(breaker.layer(made.client(endpoint)))
        })
        .unwrap();
    world.server("host-1").fails.store(true, Ordering::Relaxed);
    let mut rejected = 0;
    for nth in 0..400 {
        let answer = set.ready().await.unwrap().call(nth).await;
        rejected += usize::from(answer.is_err_and(|error| error.rejected().is_some()));
        advance(MS).await;
    }
    assert!(rejected <= 1, "{rejected} calls went to an open circuit"); // whoever finds out
}

// ===== ejection =====

#[tokio::test(start_paused = true)]
async fn a_bad_endpoint_is_ejected_probed_and_returns_slowly() {
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let (log, world) = (Arc::clone(&heard), World::default());
    let made = world.clone();
    let mut set = Endpoints::builder("search")
        .members(names(4))
        .seed(7)
        .observe(move |event: &Event| {
            if let EventKind::Changed { from, to, cause, measurement } = event.kind {
                let name = event.key.as_deref().unwrap_or_default();
                log.lock()
                    .unwrap()
                    .push(format!("{}. {name}: {from} → {to}: {cause}, {measurement}", event.seq));
            }
        })
        .over(move |endpoint| Ok(made.client(endpoint)))
        .unwrap();
    let (bad, handle) = (world.server("host-2"), set.handle());
    bad.fails.store(true, Ordering::Relaxed);
    assert!(call(&mut set, 400).await >= 395);
    assert_eq!(states(&handle)[2], State::Ejected);

    // A trickle, one in 250 ms.
    world.calls();
    for _ in 0..90 {
        call(&mut set, 10).await;
        advance(10 * MS).await;
    }
    assert!((3..=4).contains(&world.calls()["host-2"]));

    // Its time is over, and nothing is better: it stays out, and is asked half as often.
    for _ in 0..180 {
        call(&mut set, 10).await;
        advance(10 * MS).await;
    }
    assert!((2..=5).contains(&world.calls()["host-2"]));
    assert_eq!(states(&handle)[2], State::Ejected);

    bad.fails.store(false, Ordering::Relaxed);
    while states(&handle)[2] == State::Ejected {
        call(&mut set, 10).await;
        advance(10 * MS).await;
    }
    assert_eq!(states(&handle)[2], State::SlowStart);
    world.calls();
    call(&mut set, 400).await;
    let first = world.calls()["host-2"];
    assert!((1..=30).contains(&first), "it began with {first} of 400");
    for _ in 0..600 {
        call(&mut set, 1).await;
        advance(10 * MS).await;
    }
    assert_eq!(states(&handle)[2], State::Active);
    world.calls();
    call(&mut set, 400).await;
    let share = world.calls()["host-2"];
    assert!((70..=130).contains(&share), "it ended with {share} of 400");
    assert_eq!(
        *heard.lock().unwrap(),
        [
            "1. host-2: active → ejected: consecutive_failures, 5 of 5 failures in a row",
            "2. host-2: ejected → ejected: still_bad, ",
            "3. host-2: ejected → active: ejection_time, ",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_endpoint_is_ejected() {
    let world = World::default();
    let set = world.set(balance(Balance::RoundRobin), names(2));
    world.server("host-0").takes.store(10, Ordering::Relaxed);
    world.server("host-1").takes.store(40, Ordering::Relaxed);
    for nth in 0..300 {
        tokio::spawn(set.clone().oneshot(nth));
        sleep(2 * MS).await;
    }
    assert_eq!(states(&set.handle()), [State::Active, State::Ejected]);
}

/// One that hangs: its calls are given up by whoever waits for them, and nothing is ever answered.
#[tokio::test(start_paused = true)]
async fn an_endpoint_that_hangs_is_ejected_though_it_never_answers() {
    let world = World::default();
    let set = world.set(balance(Balance::RoundRobin), names(3));
    (0..3).for_each(|nth| world.server(&format!("host-{nth}")).takes.store(10, Ordering::Relaxed));
    let steady = |set: Set| async move {
        for nth in 0..300 {
            tokio::spawn(tokio::time::timeout(100 * MS, set.clone().oneshot(nth)));
            sleep(2 * MS).await;
        }
    };
    steady(set.clone()).await;
    world.server("host-1").takes.store(1_000_000, Ordering::Relaxed);
    steady(set.clone()).await;
    assert_eq!(states(&set.handle()), [State::Active, State::Ejected, State::Active]);
}

/// pitfall B22: all are bad.
#[tokio::test(start_paused = true)]
async fn an_outage_of_all_ejects_no_more_than_half_and_calls_go_on() {
    for count in 1..=20 {
        let world = World::default();
        let mut set = world.set(Config::default(), names(count));
        (0..count).for_each(|nth| {
            world.server(&format!("host-{nth}")).fails.store(true, Ordering::Relaxed);
        });
        for _ in 0..30 {
            call(&mut set, 20).await;
            let ejected =
                states(&set.handle()).iter().filter(|one| **one == State::Ejected).count();
            assert!(ejected <= count / 2, "{ejected} of {count}");
            advance(100 * MS).await;
        }
        assert_eq!(world.calls().values().sum::<usize>(), 600);
    }
}

#[tokio::test(start_paused = true)]
async fn whose_failures_count_is_the_classifier_s() {
    let world = World::default();
    let made = world.clone();
    let mut set = Endpoints::builder("search")
        .members(names(3))
        .classify_result(|_: Result<&String, &std::io::Error>| Outcome::SUCCESS)
        .over(move |endpoint| Ok(made.client(endpoint)))
        .unwrap();
    world.server("host-1").fails.store(true, Ordering::Relaxed);
    for nth in 0..300 {
        set.ready().await.unwrap().call(nth).await.ok();
    }
    assert!(states(&set.handle()).iter().all(|one| *one == State::Active));
}

// ===== zones =====

#[tokio::test(start_paused = true)]
async fn the_zone_of_the_client_is_preferred_and_the_others_get_what_is_missing() {
    for way in [Balance::PeakEwma, Balance::LeastLoad, Balance::RoundRobin] {
        let (world, zones) = (World::default(), ["a", "a", "a", "a", "b", "b"]);
        let made = world.clone();
        let mut set = Endpoints::builder("search")
            .members(names(6).into_iter().zip(zones).map(|(one, zone)| one.zone(zone)))
            .balance(way)
            .zone("a")
            .seed(7)
            .over(move |endpoint| Ok(made.client(endpoint)))
            .unwrap();
        call(&mut set, 200).await;
        let calls = world.calls();
        assert_eq!(calls["host-4"] + calls["host-5"], 0, "{way:?}");
        for name in ["host-0", "host-1"] {
            world.server(name).fails.store(true, Ordering::Relaxed);
        }
        call(&mut set, 400).await; // two of four are found out: 1.4 × 0.5 is 0.7
        advance(300 * MS).await;
        call(&mut set, 100).await;
        world.calls();
        call(&mut set, 400).await;
        let calls = world.calls();
        let far = calls["host-4"] + calls["host-5"];
        assert!((70..=190).contains(&far), "{way:?}: {calls:?}");
    }
}

// ===== lists =====

#[test]
fn what_is_wrong_is_told_all_at_once() {
    let members = [
        Endpoint::new("a"),
        Endpoint::new("a"),
        Endpoint::new(""),
        Endpoint::named("b", ""),
        Endpoint::new("c").weight(0),
        Endpoint::new("d").weight(101),
    ];
    let config =
        Config { max_ejected: 1.5, failure_rate: 0.0, latency_factor: 1.0, ..Config::default() };
    let over = |_: &Endpoint| Ok(service_fn(|_: u64| async { Ok::<_, Fail>(()) }));
    let set = Endpoints::builder("search").config(config).members(members).over(over);
    let Err(AdoptError::Invalid(problems)) = set else { panic!("it is invalid") };
    assert_eq!(
        format!("{problems:?}"),
        "invalid configuration of endpoints `search`:\n  \
         failure_rate = 0.0: above 0, at most 1\n  \
         max_ejected = 1.5: 0 to 1\n  \
         latency_factor = 1.0: 0, or above 1 and at most 1000\n  \
         members = \"\": names that are not empty\n  \
         members = \"a\": each name once\n  \
         weight = 0: 1 to 100, for member \"c\"\n  \
         weight = 101: 1 to 100, for member \"d\"\n  \
         address = \"\": an address, for member \"b\"",
    );
    let none = Endpoints::builder("search").over(over).err().unwrap();
    assert_eq!(
        none.to_string(),
        "invalid configuration of endpoints `search`: members = 0: 1 to 16384 members"
    );
}

#[tokio::test(start_paused = true)]
async fn a_list_that_cannot_be_meant_is_rejected_and_the_old_one_stays() {
    let (heard, world): (Arc<Mutex<Vec<EventKind>>>, _) = (Arc::default(), World::default());
    let (log, made) = (Arc::clone(&heard), world.clone());
    let mut set = Endpoints::builder("search")
        .members(names(4))
        .observe(move |event: &Event| log.lock().unwrap().push(event.kind))
        .over(move |endpoint| match endpoint.name() {
            "bad" => Err("no address".into()),
            _ => Ok(made.client(endpoint)),
        })
        .unwrap();
    let handle = set.handle();
    let wrong = handle.adopt(["host-3", "x", "y"]).unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "a list of 3 endpoints has 1 of the 4 there are, less than half: `adopt_anyway` if that is meant"
    );
    let wrong = handle.adopt(["host-0", "host-1", "bad"]).unwrap_err();
    assert_eq!(wrong.to_string(), r#"the service of endpoint "bad" could not be made: no address"#);
    assert!(handle.adopt(Vec::<Endpoint>::new()).is_err());
    assert!(handle.adopt_anyway(Vec::<Endpoint>::new()).is_err());
    handle.adopt(names(4)).unwrap(); // nothing is new
    assert!(heard.lock().unwrap().is_empty());
    handle.adopt(["host-2", "host-3"]).unwrap();
    handle.adopt_anyway(["host-9"]).unwrap();
    assert_eq!(call(&mut set, 10).await, 10);
    assert_eq!(world.calls()["host-9"], 10);
    let adopted = |members| EventKind::EndpointsAdopted { members };
    assert_eq!(*heard.lock().unwrap(), [adopted(2), adopted(1)]);
}

/// What an endpoint is known for stays with it; a new address under the same name is another one.
#[tokio::test(start_paused = true)]
async fn what_is_known_of_an_endpoint_stays_from_list_to_list() {
    let world = World::default();
    let mut set = world.set(Config::default(), names(4));
    world.server("host-2").fails.store(true, Ordering::Relaxed);
    call(&mut set, 400).await;
    let handle = set.handle();
    handle.adopt(names(5)).unwrap();
    let state = states(&handle);
    assert_eq!((state[2], state[3], state[4]), (State::Ejected, State::Active, State::SlowStart));
    let mut moved = names(5);
    moved[2] = Endpoint::named("host-2", "elsewhere");
    handle.adopt(moved).unwrap();
    assert_eq!(states(&handle)[2], State::SlowStart);
}

/// tower #856: a removal must not make a call go to another endpoint than was chosen, or to none.
#[test]
fn lists_change_under_traffic_and_no_call_is_lost() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build();
    runtime.unwrap().block_on(async {
        let set = Endpoints::builder("search")
            .members(names(4))
            .over(|endpoint| {
                let name = endpoint.name().to_owned();
                Ok(service_fn(move |_: u64| {
                    let name = name.clone();
                    async move {
                        tokio::task::yield_now().await;
                        Ok::<_, Fail>(name)
                    }
                }))
            })
            .unwrap();
        let handle = set.handle();
        let stop = Arc::new(AtomicBool::new(false));
        let callers: Vec<_> = (0..4)
            .map(|_| {
                let (mut set, stop) = (set.clone(), Arc::clone(&stop));
                tokio::spawn(async move {
                    let mut count = 0_u64;
                    while !stop.load(Ordering::Relaxed) {
                        set.ready().await.unwrap().call(count).await.unwrap();
                        count += 1;
                        tokio::task::yield_now().await;
                    }
                    count
                })
            })
            .collect();
        for round in 0..200_usize {
            handle.adopt(names(4 + round % 4)).unwrap();
            tokio::task::yield_now().await;
        }
        stop.store(true, Ordering::Relaxed);
        for caller in callers {
            assert!(caller.await.unwrap() > 0);
        }
        assert_eq!(handle.in_flight(), 0);
        assert!(handle.endpoints().iter().all(|one| one.in_flight == 0));
    });
}

// ===== ends =====

#[tokio::test(start_paused = true)]
async fn calls_that_are_dropped_or_panic_leave_nothing_behind() {
    let mut set = Endpoints::builder("search")
        .members(["a", "b"])
        .over(|endpoint| {
            let panics = endpoint.name() == "b";
            Ok(service_fn(move |_: u64| {
                assert!(!panics, "scripted: call");
                pending::<Result<(), Fail>>()
            }))
        })
        .unwrap();
    let handle = set.handle();
    for nth in 0..100 {
        let call = std::panic::AssertUnwindSafe(|| {
            let mut call = Box::pin(set.call(nth));
            assert!(poll_once(&mut call).is_pending());
        });
        std::panic::catch_unwind(call).ok();
    }
    assert_eq!(handle.in_flight(), 0);
    assert!(handle.endpoints().iter().all(|one| one.in_flight == 0));
}

#[tokio::test(start_paused = true)]
async fn a_list_is_settled_when_no_call_of_an_earlier_one_is_left() {
    let over = |_: &Endpoint| Ok(service_fn(|_: u64| pending::<Result<(), Fail>>()));
    let mut set = Endpoints::builder("search").members(["a", "b"]).over(over).unwrap();
    let handle = set.handle();
    let mut old = Box::pin(set.call(7));
    assert!(poll_once(&mut old).is_pending());
    assert!(poll_once(&mut Box::pin(handle.settled())).is_ready(), "there is no earlier one");
    handle.adopt(["b", "c"]).unwrap();
    let mut new = Box::pin(set.call(8));
    assert!(poll_once(&mut new).is_pending());
    let mut settled = Box::pin(handle.settled());
    assert!(poll_once(&mut settled).is_pending());
    drop(old);
    settled.await;
    assert_eq!(handle.in_flight(), 1);
}

#[tokio::test(start_paused = true)]
async fn drained_it_rejects_all_and_returns_when_the_last_call_is_over() {
    let over = |_: &Endpoint| Ok(service_fn(|_: u64| pending::<Result<(), Fail>>()));
    let mut set = Endpoints::builder("search").members(["a", "b"]).over(over).unwrap();
    let handle = set.handle();
    let mut call = Box::pin(set.call(7));
    assert!(poll_once(&mut call).is_pending());
    let mut drained = Box::pin(handle.drain());
    assert!(poll_once(&mut drained).is_pending());
    let error = set.call(8).await.unwrap_err();
    assert_eq!(error.rejected().map(Rejected::reason), Some(Reason::Draining));
    drop(call);
    drained.await;
}

// pitfall B33
#[tokio::test(start_paused = true)]
async fn it_keeps_the_contract_of_a_service() {
    let layer = || {
        layer_fn(|member: MockService<u32, u32, Error<Broken>>| {
            let member = Mutex::new(member);
            let make = move |_: &Endpoint| Ok(member.lock().unwrap().clone());
            Endpoints::builder("contract").members(names(3)).over(make).unwrap()
        })
    };
    let contract = Contract::new(Scenario::echo(|| Error::Inner(Broken)), layer);
    contract.check().await.unwrap();
}
