//! HTTP/2 on either side of an ambassador, without TLS.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::{FutureExt, stream};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::peer::{Does, REFUSED_STREAM, server};
use crate::support::{Ambassador, Body, SOON, Upstream, answer, ask_over, full, say};

/// What arrived: a version, headers, a body, and trailers.
type Arrival = (Version, HeaderMap, Bytes, Option<HeaderMap>);

/// Writes down what arrives; says 503 to the first call if it `limps`. Its answer has trailers.
async fn upstream(limps: bool) -> (Upstream, Arc<Mutex<Vec<Arrival>>>) {
    let arrivals = Arc::<Mutex<Vec<Arrival>>>::default();
    let seen = Arc::clone(&arrivals);
    let upstream = Upstream::answering(move |request: Request<Incoming>| {
        let seen = Arc::clone(&seen);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap();
            let trailers = body.trailers().cloned();
            let mut seen = seen.lock().unwrap();
            seen.push((head.version, head.headers, body.to_bytes(), trailers));
            if limps && seen.len() == 1 {
                return answer(StatusCode::SERVICE_UNAVAILABLE, "not now");
            }
            let mut response = Response::new(with_trailers("there you are", "x-sum", "42"));
            response.headers_mut().insert("trailer", "x-sum".parse().unwrap());
            response
        }
    });
    (upstream.await, arrivals)
}

