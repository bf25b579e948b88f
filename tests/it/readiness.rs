//! A service that said it is ready says so until it is called, as tower asks, also where it was ready
//! only to refuse, and would not refuse any more. Found by tests/fuzz.

use std::task::Poll;

use seawall::bulkhead::BulkheadLayer;
use seawall::timeout::TimeoutLayer;
use tower::{Layer, Service};

use crate::subjects::{Kind, LIMIT};
use crate::support::{Bell, Fail, Ready, Reply, now, poll_once, probe, ready_once, scripted};

/// It is ready still, and a call waits for the inner service by itself.
fn keeps_its_word<S>(service: &mut S, ledger: &crate::support::Ledger, what: &str)
where
    S: Service<u32, Response = u32, Error = Fail, Future: Unpin>,
{
    let bell = Bell::new();
    assert_eq!(ready_once(service, &bell), Poll::Ready(Ok(())), "{what}");
    let mut call = service.call(7);
    assert!(poll_once(&mut call, &bell).is_pending(), "{what}");
    ledger.set_ready(Ready::Yes);
    assert_eq!((bell.rings(), now(poll_once(&mut call, &bell))), (1, Ok(7)), "{what}");
    drop(call);
    // The word was for one call.
    ledger.set_ready(Ready::No);
    assert!(ready_once(service, &bell).is_pending(), "{what}");
    ledger.assert_at_rest();
}

// pitfall B33
#[tokio::test(start_paused = true)]
async fn what_was_shut_and_opens_again_keeps_its_word() {
    let mut kept = Vec::new();
    for kind in Kind::all().filter(|kind| kind.layers() == 1) {
        let subject = kind.make();
        for shut in subject.shutters() {
            let (ledger, probe) = probe();
            let (bell, mut service) = (Bell::new(), subject.wrap(probe));
            ledger.set_ready(Ready::No);
            if ready_once(&mut service, &bell).is_ready() {
                continue; // it waits for the inner service in the call
            }
            let held = shut();
            assert_eq!(now(ready_once(&mut service, &bell)), Ok(()), "{kind}");
            drop(held);
            keeps_its_word(&mut service, &ledger, &kind.to_string());
            kept.push(kind);
        }
    }
    for name in ["circuit_breaker", "health"] {
        assert!(kept.iter().any(|kind| kind.is(name)), "{name} was never asked");
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_full_and_has_room_again_keeps_its_word() {
    let (ledger, probe) = scripted(Ready::Yes, Reply::Never);
    let bulkhead = BulkheadLayer::builder("kit").limit(1).build().unwrap();
    let mut service = bulkhead.layer(probe);
    let mut inside = Box::pin(service.call(1));
    assert!(poll_once(&mut inside, &Bell::new()).is_pending());
    assert_eq!(now(ready_once(&mut service, &Bell::new())), Ok(()));
    drop(inside);
    ledger.set_ready(Ready::No);
    ledger.set_reply(Reply::Answers);
    let mut boxed = tower::util::BoxService::new(service);
    keeps_its_word(&mut boxed, &ledger, "bulkhead");
}

#[tokio::test(start_paused = true)]
async fn a_timeout_that_covers_readiness_no_longer_keeps_its_word() {
    let (ledger, probe) = scripted(Ready::No, Reply::Answers);
    let timeout = TimeoutLayer::builder("kit").limit(LIMIT).cover_readiness(true).build().unwrap();
    let mut service = timeout.layer(probe);
    assert_eq!(now(ready_once(&mut service, &Bell::new())), Ok(()));
    let mut config = timeout.handle().config();
    config.cover_readiness = false;
    timeout.handle().reload(config).unwrap();
    let mut boxed = tower::util::BoxService::new(service);
    keeps_its_word(&mut boxed, &ledger, "timeout");
}
