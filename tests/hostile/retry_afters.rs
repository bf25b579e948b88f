//! What servers say about when to come back, in every form there is, over a real connection.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use seawall::http::{HttpClassifier, Replay};
use seawall::retry::StopReason;

use crate::calls::Answer::Status;
use crate::calls::Patience::Long;
use crate::calls::Rest::Whole;
use crate::calls::{ATTEMPTS, Kind, MAX_RETRY_AFTER, call, layers, pooled, request, send};
use crate::server::{Act, Server, say};

/// What a wait before another attempt comes to; there is no backoff of our own in it.
const NONE: Duration = Duration::ZERO;
const CAPPED: Duration = MAX_RETRY_AFTER;

/// Headers, and the wait that they come to.
const HINTS: &[(&str, Duration)] = &[
    ("x: y", NONE),
    ("retry-after: 0", NONE),
    ("retry-after: 1", CAPPED),
    ("retry-after: 3600", CAPPED),
    ("retry-after:  3600 ", CAPPED),
    ("retry-after: 18446744073709551615", CAPPED),
    ("retry-after: 99999999999999999999999999", CAPPED),
    ("retry-after: Fri, 31 Dec 9999 23:59:59 GMT", CAPPED),
    ("retry-after: Sun, 06 Nov 1994 08:49:37 GMT", NONE),
    ("retry-after: Sunday, 06-Nov-94 08:49:37 GMT", NONE),
    ("retry-after: Sun Nov  6 08:49:37 1994", NONE),
    ("retry-after: -1", NONE),
    ("retry-after: -99999999999999999999999999", NONE),
    ("retry-after: 1.5", CAPPED),
    ("retry-after: 1e9", NONE),
    ("retry-after: +7", NONE),
    ("retry-after: 0x10", NONE),
    ("retry-after: soon", NONE),
    ("retry-after:", NONE),
    ("retry-after: \u{661}\u{662}", NONE),
    ("retry-after: Sun, 99 Nov 2094 08:49:37 GMT", NONE),
    // field F10: the forms in use.
    ("retry-after-ms: 1500", CAPPED),
    ("x-ms-retry-after-ms: 1500", CAPPED),
    ("x-ratelimit-remaining-tokens: 0\r\nx-ratelimit-reset-tokens: 6m0s", CAPPED),
    ("retry-after-ms: soon", NONE),
    // Several: the first of one name, and `Retry-After` before all others.
    ("retry-after: 0\r\nretry-after: 3600", NONE),
    ("retry-after: 3600\r\nretry-after: 0", CAPPED),
    ("retry-after: 0\r\nratelimit: \"default\";r=0;t=50", NONE),
    ("retry-after: soon\r\nratelimit: \"default\";r=0;t=50", CAPPED),
    ("ratelimit: garbage\r\nx-ratelimit-remaining: 0\r\nx-ratelimit-reset: 50", CAPPED),
    // A rate limit that has nothing left.
    ("ratelimit: \"default\";r=0;t=50", CAPPED),
    ("ratelimit: \"default\";r=3;t=50", NONE),
    ("ratelimit: limit=10, remaining=0, reset=50", CAPPED),
    ("ratelimit: r=0;t=-50", NONE),
    ("ratelimit: r=;t=", NONE),
    ("ratelimit-remaining: 0\r\nratelimit-reset: 50", CAPPED),
    ("ratelimit-remaining: 1\r\nratelimit-reset: 50", NONE),
    ("ratelimit-reset: 50", NONE),
    ("x-ratelimit-remaining: 0\r\nx-ratelimit-reset: 50", CAPPED),
    ("x-ratelimit-remaining: 0\r\nx-ratelimit-reset: 1000000000", NONE),
    ("x-ratelimit-remaining: 0\r\nx-ratelimit-reset: 99999999999999999999", CAPPED),
    ("x-ratelimit-remaining: 0\r\nx-ratelimit-reset: -1", NONE),
    ("x-ratelimit-remaining: 0", NONE),
    ("x-ratelimit-reset: 50", NONE),
];

fn rejecting(status: &str, retry_after: &str) -> Vec<Act> {
    let answer = format!("HTTP/1.1 {status}\r\n{retry_after}\r\ncontent-length: 4\r\n\r\nbusy");
    vec![Act::Read, Act::Say(Bytes::from(answer)), Act::Retryable]
}

async fn all_hints(kind: Kind, status: &str) {
    for (retry_after, wait) in HINTS {
        let server = Server::start(vec![rejecting(status, retry_after)]).await;
        let seen = call(kind, &server, &Method::GET, Long).await;
        let what = format!("{status}, {retry_after:?}, {kind:?}");
        assert_eq!(seen.answer, Status(status[..3].parse().unwrap(), Whole(4)), "{what}");
        assert_eq!(seen.waits, [*wait; ATTEMPTS as usize - 1], "{what}");
        let pushed_back = status.starts_with("429");
        assert_eq!(seen.bad, if pushed_back { 0 } else { ATTEMPTS }, "{what}");
        let books = server.books();
        assert_eq!((books.accepted, books.requests), (1, ATTEMPTS as usize), "{what}");
    }
}

// pitfall B30
#[tokio::test]
async fn hints_of_a_server_that_is_down_to_hyper() {
    all_hints(Kind::Hyper, "503 Service Unavailable").await;
}

// pitfall B30
#[tokio::test]
async fn hints_of_a_server_that_asks_for_less_to_hyper() {
    all_hints(Kind::Hyper, "429 Too Many Requests").await;
}

// pitfall B30
#[tokio::test]
async fn hints_of_a_server_that_asks_for_less_to_reqwest() {
    all_hints(Kind::Reqwest, "429 Too Many Requests").await;
}

// pitfall B30: a `Retry-After` beyond the time there is ends the call at once, with the server's own answer.
#[tokio::test]
async fn a_hint_beyond_the_deadline_is_not_waited_for() {
    for retry_after in ["retry-after: 3600", "retry-after: 99999999999999999999999999"] {
        let server = Server::start(vec![rejecting("429 Too Many Requests", retry_after)]).await;
        let (layers, told) = layers(HttpClassifier, Replay::default(), Long);
        // The cap that a retry has by default, which is longer than the deadline.
        let layers = layers.retry(seawall::retry::Config::default());
        let seen = send!(server, (layers, told), pooled(false), request(&server, &Method::GET));
        assert_eq!((seen.answer, seen.stop), (Status(429, Whole(4)), Some(StopReason::Deadline)));
        assert_eq!(server.books().requests, 1);
    }
}

// A `Retry-After` is a wish of a server that rejects, not of one that answers, redirects or cannot.
#[tokio::test]
async fn a_hint_of_an_answer_that_is_final_is_none() {
    for status in ["200 OK", "404 Not Found", "501 Not Implemented"] {
        let well = format!("HTTP/1.1 {status}\r\nretry-after: 1\r\ncontent-length: 4\r\n\r\nwell");
        let server = Server::start(vec![vec![Act::Read, say(well)]]).await;
        let seen = call(Kind::Hyper, &server, &Method::GET, Long).await;
        assert_eq!(seen.answer, Status(status[..3].parse().unwrap(), Whole(4)));
        assert_eq!((seen.waits.len(), server.books().requests), (0, 1), "{status}");
    }
}
