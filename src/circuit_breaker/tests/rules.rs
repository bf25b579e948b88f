//! When each rule has seen enough.

use super::*;
use crate::circuit_breaker::Trip;
use crate::circuit_breaker::transition::TransitionCause;
use crate::{Measurement, Signal::Failure, Signal::Success};

fn by(trip: Trip) -> Lab {
    Lab::with(|config| config.trip = trip)
}

impl Lab {
    /// A call that took so long before it was answered.
    fn took(&mut self, nanos: u64, signal: Signal) {
        let mut pass = self.admit();
        pass.started = Some(self.now);
        self.wait(nanos);
        let sample = Sample { took: Some(nanos), ..sample(signal) };
        let _ = self.step(Input::CallGuard { pass, sample });
    }

    /// A call that is still in flight when it grows slow.
    fn grows_slow(&mut self) -> Pass {
        let pass = self.admit();
        self.overdue(pass)
    }

    fn overdue(&mut self, mut pass: Pass) -> Pass {
        pass.overdue = true;
        let _ = self.step(Input::Overdue { pass });
        pass
    }

    fn opened_by(&self) -> Option<TransitionCause> {
        (self.state() == State::Open).then(|| self.changes.last().unwrap().cause)
    }
}

// pitfall B9: all comparisons are "at least"
#[test]
fn the_boundary_belongs_to_the_threshold_in_every_rule() {
    let slow = |rate| Trip::slow_rate(rate, Duration::from_secs(1)).over_calls(10);
    #[rustfmt::skip]
    let table: [(Trip, usize, usize, bool); 15] = [
        // rule, good calls, then bad ones, opens?
        (Trip::consecutive(1), 9, 1, true),
        (Trip::consecutive(5), 9, 4, false),
        (Trip::consecutive(5), 9, 5, true),
        (Trip::failure_rate(0.5), 50, 49, false),
        (Trip::failure_rate(0.5), 50, 50, true),
        (Trip::failure_rate(0.501), 50, 50, false),
        (Trip::failure_rate(0.001).over_calls(1_000), 999, 1, true),
        (Trip::failure_rate(0.001).over_calls(1_001).at_least(1_001), 1_000, 1, false),
        (Trip::failure_rate(1.0).over_calls(1), 0, 1, true),
        (Trip::failure_rate(1.0).over_calls(3), 0, 2, false),
        (Trip::failure_rate(1.0).over_calls(3), 1, 3, true),
        (Trip::failure_rate(0.1).at_least(20), 18, 1, false),
        (Trip::failure_rate(0.05).at_least(20), 19, 1, true),
        (Trip::failure_rate(0.5).over_time(Duration::from_secs(1)), 10, 9, false),
        (Trip::failure_rate(0.5).over_time(Duration::from_secs(1)), 10, 10, true),
    ];
    for (trip, good, bad, opens) in table {
        let mut lab = by(trip.clone());
        lab.calls(Success, good);
        for _ in 0..bad {
            assert_eq!(lab.state(), State::Closed, "early: {trip:?}");
            let _ = lab.call(Failure);
        }
        assert_eq!(lab.state() == State::Open, opens, "{trip:?} on {bad} after {good} good ones");
    }
    for (nanos, opens) in [(SECOND - 1, false), (SECOND, true)] {
        let mut lab = by(slow(1.0));
        for _ in 0..10 {
            lab.took(nanos, Success);
        }
        assert_eq!(lab.opened_by(), opens.then_some(TransitionCause::SlowRate), "{nanos} ns");
    }
}

#[test]
fn a_window_over_calls_slides() {
    // class (i): a lifetime average would need thousands of failures here
    let mut lab = by(Trip::failure_rate(0.5));
    lab.calls(Success, 10_000);
    assert_eq!(lab.trip(), 50);
}

// pitfall B8
#[test]
fn a_window_over_time_forgets_what_is_older() {
    let mut lab = by(Trip::failure_rate(0.5).over_time(Duration::from_secs(10)));
    lab.calls(Failure, 9);
    lab.wait(10 * SECOND);
    lab.calls(Failure, 9);
    assert_eq!(lab.state(), State::Closed, "never ten calls within ten seconds");
    let _ = lab.call(Failure);
    assert_eq!(lab.opened_by(), Some(TransitionCause::FailureRate));
}

#[test]
fn evidence_is_dropped_when_no_call_was_seen_for_the_memory() {
    for trip in [Trip::default(), Trip::consecutive(17), Trip::failure_rate(1.0).at_least(17)] {
        let mut lab = by(trip.clone());
        lab.calls(Failure, 16);
        let mut remembers = lab.clone();
        remembers.wait(300 * SECOND);
        let _ = remembers.call(Failure);
        assert_eq!(remembers.state(), State::Open, "{trip:?}");
        lab.wait(300 * SECOND + 1);
        lab.calls(Failure, 16);
        assert_eq!(lab.state(), State::Closed, "{trip:?}");
        let _ = lab.call(Failure);
        assert_eq!(lab.state(), State::Open, "{trip:?}");
    }
}

#[test]
fn calls_in_between_keep_old_evidence_alive() {
    let mut lab = by(Trip::default());
    for _ in 0..16 {
        let _ = lab.call(Failure);
        lab.wait(299 * SECOND);
    }
    let _ = lab.call(Failure);
    assert_eq!(lab.state(), State::Open);
}

