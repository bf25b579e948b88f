//! How an ambassador reads HTTP/1.1, without a socket: whatever way an answer comes in pieces.

use bytes::BytesMut;
use hyper::header::HeaderValue;
use hyper::{HeaderMap, Method};

use chunked::{Chunked, Piece};
use head::{Answer, Framing, Malformed};

#[path = "../../examples/ambassador/wire/chunked.rs"]
mod chunked;
#[expect(dead_code, reason = "what writes is tested over sockets")]
#[path = "../../examples/ambassador/wire/head.rs"]
mod head;

/// Reads the head of an answer that comes in two pieces.
fn read(bytes: &[u8], cut: usize, method: &Method) -> Result<Option<Answer>, Malformed> {
    let mut input = BytesMut::from(&bytes[..cut]);
    if let Some(answer) = head::read(&mut input, method)? {
        return Ok(Some(answer));
    }
    input.extend_from_slice(&bytes[cut..]);
    head::read(&mut input, method)
}

// RFC 9112 §6.3
#[test]
fn a_body_ends_where_the_head_says() {
    use Framing::{Chunked, Length, Nothing, UntilClosed};
    let get = Method::GET;
    let cases = [
        (&get, "200 OK", "content-length: 5", Length(5), true),
        (&get, "200 OK", "Content-Length: 5\r\ncontent-length: 5", Length(5), true),
        (&get, "200 OK", "content-length: 5, 5", Length(5), true),
        (&get, "200 OK", "content-length : 5", Length(5), true),
        (&get, "200", "content-length: 0", Nothing, true),
        (&get, "200 OK", "transfer-encoding: Chunked", Chunked, true),
        (&get, "200 OK", "content-length: 9\r\ntransfer-encoding: chunked", Chunked, false),
        (&get, "200 OK", "x-y: z", UntilClosed, false),
        (&get, "200 OK", "content-length: 5\r\nconnection: x, Close", Length(5), false),
        (&get, "204 No Content", "x-y: z", Nothing, true),
        (&get, "304 Not Modified", "content-length: 5", Nothing, true),
        (&Method::HEAD, "200 OK", "content-length: 5", Nothing, true),
        (&Method::HEAD, "200 OK", "transfer-encoding: chunked", Nothing, true),
        (&get, "101 Switching Protocols", "upgrade: x", Nothing, true),
    ];
    for (method, status, fields, framing, persists) in cases {
        let text = format!("HTTP/1.1 {status}\r\n{fields}\r\n\r\n");
        let early = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: <a>\r\n\r\n";
        for before in ["", early] {
            let text = format!("{before}{text}");
            for cut in 0..text.len() {
                let answer = read(text.as_bytes(), cut, method).unwrap().unwrap();
                assert_eq!((answer.framing, answer.persists), (framing, persists), "{text}");
                let lengths = answer.response.headers().get_all("content-length").iter().count();
                assert!(
                    lengths <= 1 && !answer.response.headers().contains_key("transfer-encoding")
                );
            }
        }
        let old = format!("HTTP/1.0 {status}\r\n{fields}\r\n\r\n");
        match read(old.as_bytes(), 0, method) {
            Ok(answer) => assert!(!answer.unwrap().persists, "{old}"),
            Err(_) => assert!(fields.to_lowercase().contains("chunked"), "{old}"), // §6.1
        }
    }
    let kept = b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 1\r\n\r\n";
    assert!(read(kept, 0, &get).unwrap().unwrap().persists);
}

#[test]
fn what_nobody_can_understand_is_no_answer() {
    let heads = [
        "content-length: 5\r\ncontent-length: 6",
        "content-length: 5, 6",
        "content-length: +5",
        "content-length: ",
        "content-length: 5,",
        "content-length: 99999999999999999999",
        "transfer-encoding: gzip, chunked",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        "transfer-encoding: identity",
        "a b: c",
        ": c",
        "a: b\r\n folded: c",
        "a: b\0",
    ];
    for fields in heads {
        let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
        assert!(read(text.as_bytes(), 0, &Method::GET).is_err(), "{fields}");
    }
    for start in ["HTTP/1.1 20 OK", "HTTP/2.0 200 OK", "nonsense", "HTTP/1.1 2000 OK"] {
        assert!(read(format!("{start}\r\n\r\n").as_bytes(), 0, &Method::GET).is_err(), "{start}");
    }
    let endless = [b"HTTP/1.1 200 OK\r\na: ", &*vec![b'x'; 70_000]].concat();
    assert!(read(&endless, endless.len() - 1, &Method::GET).is_err(), "it has no end");
}

/// Reads a body in chunks that comes in two pieces: what it held, its trailers, and what was left.
fn dechunk(bytes: &[u8], cut: usize) -> Result<(Vec<u8>, Option<HeaderMap>, usize), Malformed> {
    let (mut chunked, mut input, mut body) = (Chunked::default(), BytesMut::new(), Vec::new());
    for part in [&bytes[..cut], &bytes[cut..]] {
        input.extend_from_slice(part);
        while let Some(piece) = chunked.next(&mut input)? {
            match piece {
                Piece::Data(data) => body.extend_from_slice(&data),
                Piece::End(trailers) => return Ok((body, trailers, input.len())),
            }
        }
    }
    panic!("it did not end: {bytes:?}")
}

// RFC 9112 §7.1
#[test]
fn chunks_are_read_wherever_they_are_cut() {
    let bodies = [
        ("5\r\nhello\r\n0\r\n\r\n", "hello", None),
        ("0\r\n\r\n", "", None),
        ("3;a=b; c=\"d\"\r\nhel\r\n0002 \r\nlo\r\n00\r\n\r\n", "hello", None),
        ("A\r\n0123456789\r\n0\r\nx-sum: 7\r\nContent-Length: 9\r\n\r\n", "0123456789", Some("7")),
    ];
    for (text, body, sum) in bodies {
        for cut in 0..text.len() {
            let (read, trailers, left) = dechunk(text.as_bytes(), cut).unwrap();
            assert_eq!((&*read, left), (body.as_bytes(), 0), "{text} cut at {cut}");
            let trailers = trailers.unwrap_or_default();
            assert_eq!(trailers.get("x-sum").map(HeaderValue::as_bytes), sum.map(str::as_bytes));
            assert!(!trailers.contains_key("content-length"), "it is no trailer");
        }
    }
    assert_eq!(dechunk(b"1\r\na\r\n0\r\n\r\nHTTP/1.1 200", 0).unwrap().2, 12, "not its own");
}

#[test]
fn what_are_no_chunks_is_rejected() {
    let bodies = [
        "5\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n",
        "-5\r\nhello",
        "+5\r\nhello",
        "0x5\r\nhello",
        "5 5\r\nhello",
        "g\r\n",
        "10000000000000000\r\n",
        "5\r\nhelloo\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5;\r;\r\nhello",
        "0\r\na b: c\r\n\r\n",
    ];
    for text in bodies {
        assert!(
            std::panic::catch_unwind(|| dechunk(text.as_bytes(), 0)).unwrap().is_err(),
            "{text}"
        );
    }
    let endless = [b"5;", &[b'x'; 5_000][..]].concat();
    assert!(dechunk(&endless, endless.len() - 1).is_err(), "an extension without an end");
}
