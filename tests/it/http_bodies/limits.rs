#![allow(clippy::disallowed_methods)] // the clock is paused
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use http_body_util::channel::{Channel, Sender};
use seawall::http::body_timeout::{BodyTimeoutLayer, Builder, Config, TimedBody};
use seawall::http::drain::{DrainLayer, DrainedBody};
use seawall::{ConfigErrors, Event, EventKind, Measurement, Reason, Rejected};
use tokio::time::{Instant, advance, sleep};
use tower::{BoxError, Layer, ServiceExt, service_fn};

use super::{Script, Step, data, next, read, read_some, trailers};
use crate::support::{Broken, CountingWaker, now, poll_once};

const MS: Duration = Duration::from_millis(1);

// ===== body timeout =====

fn limits() -> Builder {
    BodyTimeoutLayer::builder("x").idle(100 * MS).total(250 * MS)
}

async fn timed<B>(layer: &BodyTimeoutLayer, body: B) -> TimedBody<B> {
    let mut response = Some(Response::new(body));
    let service =
        layer.layer(service_fn(move |()| std::future::ready(response.take().ok_or(Broken))));
    service.oneshot(()).await.unwrap().into_body()
}

async fn channel(limits: Builder) -> (Sender<Bytes, Broken>, TimedBody<Channel<Bytes, Broken>>) {
    let (sender, body) = Channel::new(8);
    (sender, timed(&limits.build().unwrap(), body).await)
}

fn limit_of(error: &BoxError) -> Option<Duration> {
    let rejected = Rejected::find(&**error)?;
    assert_eq!(rejected.reason(), Reason::TimedOut);
    match rejected.measurement() {
        Measurement::Elapsed { limit } => Some(Duration::from_nanos(limit)),
        _ => None,
    }
}

// pitfall B16
#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_ends_after_the_idle_limit_and_lets_go_first() {
    let (sender, mut body) = channel(limits()).await;
    let began = Instant::now();
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!((began.elapsed(), limit_of(&error)), (100 * MS, Some(100 * MS)));
    assert!(sender_is_closed(sender), "the inner body is dropped before its reader is told");
    assert!(body.frame().await.is_none() && body.is_end_stream());
}

fn sender_is_closed(mut sender: Sender<Bytes, Broken>) -> bool {
    sender.try_send(Frame::data(Bytes::new())).is_err()
}

#[tokio::test(start_paused = true)]
async fn each_frame_begins_the_idle_limit_anew_and_the_waits_add_up_to_the_total() {
    let (mut sender, mut body) = channel(limits()).await;
    let began = Instant::now();
    let origin = tokio::spawn(async move {
        while sender.send_data(Bytes::from_static(b"x")).await.is_ok() {
            sleep(80 * MS).await;
        }
    });
    let mut frames = 0;
    let error = loop {
        match body.frame().await.unwrap() {
            Ok(_) => frames += 1,
            Err(error) => break error,
        }
    };
    // Frames come at 0, 80, 160 and 240.
    assert_eq!((frames, began.elapsed(), limit_of(&error)), (4, 250 * MS, Some(250 * MS)));
    origin.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_costs_the_dependency_nothing() {
    let (mut sender, mut body) = channel(limits()).await;
    for _ in 0..5 {
        sender.send_data(Bytes::from_static(b"x")).await.unwrap();
        sleep(1000 * MS).await;
        assert!(body.frame().await.unwrap().is_ok());
    }
    // What comes while nobody polls wins over a time that is up.
    assert!(next(&mut body).is_pending());
    sender.send_data(Bytes::from_static(b"x")).await.unwrap();
    advance(99 * MS).await;
    assert!(now(next(&mut body)).unwrap().is_ok());
    assert!(next(&mut body).is_pending());
    advance(100 * MS).await;
    sender.send_data(Bytes::from_static(b"x")).await.unwrap();
    assert!(now(next(&mut body)).unwrap().is_ok());
    // Two waits of 99 and 100 are spent, so 51 are left, and they come before the idle limit.
    let began = Instant::now();
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!((began.elapsed(), limit_of(&error)), (51 * MS, Some(250 * MS)));
}

#[tokio::test(start_paused = true)]
async fn limits_of_for_ever_are_no_limits() {
    let endless = BodyTimeoutLayer::builder("x").idle(Duration::MAX).total(Duration::MAX);
    let (mut sender, mut body) = channel(endless).await;
    assert!(next(&mut body).is_pending());
    advance(Duration::from_secs(86_400 * 365)).await;
    assert!(next(&mut body).is_pending());
    sender.send_data(Bytes::from_static(b"x")).await.unwrap();
    assert!(now(next(&mut body)).unwrap().is_ok());
}

#[test]
fn no_runtime_is_needed_by_a_body_that_never_waits() {
    let layer = limits().build().unwrap();
    let script = Script { sized: true, ..Script::of([data("one"), Step::Trailers(trailers())]) };
    let mut whole = now(poll_once(&mut Box::pin(timed(&layer, script)), &CountingWaker::new()));
    assert_eq!(whole.size_hint().exact(), Some(3));
    assert_eq!(read(&mut whole).0, [data("one"), Step::Trailers(trailers())]);
    let mut fails = now(poll_once(
        &mut Box::pin(timed(&layer, Script::of([Step::Fails]))),
        &CountingWaker::new(),
    ));
    assert_eq!(read(&mut fails).1.unwrap().downcast_ref(), Some(&Broken));
}

#[tokio::test(start_paused = true)]
async fn it_tells_of_what_it_ends_and_its_config_can_be_turned() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&events);
    let layer = limits()
        .observe(move |event: &Event| {
            told.lock().unwrap().push((event.origin.to_string(), event.kind));
        })
        .build()
        .unwrap();
    let (_held, stuck) = Channel::<Bytes, Broken>::new(1);
    let mut old = timed(&layer, stuck).await;
    let mut faster = Config::default();
    (faster.idle, faster.total) = (10 * MS, 20 * MS);
    layer.handle().reload(faster).unwrap();
    let mut wrong = faster;
    wrong.idle = Duration::ZERO;
    assert!(layer.handle().reload(wrong).is_err());
    assert_eq!(layer.handle().config(), faster, "the old ones stay");

    let began = Instant::now();
    assert!(old.frame().await.unwrap().is_err());
    assert_eq!(began.elapsed(), 100 * MS, "a body keeps the limits it began with");
    let (_held, stuck) = Channel::<Bytes, Broken>::new(1);
    assert!(timed(&layer, stuck).await.frame().await.unwrap().is_err());
    assert_eq!(began.elapsed(), 110 * MS);
    let kind = EventKind::Rejected { reason: Reason::TimedOut };
    assert_eq!(
        *events.lock().unwrap(),
        [("body_timeout `x`".to_owned(), kind), ("body_timeout `x`".to_owned(), kind)]
    );
}

