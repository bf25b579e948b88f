//! gRPC through an ambassador, between tonic's own client and server.

use std::time::Duration;

use bytes::Bytes;
use hyper::header::HeaderValue;
use hyper::{Request, StatusCode};
use seawall::grpc::parse_timeout;
use tokio::net::TcpSocket;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Code;

use crate::greeter::{Greeter, chat, say, stream, unary};
use crate::support::{Ambassador, SOON, Upstream, answer, ask_over, full};

const ATTEMPTS: &str = "grpc-previous-rpc-attempts";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_passes_with_its_metadata_and_its_trailers() {
    let greeter = Greeter::default();
    let ambassador = Ambassador::of(greeter.serve().await, &[]);

    let mut question = say("hello");
    question.metadata_mut().insert("x-question", "life".parse().unwrap());
    let answer = unary(ambassador.address, question).await.unwrap();

    assert_eq!(answer.metadata().get("x-answer").unwrap(), "forty-two");
    assert_eq!(answer.get_ref(), "hello");
    assert_eq!(greeter.saw("x-question"), [Some("life".to_owned())]);
    assert_eq!(greeter.saw("te"), [Some("trailers".to_owned())]);
    assert_eq!(greeter.saw("x-forwarded-host"), [Some(ambassador.address.to_string())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_passes_and_so_does_what_its_trailers_say() {
    let ambassador = Ambassador::of(Greeter::default().serve().await, &[]);

    let well: Vec<_> = stream(ambassador.address, "go").await.unwrap().collect().await;
    assert_eq!(well.into_iter().map(Result::unwrap).collect::<Vec<_>>(), ["1", "2", "3"]);

    let broken: Vec<_> = stream(ambassador.address, "broken").await.unwrap().collect().await;
    let status = broken[3].as_ref().unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "at last"));
    assert_eq!(status.metadata().get("x-where").unwrap(), "in the trailers");
}

// If either side were collected on its way, the first word would not come back before the second.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_of_a_conversation_are_streamed() {
    let ambassador = Ambassador::of(Greeter::default().serve().await, &["--repeat-grpc"]);
    let (mouth, words) = mpsc::unbounded_channel::<Bytes>();
    let conversation = async {
        mouth.send("first".into()).unwrap();
        let mut echo = chat(ambassador.address, UnboundedReceiverStream::new(words)).await.unwrap();
        for word in ["first", "second", "third"] {
            assert_eq!(echo.next().await.unwrap().unwrap(), word);
            let next = if word == "first" { "second" } else { "third" };
            mouth.send(Bytes::from(next)).unwrap();
        }
        assert_eq!(echo.next().await.unwrap().unwrap(), "third");
        mouth.send("bye".into()).unwrap();
        let end = echo.next().await.unwrap().unwrap_err();
        assert_eq!((end.code(), end.message()), (Code::AlreadyExists, "so long"));
    };
    timeout(SOON, conversation).await.expect("a side was collected");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unavailable_is_repeated_with_the_message_if_all_calls_may_be() {
    let greeter = Greeter::failing(2);
    let ambassador = Ambassador::of(greeter.serve().await, &["--repeat-grpc"]);
    let answer = unary(ambassador.address, say("whole")).await.unwrap();
    assert_eq!(answer.get_ref(), "whole");
    let messages: Vec<_> = greeter.seen.lock().unwrap().iter().map(|(m, _)| m.clone()).collect();
    assert_eq!(messages, ["whole"; 3]);
    assert_eq!(ambassador.metric(&["seawall_retry_attempts_total"]).await, 3.0);
    assert_eq!(greeter.saw(ATTEMPTS), [None, None, None], "nobody asked for it");

    let greeter = Greeter::failing(1);
    let ambassador = Ambassador::of(greeter.serve().await, &[]);
    let failed = unary(ambassador.address, say("whole")).await.unwrap_err();
    assert_eq!((failed.code(), failed.message()), (Code::Unavailable, "not yet"));
    let stopped = ["seawall_retry_stopped_total", "reason=\"no_copy\""];
    assert_eq!(ambassador.metric(&stopped).await, 1.0);
}

// pitfall B29
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_in_the_trailers_is_evidence_and_an_open_circuit_answers_in_grpc() {
    let greeter = Greeter::default();
    let ambassador = Ambassador::of(greeter.serve().await, &["--repeat-grpc"]);
    let rejection = loop {
        match stream(ambassador.address, "broken").await {
            Ok(items) => assert!(items.take(4).collect::<Vec<_>>().await[3].is_err()),
            Err(rejection) => break rejection,
        }
        assert!(greeter.seen.lock().unwrap().len() < 100, "the circuit does not open");
    };
    assert_eq!((rejection.code(), rejection.message()), (Code::Unavailable, "circuit_open"));
    assert!(rejection.metadata().get("grpc-retry-pushback-ms").is_some());
    let bad = ["seawall_calls_total", "layer=\"circuit_breaker\"", "outcome=\"failure\""];
    let asked = greeter.seen.lock().unwrap().len();
    assert_eq!(ambassador.metric(&bad).await, f64::from(u32::try_from(asked).unwrap()));
}

// pitfall B18
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_upstream_is_told_what_is_left_and_callers_are_believed_if_trusted() {
    let greeter = Greeter::default();
    let upstream = greeter.serve().await;
    let told = |greeter: &Greeter| {
        let last = greeter.saw("grpc-timeout").pop().unwrap();
        last.map(|last| parse_timeout(&HeaderValue::try_from(last).unwrap()).unwrap())
    };
    let seconds = Duration::from_secs;
    // The ambassador itself gives a call four minutes, until the head of its answer.
    let strict = Ambassador::of(upstream, &[]);
    let trusting = Ambassador::of(upstream, &["--trust"]);
    for (ambassador, caller, between) in [
        (&strict, 3600, None),
        (&strict, 20, None),
        (&trusting, 3600, Some((120, 240))),
        (&trusting, 20, Some((0, 20))),
    ] {
        let mut request = say("hello");
        request.set_timeout(seconds(caller));
        unary(ambassador.address, request).await.unwrap();
        let told = told(&greeter);
        match between {
            Some((least, most)) => {
                let told = told.expect("the caller's deadline goes on");
                assert!(seconds(least) < told && told <= seconds(most), "{caller} s: {told:?}");
            }
            // A stranger's word is taken out; if the upstream is told anything, it is ours.
            None => assert!(told.is_none_or(|told| told > seconds(20) && told <= seconds(240))),
        }
    }
}

// pitfall B18
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_too_late_is_rejected_and_what_takes_too_long_is_ended() {
    let greeter = Greeter::default();
    let ambassador = Ambassador::of(greeter.serve().await, &["--trust"]);
    // By hand: what tonic's own client is told it heeds itself.
    let ask = |message: &'static [u8], timeout: &str| {
        let call = Request::post(ambassador.url("/Greeter/Unary"))
            .header("content-type", "application/grpc")
            .header("grpc-timeout", timeout);
        let message = [b"\0\0\0\0", &[message.len() as u8][..], message].concat();
        ask_over(true, call.body(full(message)).unwrap())
    };
    let late = ask(b"hello", "0n").await;
    assert_eq!((late.status, late.header("grpc-status")), (StatusCode::OK, Some("4")));
    assert_eq!(late.header("grpc-message"), Some("deadline_exceeded"));
    assert!(greeter.seen.lock().unwrap().is_empty(), "the upstream was asked");

    let slow = ask(b"hang", "300m").await;
    assert_eq!((slow.status, slow.header("grpc-status")), (StatusCode::OK, Some("4")));
    // None on a machine that is so busy that the time is over before the upstream can be asked.
    assert!(greeter.seen.lock().unwrap().len() <= 1);
}

