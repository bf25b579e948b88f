//! The deadline of a caller, and the limits of the layers, over plain HTTP types.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Request, Response};
use http_body_util::{BodyExt, Full, StreamBody};
use seawall::circuit_breaker::CircuitBreakerLayer;
use seawall::http::{
    self as web, HttpClassifier, InExtensions, InTimeoutHeader, OnBodyEnd, Replay, TimeoutHeader,
    WriteDeadlineLayer,
};
use seawall::propagate::CallContext;
use seawall::retry::{Backoff, RetryLayer};
use seawall::timeout::TimeoutLayer;
use seawall::{CallError, Deadline, Error, Reason};
use tokio::time::sleep;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

use super::{gathered, trip};
use crate::scene::{ms, now};

const LEFT: HeaderName = HeaderName::from_static("x-timeout-ms");

fn header() -> TimeoutHeader {
    TimeoutHeader::Millis(LEFT)
}

fn ask(deadline: Option<Duration>) -> Request<String> {
    let mut request = Request::new(String::new());
    if let Some(deadline) = deadline {
        let mut call = CallContext::default();
        call.deadline = Some(Deadline::after(deadline));
        request.extensions_mut().insert(call);
    }
    request
}

/// How many failures it makes of a status that comes so late.
async fn failures_of(status: u16, after: Duration, deadline: Option<Duration>) -> u32 {
    let breaker = CircuitBreakerLayer::builder("x")
        .trip(trip())
        .classify(HttpClassifier)
        .propagate(InExtensions)
        .build()
        .unwrap();
    let service = ServiceBuilder::new().layer(breaker.clone()).map_err(Error::Inner).service(
        service_fn(move |_: Request<String>| async move {
            sleep(after).await;
            Ok::<_, io::Error>(Response::builder().status(status).body(()).unwrap())
        }),
    );
    service.oneshot(ask(deadline)).await.unwrap();
    gathered(&breaker.handle())
}

// field F3: a deadline that we handed on, told by whoever it was handed on to.
#[tokio::test(start_paused = true)]
async fn a_timeout_that_the_callers_deadline_caused_is_silent() {
    for status in [504, 408] {
        for (after, deadline) in [(200, 200), (195, 200), (205, 200), (45, 50), (1820, 2000)] {
            let failures = failures_of(status, ms(after), Some(ms(deadline))).await;
            assert_eq!(failures, 0, "{status} after {after} of {deadline} ms");
        }
        // Somebody else's limit, or a hang.
        for (after, deadline) in [(1, Some(200)), (100, Some(200)), (1000, Some(2000)), (200, None)]
        {
            let failures = failures_of(status, ms(after), deadline.map(ms)).await;
            assert_eq!(failures, 1, "{status} after {after} of {deadline:?} ms");
        }
    }
    for status in [500, 502, 503] {
        assert_eq!(failures_of(status, ms(200), Some(ms(200))).await, 1, "{status}");
    }
}

// field F3: while a body is read.
#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_off_at_the_callers_deadline_is_silent() {
    for (deadline, failures) in [(Some(200), 0), (Some(201), 1), (None, 1)] {
        let breaker = CircuitBreakerLayer::builder("x")
            .trip(trip())
            .classify(HttpClassifier)
            .propagate(InExtensions)
            .completion(OnBodyEnd)
            .build()
            .unwrap();
        let service = ServiceBuilder::new().layer(breaker.clone()).map_err(Error::Inner).service(
            service_fn(|_: Request<String>| async {
                let frames = futures::stream::once(Box::pin(async {
                    sleep(ms(200)).await;
                    Err::<http_body::Frame<Bytes>, _>(io::Error::other("cut"))
                }));
                Ok::<_, io::Error>(Response::new(StreamBody::new(frames)))
            }),
        );
        let answer = service.oneshot(ask(deadline.map(ms))).await.unwrap();
        assert!(answer.into_body().collect().await.is_err());
        assert_eq!(gathered(&breaker.handle()), failures, "{deadline:?}");
    }
}

type Told = Arc<Mutex<Vec<Option<u64>>>>;

/// Writes down what it is told of the time left, and is busy.
fn listening(
    told: &Told,
) -> impl Service<Request<String>, Response = Response<Full<Bytes>>, Error = io::Error, Future: Send>
+ Clone
+ use<> {
    let told = Arc::clone(told);
    service_fn(move |request: Request<String>| {
        let left = request.headers().get(LEFT);
        told.lock().unwrap().push(left.map(|left| left.to_str().unwrap().parse().unwrap()));
        async {
            sleep(ms(100)).await;
            Ok(Response::builder().status(503).body(Full::default()).unwrap())
        }
    })
}

