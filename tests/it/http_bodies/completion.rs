use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, Empty, Full};
use seawall::bulkhead::{BulkheadHandle, BulkheadLayer};
use seawall::circuit_breaker::{Abandonment, CircuitBreakerLayer, State, Trip};
use seawall::http::body_timeout::BodyTimeoutLayer;
use seawall::http::drain::DrainLayer;
use seawall::http::{
    ClassifyTrailers, GuardedBody, HeadKnows, HttpClassifier, OnBodyEnd, OnFirstByte, OnTrailers,
    RecordBodyLayer, Replay,
};
use seawall::retry::RetryLayer;
use seawall::timeout::TimeoutLayer;
use seawall::{
    Classification, Classify, Completion, Error, Event, EventKind, Measurement, Outcome, Reason,
    Rejected,
};
use tower::{ServiceBuilder, ServiceExt, service_fn};

use super::{Script, Step, data, next, read, read_some, trailers};
use crate::support::{Broken, Fail, caught, now};

// ===== permits =====

async fn held<B, F>(completion: F, body: B) -> (BulkheadHandle, F::Response)
where
    F: Completion<Response<B>> + Clone,
{
    let layer = BulkheadLayer::builder("x").limit(1).completion(completion).build().unwrap();
    let answer = layer.run(|| async { Ok::<_, Fail>(Response::new(body)) }).await;
    (layer.handle(), answer.unwrap())
}

fn three() -> [Step; 4] {
    [data(""), data("one"), data("two"), Step::Trailers(trailers())]
}

// pitfall B16
#[tokio::test]
async fn a_permit_is_held_until_the_body_ends() {
    let (handle, response) = held(OnBodyEnd, Script::of([data("one"), data("two")])).await;
    let mut body = response.into_body();
    for frame in 0..3 {
        assert_eq!(handle.in_flight(), 1, "after {frame} frames");
        let polled = now(next(&mut body));
        assert_eq!(polled.is_none(), frame == 2);
    }
    assert_eq!(handle.in_flight(), 0);
    assert!(now(next(&mut body)).is_none());
}

// pitfalls B12, B16
#[tokio::test]
async fn a_permit_is_free_when_the_body_is_dropped_at_any_point() {
    for frames in 0..=4 {
        let (handle, response) = held(OnBodyEnd, Script::of(three())).await;
        let mut body = response.into_body();
        read_some(&mut body, frames);
        assert_eq!(handle.in_flight(), u32::from(frames < 4), "trailers are the last frame");
        drop(body);
        assert_eq!(handle.in_flight(), 0, "after {frames} frames");
    }
}

#[tokio::test]
async fn a_permit_is_free_when_the_last_byte_was_read_even_if_nobody_asks_for_more() {
    for silent in [false, true] {
        let script = Script { silent, ..Script::sized(["one", "two"]) };
        let (handle, response) = held(OnBodyEnd, script).await;
        let mut body = response.into_body();
        read_some(&mut body, 1);
        assert_eq!(handle.in_flight(), 1);
        read_some(&mut body, 1);
        assert_eq!(handle.in_flight(), 0);
    }
}

#[tokio::test]
async fn an_answer_without_a_body_is_over_at_once() {
    let (handle, response) = held(OnBodyEnd, Empty::<Bytes>::new()).await;
    assert_eq!(handle.in_flight(), 0);
    assert!(response.body().is_end_stream());
    let (handle, _response) = held(OnFirstByte, Full::new(Bytes::new())).await;
    assert_eq!(handle.in_flight(), 0);
}

#[tokio::test]
async fn at_the_first_byte_means_the_first_byte() {
    let (handle, response) = held(OnFirstByte, Script::of(three())).await;
    let mut body = response.into_body();
    read_some(&mut body, 1); // an empty frame
    assert_eq!(handle.in_flight(), 1);
    read_some(&mut body, 1);
    assert_eq!(handle.in_flight(), 0);
    assert_eq!(read(&mut body).0.len(), 2);

    let (handle, response) = held(OnFirstByte, Script::of([])).await;
    assert_eq!(handle.in_flight(), 1);
    let mut body = response.into_body();
    assert!(now(next(&mut body)).is_none());
    assert_eq!(handle.in_flight(), 0);
}

