//! HTTP/1.1 to the upstream, by the letter of RFC 9112 and by the call that needs it: nobody else has to
//! be woken for what is sent and what is answered.
//!
//! | file | holds |
//! | --- | --- |
//! | `head.rs` | heads, and where a body ends; it knows no socket |
//! | `chunked.rs` | bodies in chunks; it knows none either |
//! | `exchange.rs` | a call, until the head of its answer is there |
//! | `upload.rs` | a request on its way |
//! | `arrival.rs` | the body of an answer |

mod arrival;
mod chunked;
mod exchange;
mod head;
mod upload;

use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use hyper::body::Body;
use hyper::header::{HeaderName, HeaderValue};
use hyper::http::request::Parts;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tower::BoxError;

pub(crate) use self::arrival::Arrival;
pub(crate) use self::exchange::Exchange;
use self::head::{Framing, Malformed};
use self::upload::{Rest, Upload};

/// What is asked for from the system at a time, and what is kept at hand for it.
const READ: usize = 16 * 1024;
/// With less room than this it is not worth asking.
const ROOM: usize = 2 * 1024;

/// A connection to the upstream.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    /// What has arrived, and nobody has looked at.
    input: BytesMut,
    /// What is to be sent.
    output: BytesMut,
}

#[derive(Debug)]
enum Stream {
    Whole(TcpStream),
    /// The request is still being sent by somebody else.
    Half(OwnedReadHalf, #[expect(dead_code, reason = "it ends when it is dropped")] Rest),
}

/// Why there is no answer, or no end of it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The caller did not send the rest of its request.
    #[error("the request's body broke off: {0}")]
    Body(#[source] BoxError),
    #[error("the connection was closed before the answer was complete")]
    Closed,
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Where a connection goes when the answer on it has been read.
pub(crate) trait Keep {
    fn keep(&self, connection: Box<Connection>);
}

impl Connection {
    #[expect(clippy::unnecessary_box_returns, reason = "it is handed from one to another")]
    pub(crate) fn new(stream: TcpStream) -> Box<Self> {
        let stream = Stream::Whole(stream);
        Box::new(Self { stream, input: BytesMut::new(), output: BytesMut::new() })
    }

    /// Whether the upstream has neither closed it nor said anything unasked. Asks nobody but the runtime,
    /// which would know.
    pub(crate) fn is_quiet(&self) -> bool {
        let Stream::Whole(stream) = &self.stream else { return false };
        let would_block = |why: io::Error| why.kind() == io::ErrorKind::WouldBlock;
        self.input.is_empty() && stream.try_read(&mut [0]).is_err_and(would_block)
    }

    /// Sends a request, with `more` for its `Host` and perhaps others, and `lines` that are written already,
    /// and waits for the head of the answer. The body of that gives the connection to `keeper` when it has been read.
    pub(crate) fn send<'a, B, K>(
        mut self: Box<Self>,
        head: &Parts,
        more: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>,
        lines: &[u8],
        body: B,
        keeper: Arc<K>,
    ) -> Exchange<B, K>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
    {
        let framing = upload::framing(&body);
        self.output.clear();
        head::write(&mut self.output, head, more, lines, framing);
        Exchange::new(self, head.method.clone(), Upload::new(body, framing), keeper)
    }

    /// The answer begins before the request has ended: each goes on by itself.
    fn upload_meanwhile<B>(self, upload: Upload<B>) -> Self
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
    {
        let Self { stream, input, output } = self;
        let stream = match stream {
            Stream::Whole(stream) => {
                let (reader, writer) = stream.into_split();
                Stream::Half(reader, upload.go_on(writer, output))
            }
            half @ Stream::Half(..) => half,
        };
        Self { stream, input, output: BytesMut::new() }
    }

    /// Reads more, and says how much; nothing is the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.input.capacity() - self.input.len() < ROOM {
            self.input.reserve(READ);
        }
        match &mut self.stream {
            Stream::Whole(stream) => pin!(stream.read_buf(&mut self.input)).poll(cx),
            Stream::Half(stream, _) => pin!(stream.read_buf(&mut self.input)).poll(cx),
        }
    }
}

// ===== impl Switched =====

/// A connection that speaks another protocol from now on, in the extensions of the answer that says so.
#[derive(Debug, Clone)]
pub(crate) struct Switched(Arc<Mutex<Option<Box<Connection>>>>);

impl Switched {
    fn new(connection: Box<Connection>) -> Self {
        Self(Arc::new(Mutex::new(Some(connection))))
    }

    /// The connection, and what has arrived on it already: once.
    pub(crate) fn take(&self) -> Option<(TcpStream, Bytes)> {
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let Connection { stream, input, .. } = *connection;
        match stream {
            Stream::Whole(stream) => Some((stream, input.freeze())),
            Stream::Half(..) => None,
        }
    }
}
