//! What the default stack does in a storm: outages, overloads and slow dependencies, in virtual time.
//!
//! `cargo bench --bench storm` runs everything and prints Markdown. Words after `--` choose faults by
//! a part of their name, and settings to try instead of the defaults: `-- errors retry.attempts=5`;
//! `ours` leaves the others out. The same seeds give the same numbers.
#![allow(clippy::expect_used, clippy::unwrap_used)] // a simulation that cannot go on should stop

mod fault;
mod goals;
mod load;
mod report;
mod stacks;
mod whatif;
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::fault::Fault;
use crate::report::Summary;
use crate::stacks::Contender;
use crate::whatif::Settings;
use crate::world::Form;

const SEEDS: [u64; 3] = [1, 2, 3];

/// One contender in one fault, in one form of the world.
type Case = (Fault, Contender, Form);

fn main() {
    let words = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    let (settings, mut words): (Vec<_>, Vec<_>) = words.partition(|word| word.contains('='));
    let ours = words.iter().any(|word| word == "ours");
    words.retain(|word| word != "ours");
    Settings::ask_for(settings.iter());
    let chosen = |fault: &Fault| {
        words.is_empty() || words.iter().any(|word| fault.name().contains(word.as_str()))
    };
    let cases: Vec<Case> = Fault::ALL
        .into_iter()
        .filter(chosen)
        .flat_map(|fault| Contender::ALL.map(|contender| (fault, contender)))
        .filter(|(fault, contender)| contender.fits(*fault) && (contender.is_ours() || !ours))
        .flat_map(|(fault, contender)| Form::BOTH.map(|form| (fault, contender, form)))
        .collect();
    let summaries = summaries(&cases);
    let results: Vec<_> = cases.iter().zip(&summaries).collect();
    for fault in results.chunk_by(|a, b| a.0.0 == b.0.0) {
        report::print_head(fault[0].0.0);
        for ((fault, contender, form), summary) in fault {
            report::print_row(*fault, *contender, *form, summary);
        }
        println!();
        for ((fault, contender, form), summary) in fault {
            report::print_note(*fault, *contender, *form, summary);
        }
    }
}

/// Runs the cases on every processor there is. A run is alone on its thread, so that chance depends
/// on its seed only.
fn summaries(cases: &[Case]) -> Vec<Summary> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(vec![None; cases.len()]);
    let work = || {
        loop {
            let nth = next.fetch_add(1, Ordering::Relaxed);
            let Some(&(fault, contender, form)) = cases.get(nth) else { return };
            let runs = SEEDS.map(|seed| load::run(contender, fault, form, seed));
            world::lock(&done)[nth] = Some(Summary::of(fault, &runs));
        }
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..processors {
            scope.spawn(work);
        }
    });
    let done = done.into_inner().expect("no run panicked");
    done.into_iter().map(|summary| summary.expect("every case was run")).collect()
}
