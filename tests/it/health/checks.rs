//! When it checks, and what the checks mean.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use seawall::health::{Builder, Status};
use seawall::{Error, EventKind};
use tokio::time::sleep;
use tower::limit::ConcurrencyLimitLayer;
use tower::{Layer, service_fn};

use super::{Patient, changed, every_100_ms};
use crate::scene::{Calls, Fail, Log, answering, broken, fields, in_time, ms, now, settle};

const DOWN: EventKind = changed(Status::Up, Status::Down, "check");
const UP: EventKind = changed(Status::Down, Status::Up, "check");

#[tokio::test(start_paused = true)]
async fn the_first_check_begins_at_once_and_the_others_after_each_interval() {
    let patient = Patient::new(true);
    let layer = patient.checked().build().unwrap();
    settle().await;
    assert_eq!(patient.calls.count(), 1);
    sleep(ms(99)).await;
    assert_eq!(patient.calls.count(), 1);
    sleep(ms(902)).await;
    assert_eq!(patient.calls.gaps(), vec![ms(100); 10]);
    assert_eq!(layer.handle().status(), Status::Up);
}

/// What it says after each of these checks.
async fn course(builder: Builder, checks: &'static str) -> (String, Vec<EventKind>) {
    let log = Log::default();
    let nth = Arc::new(AtomicU32::new(0));
    let layer = builder
        .observe(log.observer())
        .check(move || {
            let nth = nth.fetch_add(1, Ordering::SeqCst) as usize;
            let good = checks.as_bytes().get(nth) == Some(&b'+');
            async move { if good { Ok(()) } else { Err("no") } }
        })
        .build()
        .unwrap();
    let mut course = String::new();
    for _ in 0..checks.len() {
        settle().await;
        course.push(if layer.handle().status() == Status::Up { 'U' } else { 'D' });
        sleep(ms(100)).await;
    }
    (course, log.all())
}

// pitfall B35
#[tokio::test(start_paused = true)]
async fn it_changes_after_so_many_in_a_row_and_never_by_alternating() {
    let builder = || every_100_ms().rise(2).fall(3);
    let (states, told) = course(builder(), "--+--+---+-+++--").await;
    assert_eq!((states.as_str(), told), ("UUUUUUUUDDDDUUUU", vec![DOWN, UP]));
    let (states, told) = course(builder().fall(2), "-+-+-+-+-+").await;
    assert_eq!((states.as_str(), told), ("UUUUUUUUUU", vec![]));
    let (states, told) =
        course(builder().initial_rise(2).initial(Status::Down), "+-+-+-++--").await;
    assert_eq!((states.as_str(), told), ("DDDDDDDUUU", vec![UP]));
    let (states, _) = course(builder().rise(1).fall(1), "-+--++").await;
    assert_eq!(states, "DUDDUU");
}

// pitfall B31, B35
#[tokio::test(start_paused = true)]
async fn the_interval_is_spread_within_its_bounds() {
    for (jitter, least, most) in [(0.1, 90, 110), (1.0, 0, 200), (0.25, 75, 125), (0.0, 100, 100)] {
        let patient = Patient::new(true);
        let layer = patient.checked().jitter(jitter).build().unwrap();
        sleep(Duration::from_secs(40)).await;
        let gaps = patient.calls.gaps();
        assert!(gaps.len() > 300, "{} checks", gaps.len());
        // A timer is late by up to a millisecond.
        let (shortest, longest) = (*gaps.iter().min().unwrap(), *gaps.iter().max().unwrap());
        assert!(shortest >= ms(least) && longest <= ms(most + 1), "{shortest:?} to {longest:?}");
        let spread = longest.saturating_sub(shortest);
        assert!(spread >= ms((most - least) * 8 / 10), "{jitter}: spread over {spread:?} only");
        drop(layer);
    }
}

#[tokio::test(start_paused = true)]
async fn slow_checks_never_overlap() {
    let calls = Calls::default();
    let seen = calls.clone();
    let layer = every_100_ms()
        .timeout(ms(1_000))
        .check(move || {
            seen.note();
            let alive = seen.enter();
            async move {
                sleep(ms(800)).await;
                drop(alive);
                Ok::<_, Fail>(())
            }
        })
        .build()
        .unwrap();
    sleep(Duration::from_secs(9)).await;
    assert_eq!((calls.count(), calls.most()), (10, 1));
    assert_eq!(calls.gaps(), vec![ms(900); 9]);
    drop(layer);
}

