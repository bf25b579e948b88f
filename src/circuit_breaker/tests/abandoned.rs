//! Calls that end without an answer.

use super::*;
use crate::circuit_breaker::Abandonment;
use crate::event::Cause;

fn under(abandonment: Abandonment) -> Lab {
    Lab::with(|config| config.abandonment = abandonment)
}

/// Gives calls up, a millisecond apart, until the circuit opens; at most `most` of them.
fn give_up(lab: &mut Lab, most: usize) -> usize {
    for nth in 1..=most {
        let pass = lab.admit();
        let _ = lab.abandon(pass);
        if lab.state() == State::Open {
            return nth;
        }
        lab.wait(MS);
    }
    most + 1
}

// class (b)
#[test]
fn seventeen_calls_given_up_at_distinct_moments_open_it() {
    let mut lab = Lab::with(|_| ());
    lab.calls(Health::Good, 1_000);
    assert_eq!(give_up(&mut lab, 100), 17);
    assert_eq!(lab.changes[0].cause, Cause::Evidence);
}

#[test]
fn one_answer_of_any_kind_takes_their_evidence_away() {
    for answer in [Health::Good, Health::Bad, Health::Pushback] {
        let mut lab = Lab::with(|_| ());
        for _ in 0..10 {
            give_up(&mut lab, 15);
            let _ = lab.call(answer);
            let _ = lab.call(Health::Good);
        }
        assert_eq!(lab.state(), State::Closed, "{answer:?}");
        assert_eq!(give_up(&mut lab, 100), 17, "{answer:?}");
    }
}

#[test]
fn a_refusal_by_a_layer_further_in_is_no_answer() {
    let mut lab = Lab::with(|_| ());
    give_up(&mut lab, 16);
    let _ = lab.call(Health::Silent);
    assert_eq!(give_up(&mut lab, 100), 1);
}

#[test]
fn calls_given_up_in_the_same_millisecond_count_once() {
    let mut lab = Lab::with(|_| ());
    for _ in 0..16 {
        let passes: Vec<_> = (0..100).map(|_| lab.admit()).collect();
        for pass in passes {
            let _ = lab.abandon(pass);
            lab.wait(MS / 100 - 1);
        }
        lab.wait(MS);
    }
    assert_eq!(lab.state(), State::Closed);
    assert_eq!(give_up(&mut lab, 1), 1);
}

#[test]
fn a_call_that_never_got_as_far_as_pending_says_nothing_under_any_policy() {
    let policies = [
        Abandonment::Silence,
        Abandonment::Ignore,
        Abandonment::Failure,
        Abandonment::After(Duration::ZERO),
    ];
    for policy in policies {
        let mut lab = under(policy);
        for _ in 0..1_000 {
            let pass = lab.try_admit().unwrap();
            let _ = lab.abandon(pass);
            lab.wait(MS);
        }
        assert!(lab.machine.digest(&lab.law).quiet, "{policy:?}");
    }
}

#[test]
fn three_probes_in_a_row_without_an_answer_open_it_again() {
    let mut lab = Lab::with(|_| ());
    lab.trip();
    lab.rest();
    let _ = lab.call(Health::Good);
    give_up(&mut lab, 2);
    let _ = lab.call(Health::Good);
    give_up(&mut lab, 2);
    assert_eq!(lab.state(), State::HalfOpen, "they were not in a row");
    assert_eq!(give_up(&mut lab, 1), 1);
    assert_eq!(lab.changes.last().unwrap().cause, Cause::ProbesAbandoned);
    assert_eq!(lab.rest_left(), 100 * MS, "it counts as a failed round of probes");
}

#[test]
fn a_pushback_in_between_is_an_answer_and_breaks_the_row() {
    let mut lab = Lab::with(|_| ());
    lab.trip();
    lab.rest();
    for _ in 0..10 {
        give_up(&mut lab, 2);
        let _ = lab.call(Health::Pushback);
    }
    assert_eq!(lab.state(), State::HalfOpen);
}

#[test]
fn the_slot_of_a_probe_that_was_given_up_comes_back_at_once() {
    for policy in [Abandonment::Silence, Abandonment::Ignore] {
        let mut lab = under(policy);
        lab.trip();
        lab.rest();
        for _ in 0..2 {
            let pass = lab.admit();
            assert!(lab.try_admit().is_none());
            let _ = lab.abandon(pass);
        }
        assert!(lab.try_admit().is_some(), "{policy:?}");
    }
}

#[test]
fn probes_given_up_reopen_nothing_where_they_are_ignored() {
    let mut lab = under(Abandonment::Ignore);
    lab.trip();
    lab.rest();
    give_up(&mut lab, 100);
    assert_eq!(lab.state(), State::HalfOpen);
}

#[test]
fn ignored_they_never_open_it_and_as_failures_they_do_at_once() {
    assert_eq!(give_up(&mut under(Abandonment::Ignore), 1_000), 1_001);
    let mut lab = under(Abandonment::Failure);
    let passes: Vec<_> = (0..17).map(|_| lab.admit()).collect();
    for pass in passes {
        assert_eq!(lab.state(), State::Closed);
        let _ = lab.abandon(pass);
    }
    assert_eq!(lab.state(), State::Open);
    lab.rest();
    let pass = lab.admit();
    let _ = lab.abandon(pass);
    assert_eq!(lab.state(), State::Open, "a probe given up is a failed probe");
}

#[test]
fn a_caller_who_waited_long_enough_saw_a_failure_and_an_impatient_one_did_not() {
    let waited = |waited: u64| {
        let mut lab = under(Abandonment::After(Duration::from_millis(100)));
        for _ in 0..17 {
            let pass = lab.admit();
            let _ = lab.step(Input::Abandon { pass, waited: Some(waited) });
        }
        lab.state()
    };
    assert_eq!(waited(100 * MS - 1), State::Closed);
    assert_eq!(waited(100 * MS), State::Open);
}

#[test]
fn provisional_evidence_joins_the_real_one_and_leaves_it_when_forgiven() {
    let mut lab = Lab::with(|_| ());
    lab.calls(Health::Bad, 10);
    give_up(&mut lab, 6);
    let _ = lab.call(Health::Bad);
    assert_eq!(lab.state(), State::Closed, "eleven failures, six calls forgiven");
    assert_eq!(give_up(&mut lab, 100), 6);
}
