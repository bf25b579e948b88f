//! Markdown.

use crate::measure::{Cost, Scaling};
use crate::rows::{OURS, Row, Target};

/// The columns of peers that have one each; the others share the last.
const PEERS: [&str; 3] = ["tower", "tower-resilience", "seatbelt"];

/// The head of the table of costs.
pub fn head() {
    println!("| pattern | {OURS} | {} | others | target | here | met |", PEERS.join(" | "));
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
}

/// One line of the table of costs. `unit` shows a cost in its cell.
pub fn line(row: &Row, costs: &[Cost], unit: fn(&Cost) -> String) {
    let cell = |name| find(costs, name).map_or("–".to_owned(), unit);
    let others: Vec<_> = costs
        .iter()
        .filter(|cost| cost.name != OURS && !PEERS.contains(&cost.name))
        .map(|cost| format!("{} {}", cost.name, unit(cost)))
        .collect();
    let others = if others.is_empty() { "–".to_owned() } else { others.join("; ") };
    let (target, here, met) = verdict(row.target, costs);
    println!(
        "| {} | {} | {} | {others} | {target} | {here} | {met} |",
        row.title,
        cell(OURS),
        PEERS.map(cell).join(" | "),
    );
}

/// Median, best tenth in brackets, allocations if there are any.
pub fn nanos(cost: &Cost) -> String {
    let Cost { median, p10, allocations, .. } = cost;
    let time = if *median < 100.0 {
        format!("{median:.1} ({p10:.1})")
    } else {
        format!("{median:.0} ({p10:.0})")
    };
    match allocations {
        0.0 => time,
        few if few.fract() > 0.001 => format!("{time}, {few:.3} allocs"),
        some => format!("{time}, {some:.0} allocs"),
    }
}

/// A cost in instructions, which stand where the time does.
pub fn instructions(cost: &Cost) -> String {
    format!("{:.0}", cost.median)
}

/// The target, what we have, and whether that meets it.
fn verdict(target: Target, costs: &[Cost]) -> (String, String, &'static str) {
    let Some(ours) = find(costs, OURS) else { return ("–".into(), "–".into(), "–") };
    let peers = costs.iter().filter(|cost| !cost.name.starts_with(OURS));
    let best = peers.min_by(|a, b| a.median.total_cmp(&b.median));
    let (most, other, name) = match target {
        Target::Best(most) => (Some(most), best, "the best peer"),
        Target::Of(most, name) => (Some(most), find(costs, name), name),
        Target::None => (None, best, "the best peer"),
    };
    let Some(other) = other else { return ("–".into(), "–".into(), "–") };
    let ratio = ours.median / other.median;
    let here = format!("{ratio:.2} × {}", other.name);
    match most {
        None => ("–".into(), here, "–"),
        Some(most) => {
            (format!("{most} × {name}"), here, if ratio <= most { "yes" } else { "**no**" })
        }
    }
}

fn find<'a>(costs: &'a [Cost], name: &str) -> Option<&'a Cost> {
    costs.iter().find(|cost| cost.name == name)
}

/// The table of what a second thread brings.
pub fn scaling(rows: &[(&Row, Vec<Scaling>)]) {
    println!("| two threads on one policy | {OURS} | {} | others |", PEERS.join(" | "));
    println!("| --- | --- | --- | --- | --- | --- |");
    for (row, scalings) in rows {
        let show = |scaling: &Scaling| format!("{:.2}", scaling.ratio);
        let cell = |name| scalings.iter().find(|s| s.name == name).map_or("–".to_owned(), show);
        let others: Vec<_> = scalings
            .iter()
            .filter(|scaling| scaling.name != OURS && !PEERS.contains(&scaling.name))
            .map(|scaling| format!("{} {}", scaling.name, show(scaling)))
            .collect();
        println!(
            "| {} | {} | {} | {} |",
            row.title,
            cell(OURS),
            PEERS.map(cell).join(" | "),
            if others.is_empty() { "–".to_owned() } else { others.join("; ") }
        );
    }
}
