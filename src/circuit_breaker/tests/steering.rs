//! Orders from outside: holds, resets, new settings, shadow.

use super::*;
use crate::Reason;
use crate::circuit_breaker::Trip;
use crate::circuit_breaker::engine::step::{PassKind, Wake};
use crate::circuit_breaker::transition::TransitionCause;

const HOLDS: [Command; 2] = [Command::HoldOpen, Command::HoldClosed];

/// A breaker in each state that it can be in by itself.
fn in_each_state() -> Vec<Lab> {
    let closed = Lab::with(|_| ());
    let mut open = closed.clone();
    open.trip();
    let mut half_open = open.clone();
    half_open.break_duration();
    half_open.admit();
    let mut ramp = open.clone();
    ramp.recover();
    vec![closed, open, half_open, ramp]
}

#[test]
fn every_state_can_be_forced_and_let_go_of() {
    for lab in in_each_state() {
        for (hold, release, forced) in [
            (Command::HoldOpen, Command::ReleaseOpen, State::ForcedOpen),
            (Command::HoldClosed, Command::ReleaseClosed, State::ForcedClosed),
        ] {
            let mut lab = lab.clone();
            lab.command(hold);
            assert_eq!(lab.state(), forced);
            assert_eq!(lab.try_admit().is_some(), forced == State::ForcedClosed);
            lab.wait(YEAR);
            lab.calls(Signal::Success, if forced == State::ForcedClosed { 100 } else { 0 });
            assert_eq!(lab.state(), forced, "only an order ends it (pitfall B5)");
            lab.command(release);
            assert_eq!(lab.state(), State::Closed);
            assert_eq!(lab.changes.last().unwrap().cause, TransitionCause::Switch);
            assert_eq!(lab.trip(), 17, "it starts without evidence");
            assert_eq!(lab.break_left(), 50 * MS, "and at the foot of the ladder");
        }
    }
}

#[test]
fn holds_are_counted_and_open_beats_closed() {
    let mut lab = Lab::with(|_| ());
    for (command, state) in [
        (Command::HoldClosed, State::ForcedClosed),
        (Command::HoldClosed, State::ForcedClosed),
        (Command::HoldOpen, State::ForcedOpen),
        (Command::HoldOpen, State::ForcedOpen),
        (Command::ReleaseClosed, State::ForcedOpen),
        (Command::ReleaseOpen, State::ForcedOpen),
        (Command::ReleaseOpen, State::ForcedClosed),
        (Command::HoldOpen, State::ForcedOpen),
        (Command::ReleaseClosed, State::ForcedOpen),
        (Command::ReleaseOpen, State::Closed),
        (Command::ReleaseOpen, State::Closed),
        (Command::ReleaseClosed, State::Closed),
    ] {
        lab.command(command);
        assert_eq!(lab.state(), state, "after {command:?}");
    }
}

#[test]
fn as_many_holds_are_counted_as_there_are() {
    let most = usize::from(u16::MAX) + 10;
    let mut lab = Lab::with(|_| ());
    for _ in 0..most {
        lab.command(Command::HoldOpen);
    }
    for _ in 1..most {
        lab.command(Command::ReleaseOpen);
    }
    assert_eq!(lab.state(), State::ForcedOpen, "one hand still holds it");
    lab.command(Command::ReleaseOpen);
    assert_eq!(lab.state(), State::Closed);
}

#[test]
fn forced_closed_it_weighs_and_does_not_act() {
    let mut lab = Lab::with(|config| config.trip = Trip::consecutive(1_000).or(Trip::default()));
    lab.command(Command::HoldClosed);
    lab.calls(Signal::Failure, 100);
    assert_eq!(lab.state(), State::ForcedClosed);
    let crate::Measurement::Evidence { observed, threshold } =
        lab.machine.gathered(&lab.params, lab.now)
    else {
        panic!("not the nearest rule");
    };
    assert_eq!(observed, threshold, "it knows what it would do");
    let before = lab.admit();
    lab.command(Command::ReleaseClosed);
    assert_eq!(lab.settle(before, Signal::Failure).decision, Decision::Late);
    lab.calls(Signal::Failure, 16);
    assert_eq!(lab.state(), State::Closed, "what was weighed under the hold is forgotten");
}

#[test]
fn a_reset_closes_it_and_forgets_everything_but_the_holds() {
    for mut lab in in_each_state() {
        let flying = lab.clone().try_admit();
        lab.command(Command::Reset);
        assert_eq!(lab.state(), State::Closed);
        assert!(lab.machine.last_trip().is_none());
        if let Some(pass) = flying {
            assert_eq!(lab.settle(pass, Signal::Failure).decision, Decision::Late);
        }
        assert_eq!(lab.trip(), 17);
        assert_eq!(lab.break_left(), 50 * MS);
    }
    for hold in HOLDS {
        let mut lab = Lab::with(|_| ());
        lab.command(hold);
        let forced = lab.state();
        lab.command(Command::Reset);
        assert_eq!(lab.state(), forced);
    }
}