// pitfall B21
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_upstream_is_told_of_attempts_before_if_asked_for() {
    let options = ["--repeat-grpc", "--tell-attempts", ATTEMPTS];
    let trust = [&options[..], &["--trust"]].concat();
    let mut told = Vec::new();
    for options in [&options[..], &trust] {
        let greeter = Greeter::failing(1);
        let ambassador = Ambassador::of(greeter.serve().await, options);
        let mut repeated = say("again");
        repeated.metadata_mut().insert(ATTEMPTS, "3".parse().unwrap());
        let _ = unary(ambassador.address, repeated).await;
        told.push(greeter.saw(ATTEMPTS));
    }
    assert_eq!(told[0], [None, Some("1".to_owned())], "a stranger's word is not passed on");
    assert_eq!(told[1], [Some("3".to_owned())], "a retry is left to whoever repeats it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_is_not_there_is_unavailable_and_one_without_grpc_is_what_it_says() {
    let held = TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = held.local_addr().unwrap();
    let ambassador = Ambassador::of(address, &["--check-every", "60s"]);
    let none = unary(ambassador.address, say("hello")).await.unwrap_err();
    assert_eq!((none.code(), none.message()), (Code::Unavailable, "unavailable"));

    let no_grpc = Upstream::answering(|_| async { answer(StatusCode::NOT_FOUND, "") }).await;
    let ambassador = Ambassador::of(no_grpc.address, &[]);
    let odd = unary(ambassador.address, say("hello")).await.unwrap_err();
    assert_eq!(odd.code(), Code::Unimplemented, "as gRPC reads a 404");
    assert_eq!(no_grpc.asked(), 1);
}

// field: RFC 9110 §7.6.3. An answer of headers alone is an answer like others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_of_a_call_is_told_in_both_directions_or_but_its_proxies() {
    for (options, told) in [(&[][..], true), (&["--forwarded", "off"], false)] {
        let greeter = Greeter::failing(1);
        let ambassador = Ambassador::of(greeter.serve().await, options);
        let call = || {
            let call = Request::post(ambassador.url("/Greeter/Unary"));
            let call = call.header("content-type", "application/grpc").header("te", "trailers");
            call.header("forwarded", "for=1.2.3.4").body(full(&b"\0\0\0\0\x02hi"[..])).unwrap()
        };
        let failed = ask_over(true, call()).await;
        assert_eq!((failed.header("grpc-status"), &*failed.text), (Some("14"), ""), "no trailers");
        let well = ask_over(true, call()).await;
        assert_eq!(well.trailers["grpc-status"], "0");
        for answer in [failed, well] {
            let via = answer.header("via").unwrap();
            assert!(via.starts_with("2 ambassador-") && !via.contains(','), "{via}");
        }
        for name in ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"] {
            assert!(greeter.saw(name).iter().all(|value| value.is_some() == told), "{name}");
        }
        assert!(greeter.saw("via").iter().all(|via| via.as_ref().unwrap().starts_with("2 amb")));
    }
}
