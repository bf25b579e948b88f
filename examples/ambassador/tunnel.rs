//! Connections that speak another protocol than HTTP from some moment on, such as WebSocket: what one side
//! says is handed to the other, and nobody looks at it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf, copy_bidirectional, join};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};

use crate::clock::now;
use crate::wire::Switched;

/// Two connections that are about to become one.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) caller: OnUpgrade,
    pub(crate) upstream: Switched,
    /// How long nothing may be said.
    pub(crate) idle: Duration,
    /// One of the places that there are for tunnels.
    pub(crate) place: OwnedSemaphorePermit,
}

impl Tunnel {
    /// Hands on until both have said all they had to say, or neither says anything for too long.
    pub(crate) async fn run(self) {
        let Self { caller, upstream, idle, place } = self;
        let (Ok(caller), Some((upstream, first))) = (caller.await, upstream.take()) else { return };
        let (reader, writer) = upstream.into_split();
        let upstream = join(first.chain(reader), writer);
        let said = Said::default();
        let mut caller = Heard { stream: TokioIo::new(caller), said: said.clone() };
        let mut upstream = Heard { stream: upstream, said: said.clone() };
        tokio::select! {
            _ = copy_bidirectional(&mut caller, &mut upstream) => {}
            () = said.nothing_for(idle) => {}
        }
        drop(place);
    }
}

/// When something was said last.
#[derive(Debug, Clone)]
struct Said(Arc<Mutex<Instant>>);

impl Default for Said {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(now())))
    }
}

impl Said {
    fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = now();
    }

    async fn nothing_for(&self, idle: Duration) {
        loop {
            let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(end) = last.checked_add(idle) else { return std::future::pending().await };
            if end <= now() {
                return;
            }
            sleep_until(end).await;
        }
    }
}

/// One side, of which is noted when it says something.
struct Heard<S> {
    stream: S,
    said: Said,
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.said.now();
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.said.now(); // who reads slowly is there
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