#[test]
fn a_reset_wakes_all_who_wait_for_a_place_in_the_ramp() {
    let mut lab = Lab::with(|config| config.ramp = Duration::from_secs(1));
    lab.trip();
    lab.recover();
    let effect = lab.step(Input::Command(Command::Reset));
    assert_eq!(effect.wake, Wake::All);
}

#[test]
fn what_tripped_it_is_not_why_a_hand_holds_it_open() {
    let mut lab = Lab::with(|_| ());
    lab.trip();
    assert_ne!(lab.machine.digest(&lab.params).measurement, crate::Measurement::Nothing);
    lab.command(Command::HoldOpen);
    let decision = lab.step(Input::Admit).decision;
    let measurement = crate::Measurement::Nothing;
    let reason = Reason::CircuitOpen;
    assert_eq!(decision, Decision::Reject { until: Tick::NEVER, reason, measurement });
    assert_eq!(lab.machine.digest(&lab.params).measurement, measurement);
}

// pitfall B26
#[test]
fn new_config_leave_the_state_alone_in_every_state() {
    let others = Config {
        trip: Trip::failure_rate(0.5),
        break_duration: Duration::from_secs(3),
        max_break_duration: Duration::from_secs(4),
        probes: 1,
        ..Config::default()
    };
    let others = Params::from_config(&others).unwrap();
    for mut lab in in_each_state() {
        let (state, epoch) = (lab.state(), lab.epoch());
        lab.params = others.clone();
        let _ = lab.step(Input::Configure);
        assert_eq!((lab.state(), lab.epoch()), (state, epoch));
    }
}

// pitfall B26
#[test]
fn a_rule_that_is_there_before_and_after_keeps_its_evidence() {
    let mut lab = Lab::with(|_| ());
    lab.calls(Signal::Failure, 10);
    let trip = Trip::slow_rate(0.5, Duration::from_secs(1)).or(Trip::default());
    let config = Config { trip, ..Config::default() };
    lab.params = Params::from_config(&config).unwrap();
    let _ = lab.step(Input::Configure);
    lab.calls(Signal::Failure, 6);
    assert_eq!(lab.state(), State::Closed);
    let _ = lab.call(Signal::Failure);
    assert_eq!(lab.state(), State::Open, "ten failures before and seven after");
}

#[test]
fn two_rules_of_a_kind_keep_each_its_own_evidence() {
    let two = Trip::failure_rate(0.5).over_calls(20).or(Trip::failure_rate(0.9).over_calls(100));
    let mut lab = Lab::with(|config| config.trip = two.clone());
    lab.calls(Signal::Success, 50);
    lab.calls(Signal::Failure, 5);
    let before = lab.machine.gathered(&lab.params, lab.now);
    let config = Config { trip: two.or(Trip::consecutive(50)), ..Config::default() };
    lab.params = Params::from_config(&config).unwrap();
    let _ = lab.step(Input::Configure);
    assert_eq!(lab.machine.gathered(&lab.params, lab.now), before);
    lab.calls(Signal::Failure, 4);
    assert_eq!(lab.state(), State::Closed, "nine of the last twenty");
    let _ = lab.call(Signal::Failure);
    assert_eq!(lab.state(), State::Open);
}

// pitfall B26
#[test]
fn a_rule_that_is_added_counts_and_one_that_is_taken_away_does_not() {
    let (few, more) = (Trip::default(), Trip::default().or(Trip::consecutive(3)));
    let mut lab = Lab::with(|config| config.trip = few.clone());
    for (trip, opens) in [(more, true), (few, false)] {
        lab.params = Params::from_config(&Config { trip, ..Config::default() }).unwrap();
        let _ = lab.step(Input::Configure);
        lab.calls(Signal::Failure, 3);
        assert_eq!(lab.state() == State::Open, opens);
        lab.command(Command::Reset);
    }
}

#[test]
fn in_shadow_it_rejects_nothing_and_shadow_passes_decide_nothing() {
    let mut lab = Lab::with(|config| config.shadow = true);
    lab.trip();
    let open = lab.machine.clone();
    for signal in [Signal::Success, Signal::Failure, Signal::Pushback, Signal::Ignored] {
        let pass = lab.admit();
        assert_eq!(pass.kind, PassKind::Shadow);
        let _ = lab.settle(pass, signal);
        let pass = lab.admit();
        let _ = lab.abandon(pass);
        let _ = lab.step(Input::Overdue { pass });
    }
    assert_eq!(lab.machine, open);
    lab.break_duration();
    let kinds: Vec<_> = (0..3).map(|_| lab.admit().kind).collect();
    assert_eq!(kinds, [PassKind::Slot, PassKind::Shadow, PassKind::Shadow], "it probes as ever");
    lab.command(Command::HoldOpen);
    assert_eq!(lab.admit().kind, PassKind::Shadow);
}
