//! HTTP/2 whose streams and connections end in every way there is.

use bytes::Bytes;
use h2::Reason as Code;
use http::Method;
use seawall::Reason;
use seawall::http::{Http2Classifier, HttpClassifier, Replay};
use seawall::retry::StopReason;

use crate::calls::Answer::{Failed, Rejected, Status};
use crate::calls::Patience::{Long, Short};
use crate::calls::Rest::{Broken, NeverEnds, Whole};
use crate::calls::{ATTEMPTS, Answer, Kind, Seen, call, layers, pooled, request, send};
use crate::server::{Act, Server};
use crate::streams::{Frame, serve};

const OK: Frame = Frame::Head(&[(":status", "200")], false);
const BUSY: Frame = Frame::Head(&[(":status", "503")], false);
const DATA: Frame = Frame::Data(b"well", false);
const LAST: Frame = Frame::Data(b"well", true);
const FOREVER: Frame = Frame::Forever(&[b'x'; 4096]);

/// How often a connection is needed: one for all attempts, or one for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connections {
    One,
    Each,
}
use Connections::{Each, One};

/// A script for every stream, what a call comes to that may be repeated, and on which connections.
const CASES: &[(&str, &[Frame], Answer, Connections)] = &[
    ("answers", &[OK, LAST], Status(200, Whole(4)), One),
    (
        "breaks the stream",
        &[OK, DATA, Frame::Reset(Code::INTERNAL_ERROR)],
        Status(200, Broken),
        One,
    ),
    ("cancels the stream", &[OK, DATA, Frame::Reset(Code::CANCEL)], Status(200, Broken), One),
    (
        "goes away in the stream",
        &[OK, DATA, Frame::GoAway(Code::INTERNAL_ERROR)],
        Status(200, Broken),
        One,
    ),
    ("a stream without an end", &[OK, FOREVER], Status(200, NeverEnds), One),
    ("rejects the stream", &[Frame::Reset(Code::REFUSED_STREAM)], Failed, One),
    ("cancels", &[Frame::Reset(Code::CANCEL)], Failed, One),
    ("breaks", &[Frame::Reset(Code::INTERNAL_ERROR)], Failed, One),
    ("asks for calm", &[Frame::Reset(Code::ENHANCE_YOUR_CALM)], Failed, One),
    ("resets without an error", &[Frame::Reset(Code::NO_ERROR)], Failed, One),
    ("goes away", &[Frame::GoAway(Code::NO_ERROR)], Failed, Each),
    ("goes away broken", &[Frame::GoAway(Code::INTERNAL_ERROR)], Failed, Each),
    ("goes away for calm", &[Frame::GoAway(Code::ENHANCE_YOUR_CALM)], Failed, Each),
    ("is cut", &[Frame::Cut], Failed, Each),
    ("is busy", &[BUSY, LAST], Status(503, Whole(4)), One),
    (
        "is busy and breaks",
        &[BUSY, DATA, Frame::Reset(Code::INTERNAL_ERROR)],
        Status(503, Broken),
        One,
    ),
    ("is busy for ever", &[BUSY, FOREVER], Status(503, NeverEnds), One),
];

// pitfall B29, field F19: REFUSED_STREAM says that nobody acted on the request, so a POST is repeated too,
// and it is no failure.
#[tokio::test]
async fn hyper_before_servers_that_break_streams() {
    for (name, script, answer, connections) in CASES {
        for method in [Method::GET, Method::POST] {
            let what = format!("{name}, {method}");
            let good = matches!(answer, Status(200, _));
            let rejected = matches!(script[0], Frame::Reset(Code::REFUSED_STREAM));
            let once = good || (method == Method::POST && !rejected);
            let attempts = if once { 1 } else { ATTEMPTS };
            let server = serve(script).await;
            let seen = call(Kind::Hyper2, &server, &method, Long).await;
            assert_eq!(seen.answer, *answer, "{what}");
            assert_eq!(seen.waits.len() + 1, attempts as usize, "{what}");
            assert_eq!(seen.bad, if good || rejected { 0 } else { attempts }, "{what}");
            let books = server.books();
            assert_eq!(books.requests, attempts as usize, "{what}");
            let accepted = if *connections == One { 1 } else { attempts as usize };
            assert_eq!(books.accepted, accepted, "{what}");
        }
    }
}

