//! What an answer means, whoever says it: closures, deadlines of callers, rejections in foreign errors.

#[cfg(feature = "http")]
mod deadlines;
#[cfg(feature = "reqwest")]
mod over_reqwest;
#[cfg(feature = "http")]
mod sockets;

use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use seawall::bulkhead::BulkheadLayer;
use seawall::circuit_breaker::{CircuitBreakerHandle, CircuitBreakerLayer, Trip};
use seawall::propagate::{FromWithContext, WithContext};
use seawall::retry::{Backoff, RetryLayer, StopReason};
use seawall::timeout::TimeoutLayer;
use seawall::{
    Classification, Classifier, Classify, ClassifyContext, Deadline, Error, Event, EventKind,
    Outcome, stack,
};
use tokio::time::sleep;
use tower::buffer::Buffer;
use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};

use crate::scene::ms;

/// Opens after three failures in a row.
pub(crate) fn trip() -> Trip {
    Trip::consecutive(3)
}

/// Where the stops of a retry are written down.
pub(crate) type Stops = Arc<Mutex<Vec<(u32, StopReason)>>>;

pub(crate) fn stops_into(stops: &Stops) -> impl Fn(&Event) + Send + Sync + use<> {
    let stops = Arc::clone(stops);
    move |event: &Event| {
        if let (EventKind::Stopped { attempts, .. }, Some(stop)) =
            (event.kind, StopReason::of(&event.kind))
        {
            stops.lock().unwrap().push((attempts, stop));
        }
    }
}

pub(crate) fn gathered(breaker: &CircuitBreakerHandle) -> u32 {
    match breaker.snapshot().gathered {
        seawall::Measurement::Count { observed, .. } => observed,
        other => panic!("a count, not {other:?}"),
    }
}

// ===== closures =====

type Fail = Error<io::Error>;

fn failed(kind: ErrorKind) -> Result<u32, Fail> {
    Err(Error::Inner(kind.into()))
}

#[tokio::test(start_paused = true)]
async fn one_closure_judges_whole_results() {
    let classify = |result: Result<&u32, &io::Error>| match result {
        Ok(13) => Outcome::FAILURE,
        Ok(_) => Outcome::SUCCESS,
        Err(error) if error.kind() == ErrorKind::NotFound => Outcome::SUCCESS,
        Err(_) => Outcome::TRANSIENT,
    };
    let breaker =
        CircuitBreakerLayer::builder("x").trip(trip()).classify_result(classify).build().unwrap();
    let count = || gathered(&breaker.handle());
    let _ = breaker.run(|| async { Ok::<_, Fail>(13) }).await;
    assert_eq!(count(), 1);
    let _ = breaker.run(|| async { failed(ErrorKind::NotFound) }).await;
    assert_eq!(count(), 0);
    let _ = breaker.run(|| async { failed(ErrorKind::BrokenPipe) }).await;
    assert_eq!(count(), 1);

    // The same over the error of the stack, and a classification for an outcome.
    let whole = |result: Result<&u32, &Fail>| {
        Classification::from(match result {
            Ok(_) => Outcome::SUCCESS,
            Err(Error::Inner(_)) => Outcome::FAILURE,
            Err(Error::Rejected(_)) => panic!("rejections are classified before"),
        })
    };
    let stops = Stops::default();
    let retry = RetryLayer::builder("x")
        .backoff(Backoff::none())
        .classify_result(whole)
        .observe(stops_into(&stops))
        .build()
        .unwrap();
    let _ = retry.run(|| async { failed(ErrorKind::BrokenPipe) }).await;
    assert_eq!(*stops.lock().unwrap(), [(1, StopReason::Final)]);
    let _ = stack::client("x").cloned().classify_result(whole).build().unwrap();
    let _ = seawall::health::HealthLayer::builder("x").classify_result(classify).passive(true);
}