#[tokio::test(start_paused = true)]
async fn a_check_that_hangs_is_ended_and_has_failed() {
    let calls = Calls::default();
    let seen = calls.clone();
    let layer = every_100_ms()
        .timeout(ms(50))
        .fall(2)
        .check(move || {
            seen.note();
            let alive = seen.enter();
            async move {
                std::future::pending::<()>().await;
                drop(alive);
                Ok::<_, Fail>(())
            }
        })
        .build()
        .unwrap();
    let handle = layer.handle();
    let began = now();
    assert_eq!(in_time(handle.watch().changed()).await, Some(Status::Down));
    assert_eq!(began.elapsed(), ms(50 + 100 + 50));
    assert_eq!((calls.count(), calls.alive()), (2, 0));
    assert_eq!(handle.last_error().as_deref(), Some("the check timed out"));
    sleep(ms(1_000)).await;
    assert_eq!(handle.since(), ms(1_000));
}

#[tokio::test(start_paused = true)]
async fn a_check_that_panics_has_failed_and_the_next_one_comes_all_the_same() {
    let nth = Arc::new(AtomicU32::new(0));
    let layer = every_100_ms()
        .rise(1)
        .fall(2)
        .check(move || {
            let nth = nth.fetch_add(1, Ordering::SeqCst);
            assert!(nth != 0, "in the closure");
            async move {
                assert!(nth != 1, "in the future");
                Ok::<_, Fail>(())
            }
        })
        .build()
        .unwrap();
    let handle = layer.handle();
    let mut watch = handle.watch();
    assert_eq!(in_time(watch.changed()).await, Some(Status::Down));
    assert_eq!(handle.last_error().as_deref(), Some("the check panicked"));
    assert_eq!(in_time(watch.changed()).await, Some(Status::Up));
    assert_eq!(handle.last_error(), None);
}

/// Panics when it is dropped.
struct Brittle;

impl Drop for Brittle {
    fn drop(&mut self) {
        panic!("dropped");
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_that_panics_when_it_is_given_up_does_not_end_the_checking() {
    let nth = Arc::new(AtomicU32::new(0));
    let layer = every_100_ms()
        .rise(1)
        .fall(2)
        .check(move || {
            let nth = nth.fetch_add(1, Ordering::SeqCst);
            async move {
                if nth < 2 {
                    let _brittle = Brittle;
                    std::future::pending::<()>().await;
                }
                Ok::<_, Fail>(())
            }
        })
        .build()
        .unwrap();
    let mut watch = layer.handle().watch();
    assert_eq!(in_time(watch.changed()).await, Some(Status::Down));
    assert_eq!(in_time(watch.changed()).await, Some(Status::Up));
}

#[tokio::test(start_paused = true)]
async fn a_tower_service_can_be_asked_how_it_is() {
    let (calls, inner) = answering(|nth| if nth <= 3 { Err(broken("no")) } else { Ok(nth) });
    let inner = std::sync::Mutex::new(ConcurrencyLimitLayer::new(1).layer(inner));
    let service = service_fn({
        let inner = Arc::new(inner);
        move |n: u32| {
            let one = inner.lock().unwrap().clone();
            tower::ServiceExt::oneshot(one, n)
        }
    });
    let layer = every_100_ms().check_service(service, || 7).build().unwrap();
    let handle = layer.handle();
    let mut watch = handle.watch();
    assert_eq!(in_time(watch.changed()).await, Some(Status::Down));
    let told = Error::Inner(broken("no")).to_string();
    assert_eq!(handle.last_error().as_deref(), Some(&*told));
    assert_eq!(in_time(watch.changed()).await, Some(Status::Up));
    assert_eq!(calls.count(), 5);
}

// pitfall B26
#[tokio::test(start_paused = true)]
async fn a_reload_counts_from_now_on() {
    let patient = Patient::new(false);
    let layer = patient.checked().fall(9).build().unwrap();
    let handle = layer.handle();
    sleep(ms(150)).await;
    let mut config = handle.config();
    config.interval = ms(10);
    config.fall = 3;
    handle.reload(config.clone()).unwrap();
    assert_eq!(patient.calls.count(), 2);
    settle().await;
    assert_eq!((patient.calls.count(), handle.status()), (3, Status::Down));
    sleep(ms(105)).await;
    assert_eq!(patient.calls.gaps()[2..], vec![ms(10); 10]);
    let mut bad = config.clone();
    (bad.rise, bad.jitter) = (0, f64::NAN);
    assert_eq!(fields(handle.reload(bad)), ["jitter", "rise"]);
    assert_eq!(handle.config(), config);
}
