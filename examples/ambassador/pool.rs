//! Connections to the upstream over HTTP/1.1, kept for the next call.
//!
//! Each thread keeps those that it opened, so that a call, its connection and its caller's connection
//! stay on one thread and nobody has to wake another.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::available_parallelism;
use std::time::Duration;

use hyper::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use tokio::time::sleep;
use tower::{BoxError, ServiceExt};

use crate::wire::{Connection, Keep};

/// How many idle connections a thread keeps.
const IDLE: usize = 256;
/// A connection is closed when it has been idle for one to two such times. Shorter than what servers are
/// used to allow, or more calls would meet a connection that is just being closed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Idle connections to one place.
#[derive(Debug)]
pub(crate) struct Pool {
    place: Uri,
    connector: HttpConnector,
    stripes: Box<[Mutex<Lane>]>,
}

/// The connections of one thread.
#[derive(Debug, Default)]
struct Lane {
    /// The one that was used last is the last.
    #[expect(clippy::vec_box, reason = "it is handed from one to another")]
    idle: Vec<Box<Connection>>,
    /// So many of the first nobody has used since they were last looked at: no clock has to be read for
    /// each call.
    unused: usize,
}

impl Pool {
    /// On the runtime of the caller, as long as the pool is alive.
    pub(crate) fn new(place: Uri) -> Arc<Self> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let threads = available_parallelism().map_or(1, usize::from);
        let stripes = (0..=threads).map(|_| Mutex::default()).collect();
        let pool = Arc::new(Self { place, connector, stripes });
        tokio::spawn(sweep(Arc::downgrade(&pool)));
        pool
    }

    /// A new connection.
    pub(crate) async fn connect(&self) -> Result<Box<Connection>, BoxError> {
        let stream = self.connector.clone().oneshot(self.place.clone()).await?;
        Ok(Connection::new(stream.into_inner()))
    }

    /// The connection that was used last, of those of this thread that can be used.
    pub(crate) fn idle(&self) -> Option<Box<Connection>> {
        let mut stripe = self.stripe();
        loop {
            let connection = stripe.idle.pop()?;
            stripe.unused = stripe.unused.min(stripe.idle.len());
            if connection.is_quiet() {
                return Some(connection);
            }
        }
    }

    fn stripe(&self) -> MutexGuard<'_, Lane> {
        let stripe = &self.stripes[lane_of_thread() % self.stripes.len()];
        stripe.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keep for Pool {
    fn keep(&self, connection: Box<Connection>) {
        let mut stripe = self.stripe();
        if stripe.idle.len() < IDLE && connection.is_quiet() {
            stripe.idle.push(connection);
        }
    }
}

/// Closes what has been idle for too long, or was closed by the other side, until the pool is gone.
async fn sweep(pool: Weak<Pool>) {
    loop {
        sleep(PATIENCE).await;
        let Some(pool) = pool.upgrade() else { return };
        for stripe in &pool.stripes {
            let mut stripe = stripe.lock().unwrap_or_else(PoisonError::into_inner);
            let unused = std::mem::take(&mut stripe.unused);
            stripe.idle.drain(..unused);
            stripe.idle.retain(|connection| connection.is_quiet());
            stripe.unused = stripe.idle.len();
        }
    }
}

fn lane_of_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static LANE: Cell<Option<usize>> = const { Cell::new(None) };
    }
    LANE.with(|stripe| {
        let number = stripe.get().unwrap_or_else(|| NEXT.fetch_add(1, Ordering::Relaxed));
        stripe.set(Some(number));
        number
    })
}
