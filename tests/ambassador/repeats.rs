//! Which calls are repeated, and which are not.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Method, Request, StatusCode};

use crate::support::{Ambassador, Body, Upstream, answer, ask, full};

/// More than is kept.
const LARGE: usize = 64 * 1024 + 1;

/// An upstream that says 503 to the first of each two calls, and what bodies it got.
async fn limping() -> (Upstream, Arc<Mutex<Vec<Bytes>>>) {
    let bodies = Arc::<Mutex<Vec<Bytes>>>::default();
    let (got, limps) = (Arc::clone(&bodies), Arc::new(AtomicBool::new(false)));
    let upstream = Upstream::answering(move |request: Request<Incoming>| {
        let (got, limps) = (Arc::clone(&got), Arc::clone(&limps));
        async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            got.lock().unwrap().push(body);
            if limps.fetch_not(Ordering::Relaxed) {
                answer(StatusCode::OK, "there you are")
            } else {
                answer(StatusCode::SERVICE_UNAVAILABLE, "not now")
            }
        }
    });
    (upstream.await, bodies)
}

fn streamed(content: impl Into<Bytes>) -> Body {
    let frames = stream::iter([Ok(Frame::data(content.into()))]);
    StreamBody::new(frames).boxed()
}

// pitfall B15
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_may_be_repeated_is_with_its_whole_body() {
    let cases = [
        (Method::GET, "", full("")),
        (Method::HEAD, "", full("")),
        (Method::DELETE, "", full("")),
        (Method::PUT, "the whole of it", full("the whole of it")),
        (Method::PUT, "who knows how long", streamed("who knows how long")),
    ];
    for (method, text, body) in cases {
        let (upstream, bodies) = limping().await;
        let ambassador = Ambassador::of(upstream.address, &[]);

        let call = Request::builder().method(&method).uri(ambassador.url("/"));
        let answer = ask(call.body(body).unwrap()).await;

        assert_eq!(answer.status, StatusCode::OK, "{method}");
        assert_eq!(upstream.asked(), 2, "{method}");
        assert_eq!(*bodies.lock().unwrap(), [text, text], "{method}");
        let attempts = ["seawall_retry_attempts_total"];
        assert_eq!(ambassador.metric(&attempts).await, 2.0, "{method}");
        let retries = ["seawall_retry_retries_total", "reason=\"failure\""];
        assert_eq!(ambassador.metric(&retries).await, 1.0, "{method}");
        let budget = ambassador.metric(&["seawall_retry_budget_tokens"]).await;
        assert_eq!(budget, 50.0, "{method}: what helped is paid back");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_may_not_be_repeated_is_not_and_is_counted() {
    let large = || vec![b'x'; LARGE];
    let cases: [(Method, Body); 4] = [
        (Method::POST, full("order one more")),
        (Method::PATCH, full("")),
        (Method::PUT, full(large())),
        (Method::PUT, streamed(large())),
    ];
    for (method, body) in cases {
        let (upstream, bodies) = limping().await;
        let ambassador = Ambassador::of(upstream.address, &[]);

        let call = Request::builder().method(&method).uri(ambassador.url("/"));
        let answer = ask(call.body(body).unwrap()).await;

        let length = bodies.lock().unwrap()[0].len();
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{method} {length}");
        assert_eq!(answer.text, "not now", "{method} {length}");
        assert_eq!(answer.header("proxy-status"), None, "{method} {length}: the upstream's word");
        assert_eq!(upstream.asked(), 1, "{method} {length}");
        let stopped = ["seawall_retry_stopped_total", "reason=\"no_copy\""];
        assert_eq!(ambassador.metric(&stopped).await, 1.0, "{method} {length}");
    }
}
