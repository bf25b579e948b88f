//! How it starts, what it says when it cannot, and how it ends.

use hyper::{Request, StatusCode};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{Ambassador, Gate, SOON, ask_over, full, get, run};

#[test]
fn arguments_that_make_no_sense_are_named() {
    let here = ["--listen", "127.0.0.1:0", "--upstream", "http://127.0.0.1:1"];
    let and = |more: &[&'static str]| [&here, more].concat();
    let cases: &[(Vec<&str>, &str)] = &[
        (vec!["--frobnicate"], "unknown argument `--frobnicate`"),
        (vec!["--listen", "127.0.0.1:0"], "--listen needs --upstream"),
        (vec!["--upstream", "http://127.0.0.1:1"], "--upstream needs --listen"),
        (vec!["--listen"], "--listen needs a value"),
        (vec!["--seconds", "0"], "--seconds 0: a number from 5 to 600"),
        (vec!["--seconds", "soon"], "--seconds soon: a number"),
        (vec!["--timeout", "1s"], "--timeout needs --listen and --upstream"),
        (vec!["--deadline", "1s"], "--deadline needs --listen and --upstream"),
        (vec!["--check", "/"], "--check needs --listen and --upstream"),
        (vec!["--limit", "0"], "--limit 0: a whole number from 1 to 100000"),
        (and(&["--limit", "2.5"]), "--limit 2.5: a whole number"),
        (and(&["--deadline", "soon"]), "--deadline soon: a time has a unit"),
        (and(&["--timeout", "1s"]), "--timeout 1s must be less than --deadline 1s"),
        (and(&["--deadline", "1s", "--timeout", "2s"]), "must be less than --deadline 1s"),
        (and(&["--check", "healthz"]), "--check healthz: a path begins with a slash"),
        (and(&["--check-every", "0s"]), "--check-every 0s: a time is a positive number"),
        (and(&["--listen", "127.0.0.1:0"]), "--listen is given twice"),
        (and(&["--timeout", "5"]), "--timeout 5: a time has a unit"),
        (and(&["--timeout", "-1s"]), "--timeout -1s: a time is a positive number"),
        (and(&["--timeout", "0ms"]), "--timeout 0ms: a time is a positive number"),
        (and(&["--admin", "9090"]), "--admin 9090: an address is host:port"),
        (and(&["--tell-attempts", "no name"]), "--tell-attempts no name: a header's name"),
        (and(&["--trust=yes"]), "--trust takes no value"),
        (and(&["--forwarded", "on"]), "--forwarded on: append, replace or off"),
        (and(&["--upgrade-idle", "9"]), "--upgrade-idle 9: a time has a unit"),
        (vec!["--forwarded", "off"], "--forwarded needs --listen and --upstream"),
        (vec!["--upgrade-idle", "9s"], "--upgrade-idle needs --listen and --upstream"),
        (vec!["--trust"], "--trust needs --listen and --upstream"),
        (and(&["--seconds", "9"]), "--seconds is for the show"),
        (vec!["--listen", "127.0.0.1:99999", here[2], here[3]], "an address is host:port"),
        (vec![here[0], here[1], "--upstream", "https://a"], "there is no TLS in this example"),
        (vec![here[0], here[1], "--upstream", "127.0.0.1:1"], "a URL begins with http://"),
        (vec![here[0], here[1], "--upstream", "http://a?b"], "nor a query can be forwarded"),
        (vec![here[0], here[1], "--upstream=http://a b"], "--upstream http://a b: no URL"),
    ];
    for (arguments, sentence) in cases {
        let remains = run(arguments);
        assert_eq!(remains.status.code(), Some(2), "{arguments:?}");
        let stderr = &remains.stderr;
        assert!(stderr.starts_with("ambassador: "), "{arguments:?}: {stderr}");
        assert!(stderr.contains(sentence), "{arguments:?}: {stderr}");
        assert!(stderr.contains("--help"), "{arguments:?}: {stderr}");
        assert_eq!(remains.stdout, "", "{arguments:?}");
    }
}

#[test]
fn help_is_no_error() {
    let remains = run(&["--help"]);
    assert_eq!(remains.status.code(), Some(0));
    let options = [
        "--listen",
        "--upstream",
        "--deadline",
        "--timeout",
        "--limit",
        "--check",
        "--check-every",
        "--admin",
        "--upstream-http2",
        "--repeat-grpc",
        "--tell-attempts",
        "--trust",
        "--forwarded",
        "--upgrade-idle",
        "--explain",
        "--seconds",
    ];
    for option in options {
        assert!(remains.stdout.contains(&format!("\n  {option} ")), "{option}");
    }
    assert_eq!(remains.stderr, "");
}

#[test]
fn a_port_in_use_is_named_with_the_way_out() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    let upstream = "http://127.0.0.1:1";
    let cases = [
        (["--listen", &taken, "--admin", "127.0.0.1:0"], "--listen"),
        (["--listen", "127.0.0.1:0", "--admin", &taken], "--admin"),
    ];
    for (arguments, option) in cases {
        let remains = run(&[&arguments[..], &["--upstream", upstream]].concat());
        assert_eq!(remains.status.code(), Some(1), "{option}");
        let stderr = &remains.stderr;
        assert!(stderr.starts_with(&format!("ambassador: cannot listen on {taken}: ")), "{stderr}");
        assert!(stderr.contains("in use"), "{stderr}");
        assert!(stderr.contains(&format!("choose another {option}")), "{stderr}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_lets_the_calls_under_way_finish() {
    for http2 in [false, true] {
        finishes_what_is_under_way(http2).await;
    }
}

async fn finishes_what_is_under_way(http2: bool) {
    let gated = Gate::answering("after all").await;
    let ambassador =
        Ambassador::of(gated.upstream.address, &["--timeout", "10s", "--deadline", "30s"]);

    let call = Request::get(ambassador.url("/")).body(full("")).unwrap();
    let call = tokio::spawn(ask_over(http2, call));
    gated.arrive(1).await;
    ambassador.interrupt();
    assert!(ambassador.says().starts_with("stopping"));
    let rejected = async { while TcpStream::connect(ambassador.address).await.is_ok() {} };
    timeout(SOON, rejected).await.expect("it still takes calls");
    gated.let_go(1);

    let answer = call.await.unwrap();
    assert_eq!((answer.status, answer.text.as_str()), (StatusCode::OK, "after all"));
    let (code, log) = ambassador.end();
    assert_eq!(code, Some(0));
    assert_eq!(log, ["stopped"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_ctrl_c_does_not_wait() {
    let gated = Gate::answering("").await;
    let ambassador =
        Ambassador::of(gated.upstream.address, &["--timeout", "60s", "--deadline", "180s"]);

    let url = ambassador.url("/");
    let call = tokio::spawn(async move { get(&url).await });
    gated.arrive(1).await;
    ambassador.interrupt();
    assert!(ambassador.says().starts_with("stopping"));
    ambassador.interrupt();

    assert_eq!(ambassador.end().0, Some(130));
    assert!(call.await.is_err(), "it was cut off");
}
