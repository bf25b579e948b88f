//! One breaker for each key, and a bound on all of them.

use super::kit::*;

use std::borrow::Cow;
use std::process::Command;
use std::time::Duration;

use seawall::circuit_breaker::{KeyedCircuitBreakerHandle, Position, State, Trip};
use seawall::{Error, EventKind, Reason};
use tokio::time::advance;
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceExt, service_fn};

/// A call to a host, which is well or is not.
#[derive(Debug, Clone)]
struct To(String, bool);

type Service_ = BoxCloneSyncService<To, (), Error<Fault>>;

fn keyed(most: usize) -> (Service_, KeyedCircuitBreakerHandle, Diary) {
    let diary = Diary::default();
    let layer = builder()
        .trip(Trip::consecutive(3))
        .observe(diary.observer())
        .keyed(|to: &To| Cow::from(&to.0))
        .max_keys(most)
        .build()
        .unwrap();
    let inner = service_fn(|to: To| async move {
        if to.1 { Ok(()) } else { Err(Error::Inner(Fault(Answer::Failure))) }
    });
    (BoxCloneSyncService::new(layer.layer(inner)), layer.handle(), diary)
}

async fn call(service: &mut Service_, host: impl Into<String>, good: bool) -> Result {
    service.ready().await?.call(To(host.into(), good)).await
}

async fn trip(service: &mut Service_, host: &str) {
    for _ in 0..3 {
        assert!(!is_rejected(&call(service, host, false).await));
    }
}

#[tokio::test(start_paused = true)]
async fn each_key_has_a_breaker_of_its_own() {
    let (mut service, handle, diary) = keyed(100);
    trip(&mut service, "a").await;
    assert!(is_rejected(&call(&mut service, "a", true).await));
    call(&mut service, "b", true).await.unwrap();
    assert_eq!(handle.key("a").unwrap().state(), State::Open);
    assert_eq!(handle.key("b").unwrap().state(), State::Closed);
    assert!(handle.key("c").is_none());
    let mut keys = handle.keys();
    keys.sort();
    assert_eq!(keys, ["a".into(), "b".into()]);
    assert_eq!((handle.len(), handle.is_empty()), (2, false));
    assert_eq!(diary.events()[0].key.as_deref(), Some("a"));

    let mut hand = handle.key("b").unwrap().switch(Position::Auto);
    hand.set(Position::Open);
    assert!(is_rejected(&call(&mut service, "b", true).await));
    let mut config = handle.config();
    config.shadow = true;
    handle.reload(config).unwrap();
    call(&mut service, "a", true).await.unwrap();
    call(&mut service, "b", true).await.unwrap();
    assert!(handle.config().shadow);
}

// pitfall B26
/// Each key draws its own, and the same in every run.
#[tokio::test(start_paused = true)]
async fn a_seed_repeats_the_jitter_of_every_key() {
    let breaks = async || {
        let layer = builder().trip(Trip::consecutive(1)).seed(7).keyed(|to: &To| Cow::from(&to.0));
        let layer = layer.build().unwrap();
        let inner = service_fn(|_| async { Err::<(), _>(Error::Inner(Fault(Answer::Failure))) });
        let mut service = BoxCloneSyncService::new(layer.layer(inner));
        for host in ["a", "b"] {
            assert!(!is_rejected(&call(&mut service, host, false).await));
        }
        let break_duration =
            |key| layer.handle().key(key).unwrap().snapshot().next_probe_in.unwrap();
        (break_duration("a"), break_duration("b"))
    };
    let (first, second) = (breaks().await, breaks().await);
    assert_eq!(first, second);
    assert_ne!(first.0, first.1);
}

#[tokio::test(start_paused = true)]
async fn every_key_takes_notice_of_new_config_at_its_next_call() {
    let (mut service, handle, _) = keyed(100);
    call_good(&mut service, "a").await;
    let mut config = handle.config();
    config.trip = Trip::failure_rate(0.5).at_least(10);
    handle.reload(config).unwrap();
    // Nothing about the key changed, so its digest still says that successes need not be counted.
    for _ in 0..15 {
        call_good(&mut service, "a").await;
    }
    for _ in 0..14 {
        call(&mut service, "a", false).await.unwrap_err();
        assert_eq!(handle.key("a").unwrap().state(), State::Closed);
    }
    call(&mut service, "a", false).await.unwrap_err();
    assert_eq!(handle.key("a").unwrap().state(), State::Open, "fifteen of thirty");
}

