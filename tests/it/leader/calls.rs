//! Calls of the leader.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};

use seawall::bulkhead::BulkheadLayer;
use seawall::leader::LeaderLayer;
use seawall::retry::{CloneRequest, RetryLayer};
use seawall::timeout::TimeoutLayer;
use seawall::{Error, Outcome, Reason, Sent};
use tokio::sync::Semaphore;
use tower::{Layer, service_fn};

use super::*;

type Failure = Error<Infallible>;

/// Whether a call was rejected because this is not the leader.
fn is_not_leader<T>(result: &Result<T, Failure>) -> bool {
    matches!(result, Err(Error::Rejected(why)) if why.reason() == Reason::NotLeader)
}

#[tokio::test(start_paused = true)]
async fn only_the_leader_takes_calls_and_others_say_when_to_come_back() {
    let store = MemoryStore::new();
    let [first, second] = [campaign(store.clone()), campaign(store)];
    until(&first, State::Leading).await;
    sleep(Duration::from_millis(10)).await; // the other one has asked
    let answer = || async { Ok::<_, Failure>(7) };
    assert_eq!(LeaderLayer::new("jobs", &first).run(answer).await, Ok(7));
    let refused = LeaderLayer::new("jobs", &second).run(answer).await;
    let Err(Error::Rejected(why)) = &refused else { panic!("{refused:?}") };
    assert_eq!(why.reason(), Reason::NotLeader);
    let after = why.retry_after().unwrap();
    assert!(after > TTL / 2 && after <= TTL, "{after:?}");
    assert!(
        why.to_string().starts_with("leader `jobs`: is not the leader, try again in "),
        "{why}"
    );
}

#[tokio::test(start_paused = true)]
async fn no_call_begins_in_the_last_part_of_a_term() {
    let store = Scripted::new([]);
    let leadership = campaign(store.clone());
    until(&leadership, State::Leading).await;
    store.always(Some(Turn::Fail));
    let left = leadership.term().unwrap().remaining();
    let jobs = LeaderLayer::new("jobs", &leadership);
    let answer = || async { Ok::<_, Failure>(()) };
    sleep(left.saturating_sub(Duration::from_millis(501))).await;
    assert!(jobs.run(answer).await.is_ok());
    sleep(Duration::from_millis(2)).await;
    assert!(leadership.term().is_some() && is_not_leader(&jobs.run(answer).await));
}

#[tokio::test(start_paused = true)]
async fn a_call_in_flight_ends_with_the_term_and_lives_on_with_a_renewal() {
    let store = Scripted::new([]);
    let leadership = campaign(store.clone());
    until(&leadership, State::Leading).await;
    let jobs = LeaderLayer::new("jobs", &leadership);
    let long = jobs.run(|| async {
        sleep(TTL * 4).await;
        Ok::<_, Failure>("done")
    });
    assert_eq!(long.await, Ok("done"));

    let begun = now();
    let left = leadership.term().unwrap().remaining();
    store.always(Some(Turn::Fail));
    let hung = jobs.run(pending::<Result<(), Failure>>).await;
    assert!(is_not_leader(&hung));
    assert!(begun.elapsed() >= left && begun.elapsed() < left + Duration::from_millis(5));
}

/// A call that is ended with its term may have been executed. One that never began was not.
// pitfall B51
#[tokio::test(start_paused = true)]
async fn a_call_that_is_ended_with_its_term_is_not_sent_again_unless_it_may_be() {
    static BEGUN: AtomicU32 = AtomicU32::new(0);

    /// A write: it is sent again only if it was certainly never sent.
    #[derive(Clone, Copy)]
    struct Writes;

    impl CloneRequest<()> for Writes {
        fn clone_request(&self, (): &()) -> Option<()> {
            None
        }

        fn clone_unsent(&self, (): &()) -> Option<()> {
            Some(())
        }
    }

    let store = Scripted::new([]);
    let leadership = campaign(store.clone());
    let other = LeaderLayer::new("jobs", &leadership);
    let refused = other.run(|| async { Ok::<_, Failure>(()) }).await;
    let Err(Error::Rejected(why)) = &refused else { panic!("{refused:?}") };
    assert_eq!(Outcome::of_rejection(why).sent, Sent::Never);

    until(&leadership, State::Leading).await;
    let write = service_fn(|()| {
        BEGUN.fetch_add(1, Ordering::Relaxed);
        pending::<Result<(), Failure>>()
    });
    let retry = RetryLayer::builder("jobs").copy_with(Writes).build().unwrap();
    let jobs = retry.layer(LeaderLayer::new("jobs", &leadership).layer(write));
    let call = tokio::spawn(jobs.oneshot(()));
    sleep(Duration::from_millis(1)).await;
    store.always(Some(Turn::Say(|| Answer::Free))); // the lease is gone
    sleep(TTL / 2).await;
    store.always(None); // and ours again, before the next attempt
    let ended = call.await.unwrap();
    let Err(Error::Rejected(why)) = &ended else { panic!("{ended:?}") };
    assert_eq!((why.reason(), Outcome::of_rejection(why).sent), (Reason::NotLeader, Sent::Unknown));
    assert_eq!(BEGUN.load(Ordering::Relaxed), 1);
}

