//! Whether to try again, and what the caller is told if not.

use std::time::Duration;

use seawall::circuit_breaker::{CircuitBreakerLayer, Position, Trip};
use seawall::retry::{Budget, OnRejection, RetryLayer, RetryReason, StopReason};
use seawall::{Error, EventKind, Outcome, Reason};
use tower::{Layer, ServiceExt};

use super::retry;
use crate::scene::{Boxed, Broken, Log, answering, broken, ms, now, reason};

const fn stopped(attempts: u32, stop: StopReason) -> EventKind {
    EventKind::Stopped { attempts, why: stop.as_str() }
}

const fn retrying(attempt: u32) -> EventKind {
    EventKind::Retrying {
        attempt,
        wait: Duration::ZERO,
        why: RetryReason::Failure.as_str(),
        retry_after: None,
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_may_help_is_done_again() {
    let with_retry_after = Outcome::TRANSIENT.after(Duration::ZERO);
    for (outcome, attempts) in [
        (Outcome::TRANSIENT, 3),
        (Outcome::PUSHBACK, 3),
        (with_retry_after, 3),
        (Outcome::FAILURE, 1),
        (Outcome::IGNORE, 1),
        (Outcome::SUCCESS, 1),
    ] {
        let log = Log::default();
        let (calls, inner) = answering(move |_| Err(Broken { what: "no", outcome }));
        let service = retry(&log).cloned().build().unwrap().layer(inner);
        let ended = service.oneshot(7).await;
        assert_eq!(ended, Err(Error::Inner(Broken { what: "no", outcome })));
        assert_eq!(calls.count(), attempts, "{outcome:?}");
        let mut told = log.all();
        for event in &mut told {
            if let EventKind::Retrying { why, retry_after, .. } = event {
                (*why, *retry_after) = (RetryReason::Failure.as_str(), None); // of which elsewhere
            }
        }
        match attempts {
            3 => assert_eq!(told, [retrying(2), retrying(3), stopped(3, StopReason::Exhausted)]),
            _ if outcome == Outcome::SUCCESS => assert_eq!(told, []),
            _ => assert_eq!(told, [stopped(1, StopReason::Final)]),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rejected_response_is_asked_for_again_too() {
    let (calls, inner) = answering(Ok);
    let layer = RetryLayer::builder("x")
        .classify_response(|n: &u32| if *n < 3 { Outcome::PUSHBACK } else { Outcome::SUCCESS })
        .cloned()
        .build()
        .unwrap();
    assert_eq!(layer.layer(inner).oneshot(7).await, Ok(3));
    assert_eq!(calls.count(), 3);

    // And is the answer if it stays the last.
    let (calls, inner) = answering(Ok);
    let layer = RetryLayer::builder("x")
        .classify_response(|_: &u32| Outcome::PUSHBACK)
        .cloned()
        .attempts(5)
        .build()
        .unwrap();
    assert_eq!(layer.layer(inner).oneshot(7).await, Ok(5));
    assert_eq!(calls.count(), 5);
}

#[tokio::test(start_paused = true)]
async fn so_many_attempts_and_the_last_error_is_the_answer() {
    const WHAT: [&str; 8] = ["", "first", "second", "third", "4th", "5th", "6th", "7th"];
    for attempts in [1, 2, 3, 7] {
        let log = Log::default();
        let (calls, inner) = answering(|nth| Err(broken(WHAT[nth as usize])));
        let layer = retry(&log).attempts(attempts).cloned().build().unwrap();
        let ended = layer.layer(inner).oneshot(7).await;
        assert_eq!(ended, Err(Error::Inner(broken(WHAT[attempts as usize]))));
        assert_eq!(calls.count(), attempts as usize);
        assert_eq!(log.all().last(), Some(&stopped(attempts, StopReason::Exhausted)));
        assert_eq!(log.all().len(), attempts as usize);
    }
}

#[tokio::test(start_paused = true)]
async fn a_success_ends_it_and_is_not_talked_about() {
    let log = Log::default();
    let (calls, inner) = answering(|nth| if nth < 3 { Err(broken("no")) } else { Ok(nth) });
    let service = retry(&log).attempts(7).cloned().build().unwrap().layer(inner);
    assert_eq!(service.oneshot(7).await, Ok(3));
    assert_eq!((calls.count(), log.all()), (3, vec![retrying(2), retrying(3)]));
}

// ----- what was never sent -----

/// How many attempts a script of failures gets: `u` was never sent, `f` may have been.
async fn attempts_of(script: &'static str, attempts: u32) -> (usize, Option<EventKind>) {
    let log = Log::default();
    let (calls, inner) = answering(|nth| {
        let unsent = script.as_bytes().get(nth as usize - 1) == Some(&b'u');
        let outcome = if unsent { Outcome::TRANSIENT.unsent() } else { Outcome::TRANSIENT };
        Err(Broken { what: "no", outcome })
    });
    let layer = retry(&log).attempts(attempts).cloned().build().unwrap();
    assert!(layer.layer(inner).oneshot(7).await.is_err());
    (calls.count(), log.all().last().copied())
}

#[tokio::test(start_paused = true)]
async fn what_was_never_sent_costs_no_attempt_yet_is_not_repeated_for_ever() {
    for (script, attempts, calls) in [
        ("ffffffff", 3, 3),
        ("ufffffff", 3, 4),
        ("ufufffff", 3, 5),
        ("uuffffff", 3, 5),
        ("uuuuuuuu", 3, 3),
        ("uuuuuuuu", 1, 1),
        ("fufufufu", 5, 8),
    ] {
        let exhausted = Some(stopped(calls, StopReason::Exhausted));
        assert_eq!(attempts_of(script, attempts).await, (calls as usize, exhausted), "{script}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_attempt_has_no_copy_and_is_not_blamed_for_it() {
    // The third attempt is the last that counts, so no copy was kept for another.
    let exhausted = Some(stopped(3, StopReason::Exhausted));
    assert_eq!(attempts_of("ffuuuuuu", 3).await, (3, exhausted));
}

// ----- rejections further in -----

#[tokio::test(start_paused = true)]
async fn a_rejection_further_in_ends_it_at_once() {
    let log = Log::default();
    let breaker = CircuitBreakerLayer::new("inner");
    let mut switch = breaker.handle().switch(Position::Auto);
    switch.set(Position::Open);
    let (calls, inner) = answering(Ok);
    let service = retry(&log).cloned().build().unwrap().layer(breaker.layer(inner));
    let began = now();
    let rejected = service.oneshot(7).await;
    assert_eq!(reason(&rejected), Some(Reason::CircuitOpen));
    assert_eq!((calls.count(), began.elapsed()), (0, Duration::ZERO));
    assert_eq!(log.all(), [stopped(1, StopReason::Rejected)]);
}

#[tokio::test(start_paused = true)]
async fn a_rejection_further_in_is_waited_for_if_asked_to() {
    let log = Log::default();
    let breaker = CircuitBreakerLayer::builder("inner")
        .trip(Trip::consecutive(1))
        .break_duration(ms(400))
        .max_break_duration(ms(400))
        .build()
        .unwrap();
    // The first call trips it.
    let (calls, inner) = answering(|nth| if nth == 1 { Err(broken("no")) } else { Ok(nth) });
    let inner = Boxed::new(breaker.layer(inner));
    assert!(inner.clone().oneshot(7).await.is_err());
    let asked = inner.clone().oneshot(7).await.unwrap_err();
    let Error::Rejected(asked) = asked else { panic!("the breaker is closed") };
    let told = asked.retry_after().expect("a breaker at rest knows how long");

    let layer = retry(&log).on_rejection(OnRejection::Wait).cloned().build().unwrap();
    let began = now();
    assert_eq!(layer.layer(inner).oneshot(7).await, Ok(2));
    assert!(began.elapsed() >= told, "{:?} is earlier than {told:?}", began.elapsed());
    assert_eq!(calls.count(), 2);
    let why = RetryReason::Rejected.as_str();
    let retry_after = Some(told);
    assert_eq!(log.all(), [EventKind::Retrying { attempt: 1, wait: told, why, retry_after }]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_timed_out_further_in_is_no_rejection() {
    let log = Log::default();
    let (calls, inner) = crate::scene::taking(ms(100));
    let inner = seawall::timeout::TimeoutLayer::new("inner", ms(10)).layer(inner);
    let ended = retry(&log).cloned().build().unwrap().layer(inner).oneshot(7).await;
    assert_eq!((reason(&ended), calls.count()), (Some(Reason::TimedOut), 3));
    assert_eq!(log.all().last(), Some(&stopped(3, StopReason::Exhausted)));
}

// ----- why not -----

#[tokio::test(start_paused = true)]
async fn a_call_that_is_not_tried_again_says_why() {
    let no = || answering(|_| Err(broken("no")));
    let rejected = || {
        let layer = CircuitBreakerLayer::new("inner");
        let mut switch = layer.handle().switch(Position::Auto);
        switch.set(Position::Open);
        (switch, Boxed::new(layer.layer(no().1)))
    };
    let empty = Budget::builder().cap(0.0).build().unwrap();
    let log = Log::default();
    let one = |service: Boxed| async move { service.oneshot(7).await.is_err() };

    let layer = retry(&log).attempts(1).cloned().build().unwrap();
    assert!(one(Boxed::new(layer.layer(no().1))).await);
    let layer = retry(&log).budget(empty).cloned().build().unwrap();
    assert!(one(Boxed::new(layer.layer(no().1))).await);
    let layer = retry(&log).copy(|_: &u32| None).build().unwrap();
    assert!(one(Boxed::new(layer.layer(no().1))).await);
    let layer = retry(&log).never().build().unwrap();
    assert!(one(Boxed::new(layer.layer(no().1))).await);
    let layer =
        retry(&log).max_elapsed(ms(2)).min_attempt_time(ms(1)).backoff_by(|_| ms(2)).cloned();
    assert!(one(Boxed::new(layer.build().unwrap().layer(no().1))).await);
    let layer = retry(&log).cloned().build().unwrap();
    let (_switch, open) = rejected();
    assert!(one(Boxed::new(layer.layer(open))).await);
    let stops = [
        StopReason::Exhausted,
        StopReason::Budget,
        StopReason::NoCopy,
        StopReason::NoCopy,
        StopReason::Deadline,
        StopReason::Rejected,
    ];
    assert_eq!(log.all(), stops.map(|stop| stopped(1, stop)));
}
