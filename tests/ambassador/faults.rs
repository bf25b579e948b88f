//! What callers get when the upstream is not well.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::StatusCode;
use tokio::net::TcpSocket;

use crate::support::{Ambassador, Upstream, answer, ask_until, get, post};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_fails_is_left_alone_until_it_is_well_again() {
    let well = Arc::new(AtomicBool::new(false));
    let state = Arc::clone(&well);
    let upstream = Upstream::answering(move |_| {
        let well = state.load(Ordering::Relaxed);
        let status = if well { StatusCode::OK } else { StatusCode::INTERNAL_SERVER_ERROR };
        async move { answer(status, "the upstream's own words") }
    })
    .await;
    let ambassador = Ambassador::of(upstream.address, &[]);

    // A failure passes as it is, as long as the circuit is closed.
    let failure = post(&ambassador.url("/")).await;
    assert_eq!(failure.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(failure.text, "the upstream's own words");
    assert_eq!(failure.header("proxy-status"), None);

    let mut calls = 1;
    let rejection = loop {
        let answer = post(&ambassador.url("/")).await;
        calls += 1;
        if answer.status == StatusCode::SERVICE_UNAVAILABLE {
            break answer;
        }
        assert!(calls < 100, "the circuit does not open");
    };
    assert_eq!(upstream.asked(), calls - 1, "a rejection does not reach the upstream");
    assert_eq!(rejection.header("retry-after"), Some("1"));
    assert_eq!(rejection.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(rejection.header("proxy-status"), Some("ambassador; error=destination_unavailable"));
    assert!(rejection.text.contains("circuit is open"), "{}", rejection.text);
    assert_eq!(rejection.text.lines().count(), 1);

    let name = format!("name=\"{}\"", upstream.address);
    let of_breaker = [
        (["seawall_rejections_total", "circuit_open"], 1.0),
        (["seawall_calls_total", "outcome=\"failure\""], 17.0),
        (["seawall_circuit_breaker_transitions_total", "evidence"], 1.0),
        (["seawall_call_duration_seconds_bucket", "+Inf"], 17.0),
    ];
    for (words, least) in of_breaker {
        let words = [&words[..], &["layer=\"circuit_breaker\"", &name]].concat();
        assert!(ambassador.metric(&words).await >= least, "{words:?}");
    }

    well.store(true, Ordering::Relaxed);
    ask_until(&ambassador.url("/"), |answer| answer.status == StatusCode::OK).await;
    let opened = ambassador.says();
    assert!(opened.contains("closed → open (evidence)"), "{opened}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_hangs_is_a_gateway_timeout() {
    let upstream = Upstream::answering(|_| std::future::pending()).await;
    let ambassador = Ambassador::of(upstream.address, &["--timeout", "50ms", "--explain"]);

    let ended = post(&ambassador.url("/")).await;

    assert_eq!(ended.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(ended.header("retry-after"), None, "who knows");
    assert_eq!(ended.header("proxy-status"), Some("ambassador; error=http_response_timeout"));
    assert!(ended.text.contains("timed out (the limit is 50ms)"), "{}", ended.text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_is_not_there_yet_is_a_warning_and_a_bad_gateway() {
    // Bound and not listening: connections are refused, and nobody else gets the port.
    let held = TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let unchecked = ["--check-every", "60s"];
    let ambassador = Ambassador::of(held.local_addr().unwrap(), &unchecked);

    let warning = ambassador.says();
    assert!(warning.starts_with("warning: no answer from http://127.0.0.1:"), "{warning}");
    assert!(warning.contains("refused"), "{warning}");
    let rejected = post(&ambassador.url("/")).await;
    assert_eq!(rejected.status, StatusCode::BAD_GATEWAY);
    assert_eq!(rejected.header("proxy-status"), Some("ambassador; error=connection_refused"));
    assert_eq!(rejected.text, "cannot connect to the upstream\n");

    // It comes at last, and nobody has to restart anything.
    let listener = held.listen(8).unwrap();
    let _upstream = Upstream::on(listener, |_| async { answer(StatusCode::NO_CONTENT, "") });
    assert_eq!(get(&ambassador.url("/")).await.status, StatusCode::NO_CONTENT);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_there_is_no_answer_is_explained_only_if_asked_for() {
    let held = TcpSocket::new_v4().unwrap();
    held.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = held.local_addr().unwrap();
    // One attempt finds nobody; the check then holds the circuit open.
    let cases = [
        (&["--check-every", "60s"][..], "cannot connect to the upstream", "refused".to_owned()),
        (&["--check-every", "10ms"], "the circuit is open", address.to_string()),
    ];
    for (options, words, why) in cases {
        let reserved = Ambassador::of(address, options);
        let said = ask_until(&reserved.url("/"), |answer| answer.text.starts_with(words)).await;
        assert_eq!(said.text, format!("{words}\n"));
        let open = Ambassador::of(address, &[options, &["--explain"]].concat());
        ask_until(&open.url("/"), |answer| answer.text.contains(&why)).await;
    }
    let hangs = Upstream::answering(|_| std::future::pending()).await;
    let quick = ["--timeout", "40ms", "--deadline", "60ms"];
    let reserved = Ambassador::of(hangs.address, &quick);
    assert_eq!(get(&reserved.url("/")).await.text, "there was no answer in time\n");
}
