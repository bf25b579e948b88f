//! What the upstream is told of the way that a call has come, and how far it may go.

use std::io::Read;
use std::net::SocketAddr;

use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};

use crate::support::{self, Ambassador, Body, Upstream, ask_over, full};

/// Answers with the head of what it was asked, line by line.
async fn repeat(request: Request<Incoming>) -> Response<Body> {
    let mut lines = vec![format!("{} {} {:?}", request.method(), request.uri(), request.version())];
    let fields = request.headers().iter();
    lines.extend(fields.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())));
    lines.push(String::new());
    Response::builder().header("via", "1.0 innermost").body(full(lines.join("\n"))).unwrap()
}

/// What came back for bytes that were sent as they are.
fn say(address: SocketAddr, head: &str) -> String {
    let head = head.trim_end().replace('\n', "\r\n");
    let mut caller = support::say(address, format!("{head}\r\nconnection: close\r\n\r\n"));
    let mut answer = String::new();
    caller.read_to_string(&mut answer).unwrap();
    answer
}

/// The values of a header in a text of lines.
fn values<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(field, _)| *field == name).map(|(_, value)| value).collect()
}

/// The one value of a header in what the upstream saw.
fn saw<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    let values = values(body, name);
    assert!(values.len() <= 1, "{name}: {values:?}");
    values.first().copied()
}

