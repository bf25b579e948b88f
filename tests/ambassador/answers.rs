//! What an ambassador and its upstream say to each other over HTTP/1.1, to the byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use bytes::Bytes;
use futures::stream;
use http_body_util::channel::Channel;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http1;
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::timeout;

use crate::support::{Ambassador, Body, SOON, ask, ask_over, full, get};

const QUIET: [&str; 2] = ["--check-every", "60s"];

/// Reads the head of a message, in small letters; nothing at the end of the connection.
fn head_of(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).unwrap_or(0) == 0 {
            return None;
        }
    }
    Some(head.to_ascii_lowercase())
}

/// Serves each connection on which something is asked; these have numbers.
fn upstream(serve: impl Fn(usize, BufReader<TcpStream>) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (serve, count) = (Arc::new(serve), Arc::new(AtomicUsize::new(0)));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (serve, count, stream) = (Arc::clone(&serve), Arc::clone(&count), stream.unwrap());
            thread::spawn(move || {
                if stream.peek(&mut [0]).unwrap_or(0) > 0 {
                    serve(count.fetch_add(1, Ordering::Relaxed) + 1, BufReader::new(stream));
                } // or it was only looked whether anybody listens
            });
        }
    });
    address
}

/// Says this to the first call, and to others on which connection they came.
fn answering(first: &'static str) -> SocketAddr {
    upstream(move |number, mut stream| {
        let mut says = (number == 1).then_some(first);
        while head_of(&mut stream).is_some() {
            let next = format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{number}");
            let closes = says.is_some_and(|first| first.contains("until the end"));
            stream.get_mut().write_all(says.take().unwrap_or(&next).as_bytes()).unwrap();
            if closes {
                return;
            }
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_serves_the_next_call_if_it_is_certain_that_it_can() {
    let get = Method::GET;
    let trailed = "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n";
    let unasked =
        "content-length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged";
    let cases = [
        (&get, "1.1 200 OK", "content-length: 5\r\n\r\nhello", "hello", true),
        (&Method::HEAD, "1.1 200 OK", "content-length: 5\r\n\r\n", "", true),
        (&get, "1.1 204 No Content", "a: b\r\n\r\n", "", true),
        (&get, "1.1 304 Not Modified", "content-length: 5\r\n\r\n", "", true),
        (&get, "1.1 200 OK", trailed, "hello", true),
        (
            &get,
            "1.0 200 OK",
            "connection: keep-alive\r\ncontent-length: 5\r\n\r\nhello",
            "hello",
            true,
        ),
        (&get, "1.0 200 OK", "content-length: 5\r\n\r\nhello", "hello", false),
        (&get, "1.1 200 OK", "connection: close\r\ncontent-length: 5\r\n\r\nhello", "hello", false),
        (&get, "1.1 200 OK", "a: b\r\n\r\nuntil the end", "until the end", false),
        (&get, "1.1 200 OK", unasked, "hello", false),
    ];
    for (method, status, rest, text, is_kept) in cases {
        let first = format!("HTTP/{status}\r\n{rest}").leak();
        let ambassador = Ambassador::of(answering(first), &QUIET);
        // One connection of a caller's, so that both calls come by one thread.
        let stream = tokio::net::TcpStream::connect(ambassador.address).await.unwrap();
        let (mut client, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut answers = Vec::new();
        for method in [method, &get] {
            let call = Request::builder().method(method).uri("/").header("host", "a");
            client.ready().await.unwrap();
            let answer = client.send_request(call.body(full("")).unwrap()).await.unwrap();
            answers.push(answer.into_body().collect().await.unwrap().to_bytes());
        }
        let next = if is_kept { "1" } else { "2" };
        assert_eq!(answers, [text, next], "{first}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_understood_is_a_bad_gateway() {
    for first in [
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ] {
        let ambassador = Ambassador::of(answering(first), &QUIET);
        let order = Request::post(ambassador.url("/")).body(full("order")).unwrap();
        assert_eq!(ask(order).await.status, StatusCode::BAD_GATEWAY, "{first}");
        assert_eq!(get(&ambassador.url("/")).await.text, "2", "{first}: what is left is not read");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_breaks_off_is_not_taken_for_whole() {
    for first in [
        "HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nuntil the end",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nd\r\nuntil the end\r\n",
    ] {
        let ambassador = Ambassador::of(answering(first), &QUIET);
        let client = Client::builder(TokioExecutor::new()).build_http();
        let call = Request::post(ambassador.url("/")).body(full("")).unwrap();
        let is_whole = match client.request(call).await {
            Ok(answer) => answer.into_body().collect().await.is_ok(),
            Err(_) => false, // it broke off before the head was sent on
        };
        assert!(!is_whole, "{first}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_says_where_its_body_ends() {
    let (note, notes) = mpsc::channel();
    let address = upstream(move |_, mut stream| {
        while let Some(head) = head_of(&mut stream) {
            let mut body = Vec::new();
            let length = head.split_once("content-length: ").map(|(_, rest)| rest.lines().next());
            if let Some(length) = length {
                body.resize(length.unwrap().parse().unwrap(), 0);
                stream.read_exact(&mut body).unwrap();
            } else if head.contains("transfer-encoding: chunked") {
                while !body.ends_with(b"\r\n\r\n") {
                    let mut one = [0];
                    stream.read_exact(&mut one).unwrap();
                    body.push(one[0]);
                }
            }
            note.send((head, String::from_utf8(body).unwrap())).unwrap();
            stream.get_mut().write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        }
    });
    let ambassador = Ambassador::of(address, &QUIET);
    let trailed = || -> Body {
        let sum = HeaderMap::from_iter([
            ("x-sum".parse().unwrap(), "7".parse().unwrap()),
            ("host".parse().unwrap(), "b".parse().unwrap()), // it is none, and is left out
        ]);
        let frames = ["he", "llo"].map(|part| Ok(Frame::data(Bytes::from(part))));
        let frames = frames.into_iter().chain([Ok(Frame::trailers(sum))]);
        StreamBody::new(stream::iter(frames)).boxed()
    };
    let chunks = "2\r\nhe\r\n3\r\nllo\r\n0\r\nx-sum: 7\r\n\r\n";
    let cases: [(&str, Body, Option<&str>, &str); 4] = [
        ("GET", full(""), None, ""),
        ("POST", full(""), Some("content-length: 0"), ""),
        ("PUT", full("hello"), Some("content-length: 5"), "hello"),
        ("POST", trailed(), Some("transfer-encoding: chunked"), chunks),
    ];
    for (method, body, says, text) in cases {
        let call = Request::builder().method(method).uri(ambassador.url("/a?b")).body(body);
        ask_over(true, call.unwrap()).await;
        let (head, body) = notes.recv_timeout(SOON).unwrap();
        let line = format!("{} /a?b http/1.1\r\nhost: {address}\r\n", method.to_lowercase());
        assert!(head.starts_with(&line), "{head}");
        let framing = ["content-length", "transfer-encoding"];
        let framing = head.lines().filter(|line| framing.iter().any(|it| line.starts_with(it)));
        assert_eq!(framing.collect::<Vec<_>>(), Vec::from_iter(says), "{head}");
        assert_eq!(body, text, "{method}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_may_begin_before_its_request_has_ended() {
    let address = upstream(|_, mut stream| {
        head_of(&mut stream);
        let out = stream.get_mut();
        out.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
        let mut line = String::new();
        while stream.read_line(&mut line).unwrap() > 0 {
            if line.ends_with("word\r\n") {
                stream.get_mut().write_all(b"3\r\nyes\r\n").unwrap();
            }
            if std::mem::take(&mut line) == "0\r\n" {
                stream.read_line(&mut line).unwrap(); // or it would be reset
                stream.get_mut().write_all(b"0\r\n\r\n").unwrap();
                return;
            }
        }
    });
    let ambassador = Ambassador::of(address, &QUIET);
    for http2 in [false, true] {
        let (mut sender, body) = Channel::<Bytes, hyper::Error>::new(1);
        let call = Request::post(ambassador.url("/")).body(body.boxed()).unwrap();
        let client = Client::builder(TokioExecutor::new()).http2_only(http2).build_http();
        let conversation = async {
            let mut answer = client.request(call).await.unwrap().into_body();
            for _ in 0..3 {
                sender.send_data("word\r\n".into()).await.unwrap();
                let word = answer.frame().await.unwrap().unwrap().into_data().unwrap();
                assert_eq!(word, "yes");
            }
            drop(sender);
            let rest = answer.collect().await.unwrap();
            assert_eq!(rest.to_bytes(), "", "http2: {http2}");
        };
        timeout(SOON, conversation).await.expect("a side was collected");
    }
}
