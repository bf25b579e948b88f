//! Every interleaving of a few callers at the door of a bulkhead: its word and its line.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use ::loom::future::block_on;
use ::loom::sync::atomic::{AtomicU32, Ordering};
use ::loom::thread;

use super::super::common::Common;
use super::super::config::Config;
use super::super::limiter::{Entry, Limiter as Policy};
use super::super::machine::Occupancy;
use crate::core::config::Written;
use crate::core::event::Observers;
use crate::core::origin::Origin;
use crate::shell::keyed::Settings;
use crate::shell::queue::{Standing, Ticket};
use crate::shell::reporter::Reporter;
use crate::shell::tests::loom::{be_thread, check};

fn bulkhead(limit: u32, queue: u32) -> Arc<Policy> {
    let origin = Origin::new("bulkhead", "test");
    let settings =
        Settings::new(config(limit, queue).into(), &Written::default(), &origin).unwrap();
    let common = Common::new(Reporter::new(origin, Observers::default()), settings);
    Arc::new(Policy::new(common, None))
}

fn config(limit: u32, queue: u32) -> Config {
    Config { limit, queue, ..Config::default() }
}

/// Waits until it is inside. Loom finds out if that never comes.
fn arrive(policy: &Policy, number: &Ticket) {
    let standing = block_on(poll_fn(|cx| match policy.look(number, cx.waker()) {
        Standing::Waiting => Poll::Pending,
        standing => Poll::Ready(standing),
    }));
    assert_eq!(standing, Standing::Placed);
}

/// A call: in, if need be after a wait, and out.
fn call(policy: &Policy) {
    match policy.stand() {
        Entry::Inside => {}
        Entry::Queued(number) => arrive(policy, &number),
        Entry::Full(measurement) | Entry::TooDear(measurement) => {
            panic!("who stands is never rejected: {measurement:?}")
        }
    }
    let Occupancy { inside, .. } = policy.occupancy();
    assert!((1..=2).contains(&inside), "{inside} inside");
    policy.leave(1);
}

fn is_empty(policy: &Policy) {
    let Occupancy { inside, waiting, .. } = policy.occupancy();
    assert_eq!((inside, waiting), (0, 0));
    assert!(policy.enter(1), "the place is free");
    policy.leave(1);
}

// pitfalls B11, B12
#[test]
fn who_waits_gets_the_place_of_one_who_leaves() {
    check(|| {
        let policy = bulkhead(1, 2);
        let callers = [(); 2].map(|()| {
            let policy = Arc::clone(&policy);
            thread::spawn(move || call(&policy))
        });
        call(&policy);
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        is_empty(&policy);
    });
}

// pitfall B11
#[test]
fn who_gives_up_hands_on_what_it_was_just_given() {
    check(|| {
        let policy = bulkhead(1, 2);
        assert!(policy.enter(1));
        let Entry::Queued(first) = policy.stand() else { panic!("it is full") };
        let other = Arc::clone(&policy);
        let impatient = thread::spawn(move || other.give_up(&first, 1));
        let third = Arc::clone(&policy);
        let caller = thread::spawn(move || call(&third));
        policy.leave(1);
        impatient.join().unwrap();
        caller.join().unwrap();
        is_empty(&policy);
    });
}

// pitfall B26: whoever asks under the old limit must not wait in front of the new room
#[test]
fn more_room_lets_those_in_who_wait() {
    check(|| {
        let policy = bulkhead(1, 1);
        assert!(policy.enter(1)); // and stays
        let other = Arc::clone(&policy);
        let caller = thread::spawn(move || call(&other));
        policy.reload(&config(2, 1)).unwrap();
        caller.join().unwrap();
        policy.leave(1);
        is_empty(&policy);
    });
}

// weights: who is in the way and leaves lets those behind it in
#[test]
fn one_who_waits_for_much_and_gives_up_lets_those_behind_it_in() {
    check(|| {
        let policy = bulkhead(2, 2);
        assert!(policy.enter(1)); // and stays
        let Entry::Queued(heavy) = policy.ask(None, 2) else { panic!("there is one place") };
        let other = Arc::clone(&policy);
        let caller = thread::spawn(move || call(&other));
        policy.give_up(&heavy, 2);
        caller.join().unwrap();
        policy.leave(1);
        is_empty(&policy);
    });
}

// weights: nobody waits for more places than there are
#[test]
fn one_who_needs_more_than_a_lower_limit_is_sent_away() {
    check(|| {
        let policy = bulkhead(2, 2);
        assert!(policy.enter(1)); // and stays
        let other = Arc::clone(&policy);
        let heavy = thread::spawn(move || match other.ask(None, 2) {
            Entry::Queued(number) => {
                let standing = block_on(poll_fn(|cx| match other.look(&number, cx.waker()) {
                    Standing::Waiting => Poll::Pending,
                    standing => Poll::Ready(standing),
                }));
                assert_eq!(standing, Standing::Barred);
            }
            Entry::TooDear(_) => {}
            _ => panic!("there is one place, or one at all"),
        });
        policy.reload(&config(1, 2)).unwrap();
        heavy.join().unwrap();
        policy.leave(1);
        is_empty(&policy);
    });
}

/// One whose threads keep places.
fn spread(limit: u32, queue: u32) -> Arc<Policy> {
    let policy = bulkhead(limit, queue);
    policy.places.spread(limit);
    assert!(policy.places.may_be_kept());
    policy
}

/// Two callers, each in a lane of its own.
fn two(policy: &Arc<Policy>, call: impl Fn(&Policy, usize) + Send + Sync + 'static) {
    let call = Arc::new(call);
    let callers = [0, 1].map(|lane| {
        let (policy, call) = (Arc::clone(policy), Arc::clone(&call));
        thread::spawn(move || {
            be_thread(lane);
            call(&policy, lane);
        })
    });
    callers.into_iter().for_each(|caller| caller.join().unwrap());
    is_empty(policy);
}

// pitfall B12
#[test]
fn nobody_is_rejected_while_a_place_is_kept() {
    check(|| {
        two(&spread(2, 0), |policy, _| {
            for _ in 0..2 {
                assert!(policy.enter(1), "there is one for each");
                policy.leave(1);
            }
        });
    });
}

// pitfall B12: one calls in what is kept just when another finds no room
#[test]
fn nobody_is_rejected_while_a_place_is_being_called_in() {
    check(|| {
        let policy = spread(3, 0);
        for lane in [0, 1] {
            be_thread(lane);
            assert!(policy.enter(1));
            policy.leave(1);
        }
        let callers = [0, 0, 1].map(|lane| {
            let policy = Arc::clone(&policy);
            thread::spawn(move || {
                be_thread(lane);
                assert!(policy.enter(1), "there is one for each");
            })
        });
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        policy.leave(3);
        is_empty(&policy);
    });
}

// pitfall B12
#[test]
fn never_more_are_inside_than_there_are_places() {
    check(|| {
        let inside = AtomicU32::new(0);
        two(&spread(2, 0), move |policy, lane| {
            for &cost in [&[1, 1][..], &[2]][lane] {
                if policy.enter(cost) {
                    let before = inside.fetch_add(cost, Ordering::Relaxed);
                    assert!(before + cost <= 2, "there are not so many places");
                    inside.fetch_sub(cost, Ordering::Relaxed);
                    policy.leave(cost);
                }
            }
        });
    });
}

// pitfall B11: one who leaves keeps its place just when another begins to wait for one
#[test]
fn who_waits_gets_a_place_that_is_just_being_kept() {
    check(|| two(&spread(1, 2), |policy, _| call(policy)));
}
