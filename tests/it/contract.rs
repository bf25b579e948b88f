//! What tower asks of a service, and this crate of a layer, for every layer and every pair.

use seawall::Error;
use tokio::time::timeout;
use tower::buffer::Buffer;
use tower::limit::ConcurrencyLimit;
use tower::{Service, ServiceExt};

use crate::subjects::{LIMIT, each};
use crate::support::{Bell, Boxed, Broken, Fail, Ledger, Ready, Reply, now, poll_once, ready_once};

// ===== readiness =====

#[derive(Debug, Clone, Copy)]
enum Move {
    Ready,
    Call,
    /// Goes on with a clone, and keeps the original until the end.
    Clone,
    /// Goes on with a clone, and drops the original.
    Replace,
}

// pitfall B33
#[tokio::test(start_paused = true)]
async fn only_an_instance_that_was_readied_is_called() {
    const MOVES: [Move; 4] = [Move::Ready, Move::Call, Move::Clone, Move::Replace];
    const LENGTH: u32 = 5;
    each(async |kind| {
        for nth in 0..MOVES.len().pow(LENGTH) {
            let moves = (0..LENGTH).map(|at| MOVES[nth / MOVES.len().pow(at) % MOVES.len()]);
            let (ledger, probe) = Ledger::new();
            let (bell, mut service) = (Bell::new(), kind.make().wrap(probe));
            let (mut kept, mut calls) = (Vec::new(), 0);
            for step in moves {
                match step {
                    Move::Ready => assert_eq!(now(ready_once(&mut service, &bell)), Ok(())),
                    Move::Call => {
                        assert_eq!(now(poll_once(&mut service.call(calls), &bell)), Ok(calls));
                        calls += 1;
                    }
                    Move::Clone => {
                        let clone = service.clone();
                        kept.push(std::mem::replace(&mut service, clone));
                    }
                    Move::Replace => service = service.clone(),
                }
            }
            ledger.assert_never_called_unready();
            assert_eq!(ledger.calls(), calls as usize);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_clone_of_a_readied_service_has_reserved_nothing() {
    each(async |kind| {
        let (ledger, probe) = Ledger::new();
        let (bell, mut service) = (Bell::new(), kind.make().wrap(probe));
        now(ready_once(&mut service, &bell)).unwrap();
        let reserved = ledger.reserved();
        assert!(reserved <= 1);
        let mut clone = service.clone();
        assert_eq!(ledger.reserved(), reserved, "readiness was cloned");
        drop(service);
        assert_eq!(now(poll_once(&mut clone.call(7), &bell)), Ok(7));
        drop(clone);
        ledger.assert_at_rest();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_inner_service_in_poll_ready_is_passed_on() {
    each(async |kind| {
        let (ledger, probe) = Ledger::scripted(Ready::No, Reply::Echo);
        let (bell, mut service) = (Bell::new(), kind.make().wrap(probe));
        let parks = ready_once(&mut service, &bell).is_pending();
        ledger.set_ready(Ready::Fails);
        let answer = if parks {
            now(ready_once(&mut service, &bell))
        } else {
            now(poll_once(&mut service.call(7), &bell)).map(drop)
        };
        assert_eq!(answer, Err(Error::Inner(Broken)));
    })
    .await;
}

// pitfall B33
#[tokio::test(start_paused = true)]
async fn a_service_that_is_dropped_after_poll_ready_gives_its_reservation_back() {
    each(async |kind| {
        let (ledger, probe) = Ledger::new();
        let subject = kind.make();
        let (bell, mut service) = (Bell::new(), subject.wrap(probe));
        now(ready_once(&mut service, &bell)).unwrap();
        drop(service);
        ledger.assert_at_rest();
        assert_eq!(subject.in_flight(), 0);
    })
    .await;
}

// pitfall B33
#[tokio::test(start_paused = true)]
async fn a_service_that_was_not_polled_ready_drives_a_clone_to_readiness() {
    each(async |kind| {
        let (ledger, probe) = Ledger::scripted(Ready::No, Reply::Echo);
        let (bell, mut service) = (Bell::new(), kind.make().wrap(probe));
        let mut answer = service.call(7);
        assert!(poll_once(&mut answer, &bell).is_pending());
        ledger.set_ready(Ready::Yes);
        assert_eq!(now(poll_once(&mut answer, &bell)), Ok(7));
        ledger.assert_at_rest();
    })
    .await;
}

// ===== wakes =====

// Live in one library: `wake_by_ref`, then `Pending`.
#[tokio::test(start_paused = true)]
async fn nothing_that_is_pending_wakes_itself() {
    each(async |kind| {
        let (ledger, probe) = Ledger::scripted(Ready::No, Reply::Never);
        let (bell, mut service) = (Bell::new(), kind.make().wrap(probe));
        for _ in 0..3 {
            if ready_once(&mut service, &bell).is_ready() {
                break; // it waits for the inner service in the call
            }
        }
        let mut unready = service.clone().call(7);
        for _ in 0..3 {
            assert!(poll_once(&mut unready, &bell).is_pending());
        }
        assert_eq!(bell.rings(), 0, "while the inner service was not ready");
        ledger.set_ready(Ready::Yes);
        let bell = Bell::new();
        assert_eq!(now(ready_once(&mut service, &bell)), Ok(()));
        let mut unanswered = service.call(7);
        for _ in 0..3 {
            assert!(poll_once(&mut unanswered, &bell).is_pending());
        }
        assert_eq!(bell.rings(), 0, "while the inner service did not answer");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn whoever_polled_last_is_woken_when_the_inner_service_becomes_ready() {
    each(async |kind| {
        let (ledger, probe) = Ledger::scripted(Ready::No, Reply::Echo);
        let (first, last, mut service) = (Bell::new(), Bell::new(), kind.make().wrap(probe));
        let parks = ready_once(&mut service, &first).is_pending();
        let mut answer = None;
        if parks {
            assert!(ready_once(&mut service, &last).is_pending());
        } else {
            let answer = answer.insert(service.call(7));
            assert!(poll_once(answer, &first).is_pending());
            assert!(poll_once(answer, &last).is_pending());
        }
        ledger.set_ready(Ready::Yes);
        assert!(last.rings() > 0, "the wake was lost");
        let mut answer = answer.unwrap_or_else(|| {
            assert_eq!(now(ready_once(&mut service, &last)), Ok(()));
            service.call(7)
        });
        assert_eq!(now(poll_once(&mut answer, &last)), Ok(7));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn whoever_polled_last_is_woken_when_the_inner_service_answers() {
    each(async |kind| {
        let (ledger, probe) = Ledger::scripted(Ready::Yes, Reply::Never);
        let (first, last, mut service) = (Bell::new(), Bell::new(), kind.make().wrap(probe));
        now(ready_once(&mut service, &first)).unwrap();
        let mut answer = service.call(7);
        assert!(poll_once(&mut answer, &first).is_pending());
        assert!(poll_once(&mut answer, &last).is_pending());
        ledger.set_reply(Reply::Echo);
        assert!(last.rings() > 0, "the wake was lost");
        assert_eq!(now(poll_once(&mut answer, &last)), Ok(7));
    })
    .await;
}

// ===== over tower's own =====

/// `calls` in a row, each awaited before the next: on one service, on a clone each, and on a clone
/// that is readied by nobody.
async fn one_after_the_other(service: Boxed, calls: u32) {
    let mut one = service.clone();
    for nth in 0..calls {
        assert_eq!(one.ready().await.unwrap().call(nth).await, Ok(nth));
        assert_eq!(service.clone().oneshot(nth).await, Ok(nth));
        assert_eq!(service.clone().call(nth).await, Ok(nth));
    }
}

/// Many tasks at a time, on clones of one service.
async fn all_at_once(service: Boxed, tasks: u32) {
    let tasks: Vec<_> = (0..tasks)
        .map(|nth| {
            let service = service.clone();
            tokio::spawn(async move { (nth, service.oneshot(nth).await) })
        })
        .collect();
    for task in tasks {
        let (nth, answer) = task.await.unwrap();
        assert_eq!(answer, Ok(nth));
    }
}

async fn within_limit(what: impl Future<Output = ()>) {
    timeout(LIMIT / 2, what).await.expect("it hangs");
}

// pitfalls B2, B33: nobody waits with a reservation in hand
#[tokio::test(start_paused = true)]
async fn it_works_over_a_concurrency_limit_of_one() {
    each(async |kind| {
        let (ledger, probe) = Ledger::scripted(Ready::Yes, Reply::After(2));
        let limited = Boxed::new(ConcurrencyLimit::new(probe, 1));
        within_limit(async {
            one_after_the_other(kind.make().wrap(limited.clone()), 3).await;
            all_at_once(kind.make().wrap(limited.clone()), 20).await;
        })
        .await;
        drop(limited);
        ledger.assert_at_rest();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn it_works_over_an_inner_service_that_counts_reservations_against_its_capacity() {
    each(async |kind| {
        let (ledger, probe) = Ledger::scripted(Ready::Yes, Reply::After(2));
        ledger.set_capacity(1);
        within_limit(async {
            one_after_the_other(kind.make().wrap(probe.clone()), 3).await;
            all_at_once(kind.make().wrap(probe.clone()), 20).await;
        })
        .await;
        ledger.assert_at_rest();
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn it_works_over_a_buffer() {
    each(async |kind| {
        let (ledger, probe) = Ledger::scripted(Ready::Yes, Reply::After(2));
        let limited = ConcurrencyLimit::new(probe, 1);
        let buffered = Buffer::new(limited, 1).map_err(|error| match error.downcast::<Fail>() {
            Ok(fail) => *fail,
            Err(error) => panic!("the buffer failed: {error}"),
        });
        let buffered = Boxed::new(buffered);
        within_limit(async {
            one_after_the_other(kind.make().wrap(buffered.clone()), 3).await;
            all_at_once(kind.make().wrap(buffered.clone()), 20).await;
        })
        .await;
        ledger.assert_never_called_unready();
    })
    .await;
}
