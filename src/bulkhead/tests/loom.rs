//! Every interleaving of a few callers at the door of a bulkhead: its word and its line.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use ::loom::future::block_on;
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
use crate::shell::tests::loom::check;

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
    assert_eq!(policy.occupancy(), Occupancy::default());
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
