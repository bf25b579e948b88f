//! What the runs have shown, as Markdown.

use crate::fault::{AFTER, BEFORE, Fault};
use crate::goals::goals;
use crate::load::{DEADLINE, End, Record, Run};
use crate::stacks::Contender;
use crate::world::{Form, HINT};

/// Goodput is looked at in steps of so many seconds.
const STEP: f64 = 0.2;
/// This share of good answers is health.
const HEALTHY: f64 = 0.95;
/// A failure within so many seconds is fast.
const FAST: f64 = 0.2;

/// What several runs of one contender in one fault have shown. Shares and quantiles are those of all
/// runs together, moments those of the worst run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Summary {
    /// Of the requests that came during the fault: the share answered in time.
    pub(crate) goodput: f64,
    /// Seconds from the end of the fault until health for good; none: never.
    pub(crate) back: Option<f64>,
    pub(crate) attempts: f64,
    /// The same without those that came in the first second of the fault.
    pub(crate) attempts_later: f64,
    /// Share of the servers' work that was of no use.
    pub(crate) wasted: f64,
    /// Share of the failures that were fast; none if nothing failed.
    pub(crate) fast: Option<f64>,
    /// Seconds from the beginning of the fault to the first rejection.
    pub(crate) first_rejection: Option<f64>,
    pub(crate) rejected: f64,
    /// Milliseconds that good answers took, late ones included.
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    /// Share of the retries after a `Retry-After` that came too early.
    pub(crate) early: Option<f64>,
    pub(crate) longest_queue: usize,
}

#[allow(clippy::cast_precision_loss)] // counts of requests
fn share(of: usize, all: usize) -> Option<f64> {
    (all > 0).then(|| of as f64 / all as f64)
}

impl Summary {
    pub(crate) fn of(fault: Fault, runs: &[Run]) -> Self {
        let during = || {
            runs.iter().flat_map(|run| {
                run.records.iter().enumerate().filter_map(|(id, record)| {
                    let attempts = run.tally.attempts.get(id).copied().unwrap_or(0);
                    fault.is_during(record.came).then_some((record, attempts))
                })
            })
        };
        let requests = during().count();
        let per_request = |from: f64| {
            let counted = || during().filter(move |(record, _)| record.came >= from);
            let attempts = counted().map(|(_, attempts)| usize::from(attempts)).sum();
            share(attempts, counted().count()).unwrap_or(0.0)
        };
        let rejected = |record: &Record| matches!(record.ended, Some((_, End::Rejected)));
        let failures: Vec<_> = during().filter(|(record, _)| !record.is_good()).collect();
        let fast = failures.iter().filter(|(record, _)| {
            matches!(record.ended, Some((took, End::Rejected | End::Failed)) if took < FAST)
        });
        let first_rejections = runs.iter().filter_map(|run| {
            let rejections = run.records.iter().filter(|record| rejected(record));
            let moments = rejections.filter_map(|r| r.ended.map(|(took, _)| r.came + took));
            moments.filter(|at| *at >= BEFORE).min_by(f64::total_cmp)
        });
        let mut took: Vec<_> = during()
            .filter_map(|(record, _)| match record.ended {
                Some((took, End::Success)) => Some(took * 1000.0),
                _ => None,
            })
            .collect();
        took.sort_by(f64::total_cmp);
        let sum = |of: fn(&Run) -> f64| runs.iter().map(of).sum::<f64>();
        let count = |of: fn(&Run) -> u32| runs.iter().map(|run| of(run) as usize).sum::<usize>();
        Self {
            goodput: share(requests - failures.len(), requests).unwrap_or(0.0),
            back: runs
                .iter()
                .map(|run| back(fault, &run.records))
                .try_fold(0.0, |worst: f64, back| back.map(|back| worst.max(back))),
            attempts: per_request(BEFORE),
            attempts_later: per_request(BEFORE + 1.0),
            wasted: sum(|run| run.tally.wasted) / sum(|run| run.tally.worked).max(1e-9),
            fast: share(fast.count(), failures.len()),
            first_rejection: first_rejections.max_by(f64::total_cmp).map(|at| at - BEFORE),
            rejected: share(during().filter(|(record, _)| rejected(record)).count(), requests)
                .unwrap_or(0.0),
            p99: quantile(&took, 0.99),
            p999: quantile(&took, 0.999),
            early: share(
                count(|run| run.tally.retries_too_early),
                count(|run| run.tally.retries_after_hint),
            ),
            longest_queue: runs.iter().map(|run| run.tally.longest_queue).max().unwrap_or(0),
        }
    }
}

