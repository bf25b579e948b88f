//! A call that is over when its stream is: a `Completion` of a user's own, as a body wing would write
//! it, to prove that bodies need no change in any layer.

use std::borrow::Cow;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use seawall::circuit_breaker::{Abandonment, Builder, CircuitBreakerLayer, State, Trip};
use seawall::{CallGuard, Classification, Classify, Completion, Error, Event, EventKind, Outcome};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tower::{Layer, Service, service_fn};

use crate::support::{Broken, CountingWaker, Fail, now, poll_once, ready_once};

type Chunk = Result<u32, Broken>;
type Chunks = UnboundedReceiver<Chunk>;

/// Only the end of the stream will tell.
#[derive(Debug, Clone, Copy, Default)]
struct ByTheEnd;

impl Classify<Chunks, Fail> for ByTheEnd {
    fn classify(&self, result: Result<&Chunks, &Fail>) -> Classification {
        match result {
            Ok(_) => Classification::AtEnd,
            Err(_) => Outcome::TRANSIENT.into(),
        }
    }
}

/// The call is over when the stream is.
#[derive(Debug, Clone, Copy, Default)]
struct OnBodyEnd;

impl Completion<Chunks> for OnBodyEnd {
    type Response = Body;

    fn wrap(&self, chunks: Chunks, settle: CallGuard) -> Body {
        Body { chunks, settle: Some(settle) }
    }
}

#[derive(Debug)]
struct Body {
    chunks: Chunks,
    settle: Option<CallGuard>,
}

impl Stream for Body {
    type Item = Chunk;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Chunk>> {
        let chunk = ready!(self.chunks.poll_recv(cx));
        match &chunk {
            None => self.settle.take().into_iter().for_each(CallGuard::at_head),
            Some(Err(Broken)) => {
                self.settle.take().into_iter().for_each(|settle| settle.settle(Outcome::TRANSIENT));
            }
            Some(Ok(_)) => {}
        }
        Poll::Ready(chunk)
    }
}

fn next(body: &mut Body) -> Poll<Option<Chunk>> {
    Pin::new(body).poll_next(&mut Context::from_waker(std::task::Waker::noop()))
}

// ===== a breaker of streams =====

type Layered = CircuitBreakerLayer<ByTheEnd, OnBodyEnd>;

fn streams(name: &str) -> Builder<ByTheEnd, OnBodyEnd> {
    CircuitBreakerLayer::builder(name).classify(ByTheEnd).completion(OnBodyEnd)
}

/// Opens a stream through the layer. The head comes at once; the sender is the dependency's end.
fn open(layer: &Layered) -> (UnboundedSender<Chunk>, Result<Body, Fail>) {
    let (sender, chunks) = unbounded_channel();
    let mut chunks = Some(chunks);
    let body = layer.run(move || async move { Ok(chunks.take().unwrap()) });
    (sender, now(poll_once(&mut Box::pin(body), &CountingWaker::new())))
}

fn stream(layer: &Layered) -> (UnboundedSender<Chunk>, Body) {
    let (sender, body) = open(layer);
    (sender, body.unwrap())
}

/// A stream that ends so, and was read to its end.
fn read(layer: &Layered, chunks: &[Chunk]) {
    let (sender, mut body) = stream(layer);
    for chunk in chunks {
        sender.send(*chunk).unwrap();
    }
    drop(sender);
    while next(&mut body) != Poll::Ready(None) {}
}

#[test]
fn the_outcome_comes_at_the_end_of_the_stream() {
    let layer = streams("outcome").trip(Trip::consecutive(1)).build().unwrap();
    let (sender, mut body) = stream(&layer);
    sender.send(Ok(1)).unwrap();
    assert_eq!(next(&mut body), Poll::Ready(Some(Ok(1))));
    assert_eq!((layer.in_flight(), layer.handle().state()), (1, State::Closed));
    sender.send(Err(Broken)).unwrap();
    assert_eq!((layer.in_flight(), layer.handle().state()), (1, State::Closed));
    assert_eq!(next(&mut body), Poll::Ready(Some(Err(Broken))));
    assert_eq!((layer.in_flight(), layer.handle().state()), (0, State::Open));
}

#[test]
fn a_head_that_leaves_it_to_the_end_is_no_success_before_the_end() {
    let layer = streams("head").trip(Trip::consecutive(2)).build().unwrap();
    read(&layer, &[Err(Broken)]);
    let (_open, _body) = stream(&layer);
    read(&layer, &[Err(Broken)]);
    assert_eq!(layer.handle().state(), State::Open, "two failures in a row");

    layer.handle().reset();
    read(&layer, &[Err(Broken)]);
    read(&layer, &[Ok(1), Ok(2)]);
    read(&layer, &[Err(Broken)]);
    assert_eq!(layer.handle().state(), State::Closed, "a success in between");
}

#[test]
fn a_call_that_fails_without_a_stream_has_no_end_to_wait_for() {
    let layer = streams("failed").trip(Trip::consecutive(1)).build().unwrap();
    let call = layer.run(|| async { Err::<Chunks, Fail>(Error::Inner(Broken)) });
    assert!(now(poll_once(&mut Box::pin(call), &CountingWaker::new())).is_err());
    assert_eq!((layer.in_flight(), layer.handle().state()), (0, State::Open));
}

