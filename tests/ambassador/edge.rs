//! What strangers say about their calls, and how long their heads may be.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use hyper::body::Incoming;
use hyper::header::HeaderName;
use hyper::{HeaderMap, Request, StatusCode};

use crate::support::{Ambassador, Upstream, answer, ask_over, full, say, status_heard};

/// What headers the calls had that arrived.
type Saw = Arc<Mutex<Vec<HeaderMap>>>;

/// Says 503 to the first call.
async fn limping() -> (Upstream, Saw) {
    let saw = Saw::default();
    let seen = Arc::clone(&saw);
    let upstream = Upstream::answering(move |request: Request<Incoming>| {
        let mut seen = seen.lock().unwrap();
        seen.push(request.headers().clone());
        let first = seen.len() == 1;
        let status = if first { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
        async move { answer(status, "") }
    });
    (upstream.await, saw)
}

/// The status that HTTP/1.1 as it is gets.
fn status_of(address: SocketAddr, head: &str) -> String {
    status_heard(&mut say(address, head))
}

/// A request that may be repeated if its key is believed, with odd names and values.
const ORDER: &str = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\
    GRPC-TIMEOUT: 1n\r\ngrpc-timeout: -1S\r\n\
    Grpc-Previous-Rpc-Attempts: 99999999999999999999\r\n\
    X-Envoy-Attempt-Count: 7\r\nx-envoy-expected-rq-timeout-ms: 1\r\n\
    Idempotency-Key: \"order-7\"\r\nPRIORITY: u=0, i, u=1\r\n\
    X-Mine: stays\r\n\r\n{}";

// pitfall B21
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_strangers_say_about_their_calls_ends_at_the_edge() {
    let (upstream, saw) = limping().await;
    let ambassador = Ambassador::of(upstream.address, &[]);

    assert_eq!(status_of(ambassador.address, ORDER), "HTTP/1.1 503", "it has no key any more");

    let saw = saw.lock().unwrap();
    let names: Vec<_> = saw[0].keys().map(HeaderName::as_str).collect();
    let told = ["timeout", "attempt", "idempotency", "priority"];
    assert!(!names.iter().any(|name| told.iter().any(|told| name.contains(told))), "{names:?}");
    assert_eq!(saw[0]["x-mine"], "stays");
    assert_eq!(saw.len(), 1);
}

// pitfall B21
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_does_not_speak_in_the_ambassador_s_name() {
    let (upstream, saw) = limping().await;
    let ambassador = Ambassador::of(upstream.address, &["--tell-attempts", "x-before"]);
    let liar = "GET / HTTP/1.1\r\nhost: a\r\nX-Before: 7\r\nx-before: 8\r\n\r\n";
    assert_eq!(status_of(ambassador.address, liar), "HTTP/1.1 200");
    let saw = saw.lock().unwrap();
    let told: Vec<Vec<_>> =
        saw.iter().map(|headers| headers.get_all("x-before").iter().collect()).collect();
    assert_eq!(told, [vec![], vec!["1"]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn friends_are_believed_within_bounds() {
    let (upstream, saw) = limping().await;
    let ambassador = Ambassador::of(upstream.address, &["--trust"]);
    let order = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\nidempotency-key: order-7\r\n\
        priority: u=1, i\r\nx-envoy-attempt-count: 7\r\n\r\n{}";

    assert_eq!(status_of(ambassador.address, order), "HTTP/1.1 200", "it is repeated");

    let saw = saw.lock().unwrap();
    assert_eq!(saw.len(), 2);
    for headers in saw.iter() {
        assert_eq!(headers["idempotency-key"], "order-7");
        assert_eq!(headers["priority"], "u=1, i");
        assert!(!headers.contains_key("x-envoy-attempt-count"), "nobody reads it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_means_two_things_is_no_request() {
    let (upstream, _) = limping().await;
    let ambassador = Ambassador::of(upstream.address, &["--trust"]);
    let odd = [
        "grpc timeout: 1S",
        "grpc-timeout : 1S",
        "priority: u=0\0",
        "idempotency-key: a\x01b",
        ": nobody",
        "content-length: 2\r\ncontent-length: 3",
    ];
    for line in odd {
        let head = format!("POST / HTTP/1.1\r\nhost: a\r\n{line}\r\n\r\n{{}}");
        assert_eq!(status_of(ambassador.address, &head), "HTTP/1.1 400", "{line:?}");
    }
    assert_eq!(upstream.asked(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_is_no_longer_than_it_may_be() {
    let (upstream, _) = limping().await;
    let ambassador = Ambassador::of(upstream.address, &[]);
    let long = "x".repeat(80 * 1024);
    let long = format!("GET / HTTP/1.1\r\nhost: a\r\nx-long: {long}\r\n\r\n");
    let many = "x-again: y\r\n".repeat(200);
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{many}\r\n");
    for head in [long, many] {
        assert_eq!(status_of(ambassador.address, &head), "HTTP/1.1 431");
    }
    let call = |length: usize| {
        let value = "x".repeat(length);
        let call = Request::get(ambassador.url("/")).header("x-long", value);
        ask_over(true, call.body(full("")).unwrap())
    };
    assert_eq!(call(80 * 1024).await.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    assert_eq!(upstream.asked(), 0);
    assert_eq!(call(40 * 1024).await.status, StatusCode::OK);
}
