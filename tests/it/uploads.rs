//! The bodies of requests: whose fault it is if they are slow, stall or break off.

use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use http_body_util::channel::{Channel, Sender};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use seawall::circuit_breaker::{CircuitBreakerHandle, State, Trip};
use seawall::http::body_timeout::BodyTimeoutLayer;
use seawall::http::{RecordBodyLayer, ReplayBody, status_of};
use seawall::propagate::CallContext;
use seawall::{Deadline, Error, Reason, circuit_breaker};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

use crate::scene::now;
use crate::support::{Broken, Fail};

type Body = Channel<Bytes, Broken>;
type Upload = Sender<Bytes, Broken>;
type Outcome = Result<StatusCode, Fail>;

const SECOND: Duration = Duration::from_secs(1);

/// What the other side does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    /// Reads all of it, and answers.
    Answers,
    /// Reads all of it, and is silent.
    Hangs,
    /// Takes this many frames, and no more.
    Reads(usize),
}

/// The recommended stack around such a peer, with an attempt of one second in five.
fn client(
    peer: Peer,
) -> (
    impl Service<Request<Body>, Response = StatusCode, Error = Fail, Future: Send> + Clone,
    CircuitBreakerHandle,
) {
    let breaker = circuit_breaker::Config { trip: Trip::consecutive(1), ..Default::default() };
    let layer = seawall::http::client("x").breaker(breaker).build().unwrap();
    let handle = layer.breaker();
    let answer = move |request: Request<ReplayBody<Body>>| async move {
        let mut body = request.into_body();
        if let Peer::Reads(frames) = peer {
            for _ in 0..frames {
                let _ = body.frame().await;
            }
            return pending().await;
        }
        body.collect().await.map_err(|_| Broken)?;
        if peer == Peer::Hangs {
            return pending().await;
        }
        Ok::<_, Broken>(Response::new(String::new()))
    };
    let stack = ServiceBuilder::new()
        .map_response(|response: Response<String>| response.status())
        .layer(RecordBodyLayer::default())
        .layer(layer)
        .map_err(Error::Inner)
        .service(service_fn(answer));
    (stack, handle)
}

fn posted(body: Body) -> Request<Body> {
    Request::post("http://peer/").body(body).unwrap()
}

fn reason(outcome: &Outcome) -> Option<Reason> {
    match outcome {
        Err(Error::Rejected(why)) => Some(why.reason()),
        _ => None,
    }
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

// field S1: a call whose own body stalls says nothing about the one who waits for it.
#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_is_a_408_and_harms_nobody() {
    let (client, breaker) = client(Peer::Answers);
    for parts in [0, 1, 3] {
        let began = now();
        let (mut upload, body) = Channel::new(4);
        for _ in 0..parts {
            upload.send_data(Bytes::from_static(b"part")).await.unwrap();
        }
        let outcome = client.clone().oneshot(posted(body)).await;
        assert_eq!(reason(&outcome), Some(Reason::RequestTimeout), "{outcome:?}");
        assert_eq!(began.elapsed(), 5 * SECOND, "as long as the whole call may take");
        drop(upload);
    }
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(status_of(Reason::RequestTimeout), StatusCode::REQUEST_TIMEOUT);
}

// field S1: nor does one that is slow, also if it takes longer than the whole call may.
#[tokio::test(start_paused = true)]
async fn a_body_that_flows_slowly_arrives() {
    for (parts, gap) in [(4, SECOND * 2), (30, SECOND / 2), (3, SECOND * 4)] {
        let (client, breaker) = client(Peer::Answers);
        let (upload, body) = Channel::new(1);
        flow(upload, parts, gap);
        let outcome = client.oneshot(posted(body)).await;
        assert_eq!(outcome.unwrap(), StatusCode::OK);
        assert_eq!(breaker.state(), State::Closed);
    }
}

// field S1: nor is the time that a caller takes to send its request a slow call's.
#[tokio::test(start_paused = true)]
async fn a_slow_upload_is_no_slow_call() {
    let slow = Trip::slow_rate(0.5, SECOND / 2).at_least(2);
    let breaker = circuit_breaker::Config { trip: slow, ..Default::default() };
    // The caller is slow, or the one who answers is, and by how much.
    for (gap, thinks, opens) in [(SECOND / 4, 0, false), (SECOND * 3, 0, false), (SECOND, 3, true)]
    {
        let layer = seawall::http::client("x").breaker(breaker.clone()).build().unwrap();
        let handle = layer.breaker();
        let client = ServiceBuilder::new()
            .layer(RecordBodyLayer::default())
            .layer(layer)
            .map_err(Error::Inner)
            .service(service_fn(move |request: Request<ReplayBody<Body>>| async move {
                request.into_body().collect().await.map_err(|_| Broken)?;
                sleep(thinks * SECOND / 4).await;
                Ok::<_, Broken>(Response::new(String::new()))
            }));
        let calls = (0..4).map(|_| {
            let (upload, body) = Channel::new(1);
            flow(upload, 10, gap);
            client.clone().oneshot(posted(body))
        });
        for answer in futures::future::join_all(calls).await {
            assert_eq!(answer.unwrap().status(), StatusCode::OK, "{gap:?}");
        }
        assert_eq!(handle.state() == State::Open, opens, "{gap:?}, {thinks}");
    }
}