/// A body of unknown length.
fn with_trailers(text: &'static str, name: &'static str, value: &'static str) -> Body {
    let mut trailers = HeaderMap::new();
    trailers.insert(name, value.parse().unwrap());
    let frames = [Ok(Frame::data(Bytes::from(text))), Ok(Frame::trailers(trailers))];
    StreamBody::new(stream::iter(frames)).boxed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_version_is_spoken_on_either_side() {
    for (caller, there) in [(false, false), (true, false), (false, true), (true, true)] {
        let (upstream, arrivals) = upstream(false).await;
        let options: &[_] = if there { &["--upstream-http2"] } else { &[] };
        let ambassador = Ambassador::of(upstream.address, options);

        let call = Request::get(ambassador.url("/a?b"))
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .header("x-question", "life");
        let answer = ask_over(caller, call.body(full("")).unwrap()).await;

        assert_eq!((answer.status, &*answer.text), (StatusCode::OK, "there you are"));
        let arrivals = arrivals.lock().unwrap();
        let (version, headers, body, _) = &arrivals[0];
        let spoken = if there { Version::HTTP_2 } else { Version::HTTP_11 };
        assert_eq!((*version, body.len()), (spoken, 0));
        let host = ambassador.address.to_string();
        for (name, value) in
            [("x-forwarded-host", &*host), ("cookie", "a=1; b=2"), ("x-question", "life")]
        {
            let values: Vec<_> = headers.get_all(name).iter().collect();
            assert_eq!(values, [value], "{name}, caller {caller}, upstream {there}");
        }
        for name in ["via", "forwarded", "x-forwarded-for", "x-forwarded-proto"] {
            let count = headers.get_all(name).iter().count();
            assert_eq!(count, 1, "{name}, caller {caller}, upstream {there}");
        }
        assert_eq!(headers.contains_key("host"), !there, "over HTTP/2 the authority says it");
        assert!(!headers.contains_key("transfer-encoding"), "a GET has no body");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trailers_pass_both_ways() {
    let (upstream, arrivals) = upstream(false).await;
    let ambassador = Ambassador::of(upstream.address, &["--upstream-http2"]);

    let call = Request::post(ambassador.url("/")).body(with_trailers("order", "x-check", "7"));
    let answer = ask_over(true, call.unwrap()).await;

    assert_eq!(answer.trailers["x-sum"], "42");
    let arrivals = arrivals.lock().unwrap();
    let (_, headers, body, trailers) = &arrivals[0];
    assert_eq!(headers["te"], "trailers", "there are servers that want to be asked");
    assert_eq!(
        (body, &trailers.as_ref().unwrap()["x-check"]),
        (&"order".into(), &"7".parse().unwrap())
    );
}

// pitfall B15
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_is_replayed_with_its_trailers() {
    // One that streams, and one whose length is known, for which the ambassador waits.
    for length in [None, Some(5)] {
        let (upstream, arrivals) = upstream(true).await;
        let ambassador = Ambassador::of(upstream.address, &["--upstream-http2"]);

        let mut call = Request::put(ambassador.url("/"));
        if let Some(length) = length {
            call = call.header("content-length", length);
        }
        let call = call.body(with_trailers("whole", "x-check", "7")).unwrap();
        let answer = ask_over(true, call).await;

        assert_eq!((answer.status, &*answer.text), (StatusCode::OK, "there you are"));
        let arrivals = arrivals.lock().unwrap();
        assert_eq!(arrivals.len(), 2);
        for (.., body, trailers) in arrivals.iter() {
            assert_eq!(body, "whole");
            assert_eq!(trailers.as_ref().unwrap()["x-check"], "7");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_directions_are_streamed_at_once() {
    let echo = |request: Request<Incoming>| async { Response::new(request.into_body().boxed()) };
    let upstream = Upstream::answering(echo).await;
    let ambassador = Ambassador::of(upstream.address, &["--upstream-http2"]);
    let (pieces, mut body) = mpsc::unbounded_channel::<Bytes>();
    let frames = stream::poll_fn(move |cx| {
        body.poll_recv(cx).map(|piece| piece.map(|piece| Ok::<_, Infallible>(Frame::data(piece))))
    });
    let mut call = Request::post(ambassador.url("/")).body(StreamBody::new(frames)).unwrap();
    *call.version_mut() = Version::HTTP_2;
    let conversation = async {
        pieces.send("ping".into()).unwrap();
        let client = crate::support::client_of_http2();
        let mut echo = client.request(call).await.unwrap().into_body();
        assert_eq!(echo.frame().await.unwrap().unwrap().into_data().unwrap(), "ping");
        assert!(echo.frame().now_or_never().is_none(), "nothing more was said");
        pieces.send("pong".into()).unwrap();
        drop(pieces);
        assert_eq!(echo.collect().await.unwrap().to_bytes(), "pong");
    };
    timeout(SOON, conversation).await.expect("a body was collected");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_upstream_is_checked_in_its_own_language() {
    let versions = Arc::<Mutex<Vec<Version>>>::default();
    let seen = Arc::clone(&versions);
    let upstream = Upstream::answering(move |request: Request<Incoming>| {
        seen.lock().unwrap().push(request.version());
        async { Response::new(Full::default().map_err(|never: Infallible| match never {}).boxed()) }
    })
    .await;
    let options = ["--upstream-http2", "--check", "/", "--check-every", "10ms"];
    let _ambassador = Ambassador::of(upstream.address, &options);
    let checked = async {
        while upstream.asked() < 2 {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, checked).await.expect("no check");
    assert!(versions.lock().unwrap().iter().all(|version| *version == Version::HTTP_2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_was_rejected_was_never_sent() {
    let cases = [
        (Method::GET, REFUSED_STREAM, Some("unsent")),
        (Method::POST, REFUSED_STREAM, Some("unsent")),
        (Method::GET, 2, Some("failure")),
        (Method::POST, 2, None),
    ];
    for (method, code, reason) in cases {
        let upstream = server(Does::Resets(code)).await;
        // The pauses between attempts are parts of the timeout.
        let quick = ["--upstream-http2", "--timeout", "6s", "--deadline", "60s"];
        let ambassador = Ambassador::of(upstream, &quick);
        let call = Request::builder().method(&method).uri(ambassador.url("/"));
        let answer = ask_over(false, call.body(full("order")).unwrap()).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
        for label in ["unsent", "failure"] {
            let retries = format!("reason=\"{label}\"");
            let retries = ambassador.metric(&["seawall_retry_retries_total", &retries]).await;
            assert_eq!(retries > 0.0, reason == Some(label), "{method} {code}: {label}");
        }
    }
}

// field: RFC 9113 §5.1.2
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_streams_are_opened_than_the_upstream_takes() {
    const TAKES: u32 = 4;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(|_| async {
                sleep(Duration::from_millis(5)).await;
                Ok::<_, Infallible>(answer(StatusCode::OK, ""))
            });
            let mut http = http2::Builder::new(TokioExecutor::new());
            http.max_concurrent_streams(TAKES);
            tokio::spawn(async move {
                sleep(Duration::from_millis(300)).await; // so that all have come before it says so
                http.serve_connection(TokioIo::new(stream), service).await
            });
        }
    });
    let ambassador = Ambassador::of(address, &["--upstream-http2"]);
    let mut calls = JoinSet::new();
    for _ in 0..60 {
        let call = Request::post(ambassador.url("/")).body(full("order")).unwrap();
        calls.spawn(async move { ask_over(true, call).await.status });
    }
    assert!(calls.join_all().await.iter().all(StatusCode::is_success));
    let unsent = ["seawall_retry_retries_total", "reason=\"unsent\""];
    assert_eq!(ambassador.metric(&unsent).await, 0.0, "some were rejected");
}

/// A field of a head, in literal letters (RFC 7541 §6.2.2).
fn field(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    [vec![0], text(name), text(value)].concat()
}

// field: RFC 8441 §3. It is not offered, so who asks for it all the same has broken the rules.
#[test]
fn extended_connect_is_not_offered() {
    let upstream = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = upstream.local_addr().unwrap();
    let ambassador = Ambassador::of(address, &["--check-every", "60s"]);
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/chat"),
        (":authority", "a"),
    ];
    let head: Vec<_> = fields.iter().flat_map(|(name, value)| field(name, value)).collect();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let mut caller = say(ambassador.address, preface);
    let headers = [&[0, 0, head.len() as u8, 1, 4, 0, 0, 0, 1], &head[..]].concat();
    caller.write_all(&headers).unwrap();
    loop {
        let mut frame = [0; 9];
        caller.read_exact(&mut frame).unwrap();
        let mut payload = vec![0; u32::from_be_bytes([0, frame[0], frame[1], frame[2]]) as usize];
        caller.read_exact(&mut payload).unwrap();
        match frame[3] {
            4 if frame[4] == 0 => {
                let offers = payload.chunks(6).any(|one| one[..2] == [0, 8] && one[5] == 1);
                assert!(!offers, "SETTINGS_ENABLE_CONNECT_PROTOCOL");
            }
            3 => return assert_eq!(payload, [0, 0, 0, 1], "a PROTOCOL_ERROR"),
            1 => panic!("it was answered: {payload:?}"),
            _ => {}
        }
    }
}