// What is given up is reset, and costs no connection.
#[tokio::test]
async fn a_stream_that_hangs_is_given_up_and_not_its_connection() {
    let server = serve(&[]).await;
    let seen = call(Kind::Hyper2, &server, &Method::PUT, Short).await;
    assert_eq!((seen.answer, seen.timed_out), (Rejected(Reason::TimedOut), 3));
    let books = server.books();
    assert_eq!((books.accepted, books.requests), (1, 3));
}

/// A frame without a stream, by hand (RFC 9113 §4.1).
fn frame(kind: u8, payload: &[u8]) -> Act {
    let mut bytes = vec![0, 0, u8::try_from(payload.len()).unwrap(), kind, 0, 0, 0, 0, 0];
    bytes.extend_from_slice(payload);
    Act::Say(Bytes::from(bytes))
}

#[tokio::test]
async fn connections_that_never_get_to_a_stream() {
    let settings = || frame(4, &[]);
    // Nothing above stream 0 was or will be acted on.
    let goaway = |code: u8| frame(7, &[0, 0, 0, 0, 0, 0, 0, code]);
    let cases: [(&str, Vec<Act>); 6] = [
        ("closes", vec![]),
        ("resets", vec![Act::Reset]),
        (
            "answers in HTTP/1.1",
            vec![Act::ReadSome, Act::Say(Bytes::from("HTTP/1.1 200 OK\r\n\r\n"))],
        ),
        ("greets and closes", vec![settings(), Act::ReadSome]),
        ("goes away before the first stream", vec![settings(), Act::ReadSome, goaway(0)]),
        ("says a frame that is none", vec![settings(), Act::ReadSome, frame(4, &[1])]),
    ];
    for (name, script) in cases {
        let untouched = name == "goes away before the first stream";
        for method in [Method::GET, Method::POST] {
            let once = method == Method::POST && !untouched;
            let attempts = if once { 1 } else { ATTEMPTS };
            let server = Server::start(vec![script.clone()]).await;
            let (layers, told) = layers(HttpClassifier, Replay::default(), Long);
            let seen = send!(server, (layers, told), pooled(true), request(&server, &method));
            let what = format!("{name}, {method}");
            let bad = if untouched { 0 } else { attempts };
            assert_eq!((seen.answer, seen.bad), (Failed, bad), "{what}");
            let stop = if once { StopReason::NoCopy } else { StopReason::Exhausted };
            assert_eq!(seen.stop, Some(stop), "{what}");
            assert_eq!(server.books().accepted, attempts as usize, "{what}");
        }
    }
}

/// The same, where what a server promises not to have touched is read.
async fn call_over_http2(server: &Server, method: &Method) -> Seen {
    let (layers, told) = layers(Http2Classifier(HttpClassifier), Replay::default(), Long);
    send!(server, (layers, told), pooled(true), request(server, method))
}

// pitfall B29: what the server has seen may have been acted on, however its stream or connection ends.
// Only REFUSED_STREAM, and a GOAWAY that names an earlier stream, promise that it was not.
#[tokio::test]
async fn a_post_is_repeated_only_if_the_server_promises_not_to_have_touched_it() {
    for (name, script, answer, _) in CASES {
        let rejected = matches!(script[0], Frame::Reset(Code::REFUSED_STREAM));
        let attempts = if rejected { ATTEMPTS } else { 1 };
        let server = serve(script).await;
        let seen = call_over_http2(&server, &Method::POST).await;
        assert_eq!(seen.answer, *answer, "{name}");
        assert_eq!(server.books().requests, attempts as usize, "{name}");
    }
    let goaway = frame(7, &[0; 8]); // stream 0 was the last
    let server = Server::start(vec![vec![frame(4, &[]), Act::ReadSome, goaway]]).await;
    let seen = call_over_http2(&server, &Method::POST).await;
    assert_eq!((seen.answer, seen.waits.len()), (Failed, ATTEMPTS as usize - 1));
    assert_eq!(server.books().accepted, ATTEMPTS as usize);
}
