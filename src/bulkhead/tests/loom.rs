//! Every interleaving of a few callers at the door of a bulkhead: its word and its line.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use ::loom::future::block_on;
use ::loom::thread;

use super::super::config::Config;
use super::super::machine::{Law, Occupancy};
use super::super::policy::{Entry, Policy};
use crate::event::Observers;
use crate::shell::queue::{Number, Standing};
use crate::shell::reporter::Reporter;
use crate::shell::tests::loom::check;
use crate::source::Source;

fn bulkhead(limit: u32, queue: u32) -> Arc<Policy> {
    let (law, config) = config(limit, queue);
    let reporter = Reporter::new(Source::new("bulkhead", "test"), Observers::default());
    Arc::new(Policy::new(reporter, law, config))
}

fn config(limit: u32, queue: u32) -> (Law, Config) {
    let config = Config { limit, queue, ..Config::default() };
    (Law::from_config(&config).unwrap(), config)
}

/// Waits until it is inside. Loom finds out if that never comes.
fn arrive(policy: &Policy, number: &Number) {
    let standing = block_on(poll_fn(|cx| match policy.look(number, cx.waker()) {
        Standing::Waiting => Poll::Pending,
        standing => Poll::Ready(standing),
    }));
    assert_eq!(standing, Standing::Placed);
}

/// A call: in, if need be after a wait, and out.
fn call(policy: &Policy) {
    match policy.ask(None, true) {
        Entry::Inside => {}
        Entry::Queued(number) => arrive(policy, &number),
        Entry::Full(measured) => panic!("who stands is never refused: {measured:?}"),
    }
    let Occupancy { inside, .. } = policy.occupancy();
    assert!((1..=2).contains(&inside), "{inside} inside");
    policy.leave(false);
}

fn is_empty(policy: &Policy) {
    assert_eq!(policy.occupancy(), Occupancy::default());
    assert!(policy.enter(), "the place is free");
    policy.leave(false);
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
        assert!(policy.enter());
        let Entry::Queued(first) = policy.ask(None, true) else { panic!("it is full") };
        let other = Arc::clone(&policy);
        let impatient = thread::spawn(move || other.give_up(&first));
        let third = Arc::clone(&policy);
        let caller = thread::spawn(move || call(&third));
        policy.leave(false);
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
        assert!(policy.enter()); // and stays
        let other = Arc::clone(&policy);
        let caller = thread::spawn(move || call(&other));
        let (law, config) = config(2, 1);
        policy.reload(law, config);
        caller.join().unwrap();
        policy.leave(false);
        is_empty(&policy);
    });
}
