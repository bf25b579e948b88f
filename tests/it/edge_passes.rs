//! An edge that hands everything on and believes nothing.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{HeaderMap, HeaderValue, Request, Response};
use seawall::Error;
use seawall::http::{HttpClassifier, Replay, UntrustedHeadersLayer};
use seawall::retry::{Backoff, RetryLayer};
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::http_edge::behind;

// field F21: what is handed on to the handler is not acted on by us, unless it was switched on.
#[tokio::test]
async fn what_passes_through_is_believed_by_no_layer() {
    let sent = [
        ("idempotency-key", "k"),
        ("priority", "u=0"),
        ("grpc-timeout", "1m"),
        ("grpc-previous-rpc-attempts", "7"),
        ("x-envoy-max-retries", "9"),
    ];
    let sent = || -> HeaderMap {
        let sent = sent.iter();
        sent.map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    };
    let (left, call) = behind(&UntrustedHeadersLayer::pass_through(), sent());
    assert_eq!(left, sent());
    assert!(call.deadline.is_none() && call.prior == 0);
    let (left, _) =
        behind(&UntrustedHeadersLayer::pass_through().strip(Replay::IDEMPOTENCY_KEY), sent());
    assert_eq!(left.len(), 4);

    let attempts = async |edge: UntrustedHeadersLayer| {
        let tried = Arc::new(Mutex::new(0));
        let count = Arc::clone(&tried);
        let retry = RetryLayer::builder("x")
            .classify(HttpClassifier)
            .copy_with(Replay::default().key_header(Replay::IDEMPOTENCY_KEY))
            .backoff(Backoff::none())
            .build()
            .unwrap();
        let stack = ServiceBuilder::new().layer(edge).layer(retry).map_err(Error::Inner).service(
            service_fn(move |_: Request<()>| {
                *count.lock().unwrap() += 1;
                let answer = Response::builder().status(503).body(()).unwrap();
                async move { Ok::<_, Infallible>(answer) }
            }),
        );
        let request = Request::post("/").header("idempotency-key", "k").body(()).unwrap();
        stack.oneshot(request).await.unwrap();
        *tried.lock().unwrap()
    };
    assert_eq!(attempts(UntrustedHeadersLayer::pass_through()).await, 1);
    assert_eq!(
        attempts(UntrustedHeadersLayer::pass_through().key(Replay::IDEMPOTENCY_KEY)).await,
        3
    );
    assert_eq!(attempts(UntrustedHeadersLayer::new().key(Replay::IDEMPOTENCY_KEY)).await, 3);
}
