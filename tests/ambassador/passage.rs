//! What passes through an ambassador, and what stays.

use std::convert::Infallible;

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::support::{Ambassador, Body, SOON, Upstream, answer, ask, full, say, status_heard};

/// Answers with what it was asked, line by line.
async fn repeat(request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let mut lines = vec![format!("{} {} {:?}", head.method, head.uri, head.version)];
    let fields = head.headers.iter();
    lines.extend(fields.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())));
    lines.push(String::from_utf8(body.to_vec()).unwrap());
    Response::builder()
        .status(StatusCode::CREATED)
        .header("x-answer", "forty-two")
        .header("connection", "x-between-us")
        .header("x-between-us", "secret")
        .header("keep-alive", "timeout=5")
        .body(full(lines.join("\n")))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_and_its_answer_pass_and_what_is_about_a_connection_does_not() {
    let upstream = Upstream::answering(repeat).await;
    let ambassador = Ambassador::of(upstream.address, &[]);

    let call = Request::post(ambassador.url("/a/b?c=d"))
        .header("x-question", "life")
        .header("x-forwarded-for", "192.0.2.1")
        .header("connection", "x-hop, keep-alive")
        .header("x-hop", "secret")
        .header("te", "trailers")
        .header("upgrade", "h2c")
        .body(full("the body"))
        .unwrap();
    let answer = ask(call).await;

    assert_eq!(answer.status, StatusCode::CREATED);
    assert_eq!(answer.header("x-answer"), Some("forty-two"));
    assert_eq!(answer.header("x-between-us"), None);
    assert_eq!(answer.header("keep-alive"), None);
    let saw: Vec<_> = answer.text.lines().collect();
    assert_eq!(saw.first(), Some(&"POST /a/b?c=d HTTP/1.1"));
    assert_eq!(saw.last(), Some(&"the body"));
    let host = format!("host: {}", upstream.address);
    let forwarded_host = format!("x-forwarded-host: {}", ambassador.address);
    let passed = [
        "x-question: life",
        "content-length: 8",
        "x-forwarded-for: 192.0.2.1, 127.0.0.1",
        "x-forwarded-proto: http",
        &host,
        &forwarded_host,
    ];
    for line in passed {
        assert_eq!(saw.iter().filter(|saw| **saw == line).count(), 1, "{line} in {saw:?}");
    }
    for name in ["x-hop", "te", "upgrade", "connection", "transfer-encoding"] {
        assert!(!saw.iter().any(|line| line.starts_with(&format!("{name}:"))), "{name} in {saw:?}");
    }
}

// RFC 9110 §7.6.1: whether it is named by `Connection` or not, alone or with others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_field_about_a_connection_ends_here() {
    const FIELDS: [(&str, &str); 9] = [
        ("connection", "Keep-Alive"),
        ("connection", "x-y"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("proxy-authenticate", "basic"),
        ("proxy-authorization", "basic abc"),
        ("te", "trailers"),
        ("upgrade", "x/1"),
        ("x-between-us", "secret"),
    ];
    let upstream = Upstream::answering(|request: Request<Incoming>| async move {
        let fields = request.headers().iter();
        let seen = fields.map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap()));
        let mut answer = Response::new(full(seen.collect::<String>()));
        let nth: usize = request.uri().path()[1..].parse().unwrap();
        let (name, value) = FIELDS[nth];
        answer.headers_mut().insert(name, value.parse().unwrap());
        if name == "x-between-us" {
            answer.headers_mut().insert("connection", "keep-alive, X-Between-Us".parse().unwrap());
        }
        answer
    })
    .await;
    let ambassador = Ambassador::of(upstream.address, &[]);
    for (nth, (name, value)) in FIELDS.into_iter().enumerate() {
        let mut call = Request::get(ambassador.url(&format!("/{nth}"))).header(name, value);
        if name == "x-between-us" {
            call = call.header("connection", "keep-alive, X-Between-Us");
        }
        let answer = ask(call.body(full("")).unwrap()).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.header(name), None, "{name} of the answer");
        let seen = answer.text.lines().find(|line| line.starts_with(&format!("{name}: ")));
        assert_eq!(seen, None, "{name} of the request");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_head_alone_keeps_the_length_of_the_body_it_does_not_bring() {
    let upstream = Upstream::answering(|_| async { answer(StatusCode::OK, "hello") }).await;
    let ambassador = Ambassador::of(upstream.address, &[]);

    let call = Request::builder().method(Method::HEAD).uri(ambassador.url("/"));
    let answer = ask(call.body(full("")).unwrap()).await;

    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-length"), Some("5"));
    assert_eq!(answer.text, "");
}

// The upstream sends each piece back as it comes. If either body were collected on its way, the
// first piece would never return, for the second is sent only after it did.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_are_streamed_in_both_directions() {
    let echo = |request: Request<Incoming>| async { Response::new(request.into_body().boxed()) };
    let upstream = Upstream::answering(echo).await;
    let ambassador = Ambassador::of(upstream.address, &[]);

    let (pieces, mut body) = mpsc::unbounded_channel::<Bytes>();
    let frames = stream::poll_fn(move |cx| {
        let piece = body.poll_recv(cx);
        piece.map(|piece| piece.map(|piece| Ok::<_, Infallible>(Frame::data(piece))))
    });
    let call = Request::post(ambassador.url("/")).body(StreamBody::new(frames)).unwrap();
    let conversation = async {
        pieces.send("ping".into()).unwrap();
        let client = Client::builder(TokioExecutor::new()).build_http();
        let mut echo = client.request(call).await.unwrap().into_body();
        let first = echo.frame().await.unwrap().unwrap().into_data().unwrap();
        pieces.send("pong".into()).unwrap();
        drop(pieces);
        let rest = echo.collect().await.unwrap().to_bytes();
        (first, rest)
    };
    let (first, rest) = timeout(SOON, conversation).await.expect("a body was collected");
    assert_eq!((first, rest), ("ping".into(), "pong".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_cannot_be_forwarded_are_bad_requests() {
    let upstream = Upstream::answering(repeat).await;
    let ambassador = Ambassador::of(upstream.address, &[]);
    let bad = [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n",
    ];
    for request in bad {
        let mut caller = say(ambassador.address, request);
        assert_eq!(status_heard(&mut caller), "HTTP/1.1 400", "{request}");
    }
    assert_eq!(upstream.asked(), 0);
}
