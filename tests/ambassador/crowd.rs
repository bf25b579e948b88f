//! Too many calls at a time, and too little time.

use hyper::StatusCode;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::{Ambassador, Gate, SOON, Upstream, answer, get, say, status_heard};

/// How many may wait.
const QUEUE: u32 = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_fit_is_told_so_while_the_others_are_still_under_way() {
    let gated = Gate::answering("").await;
    // Who waits may do so for a quarter of the timeout: longer than this takes.
    let patient = ["--limit", "1", "--timeout", "120s", "--deadline", "300s", "--explain"];
    let ambassador = Ambassador::of(gated.upstream.address, &patient);
    let url = ambassador.url("/");

    let mut calls = JoinSet::new();
    let call = |calls: &mut JoinSet<_>| {
        let url = url.clone();
        calls.spawn(async move { get(&url).await.status });
    };
    call(&mut calls);
    gated.arrive(1).await;
    for _ in 0..QUEUE {
        call(&mut calls);
    }
    let queued = || ambassador.metric(&["seawall_bulkhead_queued"]);
    let all_wait = async { while queued().await < f64::from(QUEUE) {} };
    timeout(SOON, all_wait).await.expect("they do not wait");

    let rejection = timeout(SOON, get(&url)).await.expect("it waits for the others");

    assert_eq!(rejection.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        rejection.header("proxy-status"),
        Some("ambassador; error=connection_limit_reached")
    );
    assert_eq!(rejection.header("retry-after"), None, "nobody knows when there will be room");
    assert!(rejection.text.contains("1 of 1 in flight, 16 waiting"), "{}", rejection.text);
    assert_eq!(gated.upstream.asked(), 1);
    let retried = ["seawall_retry_stopped_total", "reason=\"rejected\""];
    assert_eq!(ambassador.metric(&retried).await, 1.0, "and is not tried again");

    gated.let_go(1_000);
    let answers = timeout(SOON, calls.join_all()).await.expect("those who wait get no place");
    assert_eq!(answers, [StatusCode::OK; 1 + QUEUE as usize]);
    assert_eq!(ambassador.metric(&["seawall_bulkhead_in_flight"]).await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_deadline_ends_a_call_and_forbids_an_attempt_that_has_no_room_in_it() {
    // After so long, and however much longer on a busy machine, there is no room for a second attempt.
    let no_room = ("950ms", 1, &["the limit is 950ms", "the limit is 1s"][..]);
    // Two or three fit in, and which limit is the last to be met is a matter of milliseconds.
    let room = ("400ms", 3, &["the limit is 1s", "the limit is 400ms"][..]);
    for (limit, most, words) in [no_room, room] {
        let upstream = Upstream::answering(|_| std::future::pending()).await;
        let short = ["--timeout", limit, "--deadline", "1s", "--explain"];
        let ambassador = Ambassador::of(upstream.address, &short);

        let ended = get(&ambassador.url("/")).await;

        assert_eq!(ended.status, StatusCode::GATEWAY_TIMEOUT, "{limit}");
        let said = ended.header("proxy-status");
        assert_eq!(said, Some("ambassador; error=http_response_timeout"), "{limit}");
        assert!(words.iter().any(|words| ended.text.contains(words)), "{limit}: {}", ended.text);
        assert!((1..=most).contains(&upstream.asked()), "{limit}: {}", upstream.asked());
    }
}

// Nobody may hold a place in memory for as long as they like.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_body_that_does_not_come_is_not_waited_for() {
    let upstream = Upstream::answering(|_| async { answer(StatusCode::OK, "") }).await;
    let ambassador =
        Ambassador::of(upstream.address, &["--timeout", "50ms", "--deadline", "100ms"]);

    let head = "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc";
    let mut caller = say(ambassador.address, head);

    assert_eq!(status_heard(&mut caller), "HTTP/1.1 408");
    assert_eq!(upstream.asked(), 0);
}
