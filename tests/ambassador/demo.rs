//! The show.

use crate::support::run;

/// The numbers in the last line that begins with this word.
fn last(stdout: &str, word: &str) -> Vec<f64> {
    let line = stdout.lines().rev().find(|line| line.trim_start().starts_with(word)).unwrap();
    line.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

// In fast motion, but the whole of it.
#[test]
fn the_show_ends_with_a_summary_in_which_the_ambassador_fails_faster() {
    let remains = run(&["--seconds", "6"]);
    let stdout = &remains.stdout;
    assert_eq!(remains.status.code(), Some(0), "{}", remains.stderr);

    for condition in ["well", "flaky", "slow", "failing", "hanging", "dead"] {
        let rows = stdout.lines().filter(|line| line.starts_with(&format!(" {condition} ")));
        assert!(rows.count() >= 2, "{condition} in {stdout}");
    }
    let [_, _, budget, ..] = last(stdout, "flaky")[..] else { panic!("{stdout}") };
    assert!(budget < 50.0, "what fails now and then is tried again: {stdout}");
    for fault in ["failing", "hanging", "dead"] {
        let attempts = last(stdout, fault)[1];
        assert!(attempts < 0.5, "what is down is left alone: {fault} in {stdout}");
    }
    let [straight, shielded] = ["straight", "ambassador"].map(|way| last(stdout, way));
    let [calls, _good, failed, fast, jobs, for_nobody] = straight[..] else {
        panic!("{straight:?} in {stdout}")
    };
    assert!(calls > 1_000.0, "{stdout}");
    assert_eq!(shielded[0], calls, "the same load: {stdout}");
    assert!(failed > 0.0, "{stdout}");
    assert!(shielded[3] > fast, "failed fast: {stdout}");
    assert!(shielded[4] < jobs, "the upstream is spared: {stdout}");
    assert!(shielded[5] < for_nobody, "and works for those who wait: {stdout}");
    assert!(!stdout.contains('\x1b'), "no terminal, no escapes");
}
