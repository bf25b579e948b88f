//! The table while the show runs: redrawn in place on a terminal, else one line a second.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Stdout, Write, stdout};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, interval_at};

use super::script::Stage;
use super::tally::Tally;
use super::{Way, load, now};
use crate::stack::Reading;

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
        fast: Duration,
        metrics: SocketAddr,
    ) -> io::Result<Self> {
        let terminal = stdout().is_terminal();
        let mut live = Self { out: stdout(), terminal, stages, height: 0 };
        writeln!(live.out, "{}", opening(patience, fast, terminal))?;
        writeln!(live.out, "\nMetrics of the ambassador: http://{metrics}/metrics\n")?;
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
            "{:>4.0} s {:<8}|{}|{}|{}",
            at.as_secs_f64(),
            stage_at(at, self.stages).map_or("over", |stage| stage.condition.name()),
            short(at, &straight.tally),
            short(at, &ambassador.tally),
            ambassador.columns(at),
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

/// Who is who, and what each column means, in one sentence.
fn opening(patience: Duration, fast: Duration, terminal: bool) -> String {
    let rate = load::RATE;
    let shared = format!(
        "\
The same {rate} calls a second go to two identical upstreams that turn bad in the same way, to one
straight and to the other through the ambassador, a proxy that is made of seawall's layers: good is
the share of calls of the last second with a good answer within {patience:?}, fast and slow are the shares
that got none and knew it within {fast:?} or later, p50 and p99 the milliseconds a call took; "
    );
    let more = if terminal {
        "\
calls is
how many ended, waiting how many have not, and queue how many wait inside the upstream."
    } else {
        "\
of the
layers, att/call is what was sent to the upstream for each call, budget the retries that are left,
flight the calls at the upstream of as many as may be, and queue the calls that wait for that."
    };
    shared + more
}

const LINE_HEAD: &str = "\
last second    |        straight        |       ambassador       | its layers
   at upstream | good fast slow p50  p99| good fast slow p50  p99| att/call budget flight queue breaker,health
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
    let _ = writeln!(text, "\n{}", ways[1].words(at));
    text
}

impl Way {
    /// What there is to see of the layers, for a terminal.
    fn words(&self, at: Duration) -> String {
        let Some((gauges, _)) = &self.layers else { return String::new() };
        let Reading { breaker, health, in_flight, limit, queued, budget } = gauges.read();
        let attempts = self.attempts_per_call(at);
        let calls = format!("{attempts:.2} attempts a call, {budget:.0} more to spend on retries");
        let crowd = format!("{in_flight} of {limit} in flight, {queued} waiting");
        let states = format!("breaker {breaker}, upstream {health}");
        format!(" its layers   {calls}\n              {crowd}; {states}")
    }

    /// The same, for a line where there is no terminal.
    fn columns(&self, at: Duration) -> String {
        let Some((gauges, _)) = &self.layers else { return String::new() };
        let Reading { breaker, health, in_flight, limit, queued, budget } = gauges.read();
        let (attempts, flight) = (self.attempts_per_call(at), format!("{in_flight}/{limit}"));
        format!("{attempts:>9.2}{budget:>7.0}{flight:>7}{queued:>6} {breaker},{health}")
    }

    /// Attempts that went to the upstream in the last second, for each call that ended in it.
    fn attempts_per_call(&self, at: Duration) -> f64 {
        let since = at.saturating_sub(WINDOW);
        let attempts = self.layers.as_ref().map_or(0, |(_, layers)| layers.attempts_in(since, at));
        super::tally::ratio(attempts, self.tally.ended_since(since).calls)
    }
}

fn stage_at(at: Duration, stages: &[Stage]) -> Option<&Stage> {
    stages.iter().find(|stage| at < stage.to)
}
