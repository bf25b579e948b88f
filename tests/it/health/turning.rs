//! Settings that are turned while the checks wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use futures::stream::{self, StreamExt};
use seawall::health::{Config, HealthHandle, HealthLayer, HealthUpdate, Status};
use tokio::time::sleep;
use tower::{Layer, ServiceExt};

use super::Patient;
use crate::scene::{Calls, Fail, answering, broken, in_time, ms, now, settle};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

fn turn(handle: &HealthHandle, turn: impl FnOnce(&mut Config)) {
    let mut config = handle.config();
    turn(&mut config);
    handle.reload(config).unwrap();
}

// field F7
#[tokio::test(start_paused = true)]
async fn an_interval_that_becomes_shorter_ends_the_pause_and_a_longer_one_extends_it() {
    for after in [ms(10), SECOND / 2, 600 * SECOND] {
        for jitter in [0.0, 0.5] {
            let patient = Patient::new(true);
            let layer = patient.checked().interval(HOUR).jitter(jitter).build().unwrap();
            sleep(after).await;
            turn(&layer.handle(), |config| config.interval = SECOND);
            sleep(SECOND + ms(2)).await;
            assert!(patient.calls.count() >= 2, "{after:?} {jitter}");
        }
    }
    let patient = Patient::new(true);
    let layer = patient.checked().interval(SECOND).build().unwrap();
    sleep(SECOND / 2).await;
    turn(&layer.handle(), |config| config.interval = HOUR);
    sleep(3_599 * SECOND).await;
    assert_eq!(patient.calls.count(), 1);
    sleep(SECOND).await;
    assert_eq!(patient.calls.count(), 2);
}

// field F7, pitfall B31: those who are reloaded at the same time do not check at the same time.
#[tokio::test(start_paused = true)]
async fn what_a_reload_makes_overdue_is_spread() {
    let patients = [(); 100].map(|()| Patient::new(true));
    let layers = patients
        .each_ref()
        .map(|patient| patient.checked().interval(HOUR).jitter(0.2).build().unwrap());
    sleep(60 * SECOND).await;
    for layer in &layers {
        turn(&layer.handle(), |config| config.interval = 10 * SECOND);
    }
    let checked = || patients.iter().filter(|patient| patient.calls.count() > 1).count();
    sleep(2 * SECOND).await;
    assert!((30..=70).contains(&checked()), "{} of 100", checked());
    sleep(2 * SECOND + ms(1)).await;
    assert_eq!(checked(), 100);
}

// field F7
#[tokio::test(start_paused = true)]
async fn a_timeout_counts_for_the_check_under_way() {
    let calls = Calls::default();
    let seen = calls.clone();
    let hangs = move || {
        seen.note();
        std::future::pending::<Result<(), Fail>>()
    };
    let layer = HealthLayer::builder("x").timeout(HOUR).fall(1).check(hangs).build().unwrap();
    sleep(SECOND / 2).await;
    let began = now();
    turn(&layer.handle(), |config| config.timeout = SECOND);
    assert_eq!(in_time(layer.handle().watch().changed()).await, Some(Status::Down));
    assert_eq!((began.elapsed(), calls.count()), (SECOND / 2, 1));
}

// field F7
#[tokio::test(start_paused = true)]
async fn jitter_counts_for_the_pause_under_way() {
    let patient = Patient::new(true);
    // Drawn from nothing to two hours; without jitter it is an hour.
    let layer = patient.checked().interval(HOUR).jitter(1.0).build().unwrap();
    settle().await;
    turn(&layer.handle(), |config| config.jitter = 0.0);
    sleep(3_599 * SECOND).await;
    assert_eq!(patient.calls.count(), 1);
    sleep(SECOND + ms(1)).await;
    assert_eq!(patient.calls.count(), 2);
}

// field F7
#[tokio::test(start_paused = true)]
async fn the_initial_status_counts_until_the_first_word() {
    let hangs = || std::future::pending::<Result<(), Fail>>();
    let layer = HealthLayer::builder("x").timeout(HOUR).check(hangs).build().unwrap();
    let handle = layer.handle();
    let mut watch = handle.watch();
    for status in [Status::Down, Status::Up, Status::Down] {
        turn(&handle, |config| config.initial = status);
        assert_eq!(handle.status(), status);
        assert_eq!(in_time(watch.changed()).await, Some(status));
    }
    let patient = Patient::new(true);
    let layer = patient.checked().build().unwrap();
    settle().await;
    turn(&layer.handle(), |config| config.initial = Status::Down);
    assert_eq!(layer.handle().status(), Status::Up); // it has spoken
}

