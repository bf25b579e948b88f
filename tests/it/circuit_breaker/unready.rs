//! A dependency that is down only where its readiness is asked for.

use super::kit::*;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};

use seawall::circuit_breaker::State;
use seawall::{Error, Reason};
use tokio::time::advance;
use tower::{Layer, Service};

/// Fails in `poll_ready`, or answers at once.
#[derive(Debug, Clone, Default)]
struct Fails(Arc<Door>);

#[derive(Debug, Default)]
struct Door {
    is_well: AtomicBool,
    failed: AtomicUsize,
}

impl Service<Ask> for Fails {
    type Response = ();
    type Error = Error<Fault>;
    type Future = std::future::Ready<Result>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result> {
        if self.0.is_well.load(SeqCst) {
            return Poll::Ready(Ok(()));
        }
        self.0.failed.fetch_add(1, SeqCst);
        Poll::Ready(Err(Error::Inner(Fault(Answer::Failure))))
    }

    fn call(&mut self, _: Ask) -> Self::Future {
        std::future::ready(Ok(()))
    }
}

fn poll_ready<S: Service<Ask>>(service: &mut S) -> Poll<std::result::Result<(), S::Error>> {
    service.poll_ready(&mut Context::from_waker(Waker::noop()))
}

/// A call as tower has it: not made if readiness fails. Whether it was rejected.
fn call<S>(service: &mut S) -> Option<Result>
where
    S: Service<Ask, Response = (), Error = Error<Fault>>,
    S::Future: Send + 'static,
{
    match poll_ready(service) {
        Poll::Ready(Ok(())) => {
            let Poll::Ready(answer) = poll(Box::pin(service.call(GOOD)).as_mut()) else {
                panic!("pending");
            };
            Some(answer)
        }
        Poll::Ready(Err(error)) => Some(Err(error)),
        Poll::Pending => None,
    }
}

fn is_open(answer: Option<&Result>) -> bool {
    answer.is_none_or(
        |answer| matches!(answer, Err(Error::Rejected(why)) if why.reason() == Reason::CircuitOpen),
    )
}

/// Opens at the seventeenth failure, and again at the first of a probe; closes on seven good ones.
macro_rules! one_rule {
    ($name:literal, $service:expr, $door:expr, $handle:expr) => {{
        let (mut service, door, handle) = ($service, $door, $handle);
        for nth in 1..=17 {
            assert!(!is_open(call(&mut service).as_ref()), "{}: call {nth}", $name);
            assert_eq!(door.failed.load(SeqCst), nth, "{}: asked once for each call", $name);
        }
        assert!(is_open(call(&mut service).as_ref()), "{}", $name);
        assert_eq!(door.failed.load(SeqCst), 17);
        for _ in 0..3 {
            let break_duration = handle().snapshot().next_probe_in.unwrap();
            advance(break_duration).await;
            assert!(!is_open(call(&mut service).as_ref()), "{}: a probe", $name);
            assert_eq!(handle().state(), State::Open, "{}: a failed one", $name);
        }
        door.is_well.store(true, SeqCst);
        advance(handle().snapshot().next_probe_in.unwrap()).await;
        for _ in 0..7 {
            call(&mut service).unwrap().unwrap();
        }
        assert_eq!(handle().state(), State::Closed, "{}", $name);
        door.is_well.store(false, SeqCst);
        let _ = call(&mut service);
        assert_ne!(
            handle().snapshot().gathered.to_string(),
            "failures outweigh successes by 0, 17 is the limit",
            "{}: while the load comes back",
            $name,
        );
    }};
}

// field F13
#[tokio::test(start_paused = true)]
async fn readiness_that_fails_is_a_failed_call_everywhere() {
    let inner = Fails::default();
    let layer = builder().build().unwrap();
    one_rule!("plain", layer.layer(inner.clone()), inner.0, || layer.handle());

    let inner = Fails::default();
    let layer = builder().keyed(|_: &Ask| Cow::from("x")).build().unwrap();
    one_rule!("keyed", layer.layer(inner.clone()), inner.0, || layer.handle().key("x").unwrap());

    let inner = Fails::default();
    let layer = builder().build().unwrap();
    let backpressure = layer.backpressure().layer(inner.clone());
    one_rule!("backpressure", backpressure, inner.0, || layer.handle());
}

// field F13
#[tokio::test(start_paused = true)]
async fn while_a_policy_drains_readiness_that_fails_is_no_longer_counted() {
    let inner = Fails::default();
    let layer = builder().build().unwrap();
    let mut service = layer.layer(inner);
    let _ = call(&mut service);
    let gathered = layer.handle().snapshot().gathered;
    layer.drain().await;
    for _ in 0..20 {
        let _ = call(&mut service);
    }
    assert_eq!(layer.handle().snapshot().gathered, gathered);
}
