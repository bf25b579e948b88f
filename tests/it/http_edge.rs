//! What callers say about their calls: not believed unless it was switched on, and then within
//! bounds; and what we say about ours.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use proptest::prelude::*;
use seawall::bulkhead::BulkheadLayer;
use seawall::http::{
    HttpClassifier, InExtensions, ReadDeadlineLayer, RecordBodyLayer, Replay, ReplayBody,
    TimeoutHeader, UntrustedHeadersConfig, UntrustedHeadersLayer, WriteAttemptLayer,
};
use seawall::propagate::CallContext;
use seawall::retry::{Backoff, Chosen, RetryLayer, StopReason};
use seawall::{Error, Event, EventKind};
use tower::util::BoxCloneService;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

/// What the layer believes at most, by its documentation.
const ATTEMPTS_CAP: u32 = 100;
const KEY_CAP: usize = 255;

const AGAIN: HeaderName = HeaderName::from_static("x-previous-attempts");
const TIMEOUT: HeaderName = HeaderName::from_static("x-timeout-ms");
const FLOOR: Duration = Duration::from_millis(50);
const CAP: Duration = Duration::from_secs(10);

/// What is left of these headers behind `edge`, and what was read from them.
pub(crate) fn behind(edge: &UntrustedHeadersLayer, headers: HeaderMap) -> (HeaderMap, CallContext) {
    let mut request = Request::new(());
    *request.headers_mut() = headers;
    let see = service_fn(|request: Request<()>| async move {
        let (head, ()) = request.into_parts();
        let call = head.extensions.get::<CallContext>().cloned().unwrap_or_default();
        Ok::<_, Infallible>((head.headers, call))
    });
    edge.layer(see).oneshot(request).now_or_never().expect("it waits for nothing").unwrap()
}

fn reading() -> ReadDeadlineLayer {
    ReadDeadlineLayer::new(TimeoutHeader::Millis(TIMEOUT)).bounds(FLOOR, CAP).unwrap()
}

fn trusting() -> UntrustedHeadersLayer {
    UntrustedHeadersLayer::new()
        .deadline(reading())
        .attempts(AGAIN)
        .key(Replay::IDEMPOTENCY_KEY)
        .priority(2)
        .unwrap()
        .strip(HeaderName::from_static("x-ours"))
}

