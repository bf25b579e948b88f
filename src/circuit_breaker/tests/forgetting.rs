//! When a table of breakers may forget one: it must then do as a new one would, or nearly so.

use super::*;
use crate::circuit_breaker::Trip;

const EVIDENCE_TTL: u64 = 300 * SECOND;

impl Lab {
    fn is_at_rest(&self) -> bool {
        self.machine.clone().is_at_rest(&self.params, self.now)
    }

    /// Holds it to be at rest once so long has passed, and not before.
    fn breaks_after(mut self, nanos: u64, why: &str) {
        assert!(!self.is_at_rest(), "{why}: at once");
        self.wait(nanos - 1);
        assert!(!self.is_at_rest(), "{why}: early");
        self.wait(1);
        assert!(self.is_at_rest(), "{why}: late");
    }
}

/// A failure is dropped by the next one if it is older than the memory: until then it counts.
#[test]
fn closed_it_may_go_if_it_holds_nothing_against_its_dependency() {
    let rate = Trip::failure_rate(0.5).over_calls(20);
    let slow = Trip::slow_rate(0.5, Duration::from_secs(1)).or(rate.clone());
    for trip in [Trip::default(), Trip::consecutive(5), rate, slow] {
        let mut lab = Lab::with(|config| config.trip = trip.clone());
        assert!(lab.is_at_rest(), "{trip:?}");
        lab.calls(Signal::Success, 3);
        assert!(lab.is_at_rest(), "successes are nothing against it: {trip:?}");
        let _ = lab.call(Signal::Failure);
        lab.breaks_after(EVIDENCE_TTL + 1, &format!("{trip:?}"));
    }
}

#[test]
fn calls_given_up_are_held_against_it_as_long_as_failures() {
    let mut lab = Lab::with(|_| ());
    let pass = lab.admit();
    let _ = lab.abandon(pass);
    lab.breaks_after(EVIDENCE_TTL + 1, "given up");
}

#[test]
fn open_it_may_go_when_nobody_asked_for_the_memory_after_its_rest() {
    let mut lab = Lab::with(|_| ());
    lab.trip();
    let break_duration = lab.break_left();
    lab.breaks_after(break_duration + EVIDENCE_TTL + 1, "open");
}

#[test]
fn half_open_it_may_go_as_late_but_not_while_a_probe_is_out() {
    let mut lab = Lab::with(|_| ());
    lab.trip();
    lab.break_duration();
    let probe = lab.admit();
    let mut hangs = lab.clone();
    hangs.wait(YEAR);
    assert!(!hangs.is_at_rest(), "its answer would be lost");
    let _ = lab.abandon(probe);
    lab.breaks_after(
        50 * MS + EVIDENCE_TTL + 1,
        "half open, and the next probe may go after 50 ms",
    );
}

#[test]
fn while_the_load_comes_back_it_stays() {
    let mut lab = Lab::with(|config| config.ramp = Duration::from_secs(1));
    lab.trip();
    lab.recover();
    lab.breaks_after(SECOND, "ramp");
}

#[test]
fn while_a_hand_holds_it_it_stays() {
    for (hold, release) in
        [(Command::HoldOpen, Command::ReleaseOpen), (Command::HoldClosed, Command::ReleaseClosed)]
    {
        let mut lab = Lab::with(|_| ());
        lab.command(hold);
        lab.wait(YEAR);
        assert!(!lab.is_at_rest(), "{hold:?}");
        lab.command(release);
        if release == Command::ReleaseOpen {
            lab.breaks_after(SECOND, "it was kept away, so it has its ramp"); // field F9
        } else {
            assert!(lab.is_at_rest(), "calls have passed all the time");
        }
    }
}
