//! How long it waits between attempts.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use seawall::retry::{Backoff, Jitter, RetryLayer};
use seawall::{EventKind, Outcome};
use tower::{Layer, ServiceExt};

use super::retry;
use crate::scene::{Broken, ByWord, Log, answering, broken, ms, poll_once};

/// The waits of one call that fails every time, as announced. Checks that each was kept: not
/// shorter, and longer by no more than the tick of the timer.
async fn waits(layer: impl FnOnce(&Log) -> super::Built, outcome: Outcome) -> Vec<Duration> {
    let log = Log::default();
    let (calls, inner) = answering(move |_| Err(Broken { what: "no", outcome }));
    assert!(layer(&log).layer(inner).oneshot(7).await.is_err());
    let waits: Vec<_> = log
        .all()
        .iter()
        .filter_map(|kind| match kind {
            EventKind::Retrying { wait, .. } => Some(*wait),
            _ => None,
        })
        .collect();
    for (told, kept) in waits.iter().zip(calls.gaps()) {
        assert!(kept >= *told && kept < *told + ms(2), "{told:?} became {kept:?}");
    }
    assert_eq!(waits.len() + 1, calls.count());
    waits
}

fn with(backoff: Backoff) -> impl Fn(&Log) -> super::Built {
    move |log| retry(log).attempts(9).backoff(backoff).cloned().build().unwrap()
}

// pitfall B31: those who fail together do not come back together
#[tokio::test(start_paused = true)]
async fn the_default_is_exponential_with_full_jitter() {
    let steps = [25, 50].map(ms);
    let mut all = Vec::new();
    for _ in 0..300 {
        let default = |log: &Log| {
            RetryLayer::builder("x").classify(ByWord).observe(log.observer()).cloned().build()
        };
        let waits = waits(|log| default(log).unwrap(), Outcome::TRANSIENT).await;
        assert_eq!(waits.len(), 2);
        assert!(waits.iter().zip(steps).all(|(wait, most)| *wait <= most), "{waits:?}");
        all.push(waits);
    }
    for (nth, most) in steps.into_iter().enumerate() {
        let mean = all.iter().map(|waits| waits[nth]).sum::<Duration>() / 300;
        assert!(mean > most * 4 / 10 && mean < most * 6 / 10, "mean of the {nth}th: {mean:?}");
        let low = all.iter().filter(|waits| waits[nth] < most / 10).count();
        let high = all.iter().filter(|waits| waits[nth] > most * 9 / 10).count();
        assert!(low > 5 && high > 5, "{low} in the lowest tenth, {high} in the highest");
    }
}

// pitfall B13
#[tokio::test(start_paused = true)]
async fn every_jitter_keeps_its_bounds_and_still_spreads_at_the_cap() {
    let base = Backoff::exponential(ms(10), ms(200));
    let steps = [10, 20, 40, 80, 160, 200, 200, 200].map(ms);
    assert_eq!(waits(with(base.jitter(Jitter::None)), Outcome::TRANSIENT).await, steps);
    let thrice = [10, 30, 90, 200, 200, 200, 200, 200].map(ms);
    let none = base.jitter(Jitter::None).factor(3);
    assert_eq!(waits(with(none), Outcome::TRANSIENT).await, thrice);

    for jitter in [Jitter::Full, Jitter::Equal, Jitter::Decorrelated] {
        let mut at_the_cap = Vec::new();
        for _ in 0..100 {
            let waits = waits(with(base.jitter(jitter)), Outcome::TRANSIENT).await;
            let mut before = ms(10);
            for (wait, step) in waits.iter().zip(steps) {
                let (least, most) = match jitter {
                    Jitter::Equal => (step / 2, step),
                    Jitter::Decorrelated => (ms(10), (before * 3).min(ms(200))),
                    _ => (Duration::ZERO, step),
                };
                assert!(*wait >= least && *wait <= most, "{jitter:?} {waits:?}");
                before = *wait;
            }
            at_the_cap.push(waits[7]);
        }
        let (least, most) = (at_the_cap.iter().min().unwrap(), at_the_cap.iter().max().unwrap());
        assert!(*most > *least + ms(40), "{jitter:?}: {least:?} to {most:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn fixed_and_none_are_what_they_say() {
    assert_eq!(waits(with(Backoff::fixed(ms(30))), Outcome::TRANSIENT).await, [ms(30); 8]);
    assert_eq!(waits(with(Backoff::none()), Outcome::TRANSIENT).await, [Duration::ZERO; 8]);
}

// pitfall B30
#[tokio::test(start_paused = true)]
async fn a_hint_is_never_early_counts_up_to_its_cap_and_the_own_backoff_comes_on_top() {
    let second = Duration::from_secs(1);
    for (retry_after, counts) in [
        (Duration::ZERO, Duration::ZERO),
        (second * 2, second * 2),
        (second * 3, second * 3),
        (second * 3600, second * 3),
        (Duration::MAX, second * 3),
    ] {
        let layer = |log: &Log| {
            let backoff = Backoff::exponential(ms(100), ms(100));
            retry(log).backoff(backoff).max_retry_after(second * 3).cloned().build().unwrap()
        };
        let mut on_top = Vec::new();
        for _ in 0..50 {
            let waits = waits(layer, Outcome::PUSHBACK.after(retry_after)).await;
            assert!(waits.iter().all(|wait| *wait >= counts && *wait <= counts + ms(100)));
            on_top.extend(waits);
        }
        let (first, last) = (on_top.iter().min().unwrap(), on_top.iter().max().unwrap());
        assert!(*last > *first + ms(50), "told the same, all come back within {first:?}..{last:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_backoff_of_ones_own_is_asked_when_there_is_something_to_wait_for() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = asked.clone();
    let layer = move |log: &Log| {
        let seen = seen.clone();
        let own = move |nth: u32| {
            seen.lock().unwrap().push(nth);
            ms(u64::from(nth) * 7)
        };
        retry(log).attempts(4).backoff_by(own).cloned().build().unwrap()
    };
    assert_eq!(waits(&layer, Outcome::TRANSIENT).await, [7, 14, 21].map(ms));
    assert_eq!(waits(&layer, Outcome::FAILURE).await, []);
    assert_eq!(*asked.lock().unwrap(), [1, 2, 3]);
}

// pitfall B13
#[tokio::test(start_paused = true)]
async fn no_wait_is_too_long_for_the_clock() {
    let log = Log::default();
    let max = Duration::MAX;
    for _ in 0..2 {
        let (calls, inner) = answering(|_| Err(broken("no")));
        let backoff = Backoff::exponential(max, max).jitter(Jitter::None).factor(10);
        let layer = retry(&log).backoff(backoff).max_elapsed(max).attempts(1000).cloned();
        let mut call = Box::pin(layer.build().unwrap().layer(inner).oneshot(7));
        assert!(poll_once(&mut call).is_pending());
        tokio::time::advance(Duration::from_secs(365 * 86_400)).await;
        assert!(poll_once(&mut call).is_pending());
        assert_eq!(calls.count(), 1);
    }
}