/// Seconds from the end of the fault until every further step was healthy. Where the server asked to
/// be left alone, its word holds for a while longer.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn back(fault: Fault, records: &[Record]) -> Option<f64> {
    let retry_after = if fault == Fault::RetryAfter { HINT.as_secs_f64() } else { 0.0 };
    let end = fault.end() + retry_after;
    let steps = ((AFTER - DEADLINE) / STEP) as usize;
    let mut good = vec![(0, 0); steps];
    for record in records {
        let step = ((record.came - end) / STEP).floor();
        if let Some((good, all)) = good.get_mut(step as usize).filter(|_| step >= 0.0) {
            *good += usize::from(record.is_good());
            *all += 1;
        }
    }
    let ill = |(good, all): &(usize, usize)| share(*good, *all).is_some_and(|s| s < HEALTHY);
    let back = good.iter().rposition(ill).map_or(0, |last| last + 1);
    (back < steps).then_some(back as f64 * STEP)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let nth = (q * sorted.len() as f64).ceil() as usize;
    sorted.get(nth.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

// ===== Markdown =====

const HEAD: &str = "\
| defaults of | form | goodput | back | attempts | wasted | fast | first rejection | rejected | p99 | p99.9 | queue | missed |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |";

pub(crate) fn print_head(fault: Fault) {
    let goals: Vec<_> = goals(fault).iter().map(|(goal, _)| *goal).collect();
    println!("\n### {}\n\nTargets: {}.\n\n{HEAD}", fault.name(), goals.join(", "));
}

pub(crate) fn print_row(fault: Fault, contender: Contender, form: Form, summary: &Summary) {
    let Summary { goodput, attempts, wasted, rejected, p99, p999, longest_queue, .. } = summary;
    println!(
        "| {} | {} | {} | {} | {attempts:.2} | {} | {} | {} | {} | {} | {} | {longest_queue} | {} |",
        contender.name(),
        form.name(),
        percent(*goodput),
        summary.back.map_or("never".to_owned(), |back| format!("{back:.1} s")),
        percent(*wasted),
        summary.fast.map_or("–".to_owned(), percent),
        summary.first_rejection.map_or("–".to_owned(), |at| format!("{at:.2} s")),
        percent(*rejected),
        millis(*p99),
        millis(*p999),
        if contender.is_ours() { missed(fault, summary) } else { String::new() },
    );
}

/// What only some faults have to tell.
pub(crate) fn print_note(fault: Fault, contender: Contender, form: Form, summary: &Summary) {
    let who = || format!("{}, {}", contender.name(), form.name());
    match (fault, summary.early) {
        (Fault::RetryAfter, Some(early)) => {
            println!(
                "- {}: {} of the retries came before the time asked for",
                who(),
                percent(early)
            );
        }
        (Fault::Hops, _) => {
            let later = summary.attempts_later;
            println!("- {}: {later:.3} attempts per request after the first second", who());
        }
        _ => {}
    }
}

fn missed(fault: Fault, summary: &Summary) -> String {
    let missed = goals(fault).iter().filter(|(_, met)| !met(summary));
    let missed: Vec<_> = missed.map(|(goal, _)| *goal).collect();
    if missed.is_empty() { "nothing".to_owned() } else { missed.join(", ") }
}

fn percent(share: f64) -> String {
    let digits = usize::from(!(0.1..=0.9).contains(&share));
    format!("{:.digits$} %", share * 100.0)
}

fn millis(took: f64) -> String {
    if took.is_nan() { "–".to_owned() } else { format!("{took:.0} ms") }
}
