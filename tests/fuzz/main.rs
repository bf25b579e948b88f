//! Whole stacks under arbitrary scripts: bytes are read as a stack and as things that happen to it,
//! and rules are checked after each of them. See docs/correctness.md.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that panics is a test that fails

mod counts;
mod dependency;
mod faults;
mod script;
mod shrink;
mod stacks;
mod world;

use std::fmt::Write;
use std::time::Duration;

use faults::Fault;
use shrink::shrink;
use world::{Seen, run};

/// Scripts that broke something once, and scripts that go where chance seldom goes.
const CORPUS: &str = include_str!("corpus.txt");
/// Of the short form, always the same.
const SEED: u64 = 20;
const RUNS: u64 = 2500;
/// Longest script, in steps.
const MOST_STEPS: usize = 150;

/// Without `SEAWALL_FUZZ` always the same scripts, so that nobody's change fails by chance.
#[test]
fn no_script_breaks_a_rule() {
    let seconds = std::env::var("SEAWALL_FUZZ").ok().map(|seconds| seconds.parse().unwrap());
    let seed = if seconds.is_some() { fastrand::u64(..) } else { SEED };
    let clock = Clock::start();
    let (mut runs, mut counts) = (0, Seen::new());
    while seconds.map_or(runs < RUNS, |seconds| clock.elapsed() < Duration::from_secs(seconds)) {
        let bytes = random(seed.wrapping_add(runs));
        if let Err(what) = run(&bytes, None, &mut counts) {
            panic!("{}", report(&bytes, None, seed.wrapping_add(runs), &what));
        }
        runs += 1;
    }
    println!("fuzz: {runs} runs from seed {seed} in {:?}: {counts:?}", clock.elapsed());
    // A rule that never had anything to say proves nothing.
    for what in WANTED {
        assert!(counts.get(what).is_some_and(|times| *times > 0), "never seen: {what}; {counts:?}");
    }
}

const WANTED: [&str; 18] = [
    "answered well",
    "circuit_open",
    "counted",
    "deadline_exceeded",
    "draining",
    "dropped",
    "failed",
    "full",
    "its breaker was held open all the while",
    "not ready",
    "poll_ready failed",
    "polled unasked",
    "queued",
    "repeated",
    "timed_out",
    "unhealthy",
    "a layer was drained before",
    "waited for a drain",
];

#[test]
fn no_script_of_the_corpus_breaks_a_rule() {
    let mut scripts = 0;
    for line in CORPUS.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (name, bytes) = line.split_once(": ").expect("a name, a colon, and bytes");
        let ran = run(&from_hex(bytes), None, &mut Seen::new());
        ran.unwrap_or_else(|what| panic!("{name}: {what}"));
        scripts += 1;
    }
    assert!(scripts > 0);
}

/// The rules can be broken: of each fault that is planted a script tells, and a short one.
#[test]
fn planted_faults_are_found_and_shrunk() {
    for fault in Fault::ALL {
        let scripts = (0..RUNS).map(random);
        let fails = |bytes: &[u8]| run(bytes, Some(fault), &mut Seen::new()).is_err();
        let (nth, bytes) = scripts
            .enumerate()
            .find(|(_, bytes)| fails(bytes))
            .unwrap_or_else(|| panic!("{fault:?} is never found"));
        let short = shrink(&bytes, fails);
        let what = run(&short, Some(fault), &mut Seen::new()).unwrap_err();
        let steps = short.len().saturating_sub(script::HEAD).div_ceil(2);
        println!("{fault:?}: script {nth}, {steps} steps: {}", what.lines().next().unwrap());
        assert!(steps <= 8, "{fault:?}: {}", hex(&short));
    }
}

#[test]
fn what_is_shrunk_still_fails_and_has_nothing_to_spare() {
    // Fails for two steps that are not beside each other, in this order.
    let at = |bytes: &[u8], what| bytes.get(script::HEAD..)?.iter().position(|byte| *byte == what);
    let fails =
        |bytes: &[u8]| matches!((at(bytes, 200), at(bytes, 77)), (Some(a), Some(b)) if a < b);
    let bytes = (0..RUNS).map(random).find(|bytes| fails(bytes)).unwrap();
    let short = shrink(&bytes, fails);
    assert!(fails(&short) && short.len() <= script::HEAD + 4, "{}", hex(&short));
    assert!(short.iter().all(|byte| [0, 77, 200].contains(byte)));
}

/// A script that chance makes.
fn random(seed: u64) -> Vec<u8> {
    let mut chance = fastrand::Rng::with_seed(seed);
    let length = script::HEAD + 2 * chance.usize(1..=MOST_STEPS);
    std::iter::repeat_with(|| chance.u8(..)).take(length).collect()
}

/// Says what broke, by the shortest script that shows it, ready to be added to the corpus.
fn report(bytes: &[u8], fault: Option<Fault>, seed: u64, what: &str) -> String {
    let fails = |bytes: &[u8]| run(bytes, fault, &mut Seen::new()).is_err();
    let short = shrink(bytes, fails);
    let (plan, ops) = script::read(&short);
    let shown = run(&short, fault, &mut Seen::new()).err().unwrap_or_default();
    format!(
        "seed {seed}: {what}\n\nshrunk: {shown}\n{plan:?}\n{ops:?}\n\n\
         for tests/fuzz/corpus.txt:\n<what went wrong>: {}\n",
        hex(&short),
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a string takes everything");
        hex
    })
}

fn from_hex(hex: &str) -> Vec<u8> {
    let digit = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("two digits a byte");
    (0..hex.len()).step_by(2).map(digit).collect()
}

/// How long the tests really run.
struct Clock(std::time::Instant);

impl Clock {
    #[allow(clippy::disallowed_methods)] // paused time stands still
    fn start() -> Self {
        Self(std::time::Instant::now())
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}
