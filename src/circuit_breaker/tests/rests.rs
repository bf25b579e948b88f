//! How long the circuit stays open.

use super::*;

/// Fails the next probe, and says how long the rest is that follows.
fn fail_a_probe(lab: &mut Lab) -> u64 {
    lab.rest();
    let _ = lab.call(Health::Bad);
    assert_eq!(lab.state(), State::Open);
    lab.rest_left()
}

#[test]
fn a_rest_doubles_with_each_failed_probe_up_to_the_cap() {
    let mut lab = Lab::with(|_| ());
    lab.trip();
    assert_eq!(lab.rest_left(), 50 * MS);
    let rests: Vec<_> = (0..6).map(|_| fail_a_probe(&mut lab) / MS).collect();
    assert_eq!(rests, [100, 200, 250, 250, 250, 250]);
}

#[test]
fn jitter_spreads_a_rest_over_its_upper_half() {
    let mut lab = Lab::with(|_| ());
    let mut rng = fastrand::Rng::with_seed(1);
    let mut rests = Vec::new();
    for draw in (0..10_000).map(|_| rng.u64(..)).chain([0, u64::MAX]) {
        let mut lab = Lab { draw, ..lab.clone() };
        lab.trip();
        rests.push(lab.rest_left());
    }
    assert!(rests.iter().all(|rest| (25 * MS..=50 * MS).contains(rest)));
    for tenth in 0..10 {
        let from = 25 * MS + tenth * 25 * MS / 10;
        let within = rests.iter().filter(|rest| (from..from + 25 * MS / 10).contains(*rest));
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
    assert_eq!(early.rest_left(), 250 * MS, "it has not been well for long");

    lab.recover();
    lab.wait(10 * last);
    lab.trip();
    assert_eq!(lab.rest_left(), 50 * MS);
    assert_eq!(fail_a_probe(&mut lab), 100 * MS, "and the ladder starts from its foot");
}

// class (f)
#[test]
fn a_hint_of_the_server_lengthens_the_rest_and_is_capped() {
    let told = |asked: Duration| {
        let mut lab = Lab::with(|_| ());
        lab.calls(Health::Bad, 16);
        let pass = lab.admit();
        let sample = hint(Health::Bad, asked);
        let _ = lab.step(Input::Settle { pass, sample });
        assert_eq!(lab.state(), State::Open);
        lab.rest_left()
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
    lab.rest();
    let pass = lab.admit();
    let sample = hint(Health::Bad, Duration::from_secs(7));
    let _ = lab.step(Input::Settle { pass, sample });
    assert_eq!(lab.rest_left(), 7_100 * MS);

    lab.rest();
    for health in [Health::Good, Health::Pushback] {
        let pass = lab.admit();
        let sample = hint(health, Duration::from_secs(7));
        let _ = lab.step(Input::Settle { pass, sample });
    }
    assert_eq!(lab.state(), State::HalfOpen);
    lab.calls(Health::Bad, 3);
    assert_eq!(lab.rest_left(), 200 * MS, "no hint came with the answers that failed");
}

#[test]
fn a_refusal_says_what_tripped_the_circuit_and_until_when() {
    let mut lab = Lab::with(|_| ());
    lab.trip();
    let Verdict::Refuse { until, measured, .. } = lab.step(Input::Admit).verdict else {
        panic!("let through");
    };
    assert_eq!(until, Tick(50 * MS));
    let crate::Measured::Evidence { observed, threshold } = measured else {
        panic!("{measured:?}");
    };
    assert!(observed >= threshold, "{observed} of {threshold}");
    assert_eq!(threshold, 16_305, "ln(10^6), in thousandths of a failure");
}
