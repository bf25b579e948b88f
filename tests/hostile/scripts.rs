//! What a server of HTTP/1.1 can do wrong, and what it does to a call.

use bytes::Bytes;
use seawall::Reason;

use crate::calls::Answer::{Failed, Rejected, Status};
use crate::calls::Patience::{Long, Short};
use crate::calls::Rest::{Broken, NeverEnds, Whole};
use crate::calls::{ATTEMPTS, Answer, Patience, Rest};
use crate::server::{Act, say};

/// One script for every connection, and what a call that may be repeated comes to.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) script: Vec<Act>,
    pub(crate) patience: Patience,
    pub(crate) answer: Answer,
    /// Connections, and requests that were read whole.
    pub(crate) reached: (usize, usize),
}

impl Case {
    /// Each attempt fails and costs a connection.
    fn fails(name: &'static str, script: impl Into<Vec<Act>>) -> Self {
        let script = script.into();
        let reads = script.iter().any(|act| matches!(act, Act::Read));
        let requests = if reads { ATTEMPTS as usize } else { 0 };
        let reached = (ATTEMPTS as usize, requests);
        Self { name, script, patience: Long, answer: Failed, reached }
    }

    /// Each attempt is given up.
    fn hangs(name: &'static str, script: impl Into<Vec<Act>>) -> Self {
        let case = Self::fails(name, script);
        Self { patience: Short, answer: Rejected(Reason::TimedOut), ..case }
    }

    /// Each attempt is rejected with a status, and costs a connection.
    fn rejects(name: &'static str, rest: Rest, script: impl Into<Vec<Act>>) -> Self {
        Self { answer: Status(503, rest), ..Self::fails(name, script) }
    }

    /// The same, and the connection is used again.
    fn rejects_politely(name: &'static str, script: impl Into<Vec<Act>>) -> Self {
        let case = Self::rejects(name, Whole(4), script);
        Self { reached: (1, ATTEMPTS as usize), ..case }
    }

    /// The first answer stands, whatever becomes of its body.
    fn stands(name: &'static str, rest: Rest, script: impl Into<Vec<Act>>) -> Self {
        Self { answer: Status(200, rest), reached: (1, 1), ..Self::fails(name, script) }
    }

    pub(crate) fn is_good(&self) -> bool {
        matches!(self.answer, Status(200, _))
    }
}

pub(crate) fn head(status: &str, headers: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}\r\n\r\n")
}

pub(crate) fn whole(status: &str, body: &str) -> String {
    head(status, &format!("content-length: {}", body.len())) + body
}

const OK: &str = "200 OK";
const BUSY: &str = "503 Service Unavailable";
const CHUNKED: &str = "transfer-encoding: chunked";
const ENDLESS: &str = "content-length: 1099511627776";

fn forever(text: impl Into<Bytes>) -> Act {
    Act::Forever(text.into())
}

fn trickle(text: impl Into<Bytes>) -> Act {
    Act::Trickle(text.into())
}

pub(crate) fn cases() -> Vec<Case> {
    let groups = [that_fail(), that_hang(), that_reject(), that_stand()];
    groups.into_iter().flatten().collect()
}

fn that_fail() -> Vec<Case> {
    let many = vec!["x: y"; 2000].join("\r\n");
    let long = format!("x: {}", "y".repeat(1 << 20));
    let line = format!("x: {}\r\n", "y".repeat(4096));
    vec![
        Case::fails("closes before any byte", []),
        Case::fails("resets before any byte", [Act::Reset]),
        Case::fails("closes after the request", [Act::Read]),
        Case::fails("resets after the request", [Act::Read, Act::Reset]),
        Case::fails("closes within the head", [Act::Read, say("HTTP/1.1 200 OK\r\ncontent-le")]),
        Case::fails("says no HTTP", [Act::Read, say("\0\u{1}garbage\r\n\r\n")]),
        Case::fails(
            "says two lengths",
            [Act::Read, say(head(OK, "content-length: 4\r\ncontent-length: 5"))],
        ),
        Case::fails("says a length that is none", [Act::Read, say(head(OK, "content-length: -1"))]),
        Case::fails("many headers", [Act::Read, say(head(OK, &many))]),
        Case::fails("a long header", [Act::Read, say(head(OK, &long))]),
        Case::fails(
            "a head that never ends",
            [Act::Read, say("HTTP/1.1 200 OK\r\n"), forever(line)],
        ),
    ]
}

fn that_hang() -> Vec<Case> {
    vec![
        Case::hangs("says nothing", [Act::Hang]),
        Case::hangs("says nothing to a request", [Act::Read, Act::Hang]),
        Case::hangs("stops within the head", [Act::Read, say("HTTP/1.1 200"), Act::Hang]),
        Case::hangs(
            "says to continue, and no more",
            [Act::Read, say("HTTP/1.1 100 Continue\r\n\r\n"), Act::Hang],
        ),
        Case::hangs(
            "says to continue for ever",
            [Act::Read, forever("HTTP/1.1 100 Continue\r\n\r\n")],
        ),
    ]
}

fn that_reject() -> Vec<Case> {
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(4096));
    vec![
        Case::rejects_politely("is busy", [Act::Read, say(whole(BUSY, "busy")), Act::Retryable]),
        Case::rejects_politely(
            "is busy in chunks",
            [
                Act::Read,
                say(head(BUSY, CHUNKED)),
                trickle("4\r\nbusy\r\n0\r\n\r\n"),
                Act::Retryable,
            ],
        ),
        Case::rejects("is busy and closes", Whole(4), [Act::Read, say(whole(BUSY, "busy"))]),
        Case::rejects(
            "is busy until it closes",
            Whole(4),
            [Act::Read, say(head(BUSY, "x: y") + "busy")],
        ),
        Case::rejects(
            "is busy and cut",
            Broken,
            [Act::Read, say(head(BUSY, "content-length: 9") + "busy")],
        ),
        Case::rejects(
            "is busy at length",
            NeverEnds,
            [Act::Read, say(head(BUSY, ENDLESS)), forever([b'x'; 4096].to_vec())],
        ),
        Case::rejects(
            "is busy in chunks for ever",
            NeverEnds,
            [Act::Read, say(head(BUSY, CHUNKED)), forever(chunk)],
        ),
    ]
}

fn that_stand() -> Vec<Case> {
    vec![
        Case::stands("trickles", Whole(4), [Act::Read, trickle(whole(OK, "well"))]),
        Case::stands(
            "says to continue first",
            Whole(4),
            [Act::Read, say(head("100 Continue", "x: y") + &whole(OK, "well"))],
        ),
        Case::stands(
            "cuts the body",
            Broken,
            [Act::Read, say(head(OK, "content-length: 9") + "well")],
        ),
        Case::stands(
            "resets within the body",
            Broken,
            [Act::Read, say(head(OK, "content-length: 9") + "well"), Act::Reset],
        ),
        Case::stands("cuts a chunk", Broken, [Act::Read, say(head(OK, CHUNKED) + "9\r\nwell")]),
        Case::stands(
            "leaves out the last chunk",
            Broken,
            [Act::Read, say(head(OK, CHUNKED) + "4\r\nwell\r\n")],
        ),
        Case::stands(
            "says a chunk that is none",
            Broken,
            [Act::Read, say(head(OK, CHUNKED) + "zz\r\nwell\r\n")],
        ),
        Case::stands(
            "a body without an end",
            NeverEnds,
            [Act::Read, say(head(OK, ENDLESS)), forever([b'x'; 4096].to_vec())],
        ),
    ]
}
