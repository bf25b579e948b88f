//! Callers who are slow to send their requests, or never do, and many callers at a time.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::channel::Channel;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::support::{Ambassador, Body, SOON, Upstream, answer, ask_over, full, get};

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
                let mut caller = TcpStream::connect(ambassador.address).unwrap();
                caller.set_read_timeout(Some(SOON)).unwrap();
                let head =
                    format!("{method} / HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n");
                caller.write_all(format!("{head}abc").as_bytes()).unwrap();
                stalled.push((method, length, caller));
            }
        }
    }
    for (method, length, mut caller) in stalled {
        let mut status = [0; 12];
        caller.read_exact(&mut status).unwrap();
        assert_eq!(std::str::from_utf8(&status), Ok("HTTP/1.1 408"), "{method} {length}");
    }
    assert_eq!(get(&ambassador.url("/")).await.status, StatusCode::OK);
    let closed = ["seawall_circuit_breaker_state", "\"closed\""];
    assert_eq!(ambassador.metric(&closed).await, 1.0);
    let bad = ["seawall_calls_total", "circuit_breaker", "\"bad\""];
    assert_eq!(ambassador.metric(&bad).await, 0.0);
}

// field S1: they hold half of the places at the upstream at the most.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_who_stall_leave_places_to_others() {
    let upstream = Upstream::answering(measure).await;
    let ambassador = Ambassador::of(upstream.address, &["--limit", "4"]);
    let mut stalled = Vec::new();
    for nth in 0..20 {
        let mut caller = TcpStream::connect(ambassador.address).unwrap();
        let framing =
            if nth % 2 == 0 { "content-length: 100000" } else { "transfer-encoding: chunked" };
        let head = format!("POST / HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n3\r\nabc\r\n");
        caller.write_all(head.as_bytes()).unwrap();
        stalled.push(caller);
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
async fn a_hundred_at_a_time_are_not_refused() {
    const CALLS: usize = 100;
    for http2 in [false, true] {
        let (arrived, go_on) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let gates = (Arc::clone(&arrived), Arc::clone(&go_on));
        let upstream = Upstream::answering(move |_| {
            let (arrived, go_on) = gates.clone();
            async move {
                arrived.add_permits(1);
                go_on.acquire().await.unwrap().forget();
                answer(StatusCode::OK, "")
            }
        })
        .await;
        let ambassador = Ambassador::of(upstream.address, &[]);
        let mut calls = JoinSet::new();
        for _ in 0..CALLS {
            let call = Request::post(ambassador.url("/")).body(full("order")).unwrap();
            calls.spawn(async move { ask_over(http2, call).await.status });
        }
        let all = timeout(SOON, arrived.acquire_many(CALLS as u32)).await;
        all.expect("some were kept").unwrap().forget();
        go_on.add_permits(CALLS);
        assert_eq!(calls.join_all().await, [StatusCode::OK; CALLS]);
    }
}