// field: RFC 9110 §7.6.3
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_is_signed_with_the_version_it_came_in() {
    let upstream = Upstream::answering(repeat).await;
    let ambassador = Ambassador::of(upstream.address, &[]);

    let answer = say(ambassador.address, "GET / HTTP/1.1\nhost: a");
    let via = saw(&answer, "via").unwrap();
    let name = via.strip_prefix("1.1 ").unwrap();
    assert!(!name.contains(' ') && !name.contains(':'), "a pseudonym: {name}");
    let head = answer.split_once("\r\n\r\n").unwrap().0;
    assert_eq!(values(head, "via"), [format!("1.0 innermost, 1.1 {name}")]);

    let lists = [
        ("via: 1.0 fred", format!("1.0 fred, 1.1 {name}")),
        ("via: 1.0 fred\nvia: 2 b.example:81", format!("1.0 fred, 2 b.example:81, 1.1 {name}")),
        (
            "via: HTTP/1.1 p (a \"comment, with)",
            format!("HTTP/1.1 p (a \"comment, with), 1.1 {name}"),
        ),
        ("via: 1.0 never (closed", format!("1.1 {name}")),
        ("via:", format!("1.1 {name}")),
    ];
    for (before, after) in lists {
        let answer = say(ambassador.address, &format!("GET / HTTP/1.1\nhost: a\n{before}"));
        assert_eq!(saw(&answer, "via"), Some(&*after), "{before}");
    }
    let answer = say(ambassador.address, "GET / HTTP/1.0\nhost: a");
    assert_eq!(saw(&answer, "via"), Some(&*format!("1.0 {name}")));
    let call = Request::get(ambassador.url("/")).body(full("")).unwrap();
    let answer = ask_over(true, call).await;
    assert_eq!(values(&answer.text, "via"), [format!("2 {name}")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_comes_back_is_a_loop_and_one_through_two_is_none() {
    let upstream = Upstream::answering(repeat).await;
    let inner = Ambassador::of(upstream.address, &[]);
    let outer = Ambassador::of(inner.address, &[]);
    let answer = say(outer.address, "GET / HTTP/1.1\nhost: a");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let via = saw(&answer, "via").unwrap();
    assert_eq!(via.split(", ").count(), 2, "{via}");

    let asked = upstream.asked();
    let back = say(outer.address, &format!("GET / HTTP/1.1\nhost: a\nvia: {via}"));
    assert!(back.starts_with("HTTP/1.1 508"), "{back}");
    assert!(back.contains("proxy-status: ambassador; error=proxy_loop_detected"), "{back}");
    assert_eq!(upstream.asked(), asked);
}

// field: RFC 7239
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_upstream_is_told_where_a_call_comes_from() {
    let upstream = Upstream::answering(repeat).await;
    let ambassador = Ambassador::of(upstream.address, &[]);

    let answer = say(ambassador.address, "GET / HTTP/1.1\nhost: shop.example:8080");
    let ours = saw(&answer, "forwarded").unwrap().to_owned();
    let name = saw(&answer, "via").unwrap().strip_prefix("1.1 ").unwrap();
    let by = format!("by=_{name}"); // an obfuscated node, §6.3
    let expected = format!("for=127.0.0.1;{by};host=\"shop.example:8080\";proto=http");
    assert_eq!(ours, expected);
    let answer = say(ambassador.address, "GET / HTTP/1.1\nhost: shop.example");
    assert!(saw(&answer, "forwarded").unwrap().contains("host=shop.example;"), "{answer}");

    let lists = [
        ("forwarded: for=192.0.2.43", format!("for=192.0.2.43, {ours}")),
        (
            "forwarded: for=192.0.2.43\nforwarded: for=\"[2001:db8:cafe::17]:4711\";proto=https",
            format!("for=192.0.2.43, for=\"[2001:db8:cafe::17]:4711\";proto=https, {ours}"),
        ),
        ("forwarded: for=\"_a, b\\\"\"", format!("for=\"_a, b\\\"\", {ours}")),
        ("forwarded: for=\"192.0.2.43", ours.clone()), // or ours would be in its quotes
        ("connection: forwarded", ours.clone()),
    ];
    for (before, after) in lists {
        let head = format!("GET / HTTP/1.1\nhost: shop.example:8080\n{before}");
        assert_eq!(saw(&say(ambassador.address, &head), "forwarded"), Some(&*after), "{before}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_call_of_a_connection_is_told_of_by_itself() {
    let upstream = Upstream::answering(repeat).await;
    let ambassador = Ambassador::of(upstream.address, &[]);

    let call = |more| format!("GET / HTTP/1.1\nhost: {more}");
    let calls =
        ["a", "b\nvia: 1.0 fred", "b\nforwarded: for=_x", "b", "a\nx-forwarded-for: ::1", "a"];
    let answer = say(ambassador.address, &calls.map(call).join("\n\n"));
    assert_eq!(values(&answer, "x-forwarded-host"), ["a", "b", "b", "b", "a", "a"]);
    let own = "127.0.0.1";
    let addresses = [own, own, own, own, "::1, 127.0.0.1", own];
    assert_eq!(values(&answer, "x-forwarded-for"), addresses);
    let told = values(&answer, "forwarded");
    assert_eq!(told.len(), calls.len());
    assert_eq!(told[2], format!("for=_x, {}", told[3]));
    assert_eq!((told[0], told[1], told[4]), (told[5], told[3], told[0]));
    assert_ne!(told[0], told[3], "another host");
    let via = values(&answer, "via");
    let via: Vec<_> = via.iter().filter(|via| !via.contains("innermost")).collect();
    assert_eq!(via.len(), calls.len());
    assert_eq!(*via[1], format!("1.0 fred, {}", via[0]));
    assert!([2, 3, 4, 5].iter().all(|nth| via[*nth] == via[0]), "{via:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_of_ipv6_is_in_brackets_and_quotes() {
    let upstream = Upstream::answering(repeat).await;
    let host = format!("http://{}", upstream.address);
    let Ok(free) = std::net::TcpListener::bind("[::1]:0") else { return }; // no IPv6 here
    drop(free);
    let ambassador = Ambassador::on("[::1]:0", &host);
    let answer = say(ambassador.address, "GET / HTTP/1.1\nhost: a");
    assert!(saw(&answer, "forwarded").unwrap().starts_with("for=\"[::1]\";"), "{answer}");
    assert_eq!(saw(&answer, "x-forwarded-for"), Some("::1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_callers_say_of_it_is_continued_replaced_or_taken_out() {
    let upstream = Upstream::answering(repeat).await;
    let head = "GET / HTTP/1.1\nhost: a\nforwarded: for=192.0.2.1\nx-forwarded-for: 192.0.2.1\n\
        x-forwarded-host: theirs\nx-forwarded-proto: https";
    let both = Some("192.0.2.1, 127.0.0.1");
    let cases = [
        (&[][..], both, Some("a"), Some("http")),
        (&["--trust"], both, Some("theirs"), Some("https")),
        (&["--forwarded", "replace"], Some("127.0.0.1"), Some("a"), Some("http")),
        (&["--forwarded", "off"], None, None, None),
    ];
    for (options, way, host, scheme) in cases {
        let ambassador = Ambassador::of(upstream.address, options);
        let answer = say(ambassador.address, head);
        assert_eq!(saw(&answer, "x-forwarded-for"), way, "{options:?}");
        assert_eq!(saw(&answer, "x-forwarded-host"), host, "{options:?}");
        assert_eq!(saw(&answer, "x-forwarded-proto"), scheme, "{options:?}");
        let members = saw(&answer, "forwarded").map(|list| list.split(", ").count());
        assert_eq!(members, way.map(|way| way.split(", ").count()), "{options:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_would_like_trailers_and_says_so_to_the_next_hop_gets_them_asked_for() {
    let upstream = Upstream::answering(repeat).await;
    let ambassador = Ambassador::of(upstream.address, &[]);
    let cases = [
        ("te: trailers\nconnection: te", Some("trailers")),
        ("te: gzip;q=0.5, Trailers\nconnection: x-a, TE", Some("trailers")),
        ("te: gzip\nconnection: te", None),
        ("te: trailers", None),
    ];
    for (lines, te) in cases {
        let answer = say(ambassador.address, &format!("GET / HTTP/1.1\nhost: a\n{lines}"));
        assert_eq!(saw(&answer, "te"), te, "{lines}");
        assert_eq!(saw(&answer, "connection"), te.map(|_| "te"), "{lines}");
    }
}

// field: RFC 9110 §7.6.2
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_goes_as_far_as_it_may() {
    let upstream = Upstream::answering(repeat).await;
    let ambassador = Ambassador::of(upstream.address, &[]);
    let ask = |method: &str, target: &str, left: &str| {
        let head = format!("{method} {target} HTTP/1.1\nhost: a\nmax-forwards: {left}\ncookie: s");
        say(ambassador.address, &head)
    };
    for method in ["TRACE", "OPTIONS"] {
        for (left, one_less) in [("7", "6"), ("1", "0"), ("4294967295", "4294967294")] {
            let answer = ask(method, "/", left);
            assert_eq!(saw(&answer, "max-forwards"), Some(one_less), "{method} {left}");
        }
        let huge = ask(method, "/", "99999999999999999999");
        assert_eq!(saw(&huge, "max-forwards"), Some("4294967294"), "what we can count to");
        for odd in ["-1", "a", "1.5", "1\nmax-forwards: 2"] {
            assert!(ask(method, "/", odd).starts_with("HTTP/1.1 400"), "{method} {odd}");
        }
    }
    let answer = ask("GET", "/", "0");
    assert_eq!(saw(&answer, "max-forwards"), Some("0"), "it says nothing of a GET");
    assert!(ask("OPTIONS", "*", "3").contains("\r\n\r\nOPTIONS * HTTP/1.1\n"));

    let asked = upstream.asked();
    for target in ["/", "*"] {
        let answer = ask("OPTIONS", target, "0");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let head = answer.split_once("\r\n\r\n").unwrap().0;
        assert!(values(head, "allow")[0].contains("OPTIONS"), "{answer}");
        assert_eq!(values(head, "content-length"), ["0"]);
    }
    let answer = ask("TRACE", "/a?b", "0");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200") && values(head, "content-type") == ["message/http"]);
    assert!(body.starts_with("TRACE /a?b HTTP/1.1\r\nhost: a\r\n"), "{body}");
    assert!(!body.contains("cookie"), "{body}");
    assert_eq!(upstream.asked(), asked);
    let call = Request::options(ambassador.url("/")).header("max-forwards", "0");
    let over_http2 = ask_over(true, call.body(full("")).unwrap()).await;
    assert_eq!((over_http2.status, upstream.asked()), (StatusCode::OK, asked));
}
