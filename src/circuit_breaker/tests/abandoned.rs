//! Calls that end without an answer.

use super::*;
use crate::circuit_breaker::Abandonment;
use crate::circuit_breaker::transition::TransitionCause;

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
    lab.calls(Signal::Success, 1_000);
    assert_eq!(give_up(&mut lab, 100), 17);
    assert_eq!(lab.changes[0].cause, TransitionCause::Evidence);
}

#[test]
fn one_answer_of_any_kind_takes_their_evidence_away() {
    for answer in [Signal::Success, Signal::Failure, Signal::Pushback] {
        let mut lab = Lab::with(|_| ());
        for _ in 0..10 {
            give_up(&mut lab, 15);
            let _ = lab.call(answer);
            let _ = lab.call(Signal::Success);
        }
        assert_eq!(lab.state(), State::Closed, "{answer:?}");
        assert_eq!(give_up(&mut lab, 100), 17, "{answer:?}");
    }
}

#[test]
fn a_rejection_by_a_layer_further_in_is_no_answer() {
    let mut lab = Lab::with(|_| ());
    give_up(&mut lab, 16);
    let _ = lab.call(Signal::Ignored);
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
        assert!(lab.machine.digest(&lab.params).quiet, "{policy:?}");
    }
}

#[test]
fn three_probes_without_an_answer_open_it_again() {
    let mut lab = Lab::with(|_| ());
    lab.trip();
    lab.break_duration();
    assert_eq!(give_up(&mut lab, 3), 3);
    assert_eq!(lab.changes.last().unwrap().cause, TransitionCause::ProbesAbandoned);
    assert_eq!(lab.break_left(), 100 * MS, "it counts as a failed round of probes");
}

// field F11
#[test]
fn once_a_probe_was_answered_those_that_are_given_up_decide_nothing() {
    for answer in [Signal::Success, Signal::Pushback] {
        let mut lab = Lab::with(|_| ());
        lab.trip();
        lab.break_duration();
        let _ = lab.call(answer);
        for _ in 0..1_000 {
            let pass = lab.admit();
            let _ = lab.abandon(pass);
        }
        assert_eq!(lab.state(), State::HalfOpen, "{answer:?}");
    }
}

// field F11
#[test]
fn a_probe_given_up_before_it_could_be_answered_lets_one_more_try_and_decides_nearly_nothing() {
    let mut lab = Lab::with(|_| ());
    lab.usual = Some(20 * MS);
    lab.trip();
    lab.break_duration();
    for most in [1, 2, 4, 8, 16, 32, 64] {
        let passes: Vec<_> = std::iter::from_fn(|| lab.try_admit()).collect();
        assert_eq!(passes.len(), most);
        for mut pass in passes {
            pass.pending = false; // never asked, so there is no more room for it
            let _ = lab.abandon(pass);
        }
        let pass = lab.admit();
        let _ = lab.leave(pass, 10 * MS);
    }
    lab.wait(50 * MS); // nobody could have been answered before
    let open = State::Open;
    let mut left = 0;
    while lab.state() != open {
        assert!(lab.machine.clone().probes_at().is_none());
        let pass = lab.admit();
        let _ = lab.leave(pass, 10 * MS);
        left += 1;
    }
    assert_eq!(left, 3 * 32, "nine of ten leave: one run of 96 without an answer in 25,000");
}

// field F11
#[test]
fn a_wait_shorter_than_answers_take_says_next_to_nothing() {
    let until_open = |usual: Option<u64>, waited: u64| {
        let mut lab = Lab::with(|_| ());
        lab.usual = usual;
        for nth in 1.. {
            let pass = lab.admit();
            lab.wait(waited);
            let _ = lab.leave(pass, waited);
            if lab.state() == State::Open {
                return nth;
            }
            lab.wait(MS);
        }
        unreachable!("the loop has no end")
    };
    for (usual, waited, calls) in [
        (None, 1_000, 17),
        (None, 50, 3 + 61), // until the silence has lasted three times as long
        (None, 20, 3 + 61),
        (None, 19, 3 + 17 * 32),
        (Some(20), 40, 17),
        (Some(20), 39, 1 + 17 * 32), // until the silence has lasted for two answers
        (Some(500), 999, 1 + 17 * 32),
        (Some(500), 1_000, 17),
        (Some(1), 2, 17),
    ] {
        let usual = usual.map(|usual: u64| usual * MS);
        assert_eq!(until_open(usual, waited * MS), calls, "{usual:?}, {waited} ms");
    }
}

// field F11
#[test]
fn waves_of_hung_calls_open_it_in_the_second() {
    let mut lab = Lab::with(|_| ());
    lab.calls(Signal::Success, 100);
    for wave in 1..=2 {
        assert_eq!(lab.state(), State::Closed, "wave {wave}");
        let passes: Vec<_> = (0..64).map(|_| lab.admit()).collect();
        lab.wait(100 * MS);
        for pass in passes {
            let _ = lab.leave(pass, 100 * MS);
        }
    }
    assert_eq!(lab.state(), State::Open);
}

// field F11: a connection of a caller's breaks, with a hundred calls that had waited for long
#[test]
fn what_ends_a_hundred_calls_at_once_is_one_event_however_long_they_waited() {
    let mut lab = Lab::with(|_| ());
    for _ in 0..8 {
        let passes: Vec<_> = (0..100).map(|_| lab.admit()).collect();
        lab.wait(10 * SECOND);
        for pass in passes {
            let _ = lab.leave(pass, 10 * SECOND);
            lab.wait(MS / 100 - 1);
        }
        assert_eq!(lab.state(), State::Closed);
        let _ = lab.call(Signal::Success);
    }
}

// field F11: let through while all was well, they have no clock; they waited since it began at least
#[test]
fn calls_whose_wait_is_unknown_count_once_the_silence_has_lasted() {
    let mut lab = Lab::with(|_| ());
    lab.usual = Some(10 * MS);
    let passes: Vec<_> = (0..60).map(|_| lab.admit()).collect();
    let mut given_up = 0;
    for pass in passes {
        let _ = lab.step(Input::Abandon { pass, waited: None, usual: lab.usual });
        given_up += 1;
        if lab.state() == State::Open {
            break;
        }
        lab.wait(MS);
    }
    assert_eq!(given_up, 20 + 17, "from the twentieth millisecond on each is a failure");
}

#[test]
fn the_slot_of_a_probe_that_was_given_up_comes_back_at_once() {
    for policy in [Abandonment::Silence, Abandonment::Ignore] {
        let mut lab = under(policy);
        lab.trip();
        lab.break_duration();
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
    lab.break_duration();
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
    lab.break_duration();
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
            let _ = lab.leave(pass, waited);
        }
        lab.state()
    };
    assert_eq!(waited(100 * MS - 1), State::Closed);
    assert_eq!(waited(100 * MS), State::Open);
}

#[test]
fn provisional_evidence_joins_the_real_one_and_leaves_it_when_forgiven() {
    let mut lab = Lab::with(|_| ());
    lab.calls(Signal::Failure, 10);
    give_up(&mut lab, 6);
    let _ = lab.call(Signal::Failure);
    assert_eq!(lab.state(), State::Closed, "eleven failures, six calls forgiven");
    assert_eq!(give_up(&mut lab, 100), 6);
}
