//! The show: its manners. Its numbers are the machine's, so nobody classifies them here.

use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use crate::support::{Show, run};

/// The lines of the opening, up to the first empty one.
fn opening(stdout: &str) -> String {
    stdout.lines().take_while(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// The last paragraph.
fn headline(stdout: &str) -> String {
    let lines: Vec<_> =
        stdout.trim_end().lines().rev().take_while(|line| !line.is_empty()).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" ")
}

/// How many calls were made on this way, by the table of totals.
fn calls(stdout: &str, way: &str) -> u32 {
    let mut rows = stdout.lines().filter(|line| line.starts_with(&format!(" {way} ")));
    rows.next_back().unwrap().split_whitespace().nth(1).unwrap().parse().unwrap()
}

// In fast motion, but the whole of it.
#[test]
fn the_show_says_who_is_who_shows_every_fault_and_ends_with_three_numbers() {
    let remains = run(&["--seconds", "6"]);
    let stdout = &remains.stdout;
    assert_eq!(remains.status.code(), Some(0), "{}", remains.stderr);

    let opening = opening(stdout);
    assert_eq!(opening.matches(". ").count(), 0, "one sentence: {opening}");
    assert!(opening.ends_with('.'), "{opening}");
    for word in ["straight", "through the ambassador", "seawall's layers"] {
        assert!(opening.contains(word), "who is {word}? {opening}");
    }
    let columns = stdout.lines().find(|line| line.contains("good fast slow p50")).unwrap();
    let columns = columns.split(['|', ' ']).filter(|word| !word.is_empty() && *word != "upstream");
    for column in columns.filter(|word| !["at", "breaker,health"].contains(word)) {
        assert!(opening.contains(column), "what is {column}? {opening}");
    }
    for condition in ["well", "flaky", "slow", "failing", "hanging", "dead"] {
        let rows = stdout.lines().filter(|line| line.starts_with(&format!(" {condition} ")));
        assert!(rows.count() >= 2, "{condition} in {stdout}");
    }
    assert!(calls(stdout, "straight") > 0, "{stdout}");
    assert_eq!(calls(stdout, "straight"), calls(stdout, "ambassador"), "the same load: {stdout}");
    let headline = headline(stdout);
    assert!(headline.starts_with("In short, "), "{stdout}");
    let numbers = headline.split_whitespace().filter(|word| word.parse::<f64>().is_ok());
    assert_eq!(numbers.count(), 3, "and as many beside them, in brackets: {headline}");
    assert_eq!(headline.matches('(').count(), 4, "{headline}");
    assert!(!stdout.contains('\x1b'), "no terminal, no escapes");
}

// A machine that has no time for it: the whole show stands for a while, and is told to go on.
#[test]
fn a_machine_that_was_too_busy_to_be_fair_is_named() {
    let show = Show::start(&["--seconds", "5"]);
    let signal = |name: &str| {
        let kill = Command::new("kill").args([name, &show.id()]).status();
        assert!(kill.unwrap().success());
    };
    show.line_with("well"); // it has begun
    signal("-STOP");
    sleep(Duration::from_millis(700)); // no patience: the longer it is, the busier was the machine
    signal("-CONT");
    let rest = show.rest();
    assert!(rest.contains("too busy to be fair"), "{rest}");
    assert!(headline(&rest).starts_with("In short, "), "and still the last word: {rest}");
}
