//! HTTP/1.1 that is cut, late, too much, or no HTTP at all.

use http::Method;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use seawall::Reason;
use seawall::http::{HttpClassifier, Replay};
use seawall::retry::StopReason;

use crate::calls::Answer::{Failed, Rejected, Status};
use crate::calls::Patience::{Long, Short};
use crate::calls::Rest::{Broken, Whole};
use crate::calls::{ATTEMPTS, Kind, call, call_at_end, layers, pooled, request, send};
use crate::port::Port;
use crate::scripts::{Case, cases, whole};
use crate::server::{Act, Server, say};

/// Whatever a server does, a call is answered; what may be repeated is, what may not be is sent once;
/// retry and breaker count alike; nothing stays behind.
async fn check(kind: Kind, case: &Case, method: Method) {
    let what = format!("{} {method}, {kind:?}", case.name);
    let attempts = if case.is_good() || method == Method::POST { 1 } else { ATTEMPTS };
    let server = Server::start(vec![case.script.clone()]).await;
    let seen = call(kind, &server, &method, case.patience).await;
    let given_up = case.patience == Short;
    if given_up && matches!(kind, Kind::Reqwest) {
        // Its own timer is set to the same time, and mostly wins.
        assert!(matches!(seen.answer, Failed | Rejected(Reason::TimedOut)), "{what}: {seen:?}");
    } else {
        assert_eq!(seen.answer, case.answer, "{what}");
        assert_eq!(seen.timed_out, if given_up { attempts as usize } else { 0 }, "{what}");
    }
    assert_eq!(seen.waits.len() + 1, attempts as usize, "{what}");
    let stop = if method == Method::POST { StopReason::NoCopy } else { StopReason::Exhausted };
    assert_eq!(seen.stop, (!case.is_good()).then_some(stop), "{what}");
    assert_eq!(seen.bad, if case.is_good() { 0 } else { attempts }, "{what}");
    let books = server.books();
    let (connections, requests) = case.reached;
    let (connections, requests) =
        (connections.min(attempts as usize), requests.min(attempts as usize));
    assert_eq!(books.requests, requests, "{what}");
    if matches!(kind, Kind::Reqwest) {
        // Nobody drains its answers, so one that comes in parts may cost its connection.
        assert!((connections..=attempts as usize).contains(&books.accepted), "{what}: {books:?}");
    } else {
        assert_eq!(books.accepted, connections, "{what}");
    }
}

const METHODS: [Method; 3] = [Method::GET, Method::PUT, Method::POST];

async fn those_that_answer(kind: Kind) {
    for case in cases().iter().filter(|case| case.patience == Long) {
        for method in METHODS {
            check(kind, case, method).await;
        }
    }
}

async fn those_that_hang(kind: Kind) {
    for case in cases().iter().filter(|case| case.patience == Short) {
        for method in METHODS {
            check(kind, case, method).await;
        }
    }
}

// pitfall B29
#[tokio::test]
async fn hyper_before_servers_that_break_the_rules() {
    those_that_answer(Kind::Hyper).await;
}

// pitfall B29
#[tokio::test]
async fn reqwest_before_servers_that_break_the_rules() {
    those_that_answer(Kind::Reqwest).await;
}

#[tokio::test]
async fn hyper_before_servers_that_do_not_answer() {
    those_that_hang(Kind::Hyper).await;
}

#[tokio::test]
async fn reqwest_before_servers_that_do_not_answer() {
    those_that_hang(Kind::Reqwest).await;
}

// pitfall B16: the same answers, where the end of the body is the end of the call.
#[tokio::test]
async fn a_body_that_breaks_is_a_failure_to_who_waits_for_its_end() {
    for case in cases().into_iter().filter(Case::is_good) {
        let server = Server::start(vec![case.script.clone()]).await;
        let seen = call_at_end(&server, &Method::GET, case.patience).await;
        assert_eq!((seen.answer, server.books().requests), (case.answer, 1), "{}", case.name);
        let broken = case.answer == Status(200, Broken);
        assert_eq!(seen.bad, u32::from(broken), "{}", case.name);
    }
}

#[tokio::test]
async fn a_call_gets_through_to_the_one_connection_that_is_well() {
    for kind in [Kind::Hyper, Kind::Reqwest] {
        let scripts = vec![
            vec![Act::Read],
            vec![Act::Read, say("HTTP/1.1 200"), Act::Reset],
            vec![Act::Read, say(whole("200 OK", "well"))],
        ];
        let server = Server::start(scripts).await;
        let seen = call(kind, &server, &Method::PUT, Long).await;
        assert_eq!((seen.answer, seen.bad), (Status(200, Whole(4)), 0), "{kind:?}");
        assert_eq!(server.books().requests, 3, "{kind:?}");
    }
}

// A connection that was used before, and is closed when the next request has been read: that one may
// have been acted on. The client repeats by itself only what it has not begun to send.
#[tokio::test]
async fn a_connection_that_ends_under_a_second_request_does_not_repeat_it() {
    for (method, requests) in [(Method::POST, 2), (Method::PUT, 3)] {
        let well = say(whole("200 OK", "well"));
        let server = Server::start(vec![
            vec![Act::Read, well.clone(), Act::Read],
            vec![Act::Read, well, Act::Retryable],
        ])
        .await;
        let client = pooled(false);
        let first = client.request(request(&server, &method)).await.unwrap();
        http_body_util::BodyExt::collect(first.into_body()).await.unwrap();
        let (layers, told) = layers(HttpClassifier, Replay::default(), Long);
        let seen = send!(server, (layers, told), client, request(&server, &method));
        assert_eq!(server.books().requests, requests, "{method}");
        let well = method == Method::PUT;
        assert_eq!(seen.answer == Status(200, Whole(4)), well, "{method}: {seen:?}");
        assert_eq!(seen.bad, u32::from(!well), "{method}");
    }
}

// Nobody can have acted on what there was no connection for, so it is repeated whatever its method.
#[tokio::test]
async fn nobody_listens() {
    let nobody = Port::hold();
    for method in METHODS {
        let server = Server::start(vec![vec![]]).await; // for its books
        let (layers, told) = layers(HttpClassifier, Replay::default(), Long);
        let mut request = request(&server, &method);
        *request.uri_mut() = nobody.url().parse().unwrap();
        let client = Client::builder(TokioExecutor::new()).build_http();
        let seen = send!(server, (layers, told), client, request);
        assert_eq!((seen.answer, seen.stop), (Failed, Some(StopReason::Exhausted)), "{method}");
        // What was never sent is counted by itself: so many retries, after the first attempt.
        assert_eq!((seen.waits.len(), seen.bad), (ATTEMPTS as usize - 1, ATTEMPTS), "{method}");
    }
}

// What hangs is given up, and its connection with it: as many are open at a time as calls are in flight.
#[tokio::test]
async fn connections_that_hang_do_not_pile_up() {
    for kind in [Kind::Hyper, Kind::Reqwest] {
        let server = Server::start(vec![vec![Act::Read, Act::Hang]]).await;
        call(kind, &server, &Method::GET, Short).await;
        let books = server.books();
        assert_eq!(books.accepted, 3, "{kind:?}");
        // The server sees the end of one only after the next has begun.
        assert!(books.most_open <= 2, "{kind:?}: {books:?}");
    }
}
