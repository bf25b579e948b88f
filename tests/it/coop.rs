//! Inner futures that use up their task's share of work at every poll.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use seawall::timeout::TimeoutLayer;
use seawall::{Error, Reason};
use tokio::task::coop;

use crate::support::{Broken, Fail};

/// Never ready, always at work: takes all that tokio gives it, and asks to be polled again.
async fn busy() -> Result<u32, Fail> {
    poll_fn(|cx| {
        while let Poll::Ready(restore) = coop::poll_proceed(cx) {
            restore.made_progress();
        }
        Poll::<()>::Pending
    })
    .await;
    Err(Error::Inner(Broken))
}

// pitfall B17: a limit that rings late is none
#[tokio::test]
async fn a_time_limit_ends_a_call_that_leaves_its_timer_no_share() {
    let limit = TimeoutLayer::new("x", Duration::from_millis(20));
    let ended = tokio::time::timeout(Duration::from_secs(20), limit.run(busy)).await;
    let rejected = ended.expect("the limit did not fire").unwrap_err();
    assert!(matches!(rejected, Error::Rejected(why) if why.reason() == Reason::TimedOut));
}
