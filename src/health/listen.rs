//! The background task that is told, instead of asking.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::FutureExt;
use futures::stream::{Stream, StreamExt};
use tokio::time::{sleep, timeout};

use super::policy::{Checked, Policy};
use crate::parts::backoff::{Curve, Shape};
use crate::shell::gate::Gate;
use crate::time;

/// The least that passes between two streams, before jitter. It doubles while streams are short, up
/// to the interval.
const PAUSE: Duration = Duration::from_millis(100);

/// What a stream of health tells.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Told {
    /// The dependency says that it is up.
    Up,
    /// The dependency says that it is down, and why.
    Down(String),
    /// It could not be heard, and why: no more than a bad check.
    Lost(String),
}

/// Makes a stream of what the dependency says of itself.
pub(super) type Listen = Arc<dyn Fn() -> Listening + Send + Sync>;
pub(super) type Listening = Pin<Box<dyn Stream<Item = Told> + Send>>;

/// Listens to one stream after the other, for as long as the policy lives. Holds it only while it
/// writes down what it heard.
pub(super) async fn run(policy: Weak<Gate<Policy>>, listen: Listen) {
    let mut short = 0;
    loop {
        let Some(law) = policy.upgrade().map(|policy| policy.law()) else { return };
        let began = time::now();
        let hearing = AssertUnwindSafe(hear(&policy, &listen, law.timeout));
        let lost = match hearing.catch_unwind().await {
            Ok(lost) => lost,
            Err(_) => Some((Checked::Panicked, "the check panicked".to_owned())),
        };
        let took = time::now().saturating_duration_since(began);
        let pause = {
            let Some(policy) = policy.upgrade() else { return };
            if let Some((how, why)) = lost {
                policy.lost(how, why);
            }
            let cap = policy.law().interval.1;
            // One that ends as soon as it is there must not be made without end, whatever it says.
            short = if time::nanos(took) < cap { short + 1 } else { 1 };
            let curve = Curve { base: time::nanos(PAUSE), factor: 2, cap, shape: Shape::Equal };
            Duration::from_nanos(curve.wait(short, 0, fastrand::u64(..)))
        };
        sleep(pause).await;
    }
}

/// Listens to one stream to its end; returns what was wrong with it, if anything was.
async fn hear(
    policy: &Weak<Gate<Policy>>,
    listen: &Listen,
    limit: u64,
) -> Option<(Checked, String)> {
    let mut stream = listen();
    // The first word is due at once; from then on silence means that nothing has changed.
    let Ok(mut told) = timeout(Duration::from_nanos(limit), stream.next()).await else {
        return Some((Checked::TimedOut, "the check timed out".to_owned()));
    };
    while let Some(word) = told {
        let policy = policy.upgrade()?;
        match word {
            Told::Up => policy.told(None),
            Told::Down(why) => policy.told(Some(why)),
            Told::Lost(why) => return Some((Checked::Bad, why)),
        }
        drop(policy);
        told = stream.next().await;
    }
    None
}
