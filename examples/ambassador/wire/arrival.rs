//! The body of an answer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::chunked::{Chunked, Piece};
use super::{Connection, Fault, Framing, Keep};

/// The body of an answer, and the connection on which it comes.
#[derive(Debug)]
pub(crate) struct Arrival<K: Keep> {
    left: Left,
    /// Until the end.
    source: Option<Source<K>>,
}

#[derive(Debug)]
struct Source<K> {
    connection: Box<Connection>,
    /// Who gets it, if it may be used again.
    keeper: Option<Arc<K>>,
}

/// What is to come.
#[derive(Debug)]
enum Left {
    Length(u64),
    Chunked(Chunked),
    UntilClosed,
}

impl<K: Keep> Arrival<K> {
    pub(super) const fn nothing() -> Self {
        Self { left: Left::Length(0), source: None }
    }

    pub(super) fn of(
        connection: Box<Connection>,
        framing: Framing,
        persists: bool,
        keeper: Arc<K>,
    ) -> Self {
        let left = match framing {
            Framing::Nothing => Left::Length(0),
            Framing::Length(length) => Left::Length(length),
            Framing::Chunked => Left::Chunked(Chunked::default()),
            Framing::UntilClosed => Left::UntilClosed,
        };
        let source = Some(Source { connection, keeper: persists.then_some(keeper) });
        let mut arrival = Self { left, source };
        if framing == Framing::Nothing {
            arrival.end();
        }
        arrival
    }

    /// All of it was read: the connection can serve the next call.
    fn end(&mut self) {
        if let Some(Source { connection, keeper: Some(keeper) }) = self.source.take() {
            keeper.keep(connection);
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Piece>, Fault>> {
        loop {
            let Some(Source { connection, .. }) = &mut self.source else {
                return Poll::Ready(Ok(None));
            };
            let input = &mut connection.input;
            let piece = match &mut self.left {
                Left::Chunked(chunked) => chunked.next(input)?,
                _ if input.is_empty() => None,
                Left::UntilClosed => Some(Piece::Data(input.split().freeze())),
                Left::Length(left) => {
                    let part = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                    *left -= part as u64;
                    Some(Piece::Data(input.split_to(part).freeze()))
                }
            };
            if piece.is_some() {
                return Poll::Ready(Ok(piece));
            }
            if ready!(connection.poll_read(cx))? == 0 {
                let is_all = matches!(self.left, Left::UntilClosed);
                return Poll::Ready(if is_all {
                    Ok(Some(Piece::End(None)))
                } else {
                    Err(Fault::Closed)
                });
            }
        }
    }
}

impl<K: Keep> Body for Arrival<K> {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let piece = match ready!(self.poll_piece(cx)) {
            Ok(piece) => piece,
            Err(why) => {
                self.source = None;
                return Poll::Ready(Some(Err(why)));
            }
        };
        if matches!(piece, Some(Piece::End(_))) || matches!(self.left, Left::Length(0)) {
            self.end();
        }
        Poll::Ready(match piece {
            Some(Piece::Data(data)) => Some(Ok(Frame::data(data))),
            Some(Piece::End(Some(trailers))) => Some(Ok(Frame::trailers(trailers))),
            Some(Piece::End(None)) | None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.left {
            Left::Length(left) => SizeHint::with_exact(left),
            _ if self.source.is_none() => SizeHint::with_exact(0),
            _ => SizeHint::default(),
        }
    }
}
