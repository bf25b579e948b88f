//! The background task that checks, again and again.

use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;

use futures::FutureExt;
use futures::future::{Either, select};

use super::checker::Shift;
use super::monitor::{Checked, Monitor};
use crate::core::time;

/// A check: makes a future that says whether all is well, or what is not.
pub(super) type Check = Arc<dyn Fn() -> Checking + Send + Sync>;
pub(super) type Checking = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Checks at once, and then after each interval, one check at a time, for as long as the policy
/// lives. Holds it only between checks.
pub(super) async fn run(shift: Shift, check: Check) {
    loop {
        let began = time::now();
        // The closure is called and the check given up inside, so that a panic in either counts too.
        let checking = async {
            let limit =
                shift.wait(began, |policy, passed| policy.params().timeout.saturating_sub(passed));
            match select(check(), pin!(limit)).await {
                Either::Left((readiness, _)) => {
                    Some(readiness.map_err(|error| (Checked::Failure, error)))
                }
                Either::Right((late, _)) => {
                    late.map(|()| Err((Checked::TimedOut, "the check timed out".to_owned())))
                }
            }
        };
        let (how, error) = match AssertUnwindSafe(checking).catch_unwind().await {
            Ok(None) => return,
            Ok(Some(Ok(()))) => (Checked::Success, None),
            Ok(Some(Err((how, error)))) => (how, Some(error)),
            Err(_) => (Checked::Panicked, Some("the check panicked".to_owned())),
        };
        let ended = time::now();
        {
            let Some(policy) = shift.policy() else { return };
            policy.checked(how, ended.saturating_duration_since(began), error);
        }
        let (draw, mut turned) = (fastrand::u64(..), false);
        let pause = |policy: &Monitor, passed| {
            policy.pause(draw, passed, std::mem::replace(&mut turned, true))
        };
        if shift.wait(ended, pause).await.is_none() {
            return;
        }
    }
}
