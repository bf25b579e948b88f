//! How long the circuit stays open.

use super::*;

/// Fails the next probe, and says how long the break is that follows.
fn fail_a_probe(lab: &mut Lab) -> u64 {
    lab.break_duration();
    let _ = lab.call(Signal::Failure);
    assert_eq!(lab.state(), State::Open);
    lab.break_left()
}

#[test]
fn a_rest_doubles_with_each_failed_probe_up_to_the_cap() {
    let mut lab = Lab::with(|_| ());
    lab.trip();
    assert_eq!(lab.break_left(), 50 * MS);
    let breaks: Vec<_> = (0..6).map(|_| fail_a_probe(&mut lab) / MS).collect();
    assert_eq!(breaks, [100, 200, 250, 250, 250, 250]);
}

#[test]
fn jitter_spreads_a_rest_over_its_upper_half() {
    let mut lab = Lab::with(|_| ());
    let mut rng = fastrand::Rng::with_seed(1);
    let mut breaks = Vec::new();
    for draw in (0..10_000).map(|_| rng.u64(..)).chain([0, u64::MAX]) {
        let mut lab = Lab { draw, ..lab.clone() };
        lab.trip();
        breaks.push(lab.break_left());
    }
    assert!(breaks.iter().all(|break_duration| (25 * MS..=50 * MS).contains(break_duration)));
    for tenth in 0..10 {
        let from = 25 * MS + tenth * 25 * MS / 10;
        let within = breaks
            .iter()
            .filter(|break_duration| (from..from + 25 * MS / 10).contains(*break_duration));
        assert!((850..1_150).contains(&within.count()), "uneven in the tenth from {from}");
    }
    // A step further up the ladder, and at the cap (pitfall B13, class (e)).
    lab.draw = 0;
    lab.trip();
    let shortest: Vec<_> = (0..5).map(|_| fail_a_probe(&mut lab) / MS).collect();
    assert_eq!(shortest, [50, 100, 125, 125, 125]);
}

#[test]
fn a_rest_is_a_first_one_again_after_ten_times_the_last_rest_closed() {
    let mut lab = Lab::with(|_| ());
    lab.trip();
    let last = (0..3).map(|_| fail_a_probe(&mut lab)).last().unwrap();
    assert_eq!(last, 250 * MS);

    let mut early = lab.clone();
    early.recover();
    early.wait(10 * last - 1);
    early.trip();
    assert_eq!(early.break_left(), 250 * MS, "it has not been well for long");

    lab.recover();
    lab.wait(10 * last);
    lab.trip();
    assert_eq!(lab.break_left(), 50 * MS);
    assert_eq!(fail_a_probe(&mut lab), 100 * MS, "and the ladder starts from its foot");
}

// class (f)
#[test]
fn a_hint_of_the_server_lengthens_the_rest_and_is_capped() {
    let told = |asked: Duration| {
        let mut lab = Lab::with(|_| ());
        lab.calls(Signal::Failure, 16);
        let pass = lab.admit();
        let sample = requested_delay(Signal::Failure, asked);
        let _ = lab.step(Input::CallGuard { pass, sample });
        assert_eq!(lab.state(), State::Open);
        lab.break_left()
    };
    assert_eq!(told(Duration::ZERO), 50 * MS);
    assert_eq!(told(Duration::from_secs(3)), 3_050 * MS, "never earlier than told");
    assert_eq!(told(Duration::from_secs(30)), 30_050 * MS);
    assert_eq!(told(Duration::from_secs(31)), 30_050 * MS);
    assert_eq!(told(Duration::MAX), 30_050 * MS);
}

#[test]
fn the_hint_of_a_failed_probe_counts_and_one_in_a_good_answer_does_not() {
    let mut lab = Lab::with(|_| ());
    lab.trip();
    lab.break_duration();
    let pass = lab.admit();
    let sample = requested_delay(Signal::Failure, Duration::from_secs(7));
    let _ = lab.step(Input::CallGuard { pass, sample });
    assert_eq!(lab.break_left(), 7_100 * MS);

    lab.break_duration();
    for signal in [Signal::Success, Signal::Pushback] {
        let pass = lab.admit();
        let sample = requested_delay(signal, Duration::from_secs(7));
        let _ = lab.step(Input::CallGuard { pass, sample });
    }
    assert_eq!(lab.state(), State::HalfOpen);
    lab.calls(Signal::Failure, 3);
    assert_eq!(lab.break_left(), 200 * MS, "no `Retry-After` came with the answers that failed");
}

#[test]
fn a_rejection_says_what_tripped_the_circuit_and_until_when() {
    let mut lab = Lab::with(|_| ());
    lab.trip();
    let Decision::Reject { until, measurement, .. } = lab.step(Input::Admit).decision else {
        panic!("let through");
    };
    assert_eq!(until, Tick(50 * MS));
    let crate::Measurement::Evidence { observed, threshold } = measurement else {
        panic!("{measurement:?}");
    };
    assert!(observed >= threshold, "{observed} of {threshold}");
    assert_eq!(threshold, 16_305, "ln(10^6), in thousandths of a failure");
}