// field F7
#[tokio::test(start_paused = true)]
async fn the_pauses_of_one_that_listens_are_turned_too() {
    let made = Arc::new(AtomicU32::new(0));
    let heals = Arc::new(AtomicBool::new(false));
    let (nth, well) = (Arc::clone(&made), Arc::clone(&heals));
    let listen = move || {
        nth.fetch_add(1, Ordering::SeqCst);
        if well.load(Ordering::SeqCst) {
            stream::iter([HealthUpdate::Up]).chain(stream::pending()).boxed()
        } else {
            stream::iter([HealthUpdate::Lost("cut".to_owned())]).boxed()
        }
    };
    let layer = HealthLayer::builder("x").interval(HOUR).subscribe(listen).build().unwrap();
    sleep(6 * HOUR).await;
    assert_eq!(layer.handle().status(), Status::Down);
    let before = made.load(Ordering::SeqCst);
    heals.store(true, Ordering::SeqCst);
    turn(&layer.handle(), |config| config.interval = SECOND);
    assert_eq!(in_time(layer.handle().watch().changed()).await, Some(Status::Up));
    assert_eq!(made.load(Ordering::SeqCst), before + 1);
    // And how long it waits for a first word.
    let silent = HealthLayer::builder("x").timeout(HOUR).fall(1).subscribe(stream::pending);
    let silent = silent.build().unwrap();
    sleep(SECOND).await;
    turn(&silent.handle(), |config| config.timeout = SECOND);
    let began = now();
    assert_eq!(in_time(silent.handle().watch().changed()).await, Some(Status::Down));
    assert!(began.elapsed() <= SECOND);
}

// `downinter` of HAProxy: another interval while it is down, and until it was well once.
#[tokio::test(start_paused = true)]
async fn while_it_is_down_it_is_checked_as_often_as_is_said_for_that() {
    let patient = Patient::new(true);
    let layer = patient.checked().interval(60 * SECOND).down_interval(SECOND).fall(2).rise(2);
    let layer = layer.build().unwrap();
    sleep(61 * SECOND).await;
    assert_eq!(patient.calls.gaps(), [60 * SECOND]);
    patient.set(false);
    sleep(121 * SECOND).await;
    assert_eq!(layer.handle().status(), Status::Down);
    patient.set(true);
    let mut watch = layer.handle().watch();
    assert_eq!(in_time(watch.changed()).await, Some(Status::Up));
    sleep(61 * SECOND).await;
    let gaps = patient.calls.gaps();
    assert_eq!(gaps[..3], [60 * SECOND; 3]);
    assert_eq!(gaps[3..gaps.len() - 1], vec![SECOND; gaps.len() - 4]);
    assert_eq!(*gaps.last().unwrap(), 60 * SECOND);
    // At the start, until it was well once.
    let patient = Patient::new(false);
    let layer = patient.checked().interval(HOUR).down_interval(SECOND).fall(100).build().unwrap();
    sleep(10 * SECOND + ms(1)).await;
    assert_eq!(patient.calls.count(), 11);
    patient.set(true);
    sleep(10 * SECOND).await;
    assert_eq!(patient.calls.count(), 12);
    drop(layer);
}

// Live calls that bring it down end the pause that was meant for well days.
#[tokio::test(start_paused = true)]
async fn going_down_by_live_calls_ends_the_pause() {
    let patient = Patient::new(true);
    let builder = patient.checked().passive(true).interval(HOUR).down_interval(SECOND);
    let layer = builder.rise(1).fall(1).build().unwrap();
    sleep(600 * SECOND).await;
    let service = layer.layer(answering(|_| Err(broken("no"))).1);
    assert!(service.oneshot(7).await.is_err());
    assert_eq!(layer.handle().status(), Status::Down);
    let began = now();
    assert_eq!(in_time(layer.handle().watch().changed()).await, Some(Status::Up));
    assert!(began.elapsed() <= SECOND);
}