// field S1: the time of an attempt begins when the request has been sent.
#[tokio::test(start_paused = true)]
async fn who_has_the_whole_request_and_is_silent_has_failed() {
    let (client, breaker) = client(Peer::Hangs);
    let began = now();
    let (upload, body) = Channel::new(1);
    flow(upload, 10, SECOND);
    let outcome = client.oneshot(posted(body)).await;
    assert_eq!(reason(&outcome), Some(Reason::TimedOut), "{outcome:?}");
    assert_eq!(began.elapsed(), 11 * SECOND);
    assert_eq!(breaker.state(), State::Open);
}

// field S1: nor is it the caller's fault if nobody takes what it sends.
#[tokio::test(start_paused = true)]
async fn who_does_not_read_the_request_has_failed() {
    for frames in [0, 2] {
        let (client, breaker) = client(Peer::Reads(frames));
        let began = now();
        let (mut upload, body) = Channel::new(8);
        for _ in 0..4 {
            upload.send_data(Bytes::from_static(b"part")).await.unwrap();
        }
        let outcome = client.oneshot(posted(body)).await;
        assert_eq!(reason(&outcome), Some(Reason::TimedOut), "{outcome:?}");
        assert_eq!((began.elapsed(), breaker.state()), (SECOND, State::Open));
    }
}

// field S1
#[tokio::test(start_paused = true)]
async fn a_deadline_that_the_caller_told_holds_whatever_it_sends() {
    let (client, breaker) = client(Peer::Answers);
    let began = now();
    let (upload, body) = Channel::new(1);
    flow(upload, 30, SECOND);
    let mut request = posted(body);
    let mut call = CallContext::default();
    call.deadline = Some(Deadline::after(7 * SECOND));
    request.extensions_mut().insert(call);
    let outcome = client.oneshot(request).await;
    assert_eq!(reason(&outcome), Some(Reason::DeadlineExceeded), "{outcome:?}");
    assert_eq!((began.elapsed(), breaker.state()), (7 * SECOND, State::Closed));
}

// field S1: nor does a caller who leaves before it has sent its request, however many do.
#[tokio::test(start_paused = true)]
async fn callers_who_hang_up_before_they_have_sent_all_harm_nobody() {
    let (client, breaker) = client(Peer::Answers);
    for _ in 0..40 {
        let (mut upload, body) = Channel::new(1);
        upload.send_data(Bytes::from_static(b"abc")).await.unwrap();
        let left = tokio::time::timeout(SECOND / 10, client.clone().oneshot(posted(body))).await;
        assert!(left.is_err(), "it is still being sent");
        assert_eq!(breaker.state(), State::Closed);
    }
    // Whoever has sent all of it was kept waiting.
    let (client, breaker) = self::client(Peer::Hangs);
    for _ in 0..12 {
        let (upload, body) = Channel::new(1);
        drop(upload);
        let left = tokio::time::timeout(SECOND / 10, client.clone().oneshot(posted(body))).await;
        if breaker.state() == State::Open {
            return; // a silence, to a rule that trips at the first
        }
        assert!(left.is_err());
    }
    panic!("a silence is a failure after a while, also if nothing was ever answered");
}

// field S1
#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_is_its_callers_fault() {
    let (client, breaker) = client(Peer::Answers);
    let (mut upload, body) = Channel::new(1);
    upload.send_data(Bytes::from_static(b"part")).await.unwrap();
    upload.abort(Broken);
    let outcome = client.oneshot(posted(body)).await;
    assert_eq!(reason(&outcome), Some(Reason::RequestBroken), "{outcome:?}");
    assert_eq!(breaker.state(), State::Closed);
}

