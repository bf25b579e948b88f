//! Turning a bulkhead's settings while calls are in flight, and ending it.

use seawall::bulkhead::{BulkheadLayer, Config};
use seawall::{EventKind, Reason};
use tower::Layer;

use super::{End, filling, permit};
use crate::scene::{Log, fields, ms, poll_once, reason};

fn with(layer: &BulkheadLayer, change: impl FnOnce(&mut Config)) -> Config {
    let mut config = layer.handle().config();
    change(&mut config);
    config
}

// pitfall B26
#[tokio::test(start_paused = true)]
async fn a_higher_limit_lets_those_who_wait_in_and_a_lower_one_honours_those_inside() {
    let layer = BulkheadLayer::builder("x").limit(2).queue(10).build().unwrap();
    let handle = layer.handle();
    let (calls, inner) = filling();
    let service = layer.layer(inner);
    let mut all: Vec<_> = (0..8).map(|_| permit(&service)).collect();
    let poll = |all: &mut Vec<super::Placed>| {
        all.retain_mut(|call| call.poll().is_none_or(|ended| ended.is_err()));
        all.iter().filter(|call| call.is_alive()).count()
    };
    assert_eq!(poll(&mut all), 2);
    handle.reload(with(&layer, |config| config.limit = 5)).unwrap();
    assert_eq!((handle.limit(), handle.in_flight(), handle.queued()), (5, 5, 3));
    assert_eq!(poll(&mut all), 5);

    handle.reload(with(&layer, |config| config.limit = 1)).unwrap();
    assert_eq!((handle.in_flight(), handle.available(), handle.queued()), (5, 0, 3));
    assert_eq!(poll(&mut all), 5);
    // Four leave before one more may enter.
    for left in [4, 3, 2, 1] {
        all.iter_mut().find(|call| call.is_alive()).unwrap().end(End::Well);
        poll(&mut all);
        assert_eq!((poll(&mut all), handle.in_flight(), handle.queued()), (left, left as u32, 3));
    }
    all.iter_mut().find(|call| call.is_alive()).unwrap().end(End::Well);
    poll(&mut all);
    assert_eq!((poll(&mut all), handle.in_flight(), handle.queued()), (1, 1, 2));
    assert_eq!(calls.most(), 5);
    drop(all);
    assert_eq!((handle.in_flight(), handle.queued(), handle.available()), (0, 0, 1));
}

// pitfall B26
#[tokio::test(start_paused = true)]
async fn a_shorter_queue_keeps_those_in_it_and_bad_config_change_nothing() {
    let layer = BulkheadLayer::builder("x").limit(1).queue(2).build().unwrap();
    let handle = layer.handle();
    let (_, inner) = filling();
    let service = layer.layer(inner);
    let mut all: Vec<_> = (0..3).map(|_| permit(&service)).collect();
    assert!(all.iter_mut().all(|call| call.poll().is_none()));
    let before = handle.config();
    let bad = with(&layer, |config| {
        config.limit = 0;
        config.queue = u32::MAX;
        config.max_wait = std::time::Duration::ZERO;
    });
    assert_eq!(fields(handle.reload(bad)), ["limit", "queue", "max_wait"]);
    assert_eq!(handle.config(), before);
    handle.reload(with(&layer, |config| config.queue = 0)).unwrap();
    assert_eq!(handle.queued(), 2);
    assert_eq!(permit(&service).poll().as_ref().and_then(reason), Some(Reason::Full));
    all[0].end(End::Well);
    assert_eq!(all[0].poll(), Some(Ok(())));
    assert_eq!((all[1].poll(), all[1].is_alive()), (None, true));
}

#[tokio::test(start_paused = true)]
async fn draining_to_completion_rejects_the_new_and_awaits_those_inside_and_in_line() {
    let log = Log::default();
    let layer = BulkheadLayer::builder("x").limit(1).queue(2).max_wait(ms(500));
    let layer = layer.observe(log.observer()).build().unwrap();
    let (_, inner) = filling();
    let service = layer.layer(inner);
    let mut all: Vec<_> = (0..2).map(|_| permit(&service)).collect();
    assert!(all.iter_mut().all(|call| call.poll().is_none()));
    let mut draining = Box::pin(layer.drain_to_completion());
    assert!(poll_once(&mut draining).is_pending());
    assert_eq!(permit(&service).poll().as_ref().and_then(reason), Some(Reason::Draining));
    assert_eq!(log.all(), [EventKind::Rejected { reason: Reason::Draining }]);
    for nth in [0, 1] {
        assert!(poll_once(&mut draining).is_pending());
        all[nth].end(End::Well);
        assert_eq!(all[nth].poll(), Some(Ok(())));
        if nth == 0 {
            assert_eq!((all[1].poll(), all[1].is_alive()), (None, true));
        }
    }
    draining.await;
    assert_eq!((layer.handle().in_flight(), layer.in_flight()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_full_bulkhead_without_a_line_says_that_it_is_full_until_it_is_drained() {
    let layer = BulkheadLayer::builder("x").limit(1).build().unwrap();
    let (_, inner) = filling();
    let service = layer.layer(inner);
    let mut held = permit(&service);
    assert_eq!(held.poll(), None);
    let rejection = || permit(&service).poll().as_ref().and_then(reason);
    assert_eq!((rejection(), layer.in_flight()), (Some(Reason::Full), 1));
    let mut draining = Box::pin(layer.drain());
    assert!(poll_once(&mut draining).is_pending());
    assert_eq!(rejection(), Some(Reason::Draining));
    drop(held);
    draining.await;
}
