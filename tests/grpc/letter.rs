//! gRPC by the letter: what deadlines, statuses and errors mean to a client's stack.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use seawall::circuit_breaker::{CircuitBreakerHandle, CircuitBreakerLayer, State, Trip};
use seawall::grpc::{self, GrpcClassifier, at_trailers};
use seawall::http::{
    InTimeoutHeader, RecordBodyLayer, Replay, ReplayBody, TimeoutHeader, WriteDeadlineLayer,
};
use seawall::retry::{self, Backoff, StopReason};
use seawall::{
    Classification, Classify, ClassifyContext, Deadline, Error, Event, EventKind, Measurement,
    Outcome,
};
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tower::{ServiceBuilder, ServiceExt, service_fn};

use super::{Client, Peer, STREAM, say, serve, stream, unary};

const MINUTE: Duration = Duration::from_secs(60);

fn client<S>(
    channel: S,
    attempt: Duration,
    deadline: Duration,
) -> (impl Client, CircuitBreakerHandle)
where
    S: tower::Service<http::Request<Body>, Response = http::Response<Body>> + Clone,
    S::Error: std::error::Error + Send + Sync + 'static,
{
    let layers = grpc::client("peer")
        .attempt_timeout(attempt)
        .deadline(deadline)
        .copy_with(Replay::default().method(http::Method::POST))
        .build()
        .unwrap();
    let breaker = layers.breaker();
    let client = ServiceBuilder::new()
        .layer(grpc::rejections())
        .layer(RecordBodyLayer::default())
        .layer(layers)
        .map_err(Error::Inner)
        .map_request(|request: http::Request<ReplayBody<Body>>| request.map(Body::new))
        .service(channel);
    (client, breaker)
}

fn hanging(timeout: Duration) -> tonic::Request<bytes::Bytes> {
    let mut request = say("hang");
    request.set_timeout(timeout);
    request
}

// field F4, field F3, field F20: the timeout that callers set is the deadline of the whole, it is told
// as what it is, and is no evidence.
#[tokio::test]
async fn the_timeout_of_a_request_is_the_deadline_of_the_whole_stack() {
    let (peer, _bell) = Peer::new();
    let (client, breaker) = client(serve(peer.service()).await, MINUTE / 2, MINUTE);
    for _ in 0..20 {
        let status = unary(&client, hanging(Duration::from_millis(20))).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    }
    assert_eq!(breaker.state(), State::Closed);
}

// field F4: with attempts that are shorter there are several, and all of them end by then.
#[tokio::test(start_paused = true)]
async fn the_timeout_of_a_request_bounds_all_attempts() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&told);
    let layers = grpc::client("peer")
        .attempt_timeout(Duration::from_millis(50))
        .copy_with(Replay::default().method(http::Method::POST))
        .build()
        .unwrap();
    let service = ServiceBuilder::new().layer(layers).map_err(Error::<Infallible>::Inner).service(
        service_fn(move |request: http::Request<String>| {
            let left = grpc::parse_timeout(&request.headers()["grpc-timeout"]).unwrap();
            seen.lock().unwrap().push(left);
            std::future::pending::<Result<http::Response<String>, Infallible>>()
        }),
    );
    #[allow(clippy::disallowed_methods)] // the tests' clock
    let began = Instant::now();
    let request = http::Request::post("/").header("grpc-timeout", "200m");
    let answer = service.oneshot(request.body(String::new()).unwrap()).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "4", "as a server would say it");
    assert!(began.elapsed() <= Duration::from_millis(200), "{:?}", began.elapsed());
    let told = told.lock().unwrap();
    assert!(told.len() > 1 && told.is_sorted_by(|a, b| a > b), "{told:?}");
    assert!(told[0] <= Duration::from_millis(200), "{told:?}");
}

// field F17: a server that heeds what it is told does not end a stream by the limit of an attempt.
#[tokio::test]
async fn the_limit_of_an_attempt_is_not_told_to_the_server() {
    let (peer, _bell) = Peer::new();
    let channel = ServiceBuilder::new()
        .layer(WriteDeadlineLayer::new(TimeoutHeader::Grpc))
        .service(serve(peer.service()).await);
    let (client, _) = client(channel, MINUTE / 2, MINUTE * 10);
    let items = stream(&client, STREAM, "three").await.unwrap();
    assert_eq!(items.collect::<Vec<_>>().await.len(), 3);
    let told = grpc::parse_timeout(&peer.seen()[0].headers["grpc-timeout"]).unwrap();
    assert!(told > MINUTE && told <= MINUTE * 10, "{told:?}");
}

