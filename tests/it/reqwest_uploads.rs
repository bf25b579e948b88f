//! The bodies of requests of reqwest: whose fault it is if they are slow, stall or break off.

use std::future::pending;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use futures::future::join_all;
use http::StatusCode;
use http_body_util::BodyExt;
use http_body_util::channel::{Channel, Sender};
use reqwest::{Body, Method, Request, Response};
use seawall::circuit_breaker::{CircuitBreakerHandle, CircuitBreakerLayer, State, Trip};
use seawall::http::body_timeout::BodyTimeoutLayer;
use seawall::reqwest::InTimeout;
use seawall::timeout::TimeoutLayer;
use seawall::{Error, Reason, circuit_breaker};
use tokio::net::TcpListener;
use tokio::time::sleep;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

use crate::scene::now;
use crate::support::Broken;

type Upload = Sender<Bytes, Broken>;
type Outcome = Result<Response, Error<reqwest::Error>>;

const SECOND: Duration = Duration::from_secs(1);

fn reason(outcome: &Outcome) -> Option<Reason> {
    match outcome {
        Err(Error::Rejected(why)) => Some(why.reason()),
        _ => None,
    }
}

fn trips_at_once() -> circuit_breaker::Config {
    circuit_breaker::Config { trip: Trip::consecutive(1), ..Default::default() }
}

/// A request whose body is what is written to the other end.
fn streamed(url: &str) -> (Upload, Request) {
    let (upload, body) = Channel::new(1);
    let mut request = Request::new(Method::POST, url.parse().unwrap());
    *request.body_mut() = Some(Body::wrap(body));
    (upload, request)
}

/// Sends this many parts, each after a while.
fn flow(mut upload: Upload, parts: usize, gap: Duration) {
    tokio::spawn(async move {
        for _ in 0..parts {
            sleep(gap).await;
            let _ = upload.send_data(Bytes::from_static(b"part")).await;
        }
    });
}

// ===== by the clock =====

/// What the other side does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    /// Reads all of it, and answers.
    Answers,
    /// Reads all of it, and is silent.
    Hangs,
    /// Reads nothing.
    Ignores,
}

impl Peer {
    async fn send(self, mut request: Request) -> Result<Response, reqwest::Error> {
        if self == Self::Ignores {
            return pending().await;
        }
        if let Some(body) = request.body_mut().take() {
            body.collect().await?;
        }
        if self == Self::Hangs {
            return pending().await;
        }
        Ok(http::Response::new("well").into())
    }
}

/// The recommended stack, with an attempt of one second in five.
fn stack(
    peer: Peer,
) -> (
    impl Service<Request, Response = Response, Error = Error<reqwest::Error>, Future: Send> + Clone,
    CircuitBreakerHandle,
) {
    let layer = seawall::reqwest::client("x").breaker(trips_at_once()).build().unwrap();
    let breaker = layer.breaker();
    let stack = ServiceBuilder::new()
        .layer(layer)
        .map_err(Error::Inner)
        .service(service_fn(move |request| peer.send(request)));
    (stack, breaker)
}

const URL: &str = "http://peer/";

// field S1
#[tokio::test(start_paused = true)]
async fn a_stream_that_stalls_is_a_request_timeout_and_harms_nobody() {
    let (client, breaker) = stack(Peer::Answers);
    for parts in [0, 1, 3] {
        let began = now();
        let (mut upload, request) = streamed(URL);
        let call = tokio::spawn(client.clone().oneshot(request));
        for _ in 0..parts {
            upload.send_data(Bytes::from_static(b"part")).await.unwrap();
        }
        let outcome = call.await.unwrap();
        assert_eq!(reason(&outcome), Some(Reason::RequestTimeout), "{outcome:?}");
        assert_eq!(began.elapsed(), 5 * SECOND, "as long as the whole call may take");
        drop(upload);
    }
    assert_eq!(breaker.state(), State::Closed);
}

// field S1: also if it takes longer than the whole call may, and reqwest's own timer would end it then.
#[tokio::test(start_paused = true)]
async fn a_stream_that_flows_slowly_arrives() {
    for (parts, gap) in [(4, SECOND * 2), (30, SECOND / 2), (3, SECOND * 4)] {
        let layer = seawall::reqwest::client("x").breaker(trips_at_once()).build().unwrap();
        let breaker = layer.breaker();
        let client = ServiceBuilder::new().layer(layer).map_err(Error::Inner).service(service_fn(
            |request: Request| async move {
                let timer = request.timeout().copied();
                assert_eq!(timer, None, "reqwest's timer would not ask who is slow");
                Peer::Answers.send(request).await
            },
        ));
        let (upload, request) = streamed(URL);
        flow(upload, parts, gap);
        assert_eq!(client.oneshot(request).await.unwrap().status(), StatusCode::OK);
        assert_eq!(breaker.state(), State::Closed);
    }
}

