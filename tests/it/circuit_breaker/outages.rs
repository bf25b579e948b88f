//! One word when calls are kept away, and one when they are let back.

use super::kit::*;

use std::borrow::Cow;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use seawall::circuit_breaker::{Builder, Outage, Position, TransitionCause, Trip};
use tokio::time::advance;
use tower::{Layer, ServiceExt, service_fn};

type Log = Arc<Mutex<Vec<Outage>>>;

fn listening(builder: Builder<ByFault>) -> (Builder<ByFault>, Log) {
    let log = Log::default();
    let (opened, closed) = (log.clone(), log.clone());
    let builder = builder
        .on_open(move |outage| opened.lock().unwrap().push(outage.clone()))
        .on_close(move |outage| closed.lock().unwrap().push(outage.clone()));
    (builder, log)
}

// field Missing: alerts
#[tokio::test(start_paused = true)]
async fn an_outage_of_many_failed_probes_is_told_once_and_once_when_it_is_over() {
    let (builder, log) = listening(builder());
    let mut rig = Rig::new(builder);
    rig.trip().await;
    let break_duration = rig.handle.snapshot().next_probe_in.unwrap();
    for _ in 0..50 {
        rig.break_duration().await;
        let _ = rig.ask(BAD).await;
    }
    rig.recover().await;
    let told = log.lock().unwrap().clone();
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(
        (told[0].cause, told[0].lasted, told[0].key.as_ref()),
        (TransitionCause::Evidence, None, None)
    );
    let text = "circuit_breaker `dep` opened: evidence \
                (failures outweigh successes by 17, 17 is the limit)";
    assert_eq!(told[0].to_string(), text);
    assert_eq!(told[1].cause, TransitionCause::ProbesSucceeded);
    let lasted = told[1].lasted.unwrap();
    assert!(lasted > 40 * Duration::from_millis(125) && lasted > break_duration, "{lasted:?}");
    assert!(told[1].to_string().starts_with("circuit_breaker `dep` closed after "), "{}", told[1]);
}

// field Missing: alerts
#[tokio::test(start_paused = true)]
async fn hands_are_told_of_too_and_one_outage_stays_one() {
    let (builder, log) = listening(builder());
    let mut rig = Rig::new(builder);
    rig.trip().await;
    let mut hand = rig.handle.switch(Position::Auto);
    hand.set(Position::Open); // it was open before: no news
    advance(Duration::from_secs(60)).await;
    rig.handle.force_open(); // another hand: none either
    drop(hand);
    assert_eq!(log.lock().unwrap().len(), 1);
    rig.handle.release();
    rig.handle.force_closed(); // calls passed before
    rig.handle.release();
    rig.handle.force_open();
    rig.handle.force_closed();
    let told: Vec<_> = log.lock().unwrap().iter().map(|it| (it.cause, it.lasted)).collect();
    let minute = Duration::from_secs(60);
    let expected = [
        (TransitionCause::Evidence, None),
        (TransitionCause::Switch, Some(minute)),
        (TransitionCause::Switch, None),
        (TransitionCause::Switch, Some(Duration::ZERO)),
    ];
    assert_eq!(told, expected);
}

// field Missing: alerts
#[tokio::test(start_paused = true)]
async fn each_key_has_outages_of_its_own() {
    let (builder, log) = listening(builder().trip(Trip::consecutive(1)));
    let layer = builder.keyed(|host: &&'static str| Cow::from(*host)).build().unwrap();
    let inner =
        service_fn(|_| async { Err::<(), _>(seawall::Error::Inner(Fault(Answer::Failure))) });
    let service = layer.layer(inner);
    for host in ["a", "b"] {
        assert!(service.clone().oneshot(host).await.is_err());
    }
    layer.handle().key("b").unwrap().reset();
    let told: Vec<_> = log
        .lock()
        .unwrap()
        .iter()
        .map(|it| (it.key.as_deref().unwrap().to_owned(), it.lasted.is_some()))
        .collect();
    let expected =
        [("a", false), ("b", false), ("b", true)].map(|(key, over)| (key.to_owned(), over));
    assert_eq!(told, expected);
    let text = "circuit_breaker `dep` for \"a\" opened: consecutive (1 of 1 failures in a row)";
    assert_eq!(log.lock().unwrap()[0].to_string(), text);
}

// field Missing: a hold that cannot be dropped by accident
#[tokio::test(start_paused = true)]
async fn held_open_it_stays_so_whatever_becomes_of_the_handle() {
    let mut rig = Rig::new(builder());
    rig.handle.clone().force_open();
    rig.handle.clone().force_open(); // once more is still one hold
    advance(Duration::from_secs(3_600)).await;
    assert!(is_rejected(&rig.ask(GOOD).await));
    rig.handle.reset();
    assert!(is_rejected(&rig.ask(GOOD).await), "a reset does not let go");
    let mut hand = rig.handle.switch(Position::Auto);
    hand.set(Position::Open);
    rig.handle.release();
    assert!(is_rejected(&rig.ask(GOOD).await), "a hand still holds it");
    drop(hand);
    rig.ask(GOOD).await.unwrap();
    rig.handle.release(); // nothing to take back
    rig.ask(GOOD).await.unwrap();
}