#[tokio::test(start_paused = true)]
async fn a_closure_sees_the_innermost_error_or_that_of_the_stack() {
    let inner = |error: &io::Error| match error.kind() {
        ErrorKind::NotFound => Outcome::SUCCESS,
        _ => Outcome::TRANSIENT,
    };
    let outer = move |error: &Fail| match error {
        Error::Inner(error) => inner(error),
        Error::Rejected(_) => panic!("rejections are classified before"),
    };
    let one = CircuitBreakerLayer::builder("x").trip(trip()).classify_error(inner).build().unwrap();
    let two = CircuitBreakerLayer::builder("x").trip(trip()).classify_error(outer).build().unwrap();
    for _ in 0..10 {
        let _ = one.run(|| async { failed(ErrorKind::NotFound) }).await;
        let _ = two.run(|| async { failed(ErrorKind::NotFound) }).await;
    }
    assert_eq!([gathered(&one.handle()), gathered(&two.handle())], [0, 0]);
    let _ = one.run(|| async { failed(ErrorKind::BrokenPipe) }).await;
    let _ = two.run(|| async { failed(ErrorKind::BrokenPipe) }).await;
    assert_eq!([gathered(&one.handle()), gathered(&two.handle())], [1, 1]);
    // Errors that are no std errors at all.
    let words = RetryLayer::builder("x")
        .classify_error(|word: &&'static str| match *word {
            "never" => Outcome::FAILURE,
            _ => Outcome::TRANSIENT,
        })
        .backoff(Backoff::none())
        .build()
        .unwrap();
    assert!(words.run(|| async { Err::<(), _>(Error::Inner("never")) }).await.is_err());
}

// ===== rejections in foreign errors =====

/// A call that a full bulkhead rejects.
async fn rejected() -> BoxError {
    let full = BulkheadLayer::builder("connections").limit(1).queue(0).build().unwrap();
    let _held = full.run(std::future::pending::<Result<(), BoxError>>);
    full.run(|| async { Ok::<(), BoxError>(()) }).await.unwrap_err()
}

// field F5: whoever wraps it, it is no evidence, and the retry stops.
#[tokio::test(start_paused = true)]
async fn a_rejection_inside_a_foreign_error_is_silent_and_ends_the_retry() {
    macro_rules! check {
        ($wrap:expr, $classify:expr) => {
            let stops = Stops::default();
            let breaker =
                CircuitBreakerLayer::builder("x").trip(trip()).classify($classify).build();
            let breaker = breaker.unwrap();
            let retry = RetryLayer::builder("x")
                .classify($classify)
                .cloned()
                .observe(stops_into(&stops))
                .build()
                .unwrap();
            let service = ServiceBuilder::new().layer(retry).layer(breaker.clone());
            let service = service.service(service_fn(|_: u32| async {
                let wrap = $wrap;
                Err::<u32, _>(wrap(rejected().await))
            }));
            for _ in 0..3 {
                assert!(service.clone().oneshot(1).await.is_err());
            }
            let what = stringify!($wrap, $classify);
            assert_eq!(gathered(&breaker.handle()), 0, "{what}");
            assert_eq!(*stops.lock().unwrap(), [(1, StopReason::Rejected); 3], "{what}");
        };
    }
    // Boxed, by default.
    check!(|error: BoxError| -> BoxError { error }, <Classifier>::default());
    check!(|error: BoxError| BoxError::from(io::Error::other(error)), <Classifier>::default());
    // Typed, lifted at the bottom.
    check!(|error| Error::lift(io::Error::other::<BoxError>(error)), <Classifier>::default());
    // Typed, by a classifier of one's own.
    check!(|error| Error::Inner(io::Error::other::<BoxError>(error)), Own);
}

/// A classifier that looks for rejections, and takes the rest for failures.
struct Own;

impl<T> Classify<T, Fail> for Own {
    fn classify(&self, result: Result<&T, &Fail>) -> Classification {
        let Err(error) = result else { return Outcome::SUCCESS.into() };
        match seawall::Rejected::find(error) {
            Some(rejected) => Outcome::of_rejection(rejected).into(),
            None => Outcome::TRANSIENT.into(),
        }
    }
}

// field F5: closures are asked after rejections, typed or not.
#[tokio::test(start_paused = true)]
async fn no_closure_hears_of_a_rejection() {
    let breaker = CircuitBreakerLayer::builder("x")
        .trip(trip())
        .classify_error(|_: &io::Error| -> Outcome { panic!("this is no word of the dependency") })
        .build()
        .unwrap();
    for _ in 0..3 {
        let call = || async { Err::<(), _>(Error::Inner(io::Error::other(rejected().await))) };
        assert!(breaker.run(call).await.is_err());
    }
    assert_eq!(gathered(&breaker.handle()), 0);
}