/// Notes how many are in a bulkhead when it is dropped.
struct Holder(BulkheadHandle, Arc<Mutex<Vec<u32>>>);

impl Drop for Holder {
    fn drop(&mut self) {
        self.1.lock().unwrap().push(self.0.in_flight());
    }
}

impl Body for Holder {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        Poll::Pending
    }
}

#[tokio::test]
async fn the_body_is_let_go_before_the_permit() {
    let layer = BulkheadLayer::builder("x").limit(1).completion(OnBodyEnd).build().unwrap();
    let seen = Arc::default();
    let body = Holder(layer.handle(), Arc::clone(&seen));
    let response = layer.run(|| async { Ok::<_, Fail>(Response::new(body)) }).await.unwrap();
    drop(response);
    assert_eq!((&*seen.lock().unwrap(), layer.handle().in_flight()), (&vec![1], 0));
}

#[tokio::test]
async fn frames_and_lengths_pass_as_they_are() {
    let (_, response) = held(OnBodyEnd, Script::sized(["one", "two"])).await;
    let mut body = response.into_body();
    assert_eq!(body.size_hint().exact(), Some(6));
    read_some(&mut body, 1);
    assert_eq!(body.size_hint().exact(), Some(3));
    let (_, response) = held(OnBodyEnd, Script::of(three())).await;
    assert_eq!(read(&mut response.into_body()).0, three());
}

// ===== outcomes =====

/// Says of every head what it was made with.
#[derive(Clone, Copy)]
pub(super) struct Says(pub(super) Classification);

impl<B> Classify<Response<B>, Fail> for Says {
    fn classify(&self, result: Result<&Response<B>, &Fail>) -> Classification {
        result.map_or(Outcome::TRANSIENT.into(), |_| self.0)
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Success,
    Failure,
    Abandoned,
    Nothing,
}

/// What a breaker makes of a call with this head, when its body was read so far.
async fn seen<F>(
    head: Classification,
    completion: F,
    body: Script,
    reader: impl FnOnce(F::Response),
) -> Seen
where
    F: Completion<Response<Script>> + Clone + Send + Sync + 'static,
{
    let events = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&events);
    let breaker = CircuitBreakerLayer::builder("x")
        .trip(Trip::consecutive(10))
        .abandonment(Abandonment::Ignore)
        .classify(Says(head))
        .completion(completion)
        .observe(move |event: &Event| told.lock().unwrap().push(event.kind))
        .build()
        .unwrap();
    // One failure to begin with: a success would clear it, another failure would make it two.
    let failed = breaker.run(|| async { Err::<Response<Script>, Fail>(Error::Inner(Broken)) });
    assert!(failed.await.is_err());
    let answer = breaker.run(|| async { Ok::<_, Fail>(Response::new(body)) });
    reader(answer.await.unwrap_or_else(|_| panic!("the head is there")));
    assert_eq!(breaker.in_flight(), 0);
    let gathered = breaker.handle().snapshot().gathered;
    match gathered {
        Measurement::Count { observed: 0, .. } => Seen::Success,
        Measurement::Count { observed: 2, .. } => Seen::Failure,
        _ if events.lock().unwrap().contains(&EventKind::Abandoned) => Seen::Abandoned,
        _ => Seen::Nothing,
    }
}

fn whole<J: ClassifyTrailers>(response: Response<GuardedBody<Script, J>>) {
    read(&mut response.into_body());
}

const GOOD: Classification = Classification::Now(Outcome::SUCCESS);
const BAD: Classification = Classification::Now(Outcome::TRANSIENT);
const SILENT: Classification = Classification::Now(Outcome::IGNORE);

// pitfalls B16, B29
#[tokio::test]
async fn the_head_has_the_word_when_the_body_ends_and_not_before() {
    let body = || Script::of(three());
    assert_eq!(seen(GOOD, OnBodyEnd, body(), whole).await, Seen::Success);
    assert_eq!(seen(BAD, OnBodyEnd, body(), whole).await, Seen::Failure);
    assert_eq!(seen(SILENT, OnBodyEnd, body(), whole).await, Seen::Nothing);
    assert_eq!(seen(Classification::AtEnd, OnBodyEnd, body(), whole).await, Seen::Success);
    assert_eq!(seen(GOOD, OnBodyEnd, Script::sized([]), drop).await, Seen::Success);
}