// field F3: seawall on both sides, with a margin that lets the server speak first.
#[tokio::test(start_paused = true)]
async fn a_server_that_was_told_the_deadline_and_says_so_is_no_failure() {
    let layers = grpc::server("peer").deadline_from(TimeoutHeader::Grpc).build().unwrap();
    let server = ServiceBuilder::new().layer(layers).map_err(Error::<Infallible>::Inner).service(
        service_fn(|_: http::Request<String>| {
            std::future::pending::<Result<http::Response<String>, Infallible>>()
        }),
    );
    for (millis, margin, failures) in [(200, 0, 0), (200, 10, 0), (2000, 50, 0), (200, 100, 1)] {
        let breaker = CircuitBreakerLayer::builder("peer")
            .trip(Trip::consecutive(3))
            .classify(GrpcClassifier)
            .propagate(InTimeoutHeader::new(TimeoutHeader::Grpc))
            .build()
            .unwrap();
        let margin = Duration::from_millis(margin);
        let client = ServiceBuilder::new()
            .layer(breaker.clone())
            .map_err(Error::<Infallible>::Inner)
            .layer(WriteDeadlineLayer::new(TimeoutHeader::Grpc).margin(margin))
            .service(server.clone());
        let mut call = seawall::propagate::CallContext::default();
        call.deadline = Some(Deadline::after(Duration::from_millis(millis)));
        let request = http::Request::post("/").extension(call).body(String::new()).unwrap();
        let answer = client.oneshot(request).await.unwrap();
        assert_eq!(answer.headers()["grpc-status"], "4");
        let Measurement::Count { observed, .. } = breaker.handle().snapshot().gathered else {
            panic!("a count")
        };
        assert_eq!(observed, failures, "{millis} ms less {margin:?}");
    }
}

fn verdict(status: u16, headers: &[(&'static str, &'static str)]) -> Classification {
    let mut response = http::Response::builder().status(status).body(()).unwrap();
    for (name, value) in headers {
        response.headers_mut().insert(*name, HeaderValue::from_static(value));
    }
    GrpcClassifier.classify(Ok::<_, &Error<io::Error>>(&response))
}

// field F20, pitfall B29
#[test]
fn the_grpc_status_wins_and_http_is_mapped_where_there_is_none() {
    assert_eq!(verdict(503, &[("grpc-status", "5")]), Outcome::SUCCESS.into());
    assert_eq!(verdict(404, &[("grpc-status", "14")]), Outcome::TRANSIENT.into());
    assert_eq!(verdict(200, &[]), Classification::AtEnd);
    for failure in [400, 405, 408, 409, 418, 500, 501, 505, 302, 204] {
        assert_eq!(verdict(failure, &[]), Outcome::FAILURE.into(), "{failure}");
    }
    for answer in [401, 403, 404] {
        assert_eq!(verdict(answer, &[]), Outcome::SUCCESS.into(), "{answer}");
    }
    for gone in [429, 502, 503, 504] {
        assert_eq!(verdict(gone, &[]), Outcome::TRANSIENT.into(), "{gone}");
        let with_retry_after = Outcome::TRANSIENT.after(Duration::from_secs(7));
        assert_eq!(verdict(gone, &[("retry-after", "7")]), with_retry_after.into(), "{gone}");
    }
    assert_eq!(verdict(200, &[("grpc-status", "10")]), Outcome::SUCCESS.into());
}

