//! The table at the end.

use std::io::{self, Write, stdout};
use std::time::Duration;

use super::Way;
use super::script::{Condition, Stage};
use super::tally::{Digest, Tally, ratio, share};

const HEAD: &str = "
              | straight                      | through the ambassador        |
 upstream     | good fast slow  p50  p99 back | good fast slow  p50  p99 back |
--------------|-------------------------------|-------------------------------|
";

const TOTALS: &str = "
 in all         calls    good |  failed      fast |    jobs  for nobody
------------------------------|-------------------|---------------------
";

const LAYERS: &str = "
 its layers    | attempts  budget  in flight  queue | not closed   down
---------------|------------------------------------|-------------------
";

const LEGEND: &str = "
 attempts: sent to the upstream, for each call; budget: the least that was left for retries; in
 flight, queue: the most at a time; not closed, down: % of the time that the breaker was not
 closed, and that the health check had it that the upstream is down.
";

/// Sums up what came of the stages that were played until then.
pub(crate) fn print(
    ways: &[Way; 2],
    stages: &[Stage],
    patience: Duration,
    played: Duration,
    complaint: Option<String>,
) -> io::Result<()> {
    let fast = ways[0].tally.fast();
    let mut out = stdout().lock();
    out.write_all(HEAD.as_bytes())?;
    for (nth, stage) in stages.iter().enumerate().filter(|(_, stage)| stage.to <= played) {
        let length = stage.to.saturating_sub(stage.from).as_secs_f64();
        write!(out, " {:<7}{length:>4.1} s |", stage.condition.name())?;
        for way in ways {
            let calls = way.tally.made_in(stage);
            let recovers = stage.condition == Condition::Well && nth > 0;
            let back = if recovers { back(&way.tally, stage) } else { "-".to_owned() };
            write!(out, "{}{back:>5} |", cells(&calls))?;
        }
        writeln!(out)?;
    }
    writeln!(
        out,
        "
 good: % of the calls with a good answer within {patience:?}; fast, slow: % without one, who knew it
 within {fast:?}, or later; p50, p99: ms until the end of a call, whatever it was; back: s from the
 end of the fault until all is well (95 % good) for good, no: not before the next fault.
 jobs: what the upstream worked on; for nobody: whoever asked had given up.",
    )?;
    out.write_all(TOTALS.as_bytes())?;
    ways.iter().try_for_each(|way| print_totals(&mut out, way))?;
    out.write_all(LAYERS.as_bytes())?;
    for stage in stages.iter().filter(|stage| stage.to <= played) {
        ways.iter().try_for_each(|way| print_layers(&mut out, way, stage))?;
    }
    out.write_all(LEGEND.as_bytes())?;
    if let Some(complaint) = complaint {
        writeln!(out, "\n{complaint}")?;
    }
    writeln!(out, "\n{}", headline(ways))?;
    out.flush()
}

/// The show in three numbers, each beside what it is without an ambassador.
fn headline([straight, ambassador]: &[Way; 2]) -> String {
    let of = |way: &Way| {
        let calls = way.tally.whole();
        let (done, for_nobody) = way.upstream.done();
        let wasted = if done == 0 { 0.0 } else { 100.0 * for_nobody as f64 / done as f64 };
        (calls.percent(calls.good), calls.median_of_failures(), wasted)
    };
    let (good, told, wasted) = of(ambassador);
    let (good_straight, told_straight, wasted_straight) = of(straight);
    format!(
        "\
In short, through the ambassador and (straight): {good:.0} % ({good_straight:.0} %) of the calls were \
answered well,\nwho was not knew it after {told:.0} ms ({told_straight:.0} ms), and {wasted:.0} % \
({wasted_straight:.0} %) of the upstream's work was for nobody."
    )
}

fn cells(calls: &Digest) -> String {
    format!(
        "{:>5.0}{:>5.0}{:>5.0}{:>5.0}{:>5.0}",
        calls.percent(calls.good),
        calls.percent(calls.fast),
        calls.percent(calls.slow),
        calls.percentile(50),
        calls.percentile(99),
    )
}

fn back(tally: &Tally, stage: &Stage) -> String {
    tally.back_in(stage).map_or("no".to_owned(), |after| format!("{:.1}", after.as_secs_f64()))
}

fn print_totals(out: &mut impl Write, way: &Way) -> io::Result<()> {
    let calls = way.tally.whole();
    let failed = calls.fast + calls.slow;
    let (done, for_nobody) = way.upstream.done();
    writeln!(
        out,
        " {:<13}{:>7}{:>6.1} % |{failed:>8}{:>8.1} % |{done:>8}{for_nobody:>12}",
        way.name,
        calls.calls,
        calls.percent(calls.good),
        share(calls.fast, failed),
    )
}

fn print_layers(out: &mut impl Write, way: &Way, stage: &Stage) -> io::Result<()> {
    let Some((_, layers)) = &way.layers else { return Ok(()) };
    let length = stage.to.saturating_sub(stage.from).as_secs_f64();
    let account = layers.account_of(stage);
    writeln!(
        out,
        " {:<8}{length:>4.1} s |{:>9.2}{:>8.0}{:>11}{:>7} |{:>11.0}{:>7.0}",
        stage.condition.name(),
        ratio(account.attempts, way.tally.made_in(stage).calls),
        account.budget_least,
        account.in_flight_most,
        account.queued_most,
        account.not_closed,
        account.down,
    )
}