/// As if the process had been stopped: time passes, and nobody is polled meanwhile.
// pitfall B44
#[tokio::test(start_paused = true)]
async fn after_a_stop_longer_than_the_term_nothing_late_is_done() {
    static POLLED: AtomicU32 = AtomicU32::new(0);
    static READY: Semaphore = Semaphore::const_new(0);
    let leadership = campaign(MemoryStore::new());
    until(&leadership, State::Leading).await;
    let write = std::future::poll_fn(|_| -> Poll<Result<(), Failure>> {
        POLLED.fetch_add(1, Ordering::Relaxed);
        Poll::Pending
    });
    let jobs = LeaderLayer::new("jobs", &leadership);
    let waits = |ready: &'static Semaphore| {
        service_fn(move |(): ()| async {
            ready.acquire().await.unwrap().forget();
            Ok::<_, Failure>(())
        })
    };
    let mut call = std::pin::pin!(jobs.run(|| write));
    let mut other = std::pin::pin!(jobs.layer(waits(&READY)).oneshot(()));
    assert!(poll_once(call.as_mut()).is_pending());
    assert!(poll_once(other.as_mut()).is_pending());
    READY.add_permits(1); // it could go on at once
    advance(TTL * 2).await;
    assert!(is_not_leader(&call.await));
    assert_eq!(POLLED.load(Ordering::Relaxed), 1);
    assert!(is_not_leader(&other.await));
}

#[tokio::test(start_paused = true)]
async fn calls_may_finish_where_the_resource_compares_epochs() {
    let store = Scripted::new([]);
    let leadership = campaign(store.clone());
    until(&leadership, State::Leading).await;
    store.always(Some(Turn::Fail));
    let jobs = LeaderLayer::builder("jobs", &leadership).finish().build();
    let late = jobs.run(|| async {
        sleep(TTL * 2).await;
        Ok::<_, Failure>("late")
    });
    assert_eq!(late.await, Ok("late"));
    assert!(leadership.term().is_none());
}

