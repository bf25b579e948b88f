//! Who may probe, and whose answer decides.

use super::kit::*;

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use seawall::EventKind;
use seawall::circuit_breaker::{Builder, State, Trip};
use tokio::runtime::{self, Runtime};
use tokio::sync::{Barrier, oneshot};
use tokio::time::advance;

const SOON: Duration = Duration::from_millis(1);

/// A clock that stands still for whoever enters this runtime, from any thread.
fn still_clock() -> Runtime {
    runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

fn crowd() -> Runtime {
    runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap()
}

/// Runs `f` where the clock stands still.
fn on<T>(clock: &Runtime, f: impl FnOnce() -> T) -> T {
    let _entered = clock.enter();
    f()
}

/// Has 64 tasks call at the same moment, each on a clone of one of the services; returns their calls,
/// polled once.
fn stampede(crowd: &Runtime, clock: &Runtime, services: &[&Breaker]) -> Vec<Calling> {
    let barrier = Arc::new(Barrier::new(64));
    let run = |nth: usize| {
        let (barrier, clock) = (barrier.clone(), clock.handle().clone());
        let mut service = services[nth % services.len()].clone();
        crowd.spawn(async move {
            barrier.wait().await;
            let _entered = clock.enter();
            Some(launch(&mut service, Ask::Hang)) // not awaited: it hangs
        })
    };
    let tasks: Vec<_> = (0..64).map(run).collect();
    tasks.into_iter().filter_map(|task| crowd.block_on(task).unwrap()).collect()
}

/// A breaker that opened on failures, and whose break is over.
fn about_to_probe(clock: &Runtime, builder: Builder<ByFault>) -> (Rig, Breaker) {
    let mut rig = on(clock, || Rig::new(builder));
    let taken_before_the_trip = rig.service.clone();
    on(clock, || {
        while rig.state() == State::Closed {
            drop(rig.launch(BAD));
        }
    });
    clock.block_on(advance(Duration::from_millis(51)));
    (rig, taken_before_the_trip)
}

// pitfall B1
#[test]
fn exactly_one_probe_passes_however_many_callers_storm_in() {
    let (clock, crowd) = (still_clock(), crowd());
    for round in 0..1_000 {
        let few = builder().seed(round).trip(Trip::consecutive(3));
        let (rig, before) = about_to_probe(&clock, few);
        let after = rig.service.clone();
        let hanging = stampede(&crowd, &clock, &[&before, &after]);
        assert_eq!(rig.seen.calls(), 3 + 1, "round {round}");
        assert_eq!(rig.state(), State::HalfOpen);

        let half_open = rig.service.clone();
        let more = stampede(&crowd, &clock, &[&before, &after, &half_open]);
        assert_eq!(rig.seen.calls(), 3 + 1, "round {round}: while half open");
        on(&clock, || drop((hanging, more)));
    }
}

// pitfall B1: and when the slow start has gone on for a while
#[test]
fn after_some_good_answers_exactly_the_doubled_number_passes() {
    let (clock, crowd) = (still_clock(), crowd());
    for round in 0..200 {
        let (answers, expected) = [(1, 2), (2, 4), (3, 8), (4, 8)][round % 4];
        let (mut rig, before) = about_to_probe(&clock, builder().probes(8).close_threshold(100));
        on(&clock, || {
            for _ in 0..answers {
                assert!(poll(rig.launch(GOOD).as_mut()).is_ready());
            }
        });
        let calls = rig.seen.calls();
        let hanging = stampede(&crowd, &clock, &[&before, &rig.service]);
        assert_eq!(rig.seen.calls() - calls, expected, "round {round}");
        assert_eq!(rig.seen.in_flight(), expected);
        on(&clock, || drop(hanging));
        assert_eq!(rig.seen.in_flight(), 0);
    }
}

// pitfall B4
#[tokio::test(start_paused = true)]
async fn answers_of_the_past_decide_nothing_in_any_later_state() {
    for old in [Answer::Success, Answer::Failure, Answer::Ignored, Answer::Pushback] {
        let mut rig = Rig::new(builder());
        let (mut old_calls, mut tell) = (Vec::new(), Vec::new());
        for _ in 0..60 {
            let (told, when) = oneshot::channel();
            old_calls.push(rig.launch(Ask::When(when)));
            tell.push(told);
        }
        let mut answer = |times: usize| {
            for _ in 0..times {
                tell.pop().unwrap().send(old).unwrap();
                let mut call = old_calls.pop().unwrap();
                assert!(matches!(poll(call.as_mut()), Poll::Ready(_)));
            }
        };
        rig.trip().await;
        answer(20);
        assert_eq!(rig.state(), State::Open);

        rig.break_duration().await;
        let (probe, when) = oneshot::channel();
        let mut probing = rig.launch(Ask::When(when));
        let calls = rig.seen.calls();
        answer(20);
        assert_eq!(rig.state(), State::HalfOpen, "{old:?}");
        assert!(is_rejected(&rig.ask(GOOD).await), "{old:?} of the past made room for a probe");
        assert_eq!(rig.seen.calls(), calls);

        probe.send(Answer::Success).unwrap();
        assert!(matches!(poll(probing.as_mut()), Poll::Ready(Ok(()))));
        for _ in 0..6 {
            rig.ask(GOOD).await.unwrap();
        }
        assert_eq!(rig.state(), State::Closed);
        let gathered = rig.handle.snapshot().gathered;
        answer(20);
        assert_eq!(rig.state(), State::Closed);
        assert_eq!(rig.handle.snapshot().gathered, gathered, "{old:?} polluted the next epoch");
    }
}

// pitfall B4
#[test]
fn late_answers_race_with_each_other_and_decide_nothing() {
    let (clock, crowd) = (still_clock(), crowd());
    for round in 0..100 {
        let diary = Diary::default();
        let mut rig = on(&clock, || Rig::new(builder().observe(diary.observer())));
        let mut old = Vec::new();
        on(&clock, || {
            for _ in 0..64 {
                let (tell, told) = oneshot::channel();
                old.push((rig.launch(Ask::When(told)), tell));
            }
            while rig.state() == State::Closed {
                drop(rig.launch(BAD));
            }
        });
        clock.block_on(advance(Duration::from_millis(51)));
        let (tell, told) = oneshot::channel();
        let mut probe = on(&clock, || rig.launch(Ask::When(told)));

        let answers = [Answer::Success, Answer::Failure, Answer::Ignored, Answer::Pushback];
        let barrier = Arc::new(Barrier::new(64));
        let land = |(nth, (mut call, tell)): (usize, (Calling, oneshot::Sender<Answer>))| {
            let (barrier, clock) = (barrier.clone(), clock.handle().clone());
            crowd.spawn(async move {
                barrier.wait().await;
                let _entered = clock.enter();
                tell.send(answers[nth % 4]).unwrap();
                assert!(poll(call.as_mut()).is_ready());
            })
        };
        let tasks: Vec<_> = old.into_iter().enumerate().map(land).collect();
        for task in tasks {
            crowd.block_on(task).unwrap();
        }
        assert_eq!(rig.state(), State::HalfOpen, "round {round}");
        assert_eq!(diary.count(EventKind::Late), 64);

        tell.send(Answer::Failure).unwrap();
        on(&clock, || assert!(poll(probe.as_mut()).is_ready()));
        assert_eq!(rig.state(), State::Open, "round {round}: only the probe decides");
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_hangs_lets_one_more_pass_after_each_rest() {
    let mut rig = Rig::new(builder());
    rig.trip().await;
    rig.break_duration().await;
    let mut hanging = vec![rig.launch(Ask::Hang)];
    for passed in 1..10 {
        assert_eq!(rig.seen.in_flight(), passed);
        assert!(is_rejected(&rig.ask(GOOD).await));
        advance(Duration::from_millis(50)).await;
        hanging.push(rig.launch(Ask::Hang));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_of_the_past_that_is_given_up_is_no_late_answer() {
    let diary = Diary::default();
    let mut rig = Rig::new(builder().observe(diary.observer()));
    let (given_up, answered) =
        (rig.launch(Ask::Hang), rig.launch(Ask::After(SOON, Answer::Success)));
    rig.trip().await;
    drop(given_up);
    assert_eq!((diary.count(EventKind::Abandoned), diary.count(EventKind::Late)), (1, 0));
    answered.await.unwrap();
    assert_eq!((diary.count(EventKind::Abandoned), diary.count(EventKind::Late)), (1, 1));
}
