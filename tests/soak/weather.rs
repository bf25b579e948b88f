//! An upstream whose weather changes ten times a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::server::{MockHandle, hear_out, request};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weather {
    Fair,
    Slow,
    Fails,
    /// The body breaks off.
    Cut,
    Hangs,
    /// Nobody listens. The client goes to where that is so.
    Rejected,
    /// Asks for less, and to come back in an hour.
    Busy,
    /// Each request meets another one.
    Mixed,
}

use Weather::{Busy, Cut, Fails, Fair, Hangs, Mixed, Rejected, Slow};

/// One after the other, with time to recover between them.
const YEAR: [Weather; 14] =
    [Fair, Slow, Fair, Fails, Fair, Cut, Fair, Hangs, Fair, Rejected, Fair, Busy, Fair, Mixed];
const SEASON: Duration = Duration::from_millis(100);
pub(crate) const WHOLE_YEAR: Duration = Duration::from_millis(1400);

/// What the weather is now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sky(Arc<AtomicUsize>);

impl Sky {
    pub(crate) fn weather(&self) -> Weather {
        YEAR[self.0.load(Ordering::Relaxed) % YEAR.len()]
    }

    pub(crate) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Turns until it is dropped.
    pub(crate) async fn turn(self) {
        loop {
            sleep(SEASON).await;
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) async fn serve(self, mut socket: TcpStream, handle: MockHandle) {
        let mut buffer = Vec::new();
        while request(&mut socket, &mut buffer).await.is_some() {
            handle.request();
            let weather = match self.weather() {
                // Seven in ten are well.
                Mixed => [Fair, Slow, Fails, Cut, Hangs, Busy]
                    .get(usize::from(fastrand::u8(0..20)))
                    .copied()
                    .unwrap_or(Fair),
                weather => weather,
            };
            let answer = match weather {
                Fails => "HTTP/1.1 500 Broken\r\ncontent-length: 6\r\n\r\nbroken",
                Busy => "HTTP/1.1 429 Busy\r\nretry-after: 3600\r\ncontent-length: 4\r\n\r\nbusy",
                Cut => "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nwell",
                _ => "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nwell",
            };
            match weather {
                Hangs => return hear_out(&mut socket).await,
                Slow => sleep(Duration::from_millis(u64::from(fastrand::u8(5..60)))).await,
                _ => {}
            }
            if socket.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
            if weather == Cut {
                let _ = socket.shutdown().await;
                return hear_out(&mut socket).await;
            }
        }
    }
}
