//! A server of HTTP/2 that answers no request, made of bare frames.
#![allow(dead_code)] // each of the binaries with it uses a part

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

// Frames (RFC 9113 §6), by their types.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;

/// What a server does with a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Does {
    /// Resets its stream with this code.
    Resets(u32),
    /// Goes away with this code, has processed the streams up to this one, and hangs up.
    GoesAway {
        last: u32,
        code: u32,
    },
    HangsUp,
    /// Breaks the rules, so that the client goes away.
    Raves,
}

pub(crate) const REFUSED_STREAM: u32 = 7;

fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [length[1], length[2], length[3], kind, 0];
    [&head[..], &stream.to_be_bytes(), payload].concat()
}

/// The number of the stream of the next request.
async fn next_request(stream: &mut TcpStream) -> io::Result<u32> {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [a, b, c, kind, _, id @ ..] = head;
        let length = u32::from_be_bytes([0, a, b, c]);
        stream.read_exact(&mut vec![0; length as usize]).await?;
        if kind == HEADERS {
            return Ok(u32::from_be_bytes(id));
        }
    }
}

/// A server that does this with every request.
pub(crate) async fn server(does: Does) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, does));
        }
    });
    address
}

/// Until the client hangs up, if not before.
async fn serve(mut stream: TcpStream, does: Does) -> io::Result<()> {
    stream.read_exact(&mut [0; 24]).await?; // the preface
    stream.write_all(&frame(SETTINGS, 0, &[])).await?;
    loop {
        let id = next_request(&mut stream).await?;
        let answer = match does {
            Does::Resets(code) => frame(RST_STREAM, id, &code.to_be_bytes()),
            Does::Raves => frame(DATA, 0, b"to nobody"), // §6.1
            Does::GoesAway { last, code } => {
                frame(GOAWAY, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
            }
            Does::HangsUp => return Ok(()),
        };
        stream.write_all(&answer).await?;
        if let Does::GoesAway { .. } = does {
            return stream.shutdown().await;
        }
    }
}