// field F1: of the frames of `three` the first is empty, and an empty frame is no answer.
#[tokio::test]
async fn what_was_read_speaks_for_the_dependency_even_if_its_reader_stops() {
    let some = |frames| {
        move |response: Response<GuardedBody<Script>>| read_some(&mut response.into_body(), frames)
    };
    let trailing = |frames| {
        move |response: Response<GuardedBody<Script, _>>| {
            read_some(&mut response.into_body(), frames);
        }
    };
    // A classify that takes every end it is asked about for a failure.
    let strict = OnTrailers::new(|_: Option<&HeaderMap>| Outcome::TRANSIENT);
    let body = || Script::of(three());
    for frames in 0..=3 {
        let read = if frames < 2 { Seen::Abandoned } else { Seen::Success };
        for head in [GOOD, Classification::AtEnd] {
            assert_eq!(
                seen(head, OnBodyEnd, body(), some(frames)).await,
                read,
                "{frames} {head:?}"
            );
            let first_byte = seen(head, OnFirstByte, body(), some(frames)).await;
            assert_eq!(first_byte, read, "{frames} {head:?}");
            let told = seen(head, strict, body(), trailing(frames)).await;
            assert_eq!(told, read, "{frames} {head:?}");
        }
    }
    assert_eq!(
        seen(SILENT, OnBodyEnd, body(), some(2)).await,
        Seen::Nothing,
        "as its head announced"
    );
    // What breaks off by itself has failed, however much of it was read.
    let cut = || Script::of([data("one"), data("two"), Step::Fails]);
    assert_eq!(seen(GOOD, OnBodyEnd, cut(), whole).await, Seen::Failure);
    assert_eq!(seen(Classification::AtEnd, OnBodyEnd, cut(), whole).await, Seen::Failure);
}

// pitfall B29: hardly anybody reads on after a 503.
#[tokio::test]
async fn a_failure_is_one_even_if_nobody_reads_its_body() {
    let body = || Script::of(three());
    assert_eq!(seen(BAD, OnBodyEnd, body(), drop).await, Seen::Failure);
    assert_eq!(seen(BAD, OnTrailers::new(HeadKnows), body(), drop).await, Seen::Failure);
    assert_eq!(seen(BAD, OnFirstByte, body(), drop).await, Seen::Failure);
    assert_eq!(seen(SILENT, OnBodyEnd, body(), drop).await, Seen::Abandoned);
}

// pitfall B16
#[tokio::test]
async fn a_body_that_fails_or_panics_is_a_failure() {
    let fails = || Script::of([data("one"), Step::Fails]);
    for head in [GOOD, SILENT, BAD, Classification::AtEnd] {
        assert_eq!(seen(head, OnBodyEnd, fails(), whole).await, Seen::Failure, "{head:?}");
    }
    let panics = |response: Response<GuardedBody<Script>>| {
        let mut body = response.into_body();
        assert!(caught(|| next(&mut body)).is_none());
    };
    assert_eq!(seen(GOOD, OnBodyEnd, Script::of([Step::Panics]), panics).await, Seen::Failure);
    assert_eq!(seen(GOOD, OnFirstByte, fails(), whole).await, Seen::Success);
    assert_eq!(seen(GOOD, OnFirstByte, Script::of([Step::Fails]), whole).await, Seen::Failure);
}

