//! Connections to the upstream over HTTP/1.1, kept for the next call.
//!
//! Each thread keeps those that it opened, so that a call, its connection and its caller's connection
//! stay on one thread and nobody has to wake another.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::available_parallelism;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::time::{Instant, sleep};
use tower::{BoxError, ServiceExt};

use crate::body::Upload;
use crate::clock::now;

/// How many idle connections a thread keeps.
const IDLE: usize = 256;
/// How long a connection may be idle. Shorter than what servers are used to allow, or more calls would
/// meet a connection that is just being closed.
const PATIENCE: Duration = Duration::from_secs(45);

type Sender = SendRequest<Upload>;

/// Why there is no answer.
pub(crate) enum Lost {
    /// No connection came about.
    Connect(BoxError),
    /// The connection broke off.
    Call(hyper::Error),
}

/// Idle connections to one place.
#[derive(Debug)]
pub(crate) struct Pool {
    place: Uri,
    connector: HttpConnector,
    lanes: Box<[Mutex<Vec<Idle>>]>,
}

#[derive(Debug)]
struct Idle {
    sender: Sender,
    since: Instant,
}

/// A connection that is at work. It goes back to its pool when this is dropped.
#[derive(Debug)]
pub(crate) struct Lent {
    sender: Option<Sender>,
    pool: Arc<Pool>,
}

impl Pool {
    /// On the runtime of the caller, as long as the pool is alive.
    pub(crate) fn new(place: Uri) -> Arc<Self> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let threads = available_parallelism().map_or(1, usize::from);
        let lanes = (0..=threads).map(|_| Mutex::default()).collect();
        let pool = Arc::new(Self { place, connector, lanes });
        tokio::spawn(sweep(Arc::downgrade(&pool)));
        pool
    }

    /// Sends a request whose URI is a path over an idle connection or a new one.
    pub(crate) async fn send(
        self: &Arc<Self>,
        mut request: Request<Upload>,
    ) -> Result<(Response<Incoming>, Lent), Lost> {
        loop {
            let idle = self.idle();
            let fresh = idle.is_none();
            let mut sender = match idle {
                Some(sender) => sender,
                None => self.connect().await?,
            };
            match sender.try_send_request(request).await {
                Ok(response) => {
                    let pool = Arc::clone(self);
                    return Ok((response, Lent { sender: Some(sender), pool }));
                }
                // An idle connection that was closed before it was used: nothing was sent.
                Err(mut failed) => match failed.take_message().filter(|_| !fresh) {
                    Some(unsent) => request = unsent,
                    None => return Err(Lost::Call(failed.into_error())),
                },
            }
        }
    }

    async fn connect(&self) -> Result<Sender, Lost> {
        let stream = self.connector.clone().oneshot(self.place.clone()).await;
        let stream = stream.map_err(|why| Lost::Connect(why.into()))?;
        let (sender, connection) = Builder::new().handshake(stream).await.map_err(Lost::Call)?;
        // Ends when its sender is dropped, or the upstream closes it.
        tokio::spawn(connection.with_upgrades());
        Ok(sender)
    }

    /// The connection that was used last, of those of this thread that are ready.
    fn idle(&self) -> Option<Sender> {
        let mut lane = self.lane();
        let ready = lane.iter().rposition(|idle| idle.sender.is_ready());
        let idle = ready.map(|at| lane.remove(at));
        drop(lane);
        idle.map(|idle| idle.sender)
    }

    fn keep(&self, sender: Sender) {
        let mut lane = self.lane();
        if lane.len() == IDLE {
            lane.retain(|idle| !idle.sender.is_closed());
        }
        if lane.len() < IDLE {
            lane.push(Idle { sender, since: now() });
        }
    }

    fn lane(&self) -> MutexGuard<'_, Vec<Idle>> {
        let lane = &self.lanes[lane_of_thread() % self.lanes.len()];
        lane.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes what has been idle for too long, until the pool is gone.
async fn sweep(pool: Weak<Pool>) {
    loop {
        sleep(PATIENCE / 3).await;
        let Some(pool) = pool.upgrade() else { return };
        let now = now();
        for lane in &pool.lanes {
            let mut lane = lane.lock().unwrap_or_else(PoisonError::into_inner);
            lane.retain(|idle| {
                !idle.sender.is_closed() && now.duration_since(idle.since) < PATIENCE
            });
        }
    }
}

fn lane_of_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static LANE: Cell<Option<usize>> = const { Cell::new(None) };
    }
    LANE.with(|lane| {
        let number = lane.get().unwrap_or_else(|| NEXT.fetch_add(1, Ordering::Relaxed));
        lane.set(Some(number));
        number
    })
}

impl Drop for Lent {
    fn drop(&mut self) {
        // One whose answer was not read to its end is closed by hyper, and found to be.
        if let Some(sender) = self.sender.take().filter(|sender| !sender.is_closed()) {
            self.pool.keep(sender);
        }
    }
}
