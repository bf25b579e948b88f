//! Jobs of the leader.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use seawall::leader::Term;

use super::*;

#[tokio::test(start_paused = true)]
async fn a_job_runs_once_and_gives_the_lease_back() {
    let store = Scripted::new([]);
    let mut candidate = Candidate::builder("report", store.clone()).build().unwrap();
    for term in 1..=3 {
        let job = |term: Term| async move {
            sleep(TTL * 2).await;
            (term.epoch(), term.is_over())
        };
        assert_eq!(candidate.lead(job).await, Some((Epoch::new(term), false)));
        assert_eq!(candidate.leadership().state(), State::Resigned);
        assert_eq!(store.count(|ask| matches!(ask, Ask::Release { .. })), term as usize);
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_ends_with_its_term_and_begins_anew_with_the_next() {
    let store = Scripted::new([]);
    let mut candidate = Candidate::builder("report", store.clone()).build().unwrap();
    let leadership = candidate.leadership();
    let epochs = Mutex::new(Vec::new());
    let lead = candidate.lead(|term: Term| {
        epochs.lock().unwrap().push(term.epoch().get());
        let is_second = term.epoch().get() == 2;
        async move { if is_second { "done" } else { pending().await } }
    });
    let outage = async {
        until(&leadership, State::Leading).await;
        store.always(Some(Turn::Fail));
        sleep(TTL * 2).await;
        store.always(None);
    };
    let (output, ()) = tokio::join!(lead, outage);
    assert_eq!((output, &*epochs.lock().unwrap()), (Some("done"), &vec![1, 2]));
}

// pitfall B44
#[tokio::test(start_paused = true)]
async fn a_job_of_a_process_that_was_stopped_past_its_term_does_nothing_late() {
    let store = Scripted::new([]);
    let mut candidate = Candidate::builder("report", store.clone()).build().unwrap();
    let polled = AtomicU32::new(0);
    let mut lead = Box::pin(candidate.lead(|term: Term| {
        let polled = &polled;
        std::future::poll_fn(move |_| {
            polled.fetch_add(1, Ordering::Relaxed);
            assert!(!term.is_over());
            Poll::<()>::Pending
        })
    }));
    while polled.load(Ordering::Relaxed) == 0 {
        assert!(poll_once(lead.as_mut()).is_pending());
        tokio::task::yield_now().await;
    }
    store.always(Some(Turn::Fail));
    let before = polled.load(Ordering::Relaxed);
    advance(TTL * 2).await;
    assert!(poll_once(lead.as_mut()).is_pending());
    assert_eq!(polled.load(Ordering::Relaxed), before);
}

#[tokio::test(start_paused = true)]
async fn who_resigns_waits_for_the_job_and_tells_it() {
    let store = Scripted::new([]);
    let mut candidate = Candidate::builder("report", store.clone()).build().unwrap();
    let leadership = candidate.leadership();
    let is_at_work = AtomicBool::new(false);
    let lead = candidate.lead(|term: Term| {
        let is_at_work = &is_at_work;
        async move {
            is_at_work.store(true, Ordering::Relaxed);
            term.ending().await;
            assert!(term.is_resigning() && !term.is_over());
            sleep(Duration::from_secs(2)).await; // puts things in order
            is_at_work.store(false, Ordering::Relaxed);
            "in order"
        }
    });
    let resign = async {
        until(&leadership, State::Leading).await;
        sleep(TTL).await;
        leadership.resign().await;
        assert!(!is_at_work.load(Ordering::Relaxed));
        assert_eq!(store.count(|ask| matches!(ask, Ask::Release { .. })), 1);
    };
    assert_eq!(tokio::join!(lead, resign).0, Some("in order"));
}

#[tokio::test(start_paused = true)]
async fn who_resigns_without_a_job_is_through_at_once() {
    let store = MemoryStore::new();
    let other = campaign(store.clone());
    until(&other, State::Leading).await;
    let mut candidate = Candidate::builder("jobs", store).build().unwrap();
    let leadership = candidate.leadership();
    leadership.resign().await; // nobody campaigns
    let lead = candidate.lead(|_| async { "never" });
    let resign = async {
        sleep(TTL * 2).await;
        leadership.resign().await;
    };
    assert_eq!(tokio::join!(lead, resign).0, None);
    assert_eq!(leadership.state(), State::Resigned);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_is_dropped_leaves_a_term_that_ends_by_itself() {
    let store = MemoryStore::new();
    let mut candidate = Candidate::builder("report", store.clone()).build().unwrap();
    let leadership = candidate.leadership();
    let dropped = Arc::new(());
    let seen = Arc::downgrade(&dropped);
    let held = std::cell::Cell::new(Some(dropped));
    let lead = candidate.lead(|_| {
        let held = held.take();
        async move {
            pending::<()>().await;
            drop(held);
        }
    });
    assert!(tokio::time::timeout(Duration::from_secs(1), lead).await.is_err());
    assert!(seen.upgrade().is_none());
    leadership.resign().await; // nobody campaigns: there is nothing to wait for
    assert!(leadership.term().is_some());
    sleep(TTL).await;
    assert!(leadership.term().is_none());
}

/// Whatever a campaign was doing when it was dropped, the next one leads.
#[tokio::test(start_paused = true)]
async fn a_campaign_that_was_dropped_anywhere_can_be_begun_again() {
    for millis in (0..40).map(|nth| nth * 100) {
        let store = Scripted::new([Turn::Slow(Duration::from_millis(700))]);
        store.always(Some(Turn::Slow(Duration::from_millis(300))));
        let mut candidate = Candidate::builder("report", store).build().unwrap();
        let leadership = candidate.leadership();
        let resign = async {
            sleep(Duration::from_millis(1_500)).await;
            leadership.resign().await;
        };
        let job = |_| async {
            sleep(Duration::from_millis(500)).await;
            pending::<()>().await;
        };
        let both = async { tokio::join!(candidate.lead(job), resign) };
        let _ = tokio::time::timeout(Duration::from_millis(millis), both).await;
        let led = tokio::time::timeout(TTL * 2, candidate.lead(|_| async { "led" })).await;
        assert_eq!(led, Ok(Some("led")), "dropped after {millis} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_that_was_not_answered_is_no_dead_end() {
    for turn in [Turn::Mute, Turn::Fail] {
        let store = Scripted::new([]);
        let mut candidate = Candidate::builder("report", store.clone()).build().unwrap();
        let fails = async {
            sleep(Duration::from_millis(1)).await;
            store.always(Some(turn));
        };
        let job = |_| sleep(Duration::from_secs(1));
        let (first, ()) = tokio::join!(candidate.lead(job), fails);
        assert_eq!(first, Some(()));
        store.always(None);
        let again =
            tokio::time::timeout(TTL * 2, candidate.lead(|term: Term| async move { term.epoch() }));
        assert_eq!(again.await, Ok(Some(Epoch::new(2))));
    }
}

#[tokio::test(start_paused = true)]
async fn resigning_is_heard_however_near_to_the_next_campaign() {
    let mut candidate = Candidate::builder("report", MemoryStore::new()).build().unwrap();
    let leadership = candidate.leadership();
    let campaigns = tokio::spawn(async move {
        for _ in 0..50 {
            candidate.lead(|_| sleep(Duration::from_millis(10))).await;
        }
    });
    for _ in 0..200 {
        let resigned = tokio::time::timeout(TTL, leadership.resign());
        resigned.await.expect("it returns, in whichever campaign");
        sleep(Duration::from_millis(3)).await;
    }
    campaigns.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_resigns_before_the_campaign_is_polled_resigns_all_the_same() {
    let candidate = Candidate::builder("jobs", MemoryStore::new()).build().unwrap();
    let leadership = candidate.leadership();
    let campaign = tokio::spawn(candidate.campaign());
    leadership.resign().await;
    campaign.await.unwrap();
    assert_eq!(leadership.state(), State::Resigned);
}