// field S1: the time of an attempt begins when the request has been sent; and who does not read it is slow.
#[tokio::test(start_paused = true)]
async fn who_was_sent_a_stream_and_is_silent_has_failed() {
    for (peer, parts, takes) in [(Peer::Hangs, 10, 11 * SECOND), (Peer::Ignores, 1, SECOND)] {
        let (client, breaker) = stack(peer);
        let began = now();
        let (upload, request) = streamed(URL);
        flow(upload, parts, SECOND);
        let outcome = client.oneshot(request).await;
        assert_eq!(reason(&outcome), Some(Reason::TimedOut), "{outcome:?}");
        assert_eq!((began.elapsed(), breaker.state()), (takes, State::Open), "{peer:?}");
    }
}

// field S1
#[tokio::test(start_paused = true)]
async fn a_timeout_that_the_caller_set_holds_whatever_it_sends() {
    let (client, breaker) = stack(Peer::Answers);
    let began = now();
    let (upload, mut request) = streamed(URL);
    flow(upload, 30, SECOND);
    *request.timeout_mut() = Some(7 * SECOND);
    let outcome = client.oneshot(request).await;
    assert_eq!(reason(&outcome), Some(Reason::DeadlineExceeded), "{outcome:?}");
    assert_eq!((began.elapsed(), breaker.state()), (7 * SECOND, State::Closed));
}

// field S1
#[tokio::test(start_paused = true)]
async fn a_stream_that_fails_is_its_callers_fault() {
    let (client, breaker) = stack(Peer::Answers);
    let (mut upload, request) = streamed(URL);
    let call = tokio::spawn(client.oneshot(request));
    upload.send_data(Bytes::from_static(b"part")).await.unwrap();
    upload.abort(Broken);
    let outcome = call.await.unwrap();
    assert_eq!(reason(&outcome), Some(Reason::RequestBroken), "{outcome:?}");
    assert_eq!(breaker.state(), State::Closed);
}

// field S1: callers who leave before they have sent all.
#[tokio::test(start_paused = true)]
async fn callers_who_leave_in_the_middle_of_a_stream_harm_nobody() {
    let (client, breaker) = stack(Peer::Answers);
    for _ in 0..40 {
        let (_upload, request) = streamed(URL);
        let left = tokio::time::timeout(SECOND / 10, client.clone().oneshot(request)).await;
        assert!(left.is_err(), "it is still being sent");
        assert_eq!(breaker.state(), State::Closed);
    }
}

// field S1: single layers as well, whoever is outermost, and whatever wraps the body on the way.
#[tokio::test(start_paused = true)]
async fn any_timeout_that_carries_waits_for_a_stream() {
    for per_attempt in [false, true] {
        let limit = |limit| TimeoutLayer::builder("x").limit(limit).propagate(InTimeout);
        let inner = limit(SECOND).build().unwrap();
        let outer = limit(SECOND * 5);
        let outer = if per_attempt { outer.per_attempt() } else { outer }.build().unwrap();
        let breaker =
            CircuitBreakerLayer::builder("x").config(trips_at_once()).propagate(InTimeout);
        let breaker = breaker.build().unwrap();
        let state = breaker.handle();
        let client = ServiceBuilder::new()
            .layer(breaker)
            .layer(outer)
            .map_request(|mut request: Request| {
                *request.body_mut() = request.body_mut().take().map(Body::wrap);
                request
            })
            .layer(inner)
            .map_err(Error::Inner)
            .service(service_fn(|request| Peer::Answers.send(request)));

        let (upload, request) = streamed(URL);
        flow(upload, 4, SECOND * 3);
        assert!(client.clone().oneshot(request).await.is_ok());
        let (_upload, request) = streamed(URL);
        let began = now();
        let outcome = client.oneshot(request).await;
        assert_eq!(reason(&outcome), Some(Reason::RequestTimeout), "{outcome:?}");
        assert_eq!((began.elapsed(), state.state()), (SECOND * 5, State::Closed));
    }
}

