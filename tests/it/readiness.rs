//! A service that said it is ready says so until it is called, as tower asks, also where it was ready
//! only to reject, and would not reject any more. Found by tests/fuzz.

use std::task::Poll;

use seawall::bulkhead::BulkheadLayer;
use seawall::timeout::TimeoutLayer;
use tower::{Layer, Service};

use crate::subjects::{Kind, LIMIT};
use crate::support::{
    CountingWaker, Fail, Ready, Reply, now, poll_once, probe, ready_once, scripted,
};

/// It is ready still, and a call waits for the inner service by itself.
fn keeps_its_word<S>(service: &mut S, handle: &crate::support::MockHandle, what: &str)
where
    S: Service<u32, Response = u32, Error = Fail, Future: Unpin>,
{
    let task = CountingWaker::new();
    assert_eq!(ready_once(service, &task), Poll::Ready(Ok(())), "{what}");
    let mut call = service.call(7);
    assert!(poll_once(&mut call, &task).is_pending(), "{what}");
    handle.set_ready(Ready::Yes);
    assert_eq!((task.wakes(), now(poll_once(&mut call, &task))), (1, Ok(7)), "{what}");
    drop(call);
    // The word was for one call.
    handle.set_ready(Ready::No);
    assert!(ready_once(service, &task).is_pending(), "{what}");
    handle.assert_at_rest();
}

// pitfall B33
#[tokio::test(start_paused = true)]
async fn what_was_shut_and_opens_again_keeps_its_word() {
    let mut kept = Vec::new();
    for kind in Kind::all().filter(|kind| kind.layers() == 1) {
        let subject = kind.make();
        for shut in subject.shutters() {
            let (handle, probe) = probe();
            let (task, mut service) = (CountingWaker::new(), subject.wrap(probe));
            handle.set_ready(Ready::No);
            if ready_once(&mut service, &task).is_ready() {
                continue; // it waits for the inner service in the call
            }
            let held = shut();
            assert_eq!(now(ready_once(&mut service, &task)), Ok(()), "{kind}");
            drop(held);
            keeps_its_word(&mut service, &handle, &kind.to_string());
            kept.push(kind);
        }
    }
    for name in ["circuit_breaker", "health"] {
        assert!(kept.iter().any(|kind| kind.is(name)), "{name} was never asked");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_full_and_has_room_again_keeps_its_word() {
    let (handle, probe) = scripted(Ready::Yes, Reply::Never);
    let bulkhead = BulkheadLayer::builder("kit").limit(1).build().unwrap();
    let mut service = bulkhead.layer(probe);
    let mut inside = Box::pin(service.call(1));
    assert!(poll_once(&mut inside, &CountingWaker::new()).is_pending());
    assert_eq!(now(ready_once(&mut service, &CountingWaker::new())), Ok(()));
    drop(inside);
    handle.set_ready(Ready::No);
    handle.set_reply(Reply::Answers);
    let mut boxed = tower::util::BoxService::new(service);
    keeps_its_word(&mut boxed, &handle, "bulkhead");
}

#[tokio::test(start_paused = true)]
async fn a_timeout_that_covers_readiness_no_longer_keeps_its_word() {
    let (handle, probe) = scripted(Ready::No, Reply::Answers);
    let timeout = TimeoutLayer::builder("kit").limit(LIMIT).cover_readiness(true).build().unwrap();
    let mut service = timeout.layer(probe);
    assert_eq!(now(ready_once(&mut service, &CountingWaker::new())), Ok(()));
    let mut config = timeout.handle().config();
    config.cover_readiness = false;
    timeout.handle().reload(config).unwrap();
    let mut boxed = tower::util::BoxService::new(service);
    keeps_its_word(&mut boxed, &handle, "timeout");
}