// field S1: an idle limit of its own ends what stalls earlier, and what flows not at all.
#[tokio::test(start_paused = true)]
async fn a_limit_between_two_parts_of_a_request() {
    let uploads = BodyTimeoutLayer::builder("x").idle(SECOND * 3).build().unwrap().requests();
    let (client, breaker) = client_of_timed();
    let client = ServiceBuilder::new().layer(uploads).service(client);
    for (gap, arrives) in [(SECOND * 2, true), (SECOND * 4, false)] {
        let began = now();
        let (upload, body) = Channel::new(1);
        flow(upload, 5, gap);
        let outcome = client.clone().oneshot(posted(body)).await;
        assert_eq!(outcome.is_ok(), arrives, "{outcome:?}");
        if !arrives {
            assert_eq!(reason(&outcome), Some(Reason::RequestTimeout), "{outcome:?}");
            assert_eq!(began.elapsed(), SECOND * 3);
        }
        assert_eq!(breaker.state(), State::Closed);
    }
}

fn client_of_timed() -> (
    impl Service<
        Request<seawall::http::body_timeout::TimedBody<Body>>,
        Response = StatusCode,
        Error = Fail,
        Future: Send,
    > + Clone,
    CircuitBreakerHandle,
) {
    let breaker = circuit_breaker::Config { trip: Trip::consecutive(1), ..Default::default() };
    let layer = seawall::http::client("x").breaker(breaker).build().unwrap();
    let handle = layer.breaker();
    let stack = ServiceBuilder::new()
        .map_response(|response: Response<String>| response.status())
        .layer(RecordBodyLayer::new(0))
        .layer(layer)
        .map_err(Error::Inner)
        .service(service_fn(|request: Request<ReplayBody<_>>| async {
            request.into_body().collect().await.map_err(|_| Broken)?;
            Ok::<_, Broken>(Response::new(String::new()))
        }));
    (stack, handle)
}

// ===== on sockets =====

async fn serve(app: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app).await });
    address
}

// field S1: the answers of hyper's client tell of it in another way for each version of HTTP.
#[tokio::test]
async fn over_sockets_callers_who_stall_or_break_off_harm_nobody() {
    let echo = Router::new().route("/", post(|body: Bytes| async move { body }));
    let address = serve(echo).await;
    for http2 in [false, true] {
        let uploads = BodyTimeoutLayer::builder("x").idle(SECOND).build().unwrap().requests();
        let breaker = circuit_breaker::Config { trip: Trip::consecutive(1), ..Default::default() };
        let layer = seawall::http::client("x")
            .deadline(60 * SECOND)
            .attempt_timeout(SECOND * 2 / 3)
            .breaker(breaker)
            .build()
            .unwrap();
        let breaker = layer.breaker();
        let hyper = Client::builder(TokioExecutor::new()).http2_only(http2).build_http();
        let client = ServiceBuilder::new()
            .layer(uploads)
            .layer(RecordBodyLayer::default())
            .layer(layer)
            .map_err(Error::Inner)
            .service(hyper);
        let calls = (0..40).map(|nth: usize| {
            let client = client.clone();
            async move {
                let (mut upload, body) = Channel::<Bytes, Broken>::new(1);
                upload.send_data(Bytes::from_static(b"abc")).await.unwrap();
                let request = Request::post(format!("http://{address}/")).body(body).unwrap();
                let call = tokio::spawn(client.oneshot(request));
                if nth.is_multiple_of(2) {
                    upload.abort(Broken);
                    return (Reason::RequestBroken, call.await.unwrap());
                }
                let ended = call.await.unwrap();
                drop(upload);
                (Reason::RequestTimeout, ended)
            }
        });
        for (expected, ended) in futures::future::join_all(calls).await {
            match ended {
                Err(Error::Rejected(why)) => assert_eq!(why.reason(), expected, "{http2}"),
                other => panic!("{http2}: {other:?}"),
            }
        }
        assert_eq!(breaker.state(), State::Closed);
    }
}

/// What a server says to a caller that promises a thousand bytes and sends three.
async fn stalled(app: Router) -> String {
    let mut caller = TcpStream::connect(serve(app).await).await.unwrap();
    let head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nabc";
    caller.write_all(head).await.unwrap();
    let mut answer = vec![0; 12];
    caller.read_exact(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

// field S1: a server says 408 to who stalls, by an idle limit or by the end of its time.
#[tokio::test]
async fn a_server_says_408_to_a_caller_who_stalls() {
    let soon = Duration::from_millis(50);
    for (idle, deadline) in [(soon, 60 * SECOND), (60 * SECOND, soon)] {
        let uploads = BodyTimeoutLayer::builder("uploads").idle(idle).build().unwrap();
        let server = seawall::http::server("x").deadline(deadline).build().unwrap();
        let stack = ServiceBuilder::new()
            .layer(uploads.requests())
            .layer(server.clone())
            .map_err(Error::<Infallible>::Inner);
        let app = Router::new().route("/", post(|body: Bytes| async move { body })).layer(stack);
        assert_eq!(stalled(app).await, "HTTP/1.1 408");
        assert_eq!(server.in_flight(), 0);
    }
}