// pitfall B27
#[test]
fn limits_that_make_no_sense_are_rejected_all_at_once() {
    let fields = |problems: ConfigErrors| problems.iter().map(|p| p.field).collect::<Vec<_>>();
    let zero = limits().idle(Duration::ZERO).total(Duration::ZERO).build().unwrap_err();
    assert_eq!(fields(zero), ["idle", "total"]);
    let crossed = limits().idle(251 * MS).build().unwrap_err();
    assert_eq!(fields(crossed), ["idle"]);
    assert!(limits().idle(250 * MS).build().is_ok());
    assert!(limits().idle(Duration::MAX).build().is_ok(), "no idle limit, only a total");
    assert!(limits().total(Duration::MAX).build().is_ok());
    let read: Config = serde_json::from_str(r#"{"idle": "3s"}"#).unwrap();
    assert_eq!((read.idle, read.total), (Duration::from_secs(3), Config::default().total));
    assert!(serde_json::from_str::<Config>(r#"{"idol": "3s"}"#).is_err());
}

// ===== drain =====

async fn drained<B: Body + Unpin>(
    layer: DrainLayer,
    status: StatusCode,
    body: B,
) -> DrainedBody<B> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let mut response = Some(response);
    let service =
        layer.layer(service_fn(move |()| std::future::ready(response.take().ok_or(Broken))));
    service.oneshot(()).await.unwrap().into_body()
}

const BUSY: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

fn left(body: &DrainedBody<Script>) -> usize {
    format!("{body:?}").matches("Data(").count()
}

#[tokio::test]
async fn what_is_drained_is_read_to_its_end_and_is_not_lost() {
    let steps = [data("one"), data("two"), Step::Trailers(trailers())];
    for (status, read_ahead) in [(BUSY, 3), (StatusCode::TOO_MANY_REQUESTS, 3), (StatusCode::OK, 0)]
    {
        let script = Script::of(steps.clone());
        let mut body = drained(DrainLayer::new(), status, script).await;
        let unread = left(&body);
        assert_eq!(unread, if read_ahead == 3 { 0 } else { 2 }, "{status}");
        assert_eq!(read(&mut body).0, steps, "{status}");
        assert!(now(next(&mut body)).is_none());
    }
    let mut sized = drained(DrainLayer::new(), BUSY, Script::sized(["one", "two"])).await;
    assert_eq!((left(&sized), sized.size_hint().exact()), (0, Some(6)));
    read_some(&mut sized, 1);
    assert_eq!((sized.is_end_stream(), sized.size_hint().exact()), (false, Some(3)));
    read_some(&mut sized, 1);
    assert!(sized.is_end_stream());
    let mut failed = drained(DrainLayer::new(), BUSY, Script::of([data("one"), Step::Fails])).await;
    assert_eq!(read(&mut failed), (vec![data("one")], Some(Broken)));
}

#[tokio::test]
async fn no_more_is_read_than_may_be() {
    let script = || Script::of(std::iter::repeat_n(data("x"), 1000));
    let body = drained(DrainLayer::new().bytes(640), BUSY, script()).await;
    assert_eq!(left(&body), 1000 - 11, "a frame counts for 64 bytes");
    let large = Script { sized: true, ..script() };
    let body = drained(DrainLayer::new().bytes(999), BUSY, large).await;
    assert_eq!(left(&body), 1000, "what says that it is too large is not touched");
    let teapot = DrainLayer::new().which(|status: StatusCode, _: &_| status == 418);
    let service = teapot.layer(service_fn(|()| async {
        Ok::<_, Broken>(Response::builder().status(418).body(Script::of([data("x")])).unwrap())
    }));
    assert_eq!(left(service.oneshot(()).await.unwrap().body()), 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_waited_for_only_so_long() {
    let (mut sender, body) = Channel::<Bytes, Broken>::new(8);
    sender.send_data(Bytes::from_static(b"one")).await.unwrap();
    let began = Instant::now();
    let mut body = drained(DrainLayer::new().wait(30 * MS), BUSY, body).await;
    assert_eq!(began.elapsed(), 30 * MS);
    sender.send_data(Bytes::from_static(b"two")).await.unwrap();
    drop(sender);
    let mut got = Vec::new();
    while let Poll::Ready(Some(Ok(frame))) = next(&mut body) {
        got.push(frame.into_data().unwrap());
    }
    assert_eq!(got, ["one", "two"]);
}
