//! Connections that speak another protocol than HTTP from some moment on, such as WebSocket: what one side
//! says is handed to the other, and nobody looks at it.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
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
        let _counted = Counted::new();
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

// ===== impl Counted =====

const ACTIVE: &str = "ambassador_upgrades_active";
const TOTAL: &str = "ambassador_upgrades_total";

/// One of the tunnels that there are, in the metrics.
struct Counted;

impl Counted {
    fn new() -> Self {
        counter!(TOTAL).increment(1);
        gauge!(ACTIVE).increment(1.0);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        gauge!(ACTIVE).decrement(1.0);
    }
}

/// What is told of tunnels, from the start.
pub(crate) fn describe() {
    describe_gauge!(ACTIVE, Unit::Count, "Upgraded connections (WebSocket and others) there are.");
    describe_counter!(TOTAL, Unit::Count, "Connections that were upgraded.");
    gauge!(ACTIVE).set(0.0);
    counter!(TOTAL).increment(0);
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
