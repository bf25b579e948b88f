//! A request on its way.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use hyper::HeaderMap;
use hyper::body::{Body, Frame};
use tokio::io::AsyncWrite;
use tokio::task::AbortHandle;
use tower::BoxError;

use super::Fault;
use super::head::{self, Framing};

/// What is shorter is copied behind what goes out before it, so that both are one packet.
const COPIED: usize = 4 * 1024;
/// So much is collected before it is sent.
const ENOUGH: usize = 16 * 1024;

/// Where the body of a request will end: what it says itself, or in chunks.
pub(super) fn framing(body: &impl Body) -> Framing {
    match body.size_hint().exact() {
        _ if body.is_end_stream() => Framing::Nothing,
        Some(0) => Framing::Nothing,
        Some(length) => Framing::Length(length),
        None => Framing::Chunked,
    }
}

/// The body of a request, as far as it was not sent.
pub(super) struct Upload<B> {
    /// Until it has ended.
    body: Option<B>,
    framing: Framing,
    /// What has been taken from it, and is to follow what is written already.
    next: Bytes,
    /// Whether something is to be written behind `next`.
    closes: bool,
    is_over: bool,
}

/// The rest of an upload, which ends when this is dropped.
#[derive(Debug)]
pub(super) struct Rest(AbortHandle);

impl<B> Upload<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    pub(super) fn new(body: B, framing: Framing) -> Self {
        let body = (framing != Framing::Nothing).then_some(body);
        Self { body, framing, next: Bytes::new(), closes: false, is_over: false }
    }

    /// Whether all of it was handed to the system.
    pub(super) const fn is_over(&self) -> bool {
        self.is_over
    }

    /// Sends what there is.
    pub(super) fn poll_send(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        output: &mut BytesMut,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        while !self.is_over {
            let more = self.poll_fill(output, cx)?;
            while !output.is_empty() || self.next.has_remaining() {
                ready!(self.poll_write(stream, output, cx))?;
            }
            ready!(more);
            self.is_over = self.body.is_none();
        }
        Poll::Ready(Ok(()))
    }

    /// Takes from the body what it has. Pending, if it has nothing more now.
    fn poll_fill(
        &mut self,
        output: &mut BytesMut,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Fault>> {
        while let Some(body) = &mut self.body
            && self.next.is_empty()
            && output.len() < ENOUGH
        {
            match ready!(Pin::new(body).poll_frame(cx)) {
                Some(frame) => {
                    let frame = frame.map_err(|why| Fault::Body(why.into()))?;
                    self.add(frame, output)?;
                }
                None => self.end(None, output)?,
            }
            // One who is told its length has said all when that is reached.
            if self.framing == Framing::Length(0)
                && self.body.as_ref().is_some_and(Body::is_end_stream)
            {
                self.body = None;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn add(&mut self, frame: Frame<Bytes>, output: &mut BytesMut) -> Result<(), Fault> {
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => return self.end(frame.into_trailers().ok(), output),
        };
        match &mut self.framing {
            _ if data.is_empty() => return Ok(()), // an empty chunk would be the end
            Framing::Length(left) => match left.checked_sub(data.len() as u64) {
                Some(rest) => *left = rest,
                None => return Err(Fault::Body("it is longer than it said".into())),
            },
            _ => {
                if std::mem::replace(&mut self.closes, false) {
                    output.extend_from_slice(b"\r\n");
                }
                output.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
                self.closes = true;
            }
        }
        if data.len() <= COPIED {
            output.extend_from_slice(&data);
        } else {
            self.next = data;
        }
        Ok(())
    }

    fn end(&mut self, trailers: Option<HeaderMap>, output: &mut BytesMut) -> Result<(), Fault> {
        self.body = None;
        match self.framing {
            Framing::Length(1..) => Err(Fault::Body("it is shorter than it said".into())),
            Framing::Chunked => {
                if std::mem::replace(&mut self.closes, false) {
                    output.extend_from_slice(b"\r\n");
                }
                head::write_trailers(output, &trailers.unwrap_or_default());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn poll_write(
        &mut self,
        stream: &mut (impl AsyncWrite + Unpin),
        output: &mut BytesMut,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let both = [IoSlice::new(output), IoSlice::new(&self.next)];
        let written = if self.next.is_empty() {
            ready!(Pin::new(stream).poll_write(cx, output))?
        } else {
            ready!(Pin::new(stream).poll_write_vectored(cx, &both))?
        };
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        let first = written.min(output.len());
        if first == output.len() {
            output.clear(); // all of its room is there again
        } else {
            output.advance(first);
        }
        self.next.advance(written - first);
        Poll::Ready(Ok(()))
    }

    /// Sends the rest of it, whatever becomes of the answer, until what is returned is dropped.
    pub(super) fn go_on(
        mut self,
        mut stream: impl AsyncWrite + Send + Unpin + 'static,
        mut output: BytesMut,
    ) -> Rest
    where
        B: Send + 'static,
    {
        let task = async move {
            let sent = poll_fn(|cx| self.poll_send(&mut stream, &mut output, cx)).await;
            // It is not said that there will be no more, for servers take that for the end of a call.
            drop(sent);
            std::future::pending::<()>().await;
        };
        Rest(tokio::spawn(task).abort_handle())
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        self.0.abort();
    }
}
