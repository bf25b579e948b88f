//! Many calls before a server that breaks the rules: it is left alone, and places come back.

use std::time::Duration;

use futures::future::join_all;
use http::Method;
use seawall::bulkhead;
use seawall::circuit_breaker::{self, State, Trip};
use seawall::http::body_timeout::BodyTimeoutLayer;
use seawall::http::{HttpClassifier, OnBodyEnd, Replay};
use seawall::{Error, Reason};
use tower::{Layer, ServiceBuilder};

use crate::calls::Answer::{Failed, Rejected, Status};
use crate::calls::Patience::{Long, Short};
use crate::calls::Rest::Broken;
use crate::calls::{Answer, answer, layers, pooled, request, send};
use crate::clock::given_up;
use crate::server::{Act, Server, say};

/// One call after the other through one stack and one client.
async fn calls(server: &Server, method: &Method, config: circuit_breaker::Config) -> Vec<Answer> {
    let (layers, _) = layers(HttpClassifier, Replay::default(), Long);
    let layers = layers.breaker(config).build().unwrap();
    let breaker = layers.breaker();
    let stack = ServiceBuilder::new().layer(layers).map_err(Error::Inner).service(pooled(false));
    let mut answers = Vec::new();
    while breaker.state() == State::Closed && answers.len() < 40 {
        answers.push(answer(stack.clone(), request(server, method)).await);
    }
    let reached = server.books().accepted;
    for _ in 0..20 {
        let rejected = answer(stack.clone(), request(server, method)).await;
        assert_eq!(rejected, Rejected(Reason::CircuitOpen));
    }
    assert_eq!(server.books().accepted, reached, "an open circuit reaches nobody");
    answers
}

// Seventeen failures by default, whoever repeats them and whatever they look like.
#[tokio::test]
async fn a_server_that_breaks_every_answer_is_left_alone() {
    for script in [vec![], vec![Act::Reset], vec![Act::Read, say("no HTTP\r\n\r\n")]] {
        let mut config = circuit_breaker::Config {
            max_break_duration: Duration::from_secs(60),
            ..circuit_breaker::Config::default()
        };
        config.break_duration = config.max_break_duration; // no probe comes into it
        for (method, calls_made) in [(Method::POST, 17), (Method::GET, 6)] {
            let server = Server::start(vec![script.clone()]).await;
            let answers = calls(&server, &method, config.clone()).await;
            assert_eq!((answers.len(), server.books().accepted), (calls_made, 17), "{method}");
            let (last, before) = answers.split_last().unwrap();
            assert!(before.iter().all(|answer| *answer == Failed), "{method}: {answers:?}");
            // The last GET is cut short: its second attempt opened the circuit.
            let opened = if method == Method::GET { Rejected(Reason::CircuitOpen) } else { Failed };
            assert_eq!(*last, opened, "{method}");
        }
    }
}

// pitfall B12
#[tokio::test]
async fn those_who_hang_keep_others_out_only_for_so_long() {
    let server = Server::start(vec![vec![Act::Read, Act::Hang]]).await;
    let (layers, _) = layers(HttpClassifier, Replay::default(), Short);
    let places = bulkhead::Config { limit: 3, ..bulkhead::Config::default() };
    let layers = layers.bulkhead(places).build().unwrap();
    let client = pooled(false);
    let stack =
        ServiceBuilder::new().layer(layers.clone()).map_err(Error::Inner).service(client.clone());
    for round in 1..=2 {
        let calls = (0..8).map(|_| answer(stack.clone(), request(&server, &Method::POST)));
        let answers = given_up(&server, 3, join_all(calls)).await;
        let of = |reason| answers.iter().filter(|answer| **answer == Rejected(reason)).count();
        assert_eq!((of(Reason::TimedOut), of(Reason::Full)), (3, 5), "{answers:?}");
        assert_eq!((layers.in_flight(), layers.bulkhead().in_flight()), (0, 0));
        assert_eq!(server.books().accepted, 3 * round);
        server.until("all that hung is closed", |books| books.open == 0).await;
    }
}

// pitfall B16: the timeout of the attempt ends with the head, so the body has a limit of its own.
#[tokio::test]
async fn a_body_that_stops_is_ended_by_its_own_limit() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nwell";
    let server = Server::start(vec![vec![Act::Read, say(head), Act::Hang]]).await;
    let limit = BodyTimeoutLayer::builder("upstream").idle(Duration::from_millis(50));
    let client = limit.build().unwrap().layer(pooled(false));
    let (layers, told) = layers(HttpClassifier, Replay::default(), Long);
    let request = request(&server, &Method::GET);
    let seen = send!(
        server,
        (layers.completion(OnBodyEnd).permit_completion(OnBodyEnd), told),
        client,
        request
    );
    assert_eq!((seen.answer, seen.bad), (Status(200, Broken), 1));
    assert_eq!(server.books().requests, 1);
}

// A circuit that was opened by all this closes again when the server comes to its senses.
#[tokio::test]
async fn a_server_that_comes_to_its_senses_is_called_again() {
    let well =
        vec![Act::Read, say("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nwell"), Act::Retryable];
    let mut scripts = vec![vec![Act::Read, Act::Reset]; 3];
    scripts.push(well);
    let server = Server::start(scripts).await;
    let (layers, _) = layers(HttpClassifier, Replay::default(), Long);
    let config = circuit_breaker::Config {
        trip: Trip::consecutive(3),
        break_duration: Duration::from_millis(5),
        max_break_duration: Duration::from_millis(5),
        ..circuit_breaker::Config::default()
    };
    let layers = layers.breaker(config).build().unwrap();
    let (breaker, stack) = (layers.breaker(), ServiceBuilder::new().layer(layers));
    let stack = stack.map_err(Error::Inner).service(pooled(false));
    let mut watch = breaker.watch();
    let first = answer(stack.clone(), request(&server, &Method::GET)).await;
    assert_eq!((first, watch.changed().await), (Failed, State::Open));
    let mut probes = 0;
    while breaker.state() != State::Closed {
        if answer(stack.clone(), request(&server, &Method::GET)).await
            != Rejected(Reason::CircuitOpen)
        {
            probes += 1;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Fewer where the machine is so slow that they were steadily good for long enough.
    assert!((1..=7).contains(&probes), "it closes on seven good answers, not {probes}");
    assert_eq!(server.books().accepted, 4);
}