// pitfall B24
#[tokio::test(start_paused = true)]
async fn a_million_keys_stay_at_the_cap() {
    let (mut service, handle, diary) = keyed(1_000);
    for nth in 0..1_000_000 {
        let mut call = service.ready().await.unwrap().call(To(nth.to_string(), true));
        assert!(poll(call.as_mut()).is_ready());
        assert!(handle.len() <= 1_000);
    }
    assert_eq!((handle.len(), handle.keys().len()), (1_000, 1_000));
    assert_eq!(diary.events().len(), 0, "keys at rest make room, and none overflowed");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_not_at_rest_is_not_evicted_and_its_newcomers_share_an_overflow() {
    for most in [1, 2, 5, 40] {
        let (mut service, handle, diary) = keyed(most);
        for nth in 0..most {
            trip(&mut service, &nth.to_string()).await;
        }
        for nth in 0..200 {
            call(&mut service, format!("other {nth}"), true).await.unwrap();
        }
        assert_eq!(handle.len(), most);
        assert_eq!(diary.count(EventKind::KeyOverflow), 200);
        for nth in 0..most {
            assert!(
                is_rejected(&call(&mut service, nth.to_string(), true).await),
                "{nth} of {most}"
            );
        }
        // The newcomers share one breaker, and whoever they are, they do not go unprotected.
        for nth in 0..3 {
            let _ = call(&mut service, format!("bad {nth}"), false).await;
        }
        assert!(is_rejected(&call(&mut service, "another", true).await));
    }
}

// pitfall B24: hosts that are gone for good must not fill the table
#[tokio::test(start_paused = true)]
async fn an_open_key_that_nobody_asks_for_makes_room_once_its_evidence_is_old() {
    let (mut service, handle, diary) = keyed(3);
    for nth in 0..3 {
        trip(&mut service, &nth.to_string()).await;
    }
    call(&mut service, "too soon", true).await.unwrap();
    assert_eq!(diary.count(EventKind::KeyOverflow), 1);
    tokio::time::advance(Duration::from_secs(300) + Duration::from_secs(1)).await;
    call(&mut service, "now", true).await.unwrap();
    assert!(handle.key("now").is_some());
    assert_eq!((handle.len(), diary.count(EventKind::KeyOverflow)), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_key_at_rest_makes_room_however_small_the_table() {
    for most in [1, 2, 3, 20] {
        let (mut service, handle, diary) = keyed(most);
        for nth in 0..500 {
            call(&mut service, nth.to_string(), true).await.unwrap();
            assert!(handle.key(&nth.to_string()).is_some(), "{nth} found no room in {most}");
        }
        assert_eq!(handle.len(), most);
        assert_eq!(diary.count(EventKind::KeyOverflow), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_in_flight_or_in_somebodys_hands_is_not_evicted() {
    let layer = builder().keyed(|_: &Ask| Cow::from("flying")).max_keys(1).build().unwrap();
    let mut flying = layer.layer(Dependency::default());
    let call = launch(&mut flying, Ask::Hang);
    let handle = layer.handle();
    assert_eq!(handle.keys(), ["flying".into()]);
    drop(call);

    let (mut service, handle, _) = keyed(2);
    call_good(&mut service, "held").await;
    let held = handle.key("held").unwrap();
    let pending = service.ready().await.unwrap().call(To("called".into(), true));
    for nth in 0..100 {
        call_good(&mut service, nth).await;
        assert!(handle.key("held").is_some() && handle.key("called").is_some());
    }
    drop((held, pending));
    for nth in 0..100 {
        call_good(&mut service, nth).await;
    }
    assert!(handle.key("held").is_none() && handle.key("called").is_none());
}

async fn call_good(service: &mut Service_, host: impl ToString) {
    call(service, host.to_string(), true).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_key_of_any_length_costs_no_more_than_a_short_one() {
    let (mut service, handle, diary) = keyed(10);
    call(&mut service, "é".repeat(128), true).await.unwrap();
    assert_eq!(handle.len(), 1);
    call(&mut service, "é".repeat(1_000_000), true).await.unwrap();
    assert_eq!(handle.len(), 1);
    let events = diary.events();
    assert_eq!(events[0].kind, EventKind::KeyOverflow);
    assert_eq!(events[0].key.as_deref().map(str::len), Some(256));
}

#[tokio::test(start_paused = true)]
async fn an_evicted_key_comes_back_as_a_fresh_one() {
    let (mut service, handle, _) = keyed(1);
    trip(&mut service, "a").await;
    advance(Duration::from_millis(51)).await;
    for _ in 0..7 {
        call(&mut service, "a", true).await.unwrap();
    }
    call(&mut service, "b", true).await.unwrap();
    assert!(handle.key("a").is_some(), "in its ramp it is not at rest");
    advance(Duration::from_secs(1)).await;
    call(&mut service, "b", true).await.unwrap();
    assert_eq!(handle.keys(), ["b".into()], "its ramp is over");
    for _ in 0..2 {
        call(&mut service, "a", false).await.unwrap_err();
    }
    assert_eq!(handle.keys(), ["a".into()]);
    assert_eq!(handle.key("a").unwrap().snapshot().last_trip, None);
}

#[tokio::test(start_paused = true)]
async fn a_key_with_evidence_so_old_that_it_counts_no_more_makes_room() {
    let (mut service, handle, diary) = keyed(1);
    call(&mut service, "a", false).await.unwrap_err();
    advance(Duration::from_secs(300)).await;
    call(&mut service, "b", true).await.unwrap();
    assert_eq!(handle.keys(), ["a".into()]);
    advance(Duration::from_nanos(1_000_000)).await;
    call(&mut service, "b", true).await.unwrap();
    assert_eq!(handle.keys(), ["b".into()]);
    assert_eq!(diary.count(EventKind::KeyOverflow), 1);
}

#[tokio::test(start_paused = true)]
async fn drained_it_rejects_every_key_and_returns_when_the_last_call_is_over() {
    let layer = builder().keyed(|_: &Ask| Cow::from("x")).build().unwrap();
    let mut service = layer.layer(Dependency::default());
    let call = launch(&mut service, Ask::After(Duration::from_secs(1), Answer::Success));
    let mut drained = Box::pin(layer.drain());
    assert!(poll(drained.as_mut()).is_pending());
    let rejected = service.ready().await.unwrap().call(GOOD).await;
    assert!(matches!(rejected, Err(Error::Rejected(why)) if why.reason() == Reason::Draining));
    call.await.unwrap();
    drained.await;
}

/// Kibibytes of its own that this process has in memory, where the system tells. (Pages of the program
/// itself come and go.)
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

// pitfall B24. In a process of its own, so that other tests' memory is not in the way.
#[test]
fn a_million_rejections_and_a_million_short_calls_do_not_grow_memory() {
    const ALONE: &str = "SEAWALL_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = "circuit_breaker::keyed::\
                    a_million_rejections_and_a_million_short_calls_do_not_grow_memory";
        let mut test = Command::new(std::env::current_exe().unwrap());
        let output = test.args(["--exact", name]).env(ALONE, "").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
        return;
    }
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(async {
        let mut rig = Rig::new(builder());
        let mut open = Rig::new(builder());
        open.trip().await;
        let mut rounds = async |rounds: usize| {
            for nth in 0..rounds {
                assert!(is_rejected(&open.ask(GOOD).await));
                rig.ask(if nth % 3 == 0 { BAD } else { GOOD }).await.ok();
                if nth % 50 == 0 {
                    drop(rig.launch(Ask::Hang));
                }
            }
            resident()
        };
        let before = rounds(100_000).await;
        let after = rounds(900_000).await;
        if let (Some(before), Some(after)) = (before, after) {
            // Two bytes a call would be more than this.
            assert!(after < before + 2_000, "from {before} to {after} KiB");
        }
    });
}

// field F11: what is usual of one host is no measure of another.
#[tokio::test(start_paused = true)]
async fn impatient_callers_of_a_slow_host_beside_a_fast_one_harm_nobody() {
    let layer = builder().keyed(|to: &(&'static str, u64)| Cow::from(to.0)).build().unwrap();
    let service = layer.layer(service_fn(|(_, takes): (&'static str, u64)| async move {
        tokio::time::sleep(Duration::from_millis(takes)).await;
        Ok::<_, Error<Fault>>(())
    }));
    for _ in 0..20 {
        service.clone().oneshot(("fast", 5)).await.unwrap();
    }
    let mut callers = tokio::task::JoinSet::new();
    for nth in 0..300 {
        let call = service.clone().oneshot(("slow", 2_000));
        let patience = Duration::from_millis(if nth % 10 == 0 { 60_000 } else { 500 });
        callers.spawn(tokio::time::timeout(patience, call));
        advance(Duration::from_millis(10)).await;
        assert_eq!(layer.handle().key("slow").map(|key| key.state()), Some(State::Closed), "{nth}");
    }
    callers.join_all().await;
}
