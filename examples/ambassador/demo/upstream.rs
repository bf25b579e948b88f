//! A real HTTP server with few workers, a queue, and bad days.
//!
//! Asked for [`HEALTH`] it says how it is, without a worker: not while it hangs, for nobody is at
//! home then, and that it is well while it is merely slow or flaky, as such checks do.
//!
//! It does not know when nobody waits for a job any more, and works it off all the same. This is
//! what keeps real services down when the fault is long over: the queue is full of calls whose
//! callers have given up, and the new ones wait behind them until they give up too.

use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use fastrand::Rng;
use futures::future::Either;
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use super::script::{Condition, Script, Tempo};
use crate::reply;
use crate::server;
use crate::workers::Workers;

/// What it is asked for by those who want to know how it is.
pub(crate) const HEALTH: &str = "/healthz";
/// Eight jobs at a time of 16 to 30 ms: 340 calls a second, of which the load asks for 200.
pub(crate) const WORKERS: u32 = 8;
const WORK_MILLIS: std::ops::RangeInclusive<u64> = 16..=30;
/// In a brown-out: 43 calls a second.
const SLOWDOWN: u32 = 8;
/// Of a hundred answers when it is flaky: so many are a 500, and as many a cut connection.
const FLAKY_PERCENT: u32 = 12;
/// More than this are turned away.
const QUEUE: usize = 1_000;
/// Both upstreams have the same work to do.
const SEED: u64 = 7;
/// Connections that the system may hold until they are accepted.
const BACKLOG: u32 = 1_024;

/// A running upstream; it ends when this is dropped.
pub(crate) struct Upstream {
    address: SocketAddr,
    books: Arc<Books>,
    lives: JoinHandle<()>,
}

/// What the upstream did.
#[derive(Debug, Default)]
struct Books {
    queued: AtomicUsize,
    done: AtomicU64,
    for_nobody: AtomicU64,
}

/// A call, on its way through the queue.
struct Job {
    reply: oneshot::Sender<Answer>,
}

/// What comes of a job: a status, or the connection is cut.
type Answer = Result<StatusCode, &'static str>;

impl Upstream {
    /// Starts to listen on a port of the system's choice, on the runtime it is started in.
    pub(crate) fn start(script: &Script) -> Result<Self, String> {
        let anywhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let problem = |why| format!("cannot start an upstream: {why}");
        let held = bound(anywhere).map_err(problem)?;
        let address = held.local_addr().map_err(problem)?;
        let listener = listen(address).map_err(problem)?;
        let books = Arc::<Books>::default();
        let (condition, tempo) = (script.condition(), script.tempo());
        let lives = live_and_die(listener, held, condition, tempo, Arc::clone(&books));
        Ok(Self { address, books, lives: tokio::spawn(lives) })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Jobs that wait for a worker.
    pub(crate) fn queued(&self) -> usize {
        self.books.queued.load(Ordering::Relaxed)
    }

    /// Jobs it finished, and how many of them for somebody who had gone.
    pub(crate) fn done(&self) -> (u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.books.done), read(&self.books.for_nobody))
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.lives.abort();
    }
}

/// A socket that has the address but does not listen: connections to it are rejected, and nobody
/// else can get the address meanwhile. One that listens may stand beside it.
fn bound(address: SocketAddr) -> std::io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    #[cfg(unix)]
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket)
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    bound(address)?.listen(BACKLOG)
}

/// Serves, dies when the script says so, and comes back with an empty queue.
async fn live_and_die(
    mut listener: TcpListener,
    held: TcpSocket,
    mut condition: watch::Receiver<Condition>,
    tempo: Tempo,
    books: Arc<Books>,
) {
    loop {
        tokio::select! {
            () = live(listener, condition.clone(), tempo, &books) => {}
            _ = condition.wait_for(|now| *now == Condition::Dead) => {}
        }
        books.queued.store(0, Ordering::Relaxed); // what was in it died with its connections
        if condition.wait_for(|now| *now != Condition::Dead).await.is_err() {
            return;
        }
        let Ok(again) = held.local_addr().and_then(listen) else { return };
        listener = again;
    }
}

