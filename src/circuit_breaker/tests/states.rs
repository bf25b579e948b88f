//! Every state, what it rejects, and the ways out of it.

use super::*;
use crate::circuit_breaker::engine::step::Wake;
use crate::circuit_breaker::transition::TransitionCause;

#[test]
fn seventeen_failures_open_it_cold_or_after_a_healthy_year() {
    assert_eq!(Lab::with(|_| ()).trip(), 17);
    let mut lab = Lab::with(|_| ());
    lab.calls(Signal::Success, 10_000);
    lab.wait(YEAR);
    assert_eq!(lab.trip(), 17);
}

#[test]
fn an_open_circuit_rejects_every_call_until_its_rest_is_over() {
    let mut lab = Lab::with(|_| ());
    lab.trip();
    let break_duration = lab.break_left();
    for _ in 0..100 {
        let Decision::Reject { until, .. } = lab.step(Input::Admit).decision else {
            panic!("let through at {:?}", lab.now);
        };
        assert_eq!(until.since(lab.now), lab.break_left());
        lab.wait(break_duration / 101);
    }
    lab.break_duration();
    lab.now = Tick(lab.now.0 - 1);
    assert!(lab.try_admit().is_none());
    lab.wait(1);
    assert!(lab.try_admit().is_some());
    assert_eq!(lab.state(), State::HalfOpen);
}

#[test]
fn seven_good_answers_in_a_row_close_it_and_the_first_is_not_counted_twice() {
    let mut lab = Lab::with(|_| ());
    lab.trip();
    assert_eq!(lab.recover(), 7);
    let path: Vec<_> = lab.changes.iter().map(|change| (change.to, change.cause)).collect();
    let expected = [
        (State::Open, TransitionCause::Evidence),
        (State::HalfOpen, TransitionCause::BreakOver),
        (State::Closed, TransitionCause::ProbesSucceeded),
    ];
    assert_eq!(path, expected);
}

#[test]
fn the_first_answer_decides_alone_if_it_is_bad() {
    let mut lab = Lab::with(|_| ());
    lab.trip();
    lab.break_duration();
    let _ = lab.call(Signal::Failure);
    assert_eq!(lab.state(), State::Open);
}

#[test]
fn after_the_first_answer_a_lead_of_three_failures_opens_it_again() {
    let mut lab = Lab::with(|_| ());
    lab.trip();
    lab.break_duration();
    let answers =
        [Signal::Success, Signal::Success, Signal::Failure, Signal::Failure, Signal::Failure];
    for signal in answers {
        let _ = lab.call(signal);
        assert_eq!(lab.state(), State::HalfOpen, "{signal:?}");
    }
    let _ = lab.call(Signal::Failure);
    assert_eq!(lab.state(), State::Open);
}

// pitfalls B1, (c)
#[test]
fn probes_at_a_time_double_with_each_good_answer_halve_with_each_bad_one_and_are_capped() {
    let mut lab = Lab::with(|config| (config.probes, config.close_threshold) = (4, 100));
    lab.trip();
    lab.break_duration();
    let mut flying = Vec::new();
    let plan = [
        (Signal::Success, 2),
        (Signal::Success, 4),
        (Signal::Success, 4),
        (Signal::Failure, 2),
        (Signal::Failure, 1),
        (Signal::Failure, 1),
        (Signal::Success, 2),
    ];
    flying.push(lab.admit());
    assert!(lab.try_admit().is_none());
    for (signal, allowed) in plan {
        let pass = flying.pop().unwrap();
        let _ = lab.settle(pass, signal);
        while let Some(pass) = lab.try_admit() {
            flying.push(pass);
        }
        // Those that were let through before a bad answer fly on, but nobody joins them.
        assert!(flying.len() >= allowed, "after {signal:?}: {} fly", flying.len());
        while flying.len() > allowed {
            let pass = flying.pop().unwrap();
            let _ = lab.settle(pass, Signal::Ignored);
        }
        assert!(lab.try_admit().is_none(), "more than {allowed} at a time after {signal:?}");
    }
}

// pitfall B2
#[test]
fn an_answer_that_says_nothing_gives_its_slot_back_and_decides_nothing() {
    let mut lab = Lab::with(|_| ());
    lab.trip();
    lab.break_duration();
    for signal in [Signal::Ignored, Signal::Pushback].repeat(1_000) {
        let _ = lab.call(signal);
        assert_eq!(lab.state(), State::HalfOpen);
    }
    let mut lab = Lab::with(|_| ());
    for signal in [Signal::Ignored, Signal::Pushback].repeat(1_000) {
        let _ = lab.call(signal);
    }
    assert!(lab.machine.digest(&lab.params).quiet);
}

// pitfall B2
#[test]
fn a_probe_that_never_comes_back_holds_up_the_next_for_one_rest_only() {
    let mut lab = Lab::with(|_| ());
    lab.trip();
    lab.break_duration();
    lab.admit();
    for _ in 0..50 {
        assert!(lab.try_admit().is_none());
        lab.wait(50 * MS - 1);
        assert!(lab.try_admit().is_none());
        lab.wait(1);
        assert!(lab.try_admit().is_some());
    }
}