// field F5: tower's buffer hands on what its worker failed of as an error of its own.
#[tokio::test]
async fn a_rejection_behind_a_buffer_is_silent() {
    let rejecting = tower::util::BoxService::new(service_fn(|_: u32| async {
        Err::<u32, BoxError>(rejected().await)
    }));
    let buffer = Buffer::new(rejecting, 1);
    let breaker = CircuitBreakerLayer::builder("x").trip(trip()).build().unwrap();
    let service = ServiceBuilder::new().layer(breaker.clone()).service(buffer);
    for _ in 0..3 {
        assert!(service.clone().oneshot(1).await.is_err());
    }
    assert_eq!(gathered(&breaker.handle()), 0);
}

// ===== deadlines of callers =====

// field F3: somebody further in knows the deadline too, and says so first.
#[tokio::test(start_paused = true)]
async fn what_ends_at_the_deadline_of_the_caller_is_silent() {
    let breaker =
        CircuitBreakerLayer::builder("x").trip(trip()).propagate(FromWithContext).build().unwrap();
    let service = ServiceBuilder::new().layer(breaker.clone()).map_err(Error::Inner).service(
        service_fn(|request: WithContext<u64>| async move {
            sleep(ms(request.request)).await;
            Err::<(), _>(io::Error::other("the driver gave up"))
        }),
    );
    let call = |takes: u64, deadline: Option<Duration>| {
        let mut request = WithContext::from(takes);
        request.call.deadline = deadline.map(Deadline::after);
        service.clone().oneshot(request)
    };
    for _ in 0..10 {
        assert!(call(50, Some(ms(50))).await.is_err());
    }
    assert_eq!(gathered(&breaker.handle()), 0);
    // Before the deadline, and without one, it is a failure.
    assert!(call(49, Some(ms(50))).await.is_err());
    assert!(call(50, None).await.is_err());
    assert_eq!(gathered(&breaker.handle()), 2);
}

// field F3: the limit of the stack itself is no deadline of a caller.
#[tokio::test(start_paused = true)]
async fn a_hang_until_the_limit_of_the_stack_is_evidence() {
    let breaker =
        CircuitBreakerLayer::builder("x").trip(trip()).propagate(FromWithContext).build().unwrap();
    let limit = |millis| TimeoutLayer::builder("x").limit(ms(millis)).propagate(FromWithContext);
    for inner in [100, 1000] {
        let service = ServiceBuilder::new()
            .layer(limit(300).build().unwrap())
            .layer(breaker.clone())
            .layer(limit(inner).build().unwrap())
            .map_err(Error::Inner)
            .service(service_fn(|_: WithContext<u32>| async {
                std::future::pending::<Result<(), io::Error>>().await
            }));
        breaker.handle().reset();
        let ended = service.oneshot(WithContext::from(1)).await;
        assert_eq!(crate::scene::reason(&ended), Some(seawall::Reason::TimedOut));
        assert_eq!(gathered(&breaker.handle()), 1, "inner limit {inner} ms");
    }
}

// field F3: whoever has a deadline shorter than the limits of the stack is told of that.
#[tokio::test(start_paused = true)]
async fn an_error_of_somebody_elses_timer_is_told_as_the_deadline() {
    let limit =
        TimeoutLayer::builder("x").limit(ms(1000)).propagate(FromWithContext).build().unwrap();
    let service = ServiceBuilder::new().layer(limit).map_err(Error::Inner).service(service_fn(
        |_: WithContext<u32>| async {
            sleep(ms(50)).await;
            Err::<(), _>(io::Error::from(ErrorKind::TimedOut))
        },
    ));
    let late = service.clone().oneshot(WithContext::new(1, Deadline::after(ms(50)))).await;
    assert_eq!(crate::scene::reason(&late), Some(seawall::Reason::DeadlineExceeded));
    // Of one who had time, it is the word of the service.
    let early = service.oneshot(WithContext::new(1, Deadline::after(ms(60)))).await;
    assert!(matches!(early, Err(Error::Inner(_))), "{early:?}");
}

#[tokio::test(start_paused = true)]
async fn a_context_knows_what_may_be_due_to_the_deadline() {
    let none = ClassifyContext::default();
    assert!(!none.may_have_timed_out() && !none.is_past_deadline());
    let never = ClassifyContext::new(Deadline::NEVER);
    assert!(!never.may_have_timed_out() && never.deadline().is_none());
    let context = ClassifyContext::new(Deadline::after(ms(1000)));
    sleep(ms(889)).await;
    assert!(!context.may_have_timed_out());
    sleep(ms(1)).await; // a tenth and 10 ms are left
    assert!(context.may_have_timed_out() && !context.is_past_deadline());
    sleep(ms(110)).await;
    assert!(context.is_past_deadline());
}