/// One life. All that happens in it belongs to this future and ends with it.
async fn live(
    listener: TcpListener,
    condition: watch::Receiver<Condition>,
    tempo: Tempo,
    books: &Arc<Books>,
) {
    let (queue, jobs) = mpsc::channel(QUEUE);
    let line_up = {
        let (books, condition) = (Arc::clone(books), condition.clone());
        move |request: Request<Incoming>, _peer| {
            let answer = if request.uri().path() == HEALTH {
                Either::Left(say_how_it_is(condition.clone()))
            } else {
                let (reply, answer) = oneshot::channel();
                let queued = queue.try_send(Job { reply });
                books.queued.store(queue.max_capacity() - queue.capacity(), Ordering::Relaxed);
                Either::Right(async move {
                    match queued {
                        Ok(()) => answer.await.unwrap_or(Err("its worker died")),
                        Err(_) => Ok(StatusCode::SERVICE_UNAVAILABLE),
                    }
                })
            };
            async {
                let status = answer.await?;
                let words = status.canonical_reason().unwrap_or_default();
                Ok::<_, &'static str>(reply::line(status, words))
            }
        }
    };
    tokio::select! {
        _ = server::serve(listener, Workers::none(), line_up, pending()) => {}
        () = work_off(jobs, condition, tempo, books) => {}
    }
}

/// Gives each job to a worker, first come first served.
async fn work_off(
    mut jobs: mpsc::Receiver<Job>,
    condition: watch::Receiver<Condition>,
    tempo: Tempo,
    books: &Arc<Books>,
) {
    let desks = Arc::new(Semaphore::new(tempo.hands(WORKERS) as usize));
    let mut workers = JoinSet::new();
    let mut rng = Rng::with_seed(SEED);
    while let Ok(desk) = Arc::clone(&desks).acquire_owned().await {
        let Some(job) = jobs.recv().await else { return };
        books.queued.store(jobs.len(), Ordering::Relaxed);
        let (condition, books) = (condition.clone(), Arc::clone(books));
        let work = tempo.time(Duration::from_millis(rng.u64(WORK_MILLIS)));
        let luck = rng.u32(..100);
        workers.spawn(async move {
            do_job(job, condition, work, luck, &books).await;
            drop(desk);
        });
        while workers.try_join_next().is_some() {}
    }
}

async fn do_job(
    job: Job,
    mut condition: watch::Receiver<Condition>,
    work: Duration,
    luck: u32,
    books: &Books,
) {
    let slow = *condition.borrow() == Condition::Slow;
    sleep(if slow { work * SLOWDOWN } else { work }).await;
    // Whoever hangs comes back when the fault is over, and not before.
    let answer = match condition.wait_for(|now| *now != Condition::Hanging).await.as_deref() {
        Ok(Condition::Failing) => Ok(StatusCode::INTERNAL_SERVER_ERROR),
        Ok(Condition::Flaky) if luck < FLAKY_PERCENT => Ok(StatusCode::INTERNAL_SERVER_ERROR),
        Ok(Condition::Flaky) if luck < 2 * FLAKY_PERCENT => Err("cut off"),
        _ => Ok(StatusCode::OK),
    };
    books.done.fetch_add(1, Ordering::Relaxed);
    if job.reply.send(answer).is_err() {
        books.for_nobody.fetch_add(1, Ordering::Relaxed);
    }
}

async fn say_how_it_is(mut condition: watch::Receiver<Condition>) -> Answer {
    match condition.wait_for(|now| *now != Condition::Hanging).await.as_deref() {
        Ok(Condition::Failing) => Ok(StatusCode::INTERNAL_SERVER_ERROR),
        _ => Ok(StatusCode::OK),
    }
}
