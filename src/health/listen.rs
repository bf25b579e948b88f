//! The background task that is told, instead of asking.

use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{Either, select};
use futures::stream::{Stream, StreamExt};
use tokio::time::Instant;

use super::checker::Shift;
use super::monitor::{Checked, Monitor};
use crate::core::time;
use crate::parts::backoff::{Curve, Shape};

/// The least that passes between two streams, before jitter. It doubles while streams are short, up
/// to the interval.
const PAUSE: Duration = Duration::from_millis(100);

/// What a stream of health tells.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HealthUpdate {
    /// The dependency says that it is up.
    Up,
    /// The dependency says that it is down, and why.
    Down(String),
    /// It could not be heard, and why: no more than a failed check.
    Lost(String),
}

/// Makes a stream of what the dependency says of itself.
pub(super) type Listen = Arc<dyn Fn() -> Listening + Send + Sync>;
pub(super) type Listening = Pin<Box<dyn Stream<Item = HealthUpdate> + Send>>;

/// Listens to one stream after the other, for as long as the policy lives. Holds it only while it
/// writes down what it heard.
pub(super) async fn run(shift: Shift, listen: Listen) {
    let mut short = 0;
    loop {
        let began = time::now();
        let hearing = AssertUnwindSafe(hear(&shift, &listen, began));
        let lost = match hearing.catch_unwind().await {
            Ok(lost) => lost,
            Err(_) => Some((Checked::Panicked, "the check panicked".to_owned())),
        };
        let ended = time::now();
        {
            let Some(policy) = shift.policy() else { return };
            if let Some((how, why)) = lost {
                policy.lost(how, why);
            }
            // One that ends as soon as it is there must not be made without end, whatever it says.
            let took = time::nanos(ended.saturating_duration_since(began));
            short = if took < policy.interval().1 { short + 1 } else { 1 };
        }
        let draw = fastrand::u64(..);
        let pause = |policy: &Monitor, passed: u64| {
            let cap = policy.interval().1;
            let curve = Curve { base: time::nanos(PAUSE), factor: 2000, cap, shape: Shape::Equal };
            curve.wait(short, 0, draw).saturating_sub(passed)
        };
        if shift.wait(ended, pause).await.is_none() {
            return;
        }
    }
}

/// Listens to one stream to its end; returns what was wrong with it, if anything was.
async fn hear(shift: &Shift, listen: &Listen, began: Instant) -> Option<(Checked, String)> {
    let mut stream = listen();
    // The first word is due at once; from then on silence means that nothing has changed.
    let due = shift.wait(began, |policy, passed| policy.params().timeout.saturating_sub(passed));
    let mut told = match select(stream.next(), pin!(due)).await {
        Either::Left((told, _)) => told,
        Either::Right((late, _)) => {
            return late.map(|()| (Checked::TimedOut, "the check timed out".to_owned()));
        }
    };
    while let Some(word) = told {
        let policy = shift.policy()?;
        match word {
            HealthUpdate::Up => policy.told(None),
            HealthUpdate::Down(why) => policy.told(Some(why)),
            HealthUpdate::Lost(why) => return Some((Checked::Failure, why)),
        }
        drop(policy);
        told = loop {
            let heard = time::now();
            // Who listens says now and then that it does.
            let sign =
                shift.wait(heard, |policy, passed| policy.interval().1.saturating_sub(passed));
            match select(stream.next(), pin!(sign)).await {
                Either::Left((told, _)) => break told,
                Either::Right((sign, _)) => sign?,
            }
            shift.policy()?.still_holds();
        };
    }
    None
}