// pitfall B4
#[test]
fn an_answer_from_an_earlier_era_is_late_and_decides_nothing() {
    for old in [Signal::Success, Signal::Failure, Signal::Pushback, Signal::Ignored] {
        let mut lab = Lab::with(|_| ());
        let before: Vec<_> = (0..200).map(|_| lab.admit()).collect();
        let (in_half_open, in_next_epoch) = before.split_at(100);
        lab.trip();
        lab.break_duration();
        let probe = lab.admit();
        for pass in in_half_open {
            assert_eq!(lab.settle(*pass, old).decision, Decision::Late);
            assert_eq!(lab.state(), State::HalfOpen);
            assert!(lab.try_admit().is_none(), "{old:?} of the past made room for a probe");
        }
        let _ = lab.settle(probe, Signal::Success);
        lab.calls(Signal::Success, 6);
        assert_eq!(lab.state(), State::Closed);
        let untouched = lab.machine.clone();
        for pass in in_next_epoch {
            assert_eq!(lab.settle(*pass, old).decision, Decision::Late);
            assert_eq!(lab.abandon(*pass).decision, Decision::Late);
        }
        assert_eq!(lab.machine, untouched, "{old:?} of the past left a trace");
    }
}

#[test]
fn every_slot_comes_back_whichever_way_its_call_ends() {
    let mut lab =
        Lab::with(|config| (config.close_threshold, config.reopen_threshold) = (10_000, 10_000));
    lab.trip();
    lab.break_duration();
    lab.calls(Signal::Success, 10);
    for round in 0..100 {
        let passes: Vec<_> = std::iter::from_fn(|| lab.try_admit()).collect();
        assert_eq!(passes.len(), 64, "round {round}");
        for (nth, mut pass) in passes.into_iter().enumerate() {
            pass.pending = nth % 2 == 0;
            let _ = match nth % 5 {
                0 | 1 => lab.abandon(pass),
                2 => lab.settle(pass, Signal::Ignored),
                3 => lab.settle(pass, Signal::Pushback),
                _ => lab.settle(pass, Signal::Success),
            };
        }
    }
}

#[test]
fn after_closing_calls_at_a_time_are_limited_for_no_longer_than_the_ramp() {
    let mut lab = Lab::with(|config| config.probes = 1);
    lab.trip();
    lab.recover();
    let hanging: Vec<_> = std::iter::from_fn(|| lab.try_admit()).collect();
    assert_eq!(hanging.len(), 2, "goes on from the one probe it had");
    let _ = lab.settle(hanging[0], Signal::Success);
    let more = std::iter::from_fn(|| lab.try_admit()).count();
    assert_eq!(more, 3, "twice two, of which one still flies");
    lab.wait(SECOND - 1);
    assert!(lab.try_admit().is_none());
    lab.wait(1);
    for _ in 0..1_000 {
        lab.admit();
    }
    assert!(lab.machine.digest(&lab.params).quiet);
}

#[test]
fn a_failure_after_closing_halves_how_many_may_call_at_a_time() {
    let mut lab = Lab::with(|config| config.probes = 4);
    lab.trip();
    lab.recover();
    let _ = lab.call(Signal::Failure);
    let hanging = std::iter::from_fn(|| lab.try_admit()).count();
    assert_eq!(hanging, 4, "half of twice four");
}

#[test]
fn a_slow_start_doubles_the_admitted_share_from_a_sixteenth() {
    let mut lab = Lab::with(|config| config.slow_start = Duration::from_secs(8));
    lab.trip();
    lab.recover();
    let mut rng = fastrand::Rng::with_seed(7);
    for share in [1.0 / 16.0, 1.0 / 8.0, 1.0 / 4.0, 1.0 / 2.0, 1.0] {
        let mut admitted = 0;
        for _ in 0..10_000 {
            lab.draw = rng.u64(..);
            if let Some(pass) = lab.try_admit() {
                admitted += 1;
                let _ = lab.settle(pass, Signal::Success);
            }
        }
        let seen = f64::from(admitted) / 10_000.0;
        assert!((seen - share).abs() < 0.02, "{seen} instead of {share}");
        lab.wait(2 * SECOND);
    }
}

#[test]
fn without_a_ramp_it_is_closed_for_good_at_once() {
    let mut lab = Lab::with(|config| config.ramp = Duration::ZERO);
    lab.trip();
    lab.recover();
    assert!(lab.machine.digest(&lab.params).quiet, "nothing is left that a success would change");
}

/// Whoever waits for a place hears of each one that comes free.
#[test]
fn as_many_look_again_as_may_go() {
    let mut lab = Lab::with(|_| ());
    lab.trip();
    lab.break_duration();
    let probe = lab.admit();
    assert_eq!(lab.settle(probe, Signal::Pushback).wake, Wake::Some(1), "its slot is free");
    for allowed in [2, 4, 8] {
        assert_eq!(lab.call(Signal::Success).wake, Wake::Some(allowed));
    }
    assert_eq!(lab.call(Signal::Failure).wake, Wake::Some(4));
}

#[test]
fn its_digest_says_until_when_it_rejects_every_call() {
    let mut lab = Lab::with(|_| ());
    let until = |lab: &Lab| lab.machine.digest(&lab.params).reject_until;
    assert_eq!(until(&lab), Tick::ZERO);
    lab.trip();
    assert_eq!(Some(until(&lab)), lab.machine.probes_at());
    let mut shadow = lab.clone();
    shadow.params.shadow = true;
    assert_eq!(until(&shadow), Tick::ZERO, "in shadow it rejects none");
    lab.break_duration();
    let probe = lab.admit();
    assert_eq!(until(&lab), lab.now.plus(50 * MS), "then the next probe may go");
    let _ = lab.settle(probe, Signal::Success);
    assert_eq!(until(&lab), Tick::ZERO, "there is room for a second");
    lab.command(Command::HoldOpen);
    assert_eq!(until(&lab), Tick::NEVER);
}
