//! Every interleaving of a few callers at one bucket and its queue. Time stands still.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ::loom::future::block_on;
use ::loom::thread;

use super::super::common::Common;
use super::super::config::Config;
use super::super::limiter::{Limiter, Waiter};
use crate::core::config::Written;
use crate::core::event::Observers;
use crate::core::origin::Origin;
use crate::shell::keyed::Settings;
use crate::shell::reporter::Reporter;
use crate::shell::tests::loom::check;

fn limiter(burst: u32, queue: u32) -> Arc<Limiter> {
    let origin = Origin::new("rate_limit", "test");
    let settings = Settings::new(config(10, burst, queue).into(), &Written::default(), &origin);
    let common = Common::new(Reporter::new(origin, Observers::default()), settings.unwrap());
    Arc::new(Limiter::new(common, None))
}

fn config(limit: u32, burst: u32, queue: u32) -> Config {
    let max_wait = Duration::from_secs(60);
    Config { limit, burst: Some(burst), queue, max_wait, ..Config::default() }
}

/// A call: its turn at once, or its place in the queue.
fn ask(limiter: &Limiter) -> Result<(), Waiter> {
    let now = limiter.now();
    match limiter.pass(1, now) {
        Some(_) => Ok(()),
        None => Err(limiter.wait_or_reject(1, now, None).expect("there is room in the queue")),
    }
}

/// Waits until its turn has come. Loom finds out if it is never told.
fn arrive(limiter: &Limiter, waiter: Waiter) {
    let mut waiter = Some(waiter);
    block_on(poll_fn(|cx| {
        let Some(waits) = waiter.take() else { return Poll::Ready(()) };
        waiter = limiter.wait(waits, limiter.now(), cx).expect("it is patient");
        if waiter.is_some() { Poll::Pending } else { Poll::Ready(()) }
    }));
}

// pitfall B10
#[test]
fn a_burst_is_passed_by_as_many_as_are_in_it() {
    check(|| {
        let limiter = limiter(2, 0);
        let callers = [(); 2].map(|()| {
            let limiter = Arc::clone(&limiter);
            thread::spawn(move || u32::from(limiter.pass(1, limiter.now()).is_some()))
        });
        let mut passed = u32::from(limiter.pass(1, limiter.now()).is_some());
        passed += callers.into_iter().map(|caller| caller.join().unwrap()).sum::<u32>();
        assert_eq!((passed, limiter.available()), (2, 0));
    });
}

// pitfall B11
#[test]
fn one_who_waits_is_told_when_a_turn_before_it_comes_back() {
    check(|| {
        let limiter = limiter(1, 2);
        let used = limiter.pass(1, limiter.now()).expect("it is the first");
        let other = Arc::clone(&limiter);
        let caller = thread::spawn(move || {
            if let Err(waiter) = ask(&other) {
                arrive(&other, waiter);
            }
        });
        limiter.put_back(used);
        caller.join().unwrap();
        assert_eq!((limiter.queued(), limiter.available()), (0, 0));
    });
}

// pitfalls B11, B12
#[test]
fn one_who_gives_up_leaves_its_turn_to_those_behind_it() {
    check(|| {
        let limiter = limiter(1, 3);
        let used = limiter.pass(1, limiter.now()).expect("it is the first");
        let Err(first) = ask(&limiter) else { panic!("the bucket is empty") };
        let Err(second) = ask(&limiter) else { panic!("the bucket is empty") };
        let other = Arc::clone(&limiter);
        let waits = thread::spawn(move || arrive(&other, second));
        let other = Arc::clone(&limiter);
        let gives_up = thread::spawn(move || other.cancel(&first.ticket));
        limiter.put_back(used);
        waits.join().unwrap();
        gives_up.join().unwrap();
        assert_eq!((limiter.queued(), limiter.available()), (0, 0));
    });
}

// pitfall B26
#[test]
fn a_call_is_charged_once_whichever_settings_it_meets() {
    check(|| {
        let limiter = limiter(4, 0);
        let other = Arc::clone(&limiter);
        let caller = thread::spawn(move || assert!(other.pass(1, other.now()).is_some()));
        limiter.reload(&config(20, 4, 0)).unwrap();
        caller.join().unwrap();
        assert_eq!(limiter.available(), 3);
    });
}
