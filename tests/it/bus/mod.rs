//! Publish/subscribe: slow subscribers of each kind, calls that are dropped, events under way.
#![allow(clippy::disallowed_methods)] // the paused clock

mod soak;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use seawall::bus::{
    Bus, Closed, Delivery, Envelope, PublishError, Subscribe, Subscription, WhenSlow,
};
use seawall::{Event, EventKind};
use tower::{Service, ServiceExt};

const SECOND: Duration = Duration::from_secs(1);

fn bus<E>(capacity: usize) -> Bus<E> {
    Bus::builder("events").capacity(capacity).build().unwrap()
}

/// What is there for a subscriber now: events by number, gaps.
fn taken<E>(events: &mut Subscription<E>) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(Some(delivery)) = events.next().now_or_never() {
        all.push(match delivery {
            Delivery::Event(event) => event.number.to_string(),
            Delivery::Gap { from, to } => format!("lost {from}-{to}"),
            Delivery::Closed(why) => format!("{why:?}"),
        });
    }
    all
}

// pitfall B65
#[tokio::test]
async fn a_slow_subscriber_is_told_what_it_lost_and_others_lose_nothing() {
    let bus = bus(2);
    let lost = Arc::new(AtomicUsize::new(0));
    let told = lost.clone();
    let slow = Subscribe::new("slow").observe(move |event: &Event| {
        let EventKind::EventsLost { from, to } = event.kind else { return };
        told.fetch_add(usize::try_from(to - from + 1).unwrap(), Ordering::Relaxed);
    });
    let (mut slow, mut quick) = (bus.subscribe(slow), bus.subscribe(Subscribe::new("quick")));
    for n in 1..=5 {
        bus.publisher().try_publish(Envelope::new(n)).unwrap();
        assert_eq!(taken(&mut quick), [n.to_string()]);
    }
    assert_eq!(slow.lag(), 5);
    assert_eq!(taken(&mut slow), ["lost 1-3", "4", "5"]);
    assert_eq!((slow.lag(), lost.load(Ordering::Relaxed)), (0, 3));
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_holds_loses_nothing_while_it_reads_in_time() {
    let bus = bus(1);
    let mut events = bus.subscribe(Subscribe::new("audit").when_slow(WhenSlow::Hold(SECOND)));
    let publisher = bus.publisher();
    let publishing = tokio::spawn(async move {
        for n in 0..10 {
            publisher.clone().oneshot(Envelope::new(n)).await.unwrap();
        }
    });
    for n in 0..10 {
        tokio::time::sleep(SECOND * 9 / 10).await;
        let Some(Delivery::Event(event)) = events.next().await else { panic!() };
        assert_eq!(*event.event(), n);
    }
    publishing.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_holds_for_too_long_is_cut_off_and_told_and_the_publisher_goes_on() {
    let bus = bus(1);
    let mut events = bus.subscribe(Subscribe::new("audit").when_slow(WhenSlow::Hold(SECOND)));
    let publisher = bus.publisher();
    publisher.try_publish(Envelope::new(1)).unwrap();
    assert_eq!(publisher.try_publish(Envelope::new(2)), Err(PublishError::Full));
    let began = tokio::time::Instant::now();
    publisher.clone().oneshot(Envelope::new(2)).await.unwrap();
    assert_eq!(began.elapsed().as_millis(), 1000);
    assert_eq!(taken(&mut events), ["lost 1-1", "TooSlow"]);
    assert!(events.next().await.is_none());
    publisher.oneshot(Envelope::new(3)).now_or_never().unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn publishers_wait_in_order_and_one_that_gives_up_leaves_nothing() {
    let bus = bus(1);
    let mut events = bus.subscribe(Subscribe::new("audit").when_slow(WhenSlow::Hold(SECOND)));
    let publisher = bus.publisher();
    publisher.try_publish(Envelope::new(0)).unwrap();
    let mut line: Vec<_> =
        (1..=3).map(|n| Box::pin(publisher.clone().oneshot(Envelope::new(n)))).collect();
    for waits in &mut line {
        assert!(waits.as_mut().now_or_never().is_none());
    }
    drop(line.remove(0)); // and the second is the first
    let line: Vec<_> = line.into_iter().map(tokio::spawn).collect();
    let mut received = Vec::new();
    for _ in 0..3 {
        let Some(Delivery::Event(event)) = events.next().await else { panic!() };
        received.push(*event.event());
    }
    assert_eq!(received, [0, 2, 3]);
    for waits in line {
        waits.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn publishers_that_wait_go_on_when_who_holds_them_up_goes_or_the_bus_closes() {
    for closes in [false, true] {
        let bus = bus(1);
        let events = bus.subscribe(Subscribe::new("audit").when_slow(WhenSlow::Hold(SECOND)));
        bus.publisher().try_publish(Envelope::new(0)).unwrap();
        let waits = tokio::spawn(bus.publisher().oneshot(Envelope::new(1)));
        tokio::task::yield_now().await;
        if closes {
            bus.close();
        } else {
            drop(events);
        }
        let began = tokio::time::Instant::now();
        let expected = if closes { Err(PublishError::Closed) } else { Ok(()) };
        assert_eq!(waits.await.unwrap(), expected);
        assert!(began.elapsed().is_zero());
    }
}

#[tokio::test]
async fn who_wants_the_latest_gets_the_newest_of_each_key() {
    let bus = bus(2);
    let mut prices = bus.subscribe(Subscribe::new("prices").when_slow(WhenSlow::Latest));
    for (n, key) in [(1, "tea"), (2, "rum"), (3, "tea"), (4, "tea")] {
        bus.publisher().try_publish(Envelope::new(n).key(key)).unwrap();
    }
    assert_eq!(taken(&mut prices), ["2", "4"]);
    for key in ["tea", "rum", "gin"] {
        bus.publisher().try_publish(Envelope::new(0).key(key)).unwrap();
    }
    assert_eq!(taken(&mut prices), ["lost 5-5", "6", "7"]);
}

#[tokio::test]
async fn filters_choose_and_one_that_panics_or_publishes_harms_nobody() {
    let bus = bus(8);
    let publisher = bus.publisher();
    let mut picky = bus.subscribe(Subscribe::new("picky").topics("orders.").filter(
        move |envelope: &Envelope<u32>| {
            if envelope.event == 1 {
                publisher.try_publish(Envelope::new(90).topic("orders.more")).unwrap(); // re-entrant
            }
            assert_ne!(envelope.event, 2, "on purpose");
            envelope.event > 80
        },
    ));
    let mut all = bus.subscribe(Subscribe::new("all"));
    for (n, topic) in [(1, "orders.a"), (2, "orders.b"), (3, "orders.c"), (99, "users")] {
        bus.publisher().try_publish(Envelope::new(n).topic(topic)).unwrap();
    }
    assert_eq!(taken(&mut picky), ["2", "5"]); // what cannot be judged is delivered
    assert_eq!(taken(&mut all), ["1", "2", "3", "4", "5"]);
}

#[tokio::test]
async fn a_bus_ends_with_its_last_handle_and_all_that_was_published_is_received() {
    let bus = bus(4);
    let publisher = bus.publisher();
    let mut events = bus.subscribe(Subscribe::new("late"));
    drop(bus);
    publisher.try_publish(Envelope::new(1)).unwrap();
    drop(publisher);
    assert_eq!(taken(&mut events), ["1", "Bus"]);
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn an_event_that_nobody_can_read_any_more_is_dropped() {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let bus = bus(2);
    let publish = || bus.publisher().try_publish(Envelope::new(Counted(dropped.clone()))).unwrap();
    publish();
    assert_eq!(dropped.load(Ordering::Relaxed), 1); // nobody subscribes
    let events = bus.subscribe(Subscribe::new("slow"));
    (0..5).for_each(|_| publish());
    assert_eq!(dropped.load(Ordering::Relaxed), 1 + 3);
    drop(events);
    assert_eq!(dropped.load(Ordering::Relaxed), 1 + 5);
    assert_eq!(bus.subscribers(), 0);
}

#[tokio::test]
async fn bad_words_and_capacities_are_refused_in_a_sentence() {
    let wrong = Bus::<u32>::builder("events").capacity(0).build().unwrap_err();
    assert!(wrong.to_string().contains("capacity = 0: 1 to 1048576"));
    let bus = bus(1);
    let _events = bus.subscribe(Subscribe::new("any"));
    let long = Envelope::new(1).key("k".repeat(257));
    let told = bus.publisher().oneshot(long).await.unwrap_err();
    assert_eq!(told.to_string(), "a topic, key or id of 257 bytes: 256 are the most");
    bus.publisher().oneshot(Envelope::new(1).key("k".repeat(256))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_at_any_poll_has_published_nothing() {
    for polls in 0..4 {
        let bus = bus(1);
        let mut events = bus.subscribe(Subscribe::new("audit").when_slow(WhenSlow::Hold(SECOND)));
        let mut publisher = bus.publisher();
        publisher.try_publish(Envelope::new(0)).unwrap();
        let mut call = Box::pin(publisher.ready().await.unwrap().call(Envelope::new(1)));
        for _ in 0..polls {
            assert!(call.as_mut().now_or_never().is_none());
        }
        drop(call);
        assert_eq!(taken(&mut events), ["1"]);
        publisher.try_publish(Envelope::new(2)).unwrap();
        assert_eq!(taken(&mut events), ["2"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_many_publishers_arrive_once_and_each_publisher_in_order() {
    const EACH: u64 = 5_000;
    let bus = bus(64);
    let hold = || Subscribe::new("audit").when_slow(WhenSlow::Hold(SECOND * 60));
    let readers: Vec<_> = (0..2).map(|_| bus.subscribe(hold())).collect();
    for publisher in 0..4 {
        let mut service = bus.publisher();
        tokio::spawn(async move {
            for n in 0..EACH {
                service.ready().await.unwrap().call(Envelope::new((publisher, n))).await.unwrap();
            }
        });
    }
    drop(bus);
    let read = |mut events: Subscription<(usize, u64)>| async move {
        let mut next = [0; 4];
        while let Some(Delivery::Event(event)) = events.next().await {
            let (publisher, n) = *event.event();
            assert_eq!(n, std::mem::replace(&mut next[publisher], n + 1));
        }
        assert_eq!(next, [EACH; 4]);
    };
    let reading: Vec<_> = readers.into_iter().map(|events| tokio::spawn(read(events))).collect();
    for reading in reading {
        reading.await.unwrap();
    }
}

#[tokio::test]
async fn a_reader_that_waits_is_woken_once_something_comes() {
    let bus = bus(1);
    let mut events = bus.subscribe(Subscribe::new("any"));
    let publisher = bus.publisher();
    let reading = tokio::spawn(async move { events.next().await });
    tokio::task::yield_now().await;
    publisher.try_publish(Envelope::new(7)).unwrap();
    assert!(matches!(reading.await.unwrap(), Some(Delivery::Event(event)) if *event.event() == 7));
    let mut closed = bus.subscribe(Subscribe::new("any"));
    bus.close();
    let mut next = pin!(closed.next());
    let ended = poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx))).await;
    assert_eq!(ended, Poll::Ready(Some(Delivery::Closed(Closed::Bus))));
}

/// Publishers whose futures are kept and not polled hold up nobody for longer than their turn: not those behind them, and each
/// only once.
#[tokio::test(start_paused = true)]
async fn a_publisher_that_is_not_polled_any_more_is_passed_by_those_behind_it() {
    let bus = bus(1);
    let patience = Duration::from_secs(60);
    let mut events = bus.subscribe(Subscribe::new("audit").when_slow(WhenSlow::Hold(patience)));
    let publisher = bus.publisher();
    publisher.try_publish(Envelope::new(0)).unwrap();
    let mut kept: Vec<_> =
        (1..=3).map(|n| Box::pin(publisher.clone().oneshot(Envelope::new(n)))).collect();
    for waits in &mut kept {
        assert!(waits.as_mut().now_or_never().is_none());
    }
    let behind: Vec<_> =
        (4..=6).map(|n| tokio::spawn(publisher.clone().oneshot(Envelope::new(n)))).collect();
    tokio::task::yield_now().await;

    let began = tokio::time::Instant::now();
    let mut received = Vec::new();
    for _ in 0..4 {
        let Some(Delivery::Event(event)) = events.next().await else { panic!() };
        received.push(*event.event());
    }
    assert_eq!(received, [0, 4, 5, 6]); // in order of arrival
    assert!(began.elapsed() < SECOND / 2, "{:?}", began.elapsed());
    for waits in behind {
        waits.await.unwrap().unwrap();
    }
    // A new one goes at once, and those that are kept go when they are polled, or leave nothing.
    publisher.try_publish(Envelope::new(7)).unwrap();
    drop(kept.remove(0));
    let waits = tokio::spawn(kept.remove(0));
    for expected in [7, 2] {
        let Some(Delivery::Event(event)) = events.next().await else { panic!() };
        assert_eq!(*event.event(), expected);
    }
    waits.await.unwrap().unwrap();
    drop(kept);
    assert!(taken(&mut events).is_empty());
}

/// One that was passed, is polled once and then no more: who came in between is behind it again, and comes all the same.
#[tokio::test(start_paused = true)]
async fn a_publisher_that_was_first_for_a_while_is_not_forgotten_behind_one_that_is_not_polled() {
    let bus = bus(1);
    let holds = Subscribe::new("audit").when_slow(WhenSlow::Hold(Duration::MAX));
    let mut events = bus.subscribe(holds);
    let publisher = bus.publisher();
    publisher.try_publish(Envelope::new(0)).unwrap();
    let mut kept = Box::pin(publisher.clone().oneshot(Envelope::new(1)));
    assert!(kept.as_mut().now_or_never().is_none());
    let second = tokio::spawn(publisher.clone().oneshot(Envelope::new(2)));
    tokio::task::yield_now().await;
    assert_eq!(taken(&mut events), ["1"]);
    second.await.unwrap().unwrap(); // it has passed the first
    let third = tokio::spawn(publisher.clone().oneshot(Envelope::new(3)));
    tokio::task::yield_now().await; // which is first now,
    assert!(kept.as_mut().now_or_never().is_none()); // and is no more
    assert_eq!(taken(&mut events), ["2"]);
    tokio::time::timeout(SECOND, third).await.expect("it hangs").unwrap().unwrap();
    assert_eq!(taken(&mut events), ["3"]);
    kept.await.unwrap();
}

/// The same where nobody reads: who does not is cut off in time.
#[tokio::test(start_paused = true)]
async fn a_publisher_that_is_not_polled_does_not_keep_a_slow_subscriber() {
    let bus = bus(1);
    let mut events = bus.subscribe(Subscribe::new("audit").when_slow(WhenSlow::Hold(SECOND)));
    let publisher = bus.publisher();
    publisher.try_publish(Envelope::new(0)).unwrap();
    let mut kept = Box::pin(publisher.clone().oneshot(Envelope::new(1)));
    assert!(kept.as_mut().now_or_never().is_none());
    let began = tokio::time::Instant::now();
    publisher.clone().oneshot(Envelope::new(2)).await.unwrap();
    assert_eq!(began.elapsed().as_millis(), 1100); // its patience, and the turn of the first
    assert_eq!(taken(&mut events), ["lost 1-1", "TooSlow"]);
    kept.await.unwrap();
}

#[tokio::test]
async fn what_is_lost_of_the_newest_is_counted_and_no_more() {
    let bus = bus(2);
    let lost = Arc::new(AtomicUsize::new(0));
    let told = lost.clone();
    let newest =
        Subscribe::new("prices").when_slow(WhenSlow::Latest).observe(move |event: &Event| {
            let EventKind::EventsLost { from, to } = event.kind else { return };
            told.fetch_add(usize::try_from(to - from + 1).unwrap(), Ordering::Relaxed);
        });
    let mut prices = bus.subscribe(newest);
    // 1 is replaced by 3; then each new key displaces the oldest: 2, and later 3.
    for key in ["tea", "rum", "tea", "gin", "gin", "ale"] {
        bus.publisher().try_publish(Envelope::new(0).key(key)).unwrap();
    }
    assert_eq!(taken(&mut prices), ["lost 2-3", "5", "6"]);
    assert_eq!(lost.load(Ordering::Relaxed), 2);
    for key in ["a", "b", "b", "c", "c", "d"] {
        bus.publisher().try_publish(Envelope::new(0).key(key)).unwrap(); // 8 and 10 are replaced
    }
    assert_eq!(taken(&mut prices), ["lost 7-7", "lost 9-9", "11", "12"]);
}

/// A runtime without timers: it waits until somebody reads, and nothing panics.
#[test]
fn a_runtime_without_timers_is_enough() {
    let timeless = tokio::runtime::Builder::new_current_thread().build().unwrap();
    timeless.block_on(async {
        let bus = bus(1);
        let mut events = bus.subscribe(Subscribe::new("audit").when_slow(WhenSlow::Hold(SECOND)));
        bus.publisher().try_publish(Envelope::new(0)).unwrap();
        let waits = tokio::spawn(bus.publisher().oneshot(Envelope::new(1)));
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        assert_eq!(taken(&mut events), ["1"]);
        waits.await.unwrap().unwrap();
        assert_eq!(taken(&mut events), ["2"]);
    });
}