// pitfall B29
#[tokio::test]
async fn trailers_decide_where_the_head_left_it_open() {
    let classify = |trailers: Option<&HeaderMap>| match trailers {
        Some(trailers) if trailers.contains_key("etag") => Outcome::SUCCESS,
        _ => Outcome::TRANSIENT,
    };
    let completion = OnTrailers::new(classify);
    let with = || Script::of(three());
    let without = || Script::of([data("one")]);
    assert_eq!(seen(Classification::AtEnd, completion, with(), whole).await, Seen::Success);
    assert_eq!(seen(Classification::AtEnd, completion, without(), whole).await, Seen::Failure);
    assert_eq!(seen(BAD, completion, with(), whole).await, Seen::Failure, "the head has said it");
    assert_eq!(seen(GOOD, completion, without(), whole).await, Seen::Success);
    // All bytes are there, and the trailers are not: whoever goes now was answered all the same.
    let sized = Script { sized: true, ..with() };
    let bytes = |response: Response<_>| read_some(&mut response.into_body(), 3);
    assert_eq!(seen(Classification::AtEnd, completion, sized, bytes).await, Seen::Success);

    let panics =
        OnTrailers::new(|_: Option<&HeaderMap>| -> Outcome { panic!("scripted: classify") });
    let caught = |response: Response<_>| {
        let mut body = response.into_body();
        assert!(caught(|| read(&mut body)).is_none());
    };
    assert_eq!(seen(Classification::AtEnd, panics, with(), caught).await, Seen::Failure);
}

// ===== a whole stack =====

// pitfall B16
#[tokio::test(start_paused = true)]
async fn a_head_at_once_and_a_body_over_two_seconds_arrive_whole_through_everything() {
    let bulkhead = BulkheadLayer::builder("x").limit(1).completion(OnBodyEnd).build().unwrap();
    let breaker = CircuitBreakerLayer::builder("x")
        .classify(HttpClassifier)
        .completion(OnBodyEnd)
        .build()
        .unwrap();
    let retry = RetryLayer::builder("x").classify(HttpClassifier).copy_with(Replay::default());
    let stack = ServiceBuilder::new()
        .layer(RecordBodyLayer::default())
        .layer(retry.build().unwrap())
        .layer(DrainLayer::new())
        .layer(breaker.clone())
        .layer(bulkhead.clone())
        .layer(TimeoutLayer::new("x", Duration::from_millis(100)))
        .layer(BodyTimeoutLayer::builder("x").idle(Duration::from_millis(300)).build().unwrap())
        .map_err(Error::Inner)
        .service(service_fn(|request: Request<_>| async {
            drop(request);
            let (mut sender, body) = Channel::<Bytes, Broken>::new(1);
            tokio::spawn(async move {
                for _ in 0..10 {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    sender.send_data(Bytes::from_static(b"chunk")).await.unwrap();
                }
            });
            Ok::<_, Broken>(Response::new(body))
        }));
    let request = Request::new(Full::new(Bytes::from_static(b"question")));
    let response = stack.clone().oneshot(request.clone()).await.unwrap();
    assert_eq!((breaker.in_flight(), bulkhead.handle().in_flight()), (1, 1));
    let rejected = stack.clone().oneshot(request.clone()).await.unwrap_err();
    assert!(matches!(rejected, Error::Rejected(why) if why.reason() == Reason::Full));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, "chunk".repeat(10));
    assert_eq!((breaker.in_flight(), bulkhead.handle().in_flight()), (0, 0));
    assert_eq!(stack.oneshot(request).await.unwrap().status(), StatusCode::OK);
}

// pitfall B16
#[tokio::test(start_paused = true)]
async fn a_body_that_hangs_is_a_failure_of_its_dependency() {
    let breaker = CircuitBreakerLayer::builder("x")
        .classify(HttpClassifier)
        .completion(OnBodyEnd)
        .trip(Trip::consecutive(1))
        .build()
        .unwrap();
    let stack = ServiceBuilder::new()
        .layer(breaker.clone())
        .layer(BodyTimeoutLayer::new("x"))
        .map_err(Error::Inner)
        .service(service_fn(|()| async {
            let (sender, body) = Channel::<Bytes, Broken>::new(1);
            tokio::spawn(async {
                let _sender = sender;
                std::future::pending::<()>().await;
            });
            Ok::<_, Broken>(Response::new(body))
        }));
    let response = stack.oneshot(()).await.unwrap();
    assert_eq!(breaker.handle().state(), State::Closed);
    let error = response.into_body().collect().await.unwrap_err();
    assert_eq!(Rejected::find(&*error).map(Rejected::reason), Some(Reason::TimedOut));
    assert_eq!(breaker.handle().state(), State::Open);
}
