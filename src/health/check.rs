//! The background task that checks, again and again.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::FutureExt;
use tokio::time::{sleep, timeout};

use super::policy::{Checked, Policy};
use crate::parts::spread;
use crate::shell::gate::Gate;
use crate::time;

/// A check: makes a future that says whether all is well, or what is not.
pub(super) type Check = Arc<dyn Fn() -> Checking + Send + Sync>;
pub(super) type Checking = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Checks at once, and then after each interval, one check at a time, for as long as the policy
/// lives. Holds it only between checks.
pub(super) async fn run(policy: Weak<Gate<Policy>>, check: Check) {
    loop {
        let Some(limit) = policy.upgrade().map(|policy| policy.law().timeout) else { return };
        let began = time::now();
        // The closure is called and the check given up inside, so that a panic in either counts too.
        let checking = async { timeout(Duration::from_nanos(limit), check()).await };
        let (how, error) = match AssertUnwindSafe(checking).catch_unwind().await {
            Ok(Ok(Ok(()))) => (Checked::Good, None),
            Ok(Ok(Err(error))) => (Checked::Bad, Some(error)),
            Ok(Err(_)) => (Checked::TimedOut, Some("the check timed out".to_owned())),
            Err(_) => (Checked::Panicked, Some("the check panicked".to_owned())),
        };
        let pause = {
            let Some(policy) = policy.upgrade() else { return };
            policy.checked(how, time::now().saturating_duration_since(began), error);
            let (least, most) = policy.law().interval;
            Duration::from_nanos(least + spread(most - least, fastrand::u64(..)))
        };
        sleep(pause).await;
    }
}