// field F3, field F20
#[tokio::test(start_paused = true)]
async fn a_code_that_tells_of_the_callers_deadline_is_silent() {
    let context = ClassifyContext::new(Deadline::after(Duration::from_millis(200)));
    let of = |status: u16, code: Option<&'static str>| {
        let mut response = http::Response::builder().status(status).body(()).unwrap();
        if let Some(code) = code {
            response.headers_mut().insert("grpc-status", HeaderValue::from_static(code));
        }
        GrpcClassifier.classify_call(Ok::<_, &Error<io::Error>>(&response), &context)
    };
    assert_eq!(of(200, Some("4")), Outcome::FAILURE.into());
    assert_eq!(of(504, None), Outcome::TRANSIENT.into());
    tokio::time::sleep(Duration::from_millis(195)).await;
    assert_eq!(of(200, Some("4")), Outcome::IGNORE.into());
    assert_eq!(of(504, None), Outcome::IGNORE.into());
    assert_eq!(of(200, Some("1")), Outcome::IGNORE.into());
    assert_eq!(of(200, Some("13")), Outcome::FAILURE.into());
    assert_eq!(of(503, None), Outcome::TRANSIENT.into());
    // tonic's own timer.
    let expired: Result<http::Response<()>, _> = Err(Error::Inner(tonic::TimeoutExpired(())));
    assert_eq!(GrpcClassifier.classify_call(expired.as_ref(), &context), Outcome::IGNORE.into());
    let early = ClassifyContext::new(Deadline::after(Duration::from_secs(10)));
    assert_eq!(GrpcClassifier.classify_call(expired.as_ref(), &early), Outcome::TRANSIENT.into());
}

// field F3: a stream whose trailers tell of the deadline.
#[tokio::test(start_paused = true)]
async fn trailers_that_tell_of_the_callers_deadline_are_silent() {
    for (millis, failures) in [(200, 0), (2000, 1)] {
        let breaker = CircuitBreakerLayer::builder("peer")
            .trip(Trip::consecutive(3))
            .classify(GrpcClassifier)
            .completion(at_trailers())
            .propagate(InTimeoutHeader::new(TimeoutHeader::Grpc))
            .build()
            .unwrap();
        let service = ServiceBuilder::new()
            .layer(breaker.clone())
            .map_err(Error::<Infallible>::Inner)
            .service(service_fn(|_: http::Request<String>| async {
                let trailers = tokio_stream::once(()).then(|()| async {
                    tokio::time::sleep(Duration::from_millis(195)).await;
                    let mut trailers = HeaderMap::new();
                    trailers.insert("grpc-status", HeaderValue::from_static("4"));
                    Ok::<_, Infallible>(http_body::Frame::<bytes::Bytes>::trailers(trailers))
                });
                Ok(http::Response::new(http_body_util::StreamBody::new(trailers)))
            }));
        let request = http::Request::post("/").header("grpc-timeout", format!("{millis}m"));
        let answer = service.oneshot(request.body(String::new()).unwrap()).await.unwrap();
        let body = http_body_util::BodyExt::collect(Box::pin(answer.into_body())).await.unwrap();
        assert!(body.trailers().is_some());
        let Measurement::Count { observed, .. } = breaker.handle().snapshot().gathered else {
            panic!("a count")
        };
        assert_eq!(observed, failures, "{millis} ms");
    }
}

/// How a retry that may repeat what was never sent ends over this channel.
async fn stop_of(channel: Channel) -> (u32, StopReason, Status) {
    let stops = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&stops);
    let layers = grpc::client("peer")
        .retry(retry::Config { backoff: Backoff::none(), ..retry::Config::default() })
        .observe(move |event: &Event| {
            if let (EventKind::Stopped { attempts, .. }, Some(stop)) =
                (event.kind, StopReason::of(&event.kind))
            {
                told.lock().unwrap().push((attempts, stop));
            }
        })
        .build()
        .unwrap();
    let client = ServiceBuilder::new()
        .layer(RecordBodyLayer::default())
        .layer(layers)
        .map_err(Error::Inner)
        .map_request(|request: http::Request<ReplayBody<Body>>| request.map(Body::new))
        .service(channel);
    let status = unary(&client, say("hello")).await.unwrap_err();
    let (attempts, stop) = stops.lock().unwrap()[0];
    (attempts, stop, status)
}