// pitfalls B2, B12, B16
#[test]
fn a_stream_that_is_dropped_at_any_point_ends_the_call_once() {
    const CHUNKS: usize = 4;
    for polls in 0..=CHUNKS + 1 {
        let kinds = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&kinds);
        let layer = streams("dropped")
            .abandonment(Abandonment::Failure)
            .trip(Trip::consecutive(1))
            .observe(move |event: &Event| told.lock().unwrap().push(event.kind))
            .build()
            .unwrap();
        let (sender, mut body) = stream(&layer);
        (0..CHUNKS).for_each(|_| sender.send(Ok(1)).unwrap());
        drop(sender);
        let over = (0..polls).any(|_| next(&mut body) == Poll::Ready(None));
        drop(body);

        assert_eq!(layer.in_flight(), 0, "{polls} polls");
        let abandoned =
            kinds.lock().unwrap().iter().filter(|&&kind| kind == EventKind::Abandoned).count();
        assert_eq!(
            (abandoned, over),
            (usize::from(polls <= CHUNKS), polls > CHUNKS),
            "{polls} polls"
        );
        // The dependency had answered with a head, so the call had every chance to be answered.
        let state = if over { State::Closed } else { State::Open };
        assert_eq!(layer.handle().state(), state, "{polls} polls");
    }
}

/// The head was there at once, and still the call takes as long as its stream.
#[tokio::test(start_paused = true)]
async fn a_stream_that_takes_long_is_a_slow_call() {
    let second = Duration::from_secs(1);
    for (waited, state) in [(second / 2, State::Closed), (second, State::Open)] {
        let trip = Trip::slow_rate(1.0, second).at_least(1);
        let slow = streams("slow").trip(trip).build().unwrap();
        let (sender, mut body) = stream(&slow);
        tokio::time::advance(waited).await;
        drop(sender);
        assert_eq!(next(&mut body), Poll::Ready(None));
        assert_eq!(slow.handle().state(), state, "after {waited:?}");

        let trip = Trip::consecutive(1);
        let patient = streams("patient").trip(trip).abandonment(Abandonment::After(second));
        let patient = patient.build().unwrap();
        let body = stream(&patient);
        tokio::time::advance(waited).await;
        drop(body);
        assert_eq!(patient.handle().state(), state, "given up after {waited:?}");
    }
}

// pitfalls B1, B2
#[tokio::test(start_paused = true)]
async fn a_probe_holds_its_slot_until_its_stream_ends() {
    let layer = streams("probe").trip(Trip::consecutive(1)).close_threshold(1).build().unwrap();
    read(&layer, &[Err(Broken)]);
    tokio::time::advance(Duration::from_millis(50)).await;
    let (sender, mut probe) = stream(&layer);
    assert_eq!(layer.handle().state(), State::HalfOpen);
    assert!(matches!(open(&layer).1, Err(Error::Rejected(_))), "one probe at a time");
    drop(sender);
    assert_eq!(next(&mut probe), Poll::Ready(None));
    let (sender, mut second) = stream(&layer);
    let (third_sender, third) = stream(&layer);
    drop((third, third_sender));
    drop(sender);
    assert_eq!(next(&mut second), Poll::Ready(None));
    assert_eq!(layer.handle().state(), State::Closed);
}

#[tokio::test]
async fn a_drain_waits_for_streams() {
    let layer = streams("drain").build().unwrap();
    let (sender, mut body) = stream(&layer);
    let mut drain = pin!(layer.drain());
    let task = CountingWaker::new();
    assert!(poll_once(&mut drain, &task).is_pending());
    drop(sender);
    assert_eq!(next(&mut body), Poll::Ready(None));
    assert!(task.wakes() > 0);
    assert!(poll_once(&mut drain, &task).is_ready());
}

#[test]
fn a_stream_may_outlive_its_layer() {
    let layer = streams("gone").build().unwrap();
    let (_sender, body) = stream(&layer);
    let (other_sender, mut other) = stream(&layer);
    drop(layer);
    drop(body);
    drop(other_sender);
    assert_eq!(next(&mut other), Poll::Ready(None));
}

#[test]
fn an_answer_that_ends_at_its_head_takes_a_verdict_left_to_the_end_as_success() {
    let builder = CircuitBreakerLayer::builder("at-head").classify(ByTheEnd);
    let layer = builder.trip(Trip::consecutive(2)).build().unwrap();
    let fail = || layer.run(|| async { Err::<Chunks, Fail>(Error::Inner(Broken)) });
    let succeed = || layer.run(|| async { Ok::<Chunks, Fail>(unbounded_channel().1) });
    assert!(now(poll_once(&mut Box::pin(fail()), &CountingWaker::new())).is_err());
    assert!(now(poll_once(&mut Box::pin(succeed()), &CountingWaker::new())).is_ok());
    assert!(now(poll_once(&mut Box::pin(fail()), &CountingWaker::new())).is_err());
    assert_eq!((layer.in_flight(), layer.handle().state()), (0, State::Closed));
}

/// Of a keyed breaker, and of one for balancers, the response is the finish's too.
#[test]
fn every_face_of_the_breaker_finishes() {
    async fn silent(_: u32) -> Result<Chunks, Fail> {
        Ok(unbounded_channel().1)
    }
    fn first<S>(mut service: S) -> Body
    where
        S: Service<u32, Response = Body, Error = Fail>,
    {
        let task = CountingWaker::new();
        now(ready_once(&mut service, &task)).unwrap();
        now(poll_once(&mut Box::pin(service.call(7)), &task)).unwrap()
    }
    let plain = streams("plain").build().unwrap();
    let mut bodies = vec![first(plain.layer(service_fn(silent)))];
    bodies.push(first(plain.backpressure().layer(service_fn(silent))));
    assert_eq!(plain.in_flight(), 2);
    let keyed = streams("keyed").keyed(|_: &u32| Cow::Borrowed("k")).build().unwrap();
    bodies.push(first(keyed.layer(service_fn(silent))));
    for body in &mut bodies {
        assert_eq!(body.settle.as_ref().map(CallGuard::head), Some(Classification::AtEnd));
        assert_eq!(next(body), Poll::Ready(None));
    }
    assert_eq!(plain.in_flight(), 0);
}
