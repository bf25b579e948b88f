//! Connections that speak another protocol than HTTP from some moment on.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use tokio::time::timeout;

use crate::support::{Ambassador, SOON, say};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="; // RFC 6455 §1.3

/// Reads a head, and what it says.
fn head_of(stream: &mut BufReader<TcpStream>) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).unwrap() > 0, "no head: {lines:?}");
        if line == "\r\n" {
            return lines;
        }
        lines.push(line.trim_end().to_ascii_lowercase());
    }
}

fn connect(address: SocketAddr, head: &str) -> BufReader<TcpStream> {
    BufReader::new(say(address, head.replace('\n', "\r\n")))
}

/// A server of WebSocket, by hand: it agrees, says hello first, and then echoes. Others than those who
/// ask for WebSocket get a 200.
fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            thread::spawn(move || {
                let mut first = [0; 1];
                if stream.get_ref().peek(&mut first).unwrap_or(0) == 0 {
                    return; // it was only looked whether anybody listens
                }
                let head = head_of(&mut stream);
                let asks = |line: &str| head.iter().any(|one| one == line);
                let mut out = stream.get_ref().try_clone().unwrap();
                if !asks("upgrade: websocket") {
                    assert!(!head.iter().any(|one| one.starts_with("upgrade")), "{head:?}");
                    out.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
                    return;
                }
                assert!(asks("connection: upgrade"), "{head:?}");
                assert!(
                    asks(&format!("sec-websocket-key: {KEY}").to_ascii_lowercase()),
                    "{head:?}"
                );
                let agreed = format!(
                    "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\
                     connection: Upgrade\r\nsec-websocket-accept: {ACCEPT}\r\n\r\nhello"
                );
                out.write_all(agreed.as_bytes()).unwrap();
                let mut bytes = [0; 1024];
                while let Ok(length @ 1..) = stream.read(&mut bytes) {
                    if out.write_all(&bytes[..length]).is_err() {
                        return;
                    }
                }
                let _ = out.write_all(b"bye"); // the other side may be gone
            });
        }
    });
    address
}

fn shake_hands(ambassador: &Ambassador) -> BufReader<TcpStream> {
    let mut caller = connect(
        ambassador.address,
        &format!(
            "GET /chat HTTP/1.1\nhost: a\nconnection: keep-alive, Upgrade\nupgrade: websocket\n\
             sec-websocket-version: 13\nsec-websocket-key: {KEY}\n\n"
        ),
    );
    let head = head_of(&mut caller);
    assert!(head[0].starts_with("http/1.1 101"), "{head:?}");
    for line in ["upgrade: websocket", "connection: upgrade"] {
        assert!(head.iter().any(|one| one == line), "{head:?}");
    }
    let accept = format!("sec-websocket-accept: {ACCEPT}").to_ascii_lowercase();
    assert!(head.contains(&accept), "{head:?}");
    assert_eq!(hear(&mut caller, 5), b"hello");
    caller
}

fn hear(caller: &mut BufReader<TcpStream>, length: usize) -> Vec<u8> {
    let mut heard = vec![0; length];
    caller.read_exact(&mut heard).unwrap();
    heard
}

/// What is left until the other side closes.
fn rest(caller: &mut BufReader<TcpStream>) -> Vec<u8> {
    let mut rest = Vec::new();
    match caller.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(why) => assert_eq!(why.kind(), std::io::ErrorKind::ConnectionReset, "{why}"),
    }
    rest
}

#[test]
fn both_sides_hear_each_other_and_each_ends_for_itself() {
    let ambassador = Ambassador::of(server(), &["--check-every", "60s"]);
    let mut caller = shake_hands(&ambassador);
    // A frame of text, masked, as a client sends it (RFC 6455 §5.7).
    let frame = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    for _ in 0..3 {
        caller.get_mut().write_all(&frame).unwrap();
        assert_eq!(hear(&mut caller, frame.len()), frame);
    }
    caller.get_mut().shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut caller), b"bye", "it had something left to say");
}

#[test]
fn who_says_nothing_for_too_long_is_ended() {
    let idle = ["--check-every", "60s", "--upgrade-idle", "100ms"];
    let ambassador = Ambassador::of(server(), &idle);
    let mut caller = shake_hands(&ambassador);
    rest(&mut caller);
}

#[test]
fn the_end_of_the_ambassador_is_the_end_of_them() {
    let ambassador = Ambassador::of(server(), &["--check-every", "60s"]);
    let mut callers = [shake_hands(&ambassador), shake_hands(&ambassador)];
    ambassador.interrupt();
    for caller in &mut callers {
        rest(caller);
    }
    let (code, log) = ambassador.end();
    assert_eq!((code, log.last().map(String::as_str)), (Some(0), Some("stopped")));
}

#[test]
fn an_upstream_may_go_on_with_http_and_http_itself_is_not_switched_to() {
    let ambassador = Ambassador::of(server(), &["--check-every", "60s"]);
    let others = [
        "connection: upgrade, http2-settings\nupgrade: h2c\nhttp2-settings: AAMAAABkAAQAAP__",
        "connection: upgrade\nupgrade: websocket, h2c",
        "upgrade: websocket", // not for the next hop
        "connection: upgrade",
    ];
    for lines in others {
        let head = format!("GET / HTTP/1.1\nhost: a\n{lines}\n\n");
        let answer = head_of(&mut connect(ambassador.address, &head));
        assert!(answer[0].starts_with("http/1.1 200"), "{lines}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upgraded_connections_are_counted() {
    let ambassador = Ambassador::of(server(), &["--check-every", "60s"]);
    let told = async || {
        let active = ambassador.metric(&["ambassador_upgrades_active"]).await;
        (active, ambassador.metric(&["ambassador_upgrades_total"]).await)
    };
    assert_eq!(told().await, (0.0, 0.0), "they are there from the start");
    let callers = [shake_hands(&ambassador), shake_hands(&ambassador)];
    assert_eq!(told().await, (2.0, 2.0));
    drop(callers);
    let ended = async { while told().await != (0.0, 2.0) {} };
    timeout(SOON, ended).await.expect("they do not end");
}