// field F18: every gRPC call is a POST, and is repeated where no connection came about.
#[tokio::test]
async fn a_call_for_which_no_connection_came_about_is_repeated() {
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{gone}")).unwrap();
    let (attempts, stop, status) = stop_of(endpoint.connect_lazy()).await;
    assert_eq!((attempts, stop), (3, StopReason::Exhausted), "{status:?}");
    let untrusted = service_fn(|_: http::Uri| async {
        let error = io::Error::other("the certificate is not to be trusted");
        Err::<hyper_util::rt::TokioIo<tokio::net::TcpStream>, _>(error)
    });
    let endpoint = Endpoint::from_static("http://orders.example");
    let (attempts, stop, status) = stop_of(endpoint.connect_with_connector_lazy(untrusted)).await;
    assert_eq!((attempts, stop), (3, StopReason::Exhausted), "{status:?}");
}

// field F5: a full bulkhead around the connections of a channel.
#[tokio::test]
async fn a_connection_that_a_layer_rejected_ends_the_retry() {
    let full = seawall::bulkhead::BulkheadLayer::builder("x").limit(1).queue(0).build().unwrap();
    let _held = full.run(std::future::pending::<Result<(), tower::BoxError>>);
    let rejected =
        tower::ServiceBuilder::new().layer(full).service(service_fn(|_: http::Uri| async {
            Err::<hyper_util::rt::TokioIo<tokio::net::TcpStream>, tower::BoxError>(
                "unreached".into(),
            )
        }));
    let endpoint = Endpoint::from_static("http://orders.example");
    let (attempts, stop, status) = stop_of(endpoint.connect_with_connector_lazy(rejected)).await;
    assert_eq!((attempts, stop), (1, StopReason::Rejected), "{status:?}");
}

// field F10
#[test]
fn the_delay_in_the_details_of_a_status_is_heeded() {
    const DETAILS: &str =
        "CA4SBGJ1c3kaMQoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIFCgMIpAI";
    let details = ("grpc-status-details-bin", DETAILS);
    let after = |seconds| Duration::from_secs(seconds);
    let of = |code, more: &[(&'static str, &'static str)]| {
        let headers = [&[("grpc-status", code), details][..], more].concat();
        verdict(200, &headers)
    };
    assert_eq!(of("14", &[]), Outcome::TRANSIENT.after(after(292)).into());
    assert_eq!(of("8", &[]), Outcome::PUSHBACK.after(after(292)).into());
    assert_eq!(of("5", &[]), Outcome::SUCCESS.into());
    let pushed = of("14", &[("grpc-retry-pushback-ms", "300000")]);
    assert_eq!(pushed, Outcome::TRANSIENT.after(after(300)).into());
}

// Failures that are told after an early head: in trailers, and in grpc-web as the end of the body.
#[tokio::test]
async fn trailers_in_the_body_decide_too() {
    const OK: &[u8] = b"\0\0\0\0\x03one\x80\0\0\0\x0fgrpc-status: 0\n";
    const BROKEN: &[u8] = b"\0\0\0\0\x03one\x80\0\0\0\x10grpc-status: 14\n";
    const TEXT: &[u8] = b"AAAAAANvbmU=gAAAABBncnBjLXN0YXR1czoxNA0K";
    let web = "application/grpc-web+proto";
    for (kind, body, failures) in [
        (web, OK, 0),
        (web, BROKEN, 1),
        (web, &OK[..8], 1),
        ("application/grpc-web-text", TEXT, 1),
        ("application/grpc", OK, 1), // whose trailers are none of the body
    ] {
        let breaker = CircuitBreakerLayer::builder("peer")
            .trip(Trip::consecutive(3))
            .classify(GrpcClassifier)
            .completion(at_trailers())
            .build()
            .unwrap();
        let service = ServiceBuilder::new()
            .layer(breaker.clone())
            .map_err(Error::<Infallible>::Inner)
            .service(service_fn(move |_: http::Request<()>| async move {
                let body = http_body_util::Full::new(bytes::Bytes::from_static(body));
                Ok(http::Response::builder().header("content-type", kind).body(body).unwrap())
            }));
        let answer = service.oneshot(http::Request::new(())).await.unwrap();
        http_body_util::BodyExt::collect(answer.into_body()).await.unwrap();
        let Measurement::Count { observed, .. } = breaker.handle().snapshot().gathered else {
            panic!("a count")
        };
        assert_eq!(observed, failures, "{kind}");
    }
}