fn headers<const N: usize>(pairs: [(&'static str, &[u8]); N]) -> HeaderMap {
    let value = |bytes: &[u8]| HeaderValue::from_bytes(bytes).expect("a value");
    let mut headers = HeaderMap::new();
    for (name, bytes) in pairs {
        headers.append(name, value(bytes));
    }
    headers
}

#[tokio::test]
async fn nothing_is_believed_unless_it_was_switched_on() {
    let mut sent = headers([("x-timeout-ms", b"1"), ("x-previous-attempts", b"3"), ("x", b"y")]);
    for name in UntrustedHeadersLayer::stripped() {
        sent.append(name.clone(), HeaderValue::from_static("1"));
        sent.append(name, HeaderValue::from_static("2"));
    }
    let (left, call) = behind(&UntrustedHeadersLayer::new().strip(TIMEOUT).strip(AGAIN), sent);
    assert_eq!(left, headers([("x", b"y")]));
    assert_eq!((call.deadline, call.prior, call.attempt), (None, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_edge_from_a_file_believes_what_the_file_says() {
    let config = UntrustedHeadersConfig {
        deadline_header: Some("x-timeout-ms".into()),
        deadline_cap: Duration::from_secs(10),
        attempts_header: Some("x-attempts".into()),
        key_header: Some("idempotency-key".into()),
        strip: vec!["x-secret".into()],
        ..UntrustedHeadersConfig::default()
    };
    let edge = UntrustedHeadersLayer::from_config(&config).unwrap();
    let told = [
        ("x-timeout-ms", &b"3600000"[..]),
        ("x-attempts", b"3"),
        ("idempotency-key", b"7"),
        ("x-secret", b"1"),
        ("grpc-timeout", b"1S"),
        ("accept", b"*/*"),
    ];
    let (left, call) = behind(&edge, headers(told));
    let names: Vec<_> = left.keys().map(HeaderName::as_str).collect();
    assert_eq!(names.len(), 2);
    assert!(names.contains(&"accept") && names.contains(&"idempotency-key"), "{names:?}");
    assert_eq!(call.prior, 3);
    assert!(call.deadline.unwrap().remaining() <= Duration::from_secs(10));

    let wrong = UntrustedHeadersConfig {
        strip: vec!["not a name".into()],
        deadline_header: Some("x-timeout-ms".into()),
        deadline_floor: Duration::from_secs(5),
        deadline_cap: Duration::from_secs(1),
        attempts_header: Some(String::new()),
        priority: Some(8),
        ..UntrustedHeadersConfig::default()
    };
    let fields = ["strip", "attempts_header", "deadline_cap", "priority"];
    assert_eq!(crate::scene::fields(wrong.validate()), fields);
    let told = wrong.validate().unwrap_err().to_string();
    assert!(told.contains("at least deadline_floor = 5s"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_timeout_that_is_believed_has_a_floor_and_a_cap() {
    let cases: [(&[u8], Option<Duration>); 9] = [
        (b"0", Some(FLOOR)),
        (b"1", Some(FLOOR)),
        (b"700", Some(Duration::from_millis(700))),
        (b"3600000", Some(CAP)),
        (b"99999999999999999999999999", Some(CAP)),
        (b"-1", None),
        (b"1e3", None),
        (b"", None),
        ("٣".as_bytes(), None),
    ];
    for (value, left) in cases {
        let (headers, call) = behind(&trusting(), headers([("x-timeout-ms", value)]));
        assert_eq!(call.deadline.map(|at| at.remaining()), left, "{value:?}");
        assert!(headers.is_empty());
    }
    let twice =
        headers([("x-timeout-ms", b"800"), ("x-timeout-ms", b"700"), ("x-timeout-ms", b"?")]);
    let (_, call) = behind(&trusting(), twice);
    assert_eq!(call.deadline.map(|at| at.remaining()), Some(Duration::from_millis(700)));
    assert!(ReadDeadlineLayer::new(TimeoutHeader::Millis(TIMEOUT)).bounds(CAP, FLOOR).is_err());
}

// pitfall B21
#[tokio::test]
async fn a_number_of_attempts_that_is_believed_is_bounded() {
    let cases: [(&[u8], u32); 8] = [
        (b"0", 0),
        (b"2", 2),
        (b" 7 ", 7),
        (b"101", ATTEMPTS_CAP),
        (b"99999999999999999999", ATTEMPTS_CAP),
        (b"-1", 0),
        (b"two", 0),
        (b"\xff", 0),
    ];
    for (value, prior) in cases {
        let (headers, call) = behind(&trusting(), headers([("x-previous-attempts", value)]));
        assert_eq!(call.prior, prior, "{value:?}");
        assert!(headers.is_empty());
    }
    let many = headers([("x-previous-attempts", b"1"), ("x-previous-attempts", b"5")]);
    assert_eq!(behind(&trusting(), many).1.prior, 5);
}

#[tokio::test]
async fn a_key_that_is_believed_is_one_and_short_and_readable() {
    let longest = vec![b'k'; KEY_CAP];
    for good in [&b"k"[..], b"8e03978e-40d5-43dd", &longest] {
        let sent = headers([("idempotency-key", good)]);
        assert_eq!(behind(&trusting(), sent.clone()).0, sent);
    }
    let too_long = vec![b'k'; KEY_CAP + 1];
    for bad in [&b""[..], b"\xe9", b"a\tb", &too_long] {
        assert!(behind(&trusting(), headers([("idempotency-key", bad)])).0.is_empty(), "{bad:?}");
    }
    let two = headers([("idempotency-key", b"a"), ("idempotency-key", b"b")]);
    assert!(behind(&trusting(), two).0.is_empty(), "which of them?");
}

#[tokio::test]
async fn a_priority_that_is_believed_is_no_more_urgent_than_allowed() {
    let cases: [(&[u8], &str); 8] = [
        (b"u=0", "u=2"),
        (b"u=7, i", "u=7, i"),
        (b"i=?0,u=5", "u=5"),
        (b"u=9", "u=3"),
        (b"u=-1, i=?1", "u=3, i"),
        (b"u=1;x=\"y\"", "u=3"),
        (b"", "u=3"),
        (b"u=6, u=4", "u=4"),
    ];
    for (sent, passes) in cases {
        let (left, _) = behind(&trusting(), headers([("priority", sent)]));
        assert_eq!(left.get("priority").unwrap(), passes, "{sent:?}");
    }
    for nonsense in [&[b'u'; 65][..], b"u=4\xff"] {
        assert!(behind(&trusting(), headers([("priority", nonsense)])).0.is_empty());
    }
    let lines = headers([("priority", b"u=6"), ("priority", b"i, u=4")]);
    assert_eq!(behind(&trusting(), lines).0["priority"], "u=4, i");

    // Silence is usual urgency, and no way past the limit.
    let low = UntrustedHeadersLayer::new().priority(6).unwrap();
    for sent in [headers([("priority", b"u=0")]), headers([("priority", b"\xff")]), headers([])] {
        assert_eq!(behind(&low, sent).0["priority"], "u=6");
    }
    assert!(UntrustedHeadersLayer::new().priority(8).unwrap_err().to_string().contains("priority"));
}

fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let odd = prop::collection::vec(any::<u8>(), 0..40);
    let long = (0..100_000_usize).prop_map(|length| vec![b'9'; length]);
    let number = any::<i128>().prop_map(|number| number.to_string().into_bytes());
    prop_oneof![4 => odd, 4 => number, 1 => long]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_a_caller_sends_it_stays_within_bounds(
        sent in prop::collection::vec((0..UntrustedHeadersLayer::stripped().count() + 3, hostile()), 0..30),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _guard = runtime.enter();
        let mut headers = HeaderMap::new();
        let ours = [TIMEOUT, AGAIN, HeaderName::from_static("x-ours")];
        let names: Vec<_> = UntrustedHeadersLayer::stripped().chain(ours).collect();
        for (name, value) in sent {
            let name = &names[name];
            // What no HTTP parser lets in does not get here.
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                headers.append(name, value);
            }
        }
        let (left, call) = behind(&trusting(), headers.clone());
        prop_assert!(call.prior <= ATTEMPTS_CAP);
        prop_assert!(call.deadline.is_none_or(|at| at.remaining() <= CAP));
        for (name, value) in &left {
            let passes = *name == "priority" || *name == Replay::IDEMPOTENCY_KEY;
            prop_assert!(passes && value.len() <= KEY_CAP && value.to_str().is_ok(), "{name}");
        }
        prop_assert!(left.len() <= 2);
        let (left, call) = behind(&UntrustedHeadersLayer::new(), headers);
        prop_assert!(UntrustedHeadersLayer::stripped().all(|name| !left.contains_key(name)));
        prop_assert!(call.prior == 0 && call.deadline.is_none());
    }
}

// ===== what we say =====

fn retry() -> RetryLayer<HttpClassifier, Chosen<Replay>, InExtensions> {
    retry_with(|_| {})
}

fn retry_with(
    observer: impl Fn(&Event) + Send + Sync + 'static,
) -> RetryLayer<HttpClassifier, Chosen<Replay>, InExtensions> {
    RetryLayer::builder("x")
        .classify(HttpClassifier)
        .copy_with(Replay::default())
        .propagate(InExtensions)
        .backoff(Backoff::none())
        .no_budget()
        .observe(observer)
        .build()
        .unwrap()
}

/// What each attempt that came to a server that fails said, and a mark of its caller.
type Saw = Arc<Mutex<Vec<(Option<String>, Option<&'static str>)>>>;

type Body = ReplayBody<Full<bytes::Bytes>>;

fn failing(saw: &Saw) -> BoxCloneService<Request<Body>, Response<String>, Error<Infallible>> {
    let saw = Arc::clone(saw);
    BoxCloneService::new(service_fn(move |request: Request<Body>| {
        let said = request.headers().get(AGAIN).map(|value| value.to_str().unwrap().to_owned());
        saw.lock().unwrap().push((said, request.extensions().get().copied()));
        let mut failure = Response::new(String::new());
        *failure.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        async { Ok(failure) }
    }))
}

fn ask() -> Request<Full<bytes::Bytes>> {
    let mut request = Request::new(Full::from("question"));
    request.extensions_mut().insert("the caller's own");
    request
}

#[tokio::test]
async fn each_attempt_says_how_many_there_were_before_and_extensions_survive() {
    let saw = Saw::default();
    let client = ServiceBuilder::new()
        .layer(RecordBodyLayer::default())
        .layer(retry())
        .layer(WriteAttemptLayer::new(AGAIN))
        .service(failing(&saw));
    let mut request = ask();
    request.headers_mut().insert(AGAIN, HeaderValue::from_static("77")); // somebody else's
    assert_eq!(client.oneshot(request).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    let said: Vec<_> = [None, Some("1"), Some("2")]
        .map(|said| (said.map(str::to_owned), Some("the caller's own")))
        .into();
    assert_eq!(*saw.lock().unwrap(), said);
}

#[tokio::test]
async fn an_attempt_that_was_never_sent_is_none_to_whoever_is_called() {
    let saw = Saw::default();
    let books = Arc::clone(&saw);
    let rejected_once = service_fn(move |request: Request<Body>| {
        let said = request.headers().get(AGAIN).map(|said| said.to_str().unwrap().to_owned());
        books.lock().unwrap().push((said, None));
        let rejected = books.lock().unwrap().len() == 1;
        let answer = Response::builder().status(StatusCode::SERVICE_UNAVAILABLE);
        async move {
            if rejected {
                let rejected = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
                return Err(Error::Inner(rejected));
            }
            Ok(answer.body(String::new()).unwrap())
        }
    });
    let client = ServiceBuilder::new()
        .layer(RecordBodyLayer::default())
        .layer(retry())
        .layer(WriteAttemptLayer::new(AGAIN))
        .service(rejected_once);
    client.oneshot(ask()).await.unwrap();
    let said: Vec<_> = saw.lock().unwrap().iter().map(|(said, _)| said.clone()).collect();
    assert_eq!(said, [None, None, Some("1".to_owned()), Some("2".to_owned())]);
}

#[tokio::test]
async fn nobody_who_retries_means_no_header() {
    let saw = Saw::default();
    let client = WriteAttemptLayer::new(AGAIN).layer(failing(&saw));
    let client = RecordBodyLayer::default().layer(client);
    client.oneshot(ask()).await.unwrap();
    assert_eq!(saw.lock().unwrap()[0].0, None);
}

// pitfall B21
#[tokio::test]
async fn a_retry_is_left_to_whoever_repeats_it() {
    let saw = Saw::default();
    let stops = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&stops);
    let retry = retry_with(move |event| {
        if let (EventKind::Stopped { attempts, .. }, Some(stop)) =
            (event.kind, StopReason::of(&event.kind))
        {
            told.lock().unwrap().push((attempts, stop));
        }
    });
    let server = ServiceBuilder::new()
        .layer(UntrustedHeadersLayer::new().attempts(AGAIN))
        .layer(RecordBodyLayer::default())
        .layer(retry)
        .layer(WriteAttemptLayer::new(AGAIN))
        .service(failing(&saw));
    let mut repeated = ask();
    repeated.headers_mut().insert(AGAIN, HeaderValue::from_static("2"));
    server.clone().oneshot(repeated).await.unwrap();
    assert_eq!(*stops.lock().unwrap(), [(1, StopReason::Repeated)]);
    let said: Vec<_> = saw.lock().unwrap().iter().map(|(said, _)| said.clone()).collect();
    assert_eq!(said, [Some("2".to_owned())], "the next hop hears of it too");

    // A first attempt is repeated as ever.
    server.oneshot(ask()).await.unwrap();
    assert_eq!(saw.lock().unwrap().len(), 1 + 3);
    assert_eq!(stops.lock().unwrap()[1], (3, StopReason::Exhausted));
}

/// So many calls arrive at the bottom of three hops, each with three attempts and no budget, for one
/// call from outside.
async fn at_the_bottom(edge: UntrustedHeadersLayer) -> usize {
    let saw = Saw::default();
    let mut stack = failing(&saw);
    for _ in 0..3 {
        // Each hop answers with what the one below said, over what would be a wire.
        let below = stack.clone();
        let wire = service_fn(move |request: Request<Body>| {
            let (mut head, body) = request.into_parts();
            head.extensions.clear();
            below.clone().oneshot(Request::from_parts(head, body))
        });
        let inside = ServiceBuilder::new()
            .layer(edge.clone())
            .layer(retry())
            .layer(WriteAttemptLayer::new(AGAIN))
            .service(wire);
        stack = BoxCloneService::new(inside);
    }
    RecordBodyLayer::default().layer(stack).oneshot(ask()).await.unwrap();
    saw.lock().unwrap().len()
}

// pitfall B21
#[tokio::test]
async fn along_a_chain_that_tells_attempts_add_up_and_do_not_multiply() {
    assert_eq!(at_the_bottom(UntrustedHeadersLayer::new().attempts(AGAIN)).await, 1 + 3 * 2);
    assert_eq!(at_the_bottom(UntrustedHeadersLayer::new().strip(AGAIN)).await, 3 * 3 * 3);
}

// ===== what a client is shown =====

/// Everything that a client sees of a full bulkhead with a telling name.
async fn shown<R>(respond: seawall::http::RejectionResponseLayer<R>) -> String
where
    R: seawall::http::Render<String, Error<std::io::Error>, Body: std::fmt::Debug> + Clone,
{
    let bulkhead = BulkheadLayer::builder("db-7.internal").limit(1).build().unwrap();
    let held = bulkhead.run(std::future::pending::<Result<(), Error<std::io::Error>>>);
    let mut held = std::pin::pin!(held);
    assert!((&mut held).now_or_never().is_none());
    let leaky = service_fn(|request: Request<()>| async move {
        let path = request.uri().path().to_owned();
        Err::<Response<String>, _>(std::io::Error::other(format!("db-7.internal {path}")))
    });
    let rejecting = ServiceBuilder::new().layer(bulkhead).map_err(Error::Inner).service(leaky);
    let failing = ServiceBuilder::new().map_err(Error::Inner).service(leaky);
    let rejected = respond.layer(rejecting).oneshot(Request::new(())).await.unwrap();
    let failed = respond.layer(failing).oneshot(Request::new(())).await.unwrap();
    format!("{rejected:?} {failed:?}")
}

#[tokio::test]
async fn a_rejection_names_nothing_of_our_inside_unless_that_is_asked_for() {
    let problem = shown(seawall::http::RejectionResponseLayer::new()).await;
    assert!(problem.contains("full") && problem.contains("internal_error"), "{problem}");
    assert!(!problem.contains("db-7"), "{problem}");
    #[cfg(feature = "grpc")]
    {
        let trailers = shown(seawall::grpc::respond()).await;
        assert!(trailers.contains("full") && !trailers.contains("db-7"), "{trailers}");
    }
    let asked = |error: Option<&Error<std::io::Error>>| {
        Response::new(error.map(ToString::to_string).unwrap_or_default())
    };
    let asked = shown(seawall::http::RejectionResponseLayer::with(asked)).await;
    assert_eq!(asked.matches("db-7").count(), 2, "{asked}");
}
