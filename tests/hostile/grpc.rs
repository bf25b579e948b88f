//! gRPC without its trailers, or with those that nobody wants, to a channel of tonic.

use std::time::Duration;

use bytes::Bytes;
use h2::Reason as Reset;
use http::{Method, Request};
use http_body_util::Full;
use seawall::Reason;
use seawall::grpc::{GrpcClassifier, at_trailers};
use seawall::http::{InExtensions, RecordBodyLayer, Replay, ReplayBody};
use seawall::retry::StopReason;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tower::ServiceExt;

use crate::calls::Answer::{Code, Failed, Rejected, Status};
use crate::calls::Patience::{Long, Short};
use crate::calls::Rest::{Broken, Whole};
use crate::calls::{ATTEMPTS, Answer, MAX_RETRY_AFTER, Patience, Seen, layers, send};
use crate::clock::given_up;
use crate::server::Server;
use crate::streams::{Frame, serve};

/// One message of three bytes.
const MESSAGE: &[u8] = b"\0\0\0\0\x03one";
const HEAD: Frame = Frame::Head(GRPC, false);
const GRPC: &[(&str, &str)] = &[("content-type", "application/grpc")];
const DATA: Frame = Frame::Data(MESSAGE, false);

const fn only(headers: &'static [(&'static str, &'static str)]) -> Frame {
    Frame::Head(headers, true)
}

async fn call(server: &Server, replay: Replay, patience: Patience) -> Seen {
    let call = call_once(server, replay, patience);
    if patience == Short { given_up(server, 1, call).await } else { call.await }
}

/// How a user would call: see the guide to gRPC.
async fn call_once(server: &Server, replay: Replay, patience: Patience) -> Seen {
    let (layers, told) = layers(GrpcClassifier, replay, patience);
    let layers =
        layers.propagate(InExtensions).completion(at_trailers()).permit_completion(at_trailers());
    let channel: Channel = Endpoint::from_shared(server.url()).unwrap().connect_lazy();
    let channel = channel.map_request(|request: Request<ReplayBody<Body>>| request.map(Body::new));
    let request = Request::post(format!("{}peer.Peer/Unary", server.url()))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Body::new(Full::new(Bytes::from_static(MESSAGE))))
        .unwrap();
    send!(server, (layers, told), channel, request, RecordBodyLayer::default())
}

/// Every call may be repeated.
fn repeating() -> Replay {
    Replay::default().method(Method::POST)
}

/// A script, what the caller gets, and how many attempts there are and failures are counted.
const CASES: &[(&str, &[Frame], Answer, u32, u32)] = &[
    ("well", &[HEAD, DATA, Frame::Trailers(&[("grpc-status", "0")])], Code(0, Whole(8)), 1, 0),
    // Trailers only.
    ("unavailable", &[only(&[("grpc-status", "14")])], Code(14, Whole(0)), 3, 3),
    ("exhausted", &[only(&[("grpc-status", "8")])], Code(8, Whole(0)), 3, 0),
    ("aborted", &[only(&[("grpc-status", "10")])], Code(10, Whole(0)), 1, 0),
    ("internal", &[only(&[("grpc-status", "13")])], Code(13, Whole(0)), 1, 1),
    ("not found", &[only(&[("grpc-status", "5")])], Code(5, Whole(0)), 1, 0),
    ("a code that is none", &[only(&[("grpc-status", "99")])], Code(99, Whole(0)), 1, 1),
    ("nothing but a head", &[only(GRPC)], Status(200, Whole(0)), 1, 1),
    ("no gRPC at all", &[only(&[("content-type", "text/html")])], Status(200, Whole(0)), 1, 1),
    ("a proxy that is busy", &[only(&[(":status", "503")])], Status(503, Whole(0)), 3, 3),
    ("a proxy that does not know", &[only(&[(":status", "404")])], Status(404, Whole(0)), 1, 0),
    // What has begun to answer is not asked again, and counted by its end.
    (
        "trailers say unavailable",
        &[HEAD, DATA, Frame::Trailers(&[("grpc-status", "14")])],
        Code(14, Whole(8)),
        1,
        1,
    ),
    (
        "trailers say exhausted",
        &[HEAD, DATA, Frame::Trailers(&[("grpc-status", "8")])],
        Code(8, Whole(8)),
        1,
        0,
    ),
    (
        "trailers without a message",
        &[HEAD, Frame::Trailers(&[("grpc-status", "14")])],
        Code(14, Whole(0)),
        1,
        1,
    ),
    (
        "trailers without a code",
        &[HEAD, DATA, Frame::Trailers(&[("x", "y")])],
        Status(200, Whole(8)),
        1,
        1,
    ),
    ("no trailers", &[HEAD, Frame::Data(MESSAGE, true)], Status(200, Whole(8)), 1, 1),
    (
        "cancelled before the trailers",
        &[HEAD, DATA, Frame::Reset(Reset::CANCEL)],
        Status(200, Broken),
        1,
        1,
    ),
    (
        "broken before the trailers",
        &[HEAD, DATA, Frame::Reset(Reset::INTERNAL_ERROR)],
        Status(200, Broken),
        1,
        1,
    ),
    (
        "gone before the trailers",
        &[HEAD, DATA, Frame::GoAway(Reset::INTERNAL_ERROR)],
        Status(200, Broken),
        1,
        1,
    ),
    // No answer at all.
    // field F19: what it promises not to have touched is no failure.
    ("rejected", &[Frame::Reset(Reset::REFUSED_STREAM)], Failed, 3, 0),
    ("cancelled", &[Frame::Reset(Reset::CANCEL)], Failed, 3, 3),
    ("broken", &[Frame::Reset(Reset::INTERNAL_ERROR)], Failed, 3, 3),
    ("gone", &[Frame::GoAway(Reset::NO_ERROR)], Failed, 3, 3),
    ("cut", &[Frame::Cut], Failed, 3, 3),
];

