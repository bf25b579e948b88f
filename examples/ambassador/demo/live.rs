//! The table while the show runs: redrawn in place on a terminal, else one line a second.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Stdout, Write, stdout};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, interval_at};

use super::script::Stage;
use super::tally::Tally;
use super::{Way, load, now};

/// Between two pictures on a terminal.
const FRAME: Duration = Duration::from_millis(100);
/// What a picture looks back on, and the time between two lines where there is no terminal.
const WINDOW: Duration = Duration::from_secs(1);

// Plain ANSI. A line that were wrapped would make the picture one line too high to redraw.
const NO_WRAP: &str = "\x1b[?7l";
const WRAP: &str = "\x1b[?7h";
const TO_END_OF_LINE: &str = "\x1b[K";

pub(crate) struct Live<'a> {
    out: Stdout,
    terminal: bool,
    stages: &'a [Stage],
    /// The lines of the picture that is on the screen.
    height: usize,
}

impl<'a> Live<'a> {
    pub(crate) fn on_stdout(
        stages: &'a [Stage],
        patience: Duration,
        metrics: SocketAddr,
    ) -> io::Result<Self> {
        let terminal = stdout().is_terminal();
        let mut live = Self { out: stdout(), terminal, stages, height: 0 };
        let rate = load::RATE;
        writeln!(
            live.out,
            "Two equal upstreams, {rate} calls a second on each; after {patience:?} an answer is \
             worthless.\nMetrics of the ambassador: http://{metrics}/metrics\n",
        )?;
        live.out.write_all(if terminal { NO_WRAP } else { LINE_HEAD }.as_bytes())?;
        live.out.flush()?;
        Ok(live)
    }

    /// Draws until it cannot, which is what it returns.
    pub(crate) async fn keep_drawing(&mut self, start: Instant, ways: &[Way; 2]) -> io::Result<()> {
        let every = if self.terminal { FRAME } else { WINDOW };
        let mut ticks = interval_at(start + every, every);
        loop {
            ticks.tick().await;
            let at = now() - start;
            if self.terminal { self.redraw(at, ways)? } else { self.add_line(at, ways)? }
        }
    }

    fn redraw(&mut self, at: Duration, ways: &[Way; 2]) -> io::Result<()> {
        let picture = picture(at, self.stages, ways);
        let mut frame = String::new();
        if self.height > 0 {
            let _ = write!(frame, "\x1b[{}F", self.height); // back up to where it began
        }
        for line in picture.lines() {
            let _ = writeln!(frame, "{line}{TO_END_OF_LINE}");
        }
        self.height = picture.lines().count();
        self.out.write_all(frame.as_bytes())?;
        self.out.flush()
    }

    fn add_line(&mut self, at: Duration, ways: &[Way; 2]) -> io::Result<()> {
        let [straight, ambassador] = ways;
        writeln!(
            self.out,
            "{:>4.0} s {:<8}|{}|{}| {}",
            at.as_secs_f64(),
            stage_at(at, self.stages).map_or("over", |stage| stage.condition.name()),
            short(at, &straight.tally),
            short(at, &ambassador.tally),
            gauges(ambassador),
        )?;
        self.out.flush()
    }
}

impl Drop for Live<'_> {
    /// Leaves the terminal as it was.
    fn drop(&mut self) {
        if self.terminal {
            let _ = self.out.write_all(WRAP.as_bytes()); // nobody is left to be told
            let _ = self.out.flush();
        }
    }
}

const LINE_HEAD: &str = "\
last second    |        straight        |       ambassador       |
   at upstream | good fast slow p50  p99| good fast slow p50  p99| its layers
";

fn short(at: Duration, tally: &Tally) -> String {
    let calls = tally.ended_since(at.saturating_sub(WINDOW));
    let percent = |part| calls.percent(part);
    format!(
        "{:>4.0}%{:>4.0}%{:>4.0}%{:>5.0}{:>5.0}",
        percent(calls.good),
        percent(calls.fast),
        percent(calls.slow),
        calls.percentile(50),
        calls.percentile(99),
    )
}

fn picture(at: Duration, stages: &[Stage], ways: &[Way; 2]) -> String {
    let mut text = String::new();
    let whole = stages.last().map_or(at, |stage| stage.to);
    let (clock, end) = (at.min(whole).as_secs_f64(), whole.as_secs_f64());
    let fares = stage_at(at, stages).map_or("the last answers", |stage| stage.condition.sentence());
    let _ = writeln!(text, " {clock:5.1} of {end:.1} s   the upstreams: {fares}\n");
    text.push_str(
        " last second   calls  good   no, fast  no, slow      p50      p99  waiting  queue\n",
    );
    for way in ways {
        let calls = way.tally.ended_since(at.saturating_sub(WINDOW));
        let _ = writeln!(
            text,
            " {:<12}{:>7}{:>5.0} %{:>9.0} %{:>8.0} %{:>6.0} ms{:>6.0} ms{:>9}{:>7}",
            way.name,
            calls.calls,
            calls.percent(calls.good),
            calls.percent(calls.fast),
            calls.percent(calls.slow),
            calls.percentile(50),
            calls.percentile(99),
            way.tally.waiting(),
            way.upstream.queued(),
        );
    }
    let _ = writeln!(text, "\n {}", gauges(&ways[1]));
    text
}

fn gauges(way: &Way) -> String {
    let read = way.gauges.as_ref().map(crate::stack::Gauges::read).unwrap_or_default();
    let words: Vec<_> = read.iter().map(|(name, value)| format!("{name} {value}")).collect();
    words.join(", ")
}

fn stage_at(at: Duration, stages: &[Stage]) -> Option<&Stage> {
    stages.iter().find(|stage| at < stage.to)
}
