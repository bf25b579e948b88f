//! What a call costs, ours beside the peers'. Prints Markdown.
//!
//! `cargo bench --manifest-path benches/peers/Cargo.toml [-- [--rounds N] [words of a row's key]]`

use seawall_peers::drive::Holding;
use seawall_peers::rows::{self, Row};
use seawall_peers::{enter, measure, report};

/// Turns of everybody in a row.
const ROUNDS: usize = 500;
/// Turns of one thread and two.
const SCALING_ROUNDS: usize = 15;

fn main() {
    let mut rounds = ROUNDS;
    let mut words = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--bench" => {} // from cargo
            "--rounds" => {
                rounds = args.next().and_then(|n| n.parse().ok()).expect("--rounds takes a number");
            }
            word => words.push(word.to_owned()),
        }
    }
    let wanted = |row: &Row| words.is_empty() || words.iter().any(|word| row.key.contains(word));
    let rows: Vec<_> = rows::all().into_iter().filter(wanted).collect();
    let (rows, others): (Vec<_>, Vec<_>) = rows.into_iter().partition(Row::has_ours);

    let _entered = enter();
    println!(
        "Nanoseconds a call: median (best tenth) of {rounds} batches of {} calls each, everybody \
         in turns; allocations where there are any.\n",
        measure::CALLS
    );
    report::head();
    for row in &rows {
        report::line(row, &measure::row(row, rounds), report::nanos);
    }

    println!("\nCalls a second of two threads over those of one, median of {SCALING_ROUNDS}.\n");
    let scaling: Vec<_> = rows
        .iter()
        .filter(|row| row.scales || row.holding == Holding::ClonedPerCall)
        .map(|row| (row, measure::scaling(row, SCALING_ROUNDS.min(rounds))))
        .collect();
    report::scaling(&scaling);

    if !others.is_empty() {
        let titles: Vec<_> = others.iter().map(|row| row.title).collect();
        println!("\nNot measured, for want of ours: {}.", titles.join("; "));
    }
}