// pitfall B45
#[tokio::test(start_paused = true)]
async fn who_resigns_gives_back_when_the_last_call_has_left() {
    let store = Scripted::new([]);
    let leadership = campaign(store.clone());
    until(&leadership, State::Leading).await;
    let jobs = LeaderLayer::new("jobs", &leadership);
    let call = tokio::spawn(jobs.run(|| async {
        sleep(Duration::from_secs(3)).await;
        Ok::<_, Failure>(())
    }));
    tokio::task::yield_now().await;
    let resigned = tokio::spawn({
        let leadership = leadership.clone();
        async move { leadership.resign().await }
    });
    sleep(Duration::from_secs(2)).await;
    assert_eq!(leadership.state(), State::Resigning);
    assert!(is_not_leader(&jobs.run(|| async { Ok::<_, Failure>(()) }).await));
    assert_eq!(store.count(|ask| matches!(ask, Ask::Release { .. })), 0);
    call.await.unwrap().unwrap();
    resigned.await.unwrap();
    assert_eq!(store.count(|ask| matches!(ask, Ask::Release { .. })), 1);
    assert_eq!(leadership.state(), State::Resigned);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_holds_up_a_resignation_to_the_end_of_the_term() {
    let store = Scripted::new([]);
    let leadership = campaign(store.clone());
    until(&leadership, State::Leading).await;
    let jobs = LeaderLayer::new("jobs", &leadership);
    let hung = tokio::spawn(jobs.run(pending::<Result<(), Failure>>));
    tokio::task::yield_now().await;
    let left = leadership.term().unwrap().remaining();
    let begun = now();
    leadership.resign().await;
    assert!(begun.elapsed() >= left && begun.elapsed() < TTL);
    assert!(is_not_leader(&hung.await.unwrap()));
    assert_eq!(store.count(|ask| matches!(ask, Ask::Renew { .. })), 0, "it asked for more time");
}

#[tokio::test(start_paused = true)]
async fn whatever_ends_a_call_it_holds_up_nobody() {
    let leadership = campaign(MemoryStore::new());
    until(&leadership, State::Leading).await;
    let jobs = LeaderLayer::new("jobs", &leadership);
    drop(jobs.run(pending::<Result<(), Failure>>)); // never polled
    let mut dropped = Box::pin(jobs.run(pending::<Result<(), Failure>>));
    assert!(poll_once(dropped.as_mut()).is_pending());
    drop(dropped);
    let panics =
        jobs.run(|| async { if true { panic!("a defect") } else { Ok::<_, Failure>(()) } });
    assert!(tokio::spawn(panics).await.is_err());
    let unready = service_fn(|(): ()| pending::<Result<(), Failure>>());
    let slow = jobs.layer(TimeoutLayer::new("slow", Duration::from_secs(1)).layer(unready));
    assert!(slow.oneshot(()).await.is_err());
    let begun = now();
    leadership.resign().await;
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn it_is_a_part_of_a_pair_too() {
    static POLLED: AtomicU32 = AtomicU32::new(0);
    let store = Scripted::new([]);
    let leadership = campaign(store.clone());
    until(&leadership, State::Leading).await;
    let timeout = TimeoutLayer::new("jobs", TTL * 2);
    let jobs = LeaderLayer::new("jobs", &leadership).and(timeout);
    assert_eq!(jobs.run(|| async { Ok::<_, Failure>(7) }).await, Ok(7));
    store.always(Some(Turn::Fail));
    let write = std::future::poll_fn(|_| -> Poll<Result<(), Failure>> {
        POLLED.fetch_add(1, Ordering::Relaxed);
        Poll::Pending
    });
    let mut call = std::pin::pin!(jobs.run(|| write));
    assert!(poll_once(call.as_mut()).is_pending());
    advance(TTL).await;
    assert!(is_not_leader(&call.await));
    assert_eq!(POLLED.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waited_behind_a_limit_does_not_begin_after_its_term() {
    let store = Scripted::new([]);
    let leadership = campaign(store.clone());
    until(&leadership, State::Leading).await;
    let limit = BulkheadLayer::builder("jobs").limit(1).queue(1).max_wait(TTL * 2).build().unwrap();
    let inside = limit.clone();
    let jobs = LeaderLayer::new("jobs", &leadership).and(limit);
    let held = tokio::spawn(inside.run(|| async {
        sleep(TTL / 2).await; // past the renewal that says that the lease is gone
        Ok::<_, Failure>(())
    }));
    tokio::task::yield_now().await;
    store.always(Some(Turn::Say(|| Answer::Free)));
    let begun = AtomicU32::new(0);
    let waits = jobs.run(|| {
        begun.fetch_add(1, Ordering::Relaxed);
        async { Ok::<_, Failure>(()) }
    });
    assert!(is_not_leader(&waits.await));
    assert_eq!(begun.load(Ordering::Relaxed), 0);
    held.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_in_flight_ends_soon_after_the_store_says_that_the_lease_is_gone() {
    let store = Scripted::new([]);
    let leadership = campaign(store.clone());
    until(&leadership, State::Leading).await;
    store.always(Some(Turn::Say(|| Answer::Free)));
    let begun = now();
    let hung = LeaderLayer::new("jobs", &leadership).run(pending::<Result<(), Failure>>).await;
    assert!(is_not_leader(&hung));
    assert!(begun.elapsed() < TTL / 3 + TTL / 10, "{:?}", begun.elapsed());
}