// field F17: what limits an attempt stays here, in whatever order it is put together.
#[tokio::test(start_paused = true)]
async fn the_limit_of_an_attempt_is_told_to_nobody() {
    let told = Told::default();
    let writer = || WriteDeadlineLayer::new(header());
    let take = || std::mem::take(&mut *told.lock().unwrap());

    let layers = web::client("x").attempt_timeout(ms(300)).build().unwrap();
    let ready = ServiceBuilder::new()
        .layer(layers)
        .map_err(Error::Inner)
        .layer(writer())
        .service(listening(&told));
    let _ = ready.clone().oneshot(ask(None)).await;
    let written = take();
    assert!(written.len() > 1);
    assert!(written.iter().all(|left| left.is_some_and(|left| left > 3000)), "{written:?}");
    let _ = ready.oneshot(ask(Some(ms(250)))).await;
    let written = take();
    assert!(written.len() > 1);
    assert!(written.iter().all(|left| left.is_some_and(|left| left <= 250)), "{written:?}");

    let retry = || {
        let retry = RetryLayer::builder("x").attempts(2).backoff(Backoff::none());
        retry.classify(HttpClassifier).copy_with(Replay::default())
    };
    let attempt = || TimeoutLayer::builder("x").limit(ms(300)).propagate(InExtensions);
    let by_hand = ServiceBuilder::new()
        .layer(retry().propagate(InExtensions).build().unwrap())
        .layer(attempt().build().unwrap())
        .map_err(Error::Inner)
        .layer(writer())
        .service(listening(&told));
    let _ = by_hand.clone().oneshot(ask(None)).await;
    assert_eq!(take(), [None, None]);
    let _ = by_hand.oneshot(ask(Some(ms(5000)))).await;
    assert_eq!(take(), [Some(5000), Some(4900)]);

    // The writer between the two timeouts, and a whole call with its limit.
    let whole = TimeoutLayer::builder("x").limit(ms(2000)).propagate(InExtensions).build().unwrap();
    let between = ServiceBuilder::new()
        .layer(whole)
        .layer(retry().propagate(InExtensions).build().unwrap())
        .layer(attempt().build().unwrap())
        .layer(attempt().build().unwrap())
        .map_err(Error::Inner)
        .layer(writer())
        .service(listening(&told));
    let _ = between.oneshot(ask(None)).await;
    assert_eq!(take(), [Some(2000), Some(1900)]);

    // A retry that carries nothing, and none at all: then it has to be said.
    let said = ServiceBuilder::new()
        .layer(retry().build().unwrap())
        .layer(attempt().per_attempt().build().unwrap())
        .map_err(Error::Inner)
        .layer(writer())
        .service(listening(&told));
    let _ = said.oneshot(ask(None)).await;
    assert_eq!(take(), [None, None]);
}

// field F4: a deadline is read where callers write it, and cut to what is left on each attempt.
#[tokio::test(start_paused = true)]
async fn a_client_heeds_the_header_that_its_caller_writes() {
    let told = Told::default();
    let layers = web::client("x").propagate(InTimeoutHeader::new(header())).build().unwrap();
    let service =
        ServiceBuilder::new().layer(layers).map_err(Error::Inner).service(listening(&told));
    let began = now();
    let mut request = ask(None);
    request.headers_mut().insert(LEFT, "350".parse().unwrap());
    let _ = service.clone().oneshot(request).await;
    assert!(began.elapsed() <= ms(350), "{:?}", began.elapsed());
    let written = std::mem::take(&mut *told.lock().unwrap());
    assert!(written.len() > 1, "{written:?}");
    assert_eq!(written[0], Some(350));
    assert!(written.is_sorted_by(|a, b| a > b), "{written:?}");

    // A header that is garbage says nothing, and none is written where there was none.
    for garbage in [None, Some("soon"), Some("-1")] {
        let mut request = ask(Some(ms(5000)));
        if let Some(garbage) = garbage {
            request.headers_mut().insert(LEFT, garbage.parse().unwrap());
        } else {
            let _ = service.clone().oneshot(request).await;
            let written = std::mem::take(&mut *told.lock().unwrap());
            assert!(written.iter().all(Option::is_none), "{written:?}");
        }
    }
}

// field F4: hanging, it is told as what it is, after that time.
#[tokio::test(start_paused = true)]
async fn a_hang_ends_with_the_header_whatever_the_number_of_attempts() {
    for (millis, extension) in [("200", None), ("10000", Some(ms(200))), ("200", Some(ms(9000)))] {
        let layers = web::client("x")
            .attempt_timeout(ms(50))
            .propagate(InTimeoutHeader::new(header()))
            .build()
            .unwrap();
        let breaker = layers.breaker();
        let service =
            ServiceBuilder::new().layer(layers).map_err(Error::Inner).service(service_fn(
                |_: Request<String>| std::future::pending::<Result<Response<()>, io::Error>>(),
            ));
        let mut request = ask(extension);
        request.headers_mut().insert(LEFT, millis.parse().unwrap());
        let began = now();
        assert!(service.oneshot(request).await.is_err());
        assert!(began.elapsed() <= ms(200), "{:?}", began.elapsed());
        drop(breaker);
    }
    let layers = web::client("x").propagate(InTimeoutHeader::new(header())).build().unwrap();
    let service = ServiceBuilder::new().layer(layers).map_err(Error::Inner).service(service_fn(
        |_: Request<String>| std::future::pending::<Result<Response<()>, io::Error>>(),
    ));
    let mut request = ask(None);
    request.headers_mut().insert(LEFT, "200".parse().unwrap());
    let late = service.oneshot(request).await.unwrap_err();
    assert_eq!(late.rejected().map(seawall::Rejected::reason), Some(Reason::DeadlineExceeded));
}
