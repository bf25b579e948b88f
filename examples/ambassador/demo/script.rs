//! What befalls the upstreams, and when.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// How an upstream fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    Well,
    Flaky,
    Slow,
    Failing,
    Hanging,
    Dead,
}

impl Condition {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Flaky => "flaky",
            Self::Slow => "slow",
            Self::Failing => "failing",
            Self::Hanging => "hanging",
            Self::Dead => "dead",
        }
    }

    pub(crate) const fn sentence(self) -> &'static str {
        match self {
            Self::Well => "all is well",
            Self::Flaky => "every fourth answer is a 500 or a cut connection",
            Self::Slow => "brown-out: work takes eight times as long",
            Self::Failing => "every answer is a 500",
            Self::Hanging => "its workers hang: no answer at all",
            Self::Dead => "gone: connections are refused",
        }
    }
}

/// The conditions in their order, and how long each lasts in a show of twenty seconds. A fault is
/// followed by as much health as it takes to see who is back when.
const SCRIPT: [(Condition, f64); 11] = [
    (Condition::Well, 1.0),
    (Condition::Flaky, 2.0),
    (Condition::Well, 1.0),
    (Condition::Slow, 3.0),
    (Condition::Well, 3.5),
    (Condition::Failing, 1.5),
    (Condition::Well, 1.0),
    (Condition::Hanging, 2.0),
    (Condition::Well, 2.5),
    (Condition::Dead, 1.5),
    (Condition::Well, 1.0),
];
/// The sum of them.
const WRITTEN_FOR: Duration = Duration::from_secs(20);

/// A condition with its place in the show.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stage {
    pub(crate) condition: Condition,
    /// Time since the start of the show.
    pub(crate) from: Duration,
    pub(crate) to: Duration,
}

/// How fast the show goes, in thousandths: 1000 as written, less in fast motion.
///
/// In fast motion everybody's time is short: the stages, the callers' patience, the work. So there
/// are fewer calls to see, and the picture stays the same. There is no slow motion: a longer show
/// has longer stages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tempo(u32);

impl Tempo {
    const AS_WRITTEN: u32 = 1_000;

    fn of(duration: Duration) -> Self {
        let share = duration.as_millis() * u128::from(Self::AS_WRITTEN) / WRITTEN_FOR.as_millis();
        Self(u32::try_from(share).unwrap_or(u32::MAX).clamp(1, Self::AS_WRITTEN))
    }

    /// What becomes of a time that is written down somewhere in the show.
    pub(crate) fn time(self, written: Duration) -> Duration {
        written * self.0 / Self::AS_WRITTEN
    }

    /// How many it takes to do the same in less time each; one at least.
    pub(crate) fn hands(self, written: u32) -> u32 {
        ((written * self.0 + Self::AS_WRITTEN / 2) / Self::AS_WRITTEN).max(1)
    }
}

/// Who tells the upstreams how they fare.
pub(crate) struct Script {
    stages: Vec<Stage>,
    tempo: Tempo,
    condition: watch::Sender<Condition>,
}

impl Script {
    /// The script, stretched or shortened to this time.
    pub(crate) fn over(duration: Duration) -> Self {
        let mut from = Duration::ZERO;
        let stage = |(condition, seconds): (Condition, f64)| {
            let to = from + duration.mul_f64(seconds / WRITTEN_FOR.as_secs_f64());
            Stage { condition, from: std::mem::replace(&mut from, to), to }
        };
        let stages = SCRIPT.map(stage).to_vec();
        let condition = watch::Sender::new(Condition::Well);
        Self { stages, tempo: Tempo::of(duration), condition }
    }

    pub(crate) fn stages(&self) -> &[Stage] {
        &self.stages
    }

    pub(crate) fn tempo(&self) -> Tempo {
        self.tempo
    }

    pub(crate) fn duration(&self) -> Duration {
        self.stages.last().map_or(Duration::ZERO, |stage| stage.to)
    }

    /// Where an upstream learns how it fares.
    pub(crate) fn condition(&self) -> watch::Receiver<Condition> {
        self.condition.subscribe()
    }

    /// Plays it from `start` to its end.
    pub(crate) async fn play(&self, start: Instant) {
        for stage in &self.stages {
            self.condition.send_replace(stage.condition);
            sleep_until(start + stage.to).await;
        }
    }
}
