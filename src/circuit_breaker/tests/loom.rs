//! Every interleaving of a few callers and hands around one machine under traffic.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use ::loom::future::block_on;
use ::loom::thread;

use super::*;
use crate::circuit_breaker::Trip;
use crate::circuit_breaker::engine::common::Common;
use crate::circuit_breaker::engine::shared::{Admission, Shared};
use crate::circuit_breaker::outage::Listeners;
use crate::circuit_breaker::policy::BreakerPolicy;
use crate::core::config::Written;
use crate::core::error::Measurement;
use crate::core::origin::Origin;
use crate::core::outcome::Outcome;
use crate::core::time::still;
use crate::shell::keyed::{Keyed, Settings};
use crate::shell::tests::loom::check;
use crate::shell::waiters::WakerSlot;

fn config(trip: Trip) -> Config {
    Config { trip, ..Config::default() }
}

fn common(trip: Trip) -> Arc<Common> {
    let origin = Origin::new("circuit_breaker", "test");
    let settings = Settings::new(config(trip).into(), &Written::default(), &origin).unwrap();
    Common::new(origin, Listeners::default(), settings, 1)
}

fn breaker(trip: Trip) -> Arc<Shared> {
    Arc::new(Shared::new(common(trip), None))
}

fn pass(shared: &Shared) -> Pass {
    match shared.admit() {
        Admission::Pass(pass) => pass,
        Admission::Rejected(rejection) => panic!("rejected until {:?}", rejection.until),
    }
}

fn fail(shared: &Shared) {
    let pass = pass(shared);
    shared.settle(&pass, &Outcome::FAILURE);
}

/// One call trips the circuit while another passes. The read of the digest is the moment at which
/// that one passes or not: if it passed, it passed before the trip, whenever it ends.
#[test]
fn a_call_passes_before_a_trip_or_is_rejected_after_it() {
    check(|| {
        let shared = breaker(Trip::consecutive(1));
        let other = Arc::clone(&shared);
        let caller = thread::spawn(move || match other.admit() {
            Admission::Pass(pass) => {
                assert_eq!(pass.epoch, 0);
                other.settle(&pass, &Outcome::SUCCESS);
            }
            Admission::Rejected(_) => {
                // `Open` may be published a moment later, but is decided.
                assert_eq!(other.changes().1, State::Open);
            }
        });
        fail(&shared);
        assert_eq!(shared.state(), State::Open);
        assert!(matches!(shared.admit(), Admission::Rejected(_)), "who tripped it knows");
        caller.join().unwrap();
        assert_eq!(shared.changes(), (1, State::Open, 1));
    });
}

/// A rejection without the lock says what the state that rejected was opened by, and nothing torn.
#[test]
fn a_rejection_tells_the_numbers_of_one_state() {
    check(|| {
        let shared = breaker(Trip::consecutive(1));
        fail(&shared);
        let other = Arc::clone(&shared);
        let caller = thread::spawn(move || {
            let Admission::Rejected(rejection) = other.admit() else { panic!("it is open") };
            let measurement = other.reject(rejection).measurement();
            let tripped = Measurement::Count { observed: 1, threshold: 1 };
            assert!([Measurement::Nothing, tripped].contains(&measurement), "{measurement:?}");
        });
        let _ = shared.step(Input::Command(Command::HoldOpen));
        caller.join().unwrap();
    });
}

// pitfall B1
#[test]
fn of_two_who_come_when_the_rest_is_over_one_probes() {
    check(|| {
        let shared = breaker(Trip::consecutive(1));
        fail(&shared);
        still::set(Duration::from_millis(100));
        let probes = |shared: &Shared| match shared.admit() {
            Admission::Pass(pass) => Some(pass),
            Admission::Rejected(_) => None,
        };
        let other = Arc::clone(&shared);
        let caller = thread::spawn(move || probes(&other));
        let here = probes(&shared);
        let there = caller.join().unwrap();
        assert!(here.is_some() != there.is_some(), "{here:?} and {there:?}");
    });
}

// pitfall B2: a probe that is given up while others ask gives its slot to one of those who ask later
#[test]
fn a_slot_is_never_lost() {
    check(|| {
        let shared = breaker(Trip::consecutive(1));
        fail(&shared);
        still::set(Duration::from_millis(100));
        let probe = pass(&shared);
        let other = Arc::clone(&shared);
        let caller = thread::spawn(move || other.abandon(probe));
        let early = shared.admit();
        caller.join().unwrap();
        match (early, shared.admit()) {
            (Admission::Pass(_), Admission::Rejected(_)) => {}
            (Admission::Rejected(_), Admission::Pass(_)) => {}
            _ => panic!("one slot, one call"),
        }
    });
}

/// Whoever waits for the inner service is woken by a trip, wherever it falls.
#[test]
fn no_trip_is_slept_through() {
    check(|| {
        let shared = breaker(Trip::consecutive(1));
        let other = Arc::clone(&shared);
        let caller = thread::spawn(move || fail(&other));
        let mut waker_slot = WakerSlot::default();
        block_on(poll_fn(|cx| {
            loop {
                let Some(epoch) = shared.passing_epoch() else { return Poll::Ready(()) };
                if shared.wait(&mut waker_slot, epoch, cx.waker()) {
                    return Poll::Pending;
                }
            }
        }));
        shared.leave(&mut waker_slot);
        caller.join().unwrap();
        assert_eq!(shared.state(), State::Open);
    });
}

// pitfall B26: two reloads at once, one of which takes its time to arrive
#[test]
fn an_older_reload_does_not_come_after_a_newer_one() {
    check(|| {
        let shared = breaker(Trip::consecutive(9));
        shared.common.reload(None, &config(Trip::evidence(0.3, 0.7, 1_000))).unwrap();
        let other = Arc::clone(&shared);
        let slow = thread::spawn(move || other.inspect(|_, _, _| ()));
        shared.common.reload(None, &config(Trip::consecutive(5))).unwrap();
        fail(&shared);
        slow.join().unwrap();
        let gathered = shared.inspect(|breaker, params, now| breaker.gathered(params, now));
        assert_eq!(gathered, Measurement::Count { observed: 1, threshold: 5 });
    });
}

// ===== keys =====

fn table(most: usize) -> Arc<Keyed<BreakerPolicy<()>>> {
    let common = common(Trip::consecutive(1));
    let shared = Arc::clone(&common);
    let make = move |key| BreakerPolicy::new(Arc::clone(&shared), (), Some(key));
    Arc::new(Keyed::new(common, most, make))
}

// pitfall B24: what is not at rest is not evicted, even if it was a moment ago
#[test]
fn a_key_that_just_tripped_keeps_its_place() {
    check(|| {
        let keyed = table(1);
        drop(keyed.enter("a"));
        let overflow = Arc::as_ptr(&keyed.enter(&"too long".repeat(100)));
        let other = Arc::clone(&keyed);
        let newcomer = thread::spawn(move || drop(other.enter("b")));
        let cell = keyed.enter("a");
        let address = Arc::as_ptr(&cell);
        fail(&cell.shared);
        drop(cell);
        newcomer.join().unwrap();
        let held = keyed.find("a").is_some_and(|cell| Arc::as_ptr(&cell) == address);
        // It may have come while the newcomer had its place, and shared the overflow with others.
        assert!(held || address == overflow, "a trip was forgotten");
    });
}