#[test]
fn calls_that_hang_are_slow_before_anything_returns() {
    let mut lab = by(Trip::slow_rate(0.5, Duration::from_secs(1)));
    for nth in 1..=10 {
        assert_eq!(lab.state(), State::Closed, "before the {nth}th");
        lab.grows_slow();
    }
    assert_eq!(lab.opened_by(), Some(TransitionCause::SlowRate));
}

#[test]
fn a_call_that_grew_slow_is_counted_once_however_it_ends() {
    let mut lab = by(Trip::slow_rate(0.5, Duration::from_secs(1)).over_calls(20).at_least(20));
    for _ in 0..3 {
        let pass = lab.grows_slow();
        let slow = Sample { took: Some(2 * SECOND), ..sample(Success) };
        let _ = lab.step(Input::CallGuard { pass, sample: slow });
        let pass = lab.grows_slow();
        let _ = lab.settle(pass, Failure);
        let pass = lab.grows_slow();
        let _ = lab.leave(pass, 2 * SECOND);
    }
    for _ in 0..11 {
        lab.took(SECOND - 1, Success);
    }
    let expected = Measurement::SlowRate { observed: 450_000, threshold: 500_000 };
    assert_eq!(lab.machine.gathered(&lab.params, lab.now), expected, "nine of twenty");
}

#[test]
fn a_call_of_an_earlier_era_that_grows_slow_says_nothing() {
    let trip = Trip::slow_rate(0.5, Duration::from_secs(1)).over_calls(10).at_least(1);
    let mut lab = by(trip);
    let pass = lab.admit();
    lab.command(Command::Reset);
    lab.overdue(pass);
    assert_eq!(lab.state(), State::Closed);
    lab.grows_slow();
    assert_eq!(lab.opened_by(), Some(TransitionCause::SlowRate));
}

#[test]
fn a_slow_probe_is_a_failed_one_and_counts_once() {
    let mut lab = by(Trip::slow_rate(1.0, Duration::from_secs(1)).or(Trip::consecutive(5)));
    lab.trip();
    lab.break_duration();
    lab.took(SECOND, Success);
    assert_eq!(lab.state(), State::Open);
    lab.break_duration();
    lab.calls(Success, 1);
    let flying = [lab.admit(), lab.admit()];
    for pass in flying.map(|pass| lab.overdue(pass)) {
        let _ = lab.settle(pass, Success);
    }
    assert_eq!(lab.state(), State::HalfOpen, "two slow ones are a lead of two");
    lab.grows_slow();
    assert_eq!(lab.state(), State::Open);
}

#[test]
fn any_of_several_rules_suffices_and_the_one_that_tripped_is_named() {
    let trip = Trip::consecutive(5)
        .or(Trip::failure_rate(0.5).over_calls(20).at_least(20))
        .or(Trip::slow_rate(0.8, Duration::from_secs(1)).over_calls(10).at_least(10));
    let mut in_a_row = by(trip.clone());
    in_a_row.calls(Failure, 5);
    assert_eq!(in_a_row.opened_by(), Some(TransitionCause::Consecutive));
    let measurement = in_a_row.changes[0].measurement;
    assert_eq!(measurement, Measurement::Count { observed: 5, threshold: 5 });

    let mut half = by(trip.clone());
    for _ in 0..10 {
        let _ = half.call(Success);
        let _ = half.call(Failure);
    }
    assert_eq!(half.opened_by(), Some(TransitionCause::FailureRate));
    let measurement = half.changes[0].measurement;
    assert_eq!(measurement, Measurement::FailureRate { observed: 500_000, threshold: 500_000 });

    let mut slow = by(trip);
    for nth in 0..10 {
        slow.took(if nth < 2 { 0 } else { SECOND }, Success);
    }
    assert_eq!(slow.opened_by(), Some(TransitionCause::SlowRate));
    let measurement = slow.changes[0].measurement;
    assert_eq!(measurement, Measurement::SlowRate { observed: 800_000, threshold: 800_000 });
}

#[test]
fn a_quiet_breaker_is_one_that_a_fast_success_would_not_change() {
    let rules = [
        Trip::default(),
        Trip::consecutive(3),
        Trip::failure_rate(0.5).over_calls(8),
        Trip::failure_rate(0.5).over_time(Duration::from_secs(1)),
        Trip::default().or(Trip::failure_rate(0.5).over_calls(5)),
    ];
    let mut quiet_seen = 0;
    let mut rng = fastrand::Rng::with_seed(3);
    for trip in rules {
        for _ in 0..200 {
            let mut lab = by(trip.clone());
            lab.wait(YEAR);
            for _ in 0..rng.usize(0..40) {
                let signal = if rng.u8(..) < 40 { Failure } else { Success };
                let _ = lab.call(signal);
                if lab.state() != State::Closed {
                    break;
                }
                if lab.machine.digest(&lab.params).quiet {
                    quiet_seen += 1;
                    let mut after = lab.clone();
                    let _ = after.call(Success);
                    assert_eq!(after.machine.gathered(&after.params, after.now), {
                        lab.machine.gathered(&lab.params, lab.now)
                    });
                    assert!(after.machine.digest(&after.params).quiet, "{trip:?}");
                }
            }
        }
    }
    assert!(quiet_seen > 1_000, "{quiet_seen}");
}
