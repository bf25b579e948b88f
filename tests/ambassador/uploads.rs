//! Callers who are slow to send their requests, or never do, and many callers at a time.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::channel::Channel;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::support::{
    Ambassador, Body, Gate, SOON, Upstream, answer, ask_over, full, get, say, status_heard,
};

/// What is gathered before it is sent on, and what streams.
const LENGTHS: [usize; 2] = [1_000, 100_000];

/// Tells how long a body was, when it has ended.
async fn measure(request: Request<Incoming>) -> Response<Body> {
    match request.into_body().collect().await {
        Ok(body) => answer(StatusCode::OK, body.to_bytes().len().to_string()),
        Err(_) => answer(StatusCode::BAD_REQUEST, ""),
    }
}

// field S1
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_who_stall_are_told_so_and_harm_nobody() {
    let upstream = Upstream::answering(measure).await;
    let ambassador =
        Ambassador::of(upstream.address, &["--timeout", "700ms", "--deadline", "1.5s"]);
    let mut stalled = Vec::new();
    for method in ["POST", "PUT"] {
        for length in LENGTHS {
            for _ in 0..30 {
                let head =
                    format!("{method} / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
                let caller = say(ambassador.address, head + "abc");
                stalled.push((method, length, caller));
            }
        }
    }
    for (method, length, mut caller) in stalled {
        assert_eq!(status_heard(&mut caller), "HTTP/1.1 408", "{method} {length}");
    }
    assert_eq!(get(&ambassador.url("/")).await.status, StatusCode::OK);
    let closed = ["seawall_circuit_breaker_state", "\"closed\""];
    assert_eq!(ambassador.metric(&closed).await, 1.0);
    let bad = ["seawall_calls_total", "circuit_breaker", "\"failure\""];
    assert_eq!(ambassador.metric(&bad).await, 0.0);
}

// field S1: they hold half of the places at the upstream at the most.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_who_stall_leave_places_to_others() {
    let upstream = Upstream::answering(measure).await;
    let ambassador = Ambassador::of(upstream.address, &["--limit", "4"]);
    let mut stalled = Vec::new();
    for nth in 0..20 {
        let framing =
            if nth % 2 == 0 { "content-length: 100000" } else { "transfer-encoding: chunked" };
        let head = format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n3\r\nabc\r\n");
        stalled.push(say(ambassador.address, head));
    }
    let all_stall = async {
        while upstream.asked() < 2 {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(SOON, all_stall).await.expect("none was sent on");
    for _ in 0..20 {
        let well = timeout(SOON, get(&ambassador.url("/"))).await.expect("there is no place");
        assert_eq!(well.status, StatusCode::OK);
    }
    assert!(ambassador.metric(&["seawall_bulkhead_in_flight"]).await <= 2.0);
    drop(stalled);
    // And these have theirs when others are gone.
    let call = Request::put(ambassador.url("/")).body(full(vec![b'x'; 100_000])).unwrap();
    let well = timeout(SOON, ask_over(false, call)).await.expect("there is no place");
    assert_eq!((well.status, &*well.text), (StatusCode::OK, "100000"));
}

// field S1
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_flows_is_waited_for_however_slow_it_is() {
    const PIECES: usize = 25;
    let upstream = Upstream::answering(measure).await;
    let ambassador = Ambassador::of(upstream.address, &["--timeout", "1s", "--deadline", "1.5s"]);
    let mut uploads = JoinSet::new();
    for http2 in [false, true] {
        for method in [Method::POST, Method::PUT] {
            for (kind, length) in
                [("text/plain", Some(PIECES)), ("text/plain", None), ("application/grpc", None)]
            {
                if kind == "application/grpc" && !http2 {
                    continue;
                }
                let mut call = Request::builder().method(&method).uri(ambassador.url("/"));
                call = call.header("content-type", kind);
                if let Some(length) = length {
                    call = call.header("content-length", length);
                }
                let (mut sender, body) = Channel::<Bytes, hyper::Error>::new(1);
                tokio::spawn(async move {
                    for _ in 0..PIECES {
                        sleep(Duration::from_millis(100)).await; // longer than the deadline, in all
                        sender.send_data(Bytes::from_static(b"x")).await.unwrap();
                    }
                });
                let call = call.body(body.boxed());
                let what = format!("http2 {http2}, {method}, {kind}, {length:?}");
                uploads.spawn(async move { (what, ask_over(http2, call.unwrap()).await) });
            }
        }
    }
    for (what, answer) in uploads.join_all().await {
        assert_eq!((answer.status, &*answer.text), (StatusCode::OK, "25"), "{what}");
    }
}

// By the defaults, but for the time: a busy machine is no fault of anybody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_at_a_time_are_not_rejected() {
    const CALLS: usize = 100;
    for http2 in [false, true] {
        let gated = Gate::answering("").await;
        let ambassador = Ambassador::of(gated.upstream.address, &[]);
        let mut calls = JoinSet::new();
        for _ in 0..CALLS {
            let call = Request::post(ambassador.url("/")).body(full("order")).unwrap();
            calls.spawn(async move { ask_over(http2, call).await.status });
        }
        gated.arrive(CALLS as u32).await;
        gated.let_go(CALLS);
        assert_eq!(calls.join_all().await, [StatusCode::OK; CALLS]);
    }
}

// Whoever can break off an upload must not be able to open the circuit for everyone else, nor over HTTP/2, where
// hyper resets the stream and does not say for want of what.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uploads_that_break_off_are_no_evidence_against_the_upstream() {
    for options in [&[][..], &["--upstream-http2"]] {
        let (arrived, mut arrivals) = mpsc::unbounded_channel();
        let upstream = Upstream::answering(move |request: Request<Incoming>| {
            arrived.send(()).unwrap();
            measure(request)
        })
        .await;
        let ambassador = Ambassador::of(upstream.address, options);
        for _ in 0..40 {
            let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\nabc";
            let _caller = say(ambassador.address, head); // who hangs up at once
            timeout(SOON, arrivals.recv()).await.expect("the circuit has opened").unwrap();
        }
        assert_eq!(get(&ambassador.url("/")).await.status, StatusCode::OK);
        let closed = ["seawall_circuit_breaker_state", "\"closed\""];
        assert_eq!(ambassador.metric(&closed).await, 1.0);
        let bad = ["seawall_calls_total", "circuit_breaker", "\"failure\""];
        assert_eq!(ambassador.metric(&bad).await, 0.0);
    }
}
