//! Runs one contender for callgrind; see `instructions.sh`.
//!
//! `instructions` alone lists rows and contenders; `instructions ROW CONTENDER CALLS` makes calls;
//! `instructions --report` reads `row<TAB>contender<TAB>instructions` lines and prints Markdown.

use std::io::stdin;

use seawall_peers::drive::{Batch, Expect};
use seawall_peers::measure::Cost;
use seawall_peers::rows::{self, Row};
use seawall_peers::{enter, report};

/// Calls before the counted ones, so that nothing is made for the first time among them.
const WARM_UP: u64 = 200;

fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    match args[..] {
        [] => list(),
        ["--report"] => print(),
        [row, contender, calls] => run(row, contender, calls.parse().expect("a number of calls")),
        _ => panic!("instructions [--report | ROW CONTENDER CALLS]"),
    }
}

fn measurement() -> impl Iterator<Item = Row> {
    rows::all().into_iter().filter(Row::has_ours)
}

fn list() {
    for row in measurement() {
        // What waits for a timer is not measured in instructions.
        for contender in row.contenders.iter().filter(|contender| contender.calls.is_none()) {
            println!("{}\t{}", row.key, contender.name);
        }
    }
}

fn run(key: &str, name: &str, calls: u64) {
    let row = rows::all().into_iter().find(|row| row.key == key).expect("no such row");
    let contender = row.contenders.iter().find(|c| c.name == name).expect("no such contender");
    let _entered = enter();
    let mut batch = contender.fork()(row.holding);
    row.expect.check(&mut batch, WARM_UP);
    counted(&mut batch, row.expect, calls);
}

/// callgrind counts in here, and nowhere else.
#[inline(never)]
fn counted(batch: &mut Batch, expect: Expect, calls: u64) {
    expect.check(batch, calls);
}

fn print() {
    let lines: Vec<_> = stdin().lines().map(|line| line.expect("a line")).collect();
    let counted: Vec<_> = lines.iter().filter_map(|line| parse(line)).collect();
    report::head();
    for row in measurement() {
        let costs: Vec<_> = row
            .contenders
            .iter()
            .filter_map(|contender| {
                let of_it = |(key, name, _): &&(&str, &str, f64)| {
                    (*key, *name) == (row.key, contender.name)
                };
                let (.., count) = counted.iter().find(of_it)?;
                Some(Cost { name: contender.name, median: *count, p10: *count, allocations: 0.0 })
            })
            .collect();
        if !costs.is_empty() {
            report::line(&row, &costs, report::instructions);
        }
    }
}

fn parse(line: &str) -> Option<(&str, &str, f64)> {
    let mut fields = line.split('\t');
    Some((fields.next()?, fields.next()?, fields.next()?.parse().ok()?))
}