// field S1: an idle limit of its own ends what stalls earlier, and what flows not at all.
#[tokio::test(start_paused = true)]
async fn a_limit_between_two_parts_of_a_stream() {
    let uploads = BodyTimeoutLayer::builder("x").idle(SECOND * 3).build().unwrap().requests();
    let (client, breaker) = stack(Peer::Answers);
    let client = ServiceBuilder::new().layer(uploads).service(client);
    for (gap, arrives) in [(SECOND * 2, true), (SECOND * 4, false)] {
        let began = now();
        let (upload, request) = streamed(URL);
        flow(upload, 5, gap);
        let outcome = client.clone().oneshot(request).await;
        assert_eq!(outcome.is_ok(), arrives, "{outcome:?}");
        if !arrives {
            assert_eq!(reason(&outcome), Some(Reason::RequestTimeout), "{outcome:?}");
            assert_eq!(began.elapsed(), SECOND * 3);
        }
        assert_eq!(breaker.state(), State::Closed);
    }
    let mut request = Request::new(Method::POST, URL.parse().unwrap());
    *request.body_mut() = Some(Body::from("bytes"));
    assert!(client.oneshot(request).await.is_ok());
}

// field S1: what is there from the start is nobody's upload, and the body is left as it is.
#[tokio::test(start_paused = true)]
async fn bytes_are_not_waited_for() {
    for body in [Body::from("bytes"), Body::from(""), Body::wrap(Body::from(""))] {
        let (client, breaker) = stack(Peer::Hangs);
        let mut request = Request::new(Method::POST, URL.parse().unwrap());
        *request.body_mut() = Some(body);
        let began = now();
        let outcome = client.oneshot(request).await;
        assert_eq!(reason(&outcome), Some(Reason::TimedOut), "{outcome:?}");
        assert_eq!((began.elapsed(), breaker.state()), (SECOND, State::Open));
    }
    let client = ServiceBuilder::new()
        .layer(seawall::reqwest::client("x").build().unwrap())
        .map_err(Error::Inner)
        .service(service_fn(|request: Request| async move {
            let bytes = request.body().and_then(Body::as_bytes).map(<[u8]>::to_vec);
            assert_eq!(bytes.as_deref(), Some(&b"bytes"[..]));
            assert!(request.timeout().is_some(), "reqwest bounds the reading of the answer");
            Peer::Answers.send(request).await
        }));
    let mut request = Request::new(Method::POST, URL.parse().unwrap());
    *request.body_mut() = Some(Body::from("bytes"));
    assert!(client.oneshot(request).await.is_ok());
}

// ===== on sockets =====

async fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let echo = Router::new().route("/", post(|body: Bytes| async move { body }));
    tokio::spawn(async { axum::serve(listener, echo).await });
    address
}

fn client(
    deadline: Duration,
    attempt: Duration,
) -> (
    impl Service<Request, Response = Response, Error = Error<reqwest::Error>, Future: Send> + Clone,
    CircuitBreakerHandle,
) {
    let reqwest = reqwest::Client::builder().retry(reqwest::retry::never()).no_proxy();
    let layer = seawall::reqwest::client("x")
        .deadline(deadline)
        .attempt_timeout(attempt)
        .breaker(trips_at_once())
        .build()
        .unwrap();
    let breaker = layer.breaker();
    let reqwest = reqwest.build().unwrap();
    let stack = ServiceBuilder::new().layer(layer).map_err(Error::Inner).service(reqwest);
    (stack, breaker)
}

// field S1
#[tokio::test]
async fn over_sockets_forty_callers_who_stall_or_break_off_harm_nobody() {
    let url = format!("http://{}/", serve().await);
    let (client, breaker) = client(SECOND, SECOND / 2);
    let calls = (0..40).map(|nth: usize| {
        let (client, (mut upload, request)) = (client.clone(), streamed(&url));
        async move {
            let call = tokio::spawn(client.oneshot(request));
            let _ = upload.send_data(Bytes::from_static(b"abc")).await;
            if nth.is_multiple_of(2) {
                upload.abort(Broken);
                return (Reason::RequestBroken, call.await.unwrap());
            }
            let ended = call.await.unwrap();
            drop(upload);
            (Reason::RequestTimeout, ended)
        }
    });
    for (expected, ended) in join_all(calls).await {
        assert_eq!(reason(&ended), Some(expected), "{ended:?}");
    }
    assert_eq!(breaker.state(), State::Closed);
}

// field S1: longer than an attempt and than the whole call may take.
#[tokio::test]
async fn over_sockets_a_slow_upload_arrives() {
    let url = format!("http://{}/", serve().await);
    let (client, breaker) = client(SECOND * 3 / 2, SECOND);
    let (upload, request) = streamed(&url);
    flow(upload, 10, SECOND / 5);
    let answer = client.oneshot(request).await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "part".repeat(10));
    assert_eq!(breaker.state(), State::Closed);
}