// pitfall B29
#[tokio::test]
async fn tonic_before_servers_that_break_the_rules() {
    for (name, script, answer, attempts, bad) in CASES {
        let server = serve(script).await;
        let seen = call(&server, repeating(), Long).await;
        assert_eq!((seen.answer, seen.bad), (*answer, *bad), "{name}");
        assert_eq!(seen.waits.len() + 1, *attempts as usize, "{name}");
        assert_eq!(server.books().requests, *attempts as usize, "{name}");
    }
}

// pitfall B29: every call is a POST, and none is repeated unless its author said so.
#[tokio::test]
async fn nothing_is_repeated_that_was_not_said_to_be_repeatable() {
    for (name, script, answer, _, bad) in CASES {
        let server = serve(script).await;
        let seen = call(&server, Replay::default(), Long).await;
        assert_eq!((seen.answer, seen.bad), (*answer, (*bad).min(1)), "{name}");
        let untouched = matches!(script, [Frame::Reset(Reset::REFUSED_STREAM)]);
        assert_eq!(server.books().requests, if untouched { 3 } else { 1 }, "{name}");
    }
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up() {
    let server = serve(&[]).await;
    let seen = call(&server, repeating(), Short).await;
    assert_eq!((seen.answer, seen.bad), (Rejected(Reason::TimedOut), ATTEMPTS));
    assert_eq!((server.books().accepted, server.books().requests), (1, 3));
}

// pitfall B30
#[tokio::test]
async fn pushback_in_every_form() {
    macro_rules! cases {
        ($(($pushback:literal, $waits:expr)),* $(,)?) => {
            [$(($pushback, &[only(&[
                ("grpc-status", "14"), ("grpc-retry-pushback-ms", $pushback),
            ])] as &[Frame], $waits)),*]
        };
    }
    let again = |wait| Some([wait; ATTEMPTS as usize - 1]);
    let cases = cases![
        ("0", again(Duration::ZERO)),
        ("3", again(Duration::from_millis(3))),
        ("86400000", again(MAX_RETRY_AFTER)),
        ("18446744073709551615", again(MAX_RETRY_AFTER)),
        // Negative, or no number: not at all (gRFC A6).
        ("-1", None),
        ("-99999999999999999999999", None),
        ("99999999999999999999999", None),
        ("soon", None),
        ("", None),
        ("1.5", None),
    ];
    for (pushback, script, waits) in cases {
        let server = serve(script).await;
        let seen = call(&server, repeating(), Long).await;
        assert_eq!(seen.answer, Code(14, Whole(0)), "{pushback:?}");
        assert_eq!(seen.waits, waits.map(Vec::from).unwrap_or_default(), "{pushback:?}");
        let stop = if waits.is_some() { StopReason::Exhausted } else { StopReason::Final };
        assert_eq!(seen.stop, Some(stop), "{pushback:?}");
        assert_eq!(server.books().requests, seen.waits.len() + 1, "{pushback:?}");
    }
}
