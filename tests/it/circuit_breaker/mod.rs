use std::convert::Infallible;
use std::time::Duration;

use seawall::circuit_breaker::CircuitBreakerLayer;
use seawall::{Error, Reason, State};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

#[tokio::test(start_paused = true)]
async fn seventeen_failures_open_a_fresh_breaker_and_it_recovers() {
    let layer = CircuitBreakerLayer::new("x");
    let handle = layer.handle();
    let up = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let seen = up.clone();
    let mut service =
        ServiceBuilder::new().layer(layer).map_err(Error::Inner).concurrency_limit(1).service(
            service_fn(move |(): ()| {
                let up = seen.load(std::sync::atomic::Ordering::Relaxed);
                async move { if up { Ok(()) } else { Err(std::io::Error::other("down")) } }
            }),
        );
    for _ in 0..17 {
        assert!(matches!(service.ready().await.unwrap().call(()).await, Err(Error::Inner(_))));
    }
    assert_eq!(handle.state(), State::Open);
    let refused = service.ready().await.unwrap().call(()).await.unwrap_err();
    assert!(matches!(refused, Error::Rejected(why) if why.reason() == Reason::CircuitOpen));
    up.store(true, std::sync::atomic::Ordering::Relaxed);
    tokio::time::advance(Duration::from_millis(51)).await;
    for _ in 0..7 {
        service.ready().await.unwrap().call(()).await.unwrap();
    }
    assert_eq!(handle.state(), State::Closed);
}

#[allow(dead_code)]
fn infer() -> Option<Infallible> {
    None
}
