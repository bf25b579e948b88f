//! The world: a server with twenty workers, and what befalls it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use seawall::propagate::WithContext;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};
use tower::Service;

use crate::fault::Fault;

/// Workers of the whole world; several backends share them.
pub(crate) const WORKERS: usize = 20;
/// Mean time that one request takes, in seconds: 400 requests a second at most.
pub(crate) const MEAN: f64 = 0.050;
/// Of the logarithm of that time. With it p95 is 112 ms and p99 169 ms.
const SIGMA: f64 = 0.6;
/// Requests that wait at a server at most.
const QUEUE: usize = 10_000;
/// With this many waiting, a server that pushes back does so.
const CROWDED: usize = 40;
/// What it tells those it sends away.
pub(crate) const HINT: Duration = Duration::from_millis(500);
/// What sending one away costs a worker, in seconds.
const REFUSAL: f64 = 0.005;
/// How long a refused connection or an error at the door takes.
const AT_ONCE: Duration = Duration::from_millis(1);

/// What is asked. The server does not know by when the answer is needed; it is written here for
/// the bookkeeping only.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Request {
    pub(crate) id: usize,
    /// Seconds since the run began.
    pub(crate) worthless_at: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    #[error("connection refused")]
    Down,
    #[error("it failed")]
    Failed,
    #[error("it is busy, come back in {0:?}")]
    Busy(Duration),
}

/// What becomes of an attempt that still waits in the queue when its caller gives up. What a worker
/// has begun it ends in either form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The server notices and leaves it out.
    Dropped,
    /// It is worked for all the same.
    Worked,
}

/// What the servers of a run have seen, by the id of the request where it is a list.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) attempts: Vec<u16>,
    /// Until when a request was told to stay away.
    told: Vec<f64>,
    pub(crate) retries_after_hint: u32,
    pub(crate) retries_too_early: u32,
    /// Worker seconds that attempts which came during the fault took, and those of no use.
    pub(crate) worked: f64,
    pub(crate) wasted: f64,
    pub(crate) longest_queue: usize,
}

/// A clock that counts seconds from the beginning of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

/// One server. Clones are the same server.
#[derive(Clone)]
pub(crate) struct Server {
    core: Arc<Mutex<Core>>,
    pub(crate) tally: Arc<Mutex<Tally>>,
    clock: Clock,
    fault: Fault,
    form: Form,
}

struct Core {
    workers: usize,
    /// Whether the fault befalls this one.
    ill: bool,
    busy: usize,
    queue: VecDeque<Job>,
    under_way: BTreeMap<u64, Job>,
    started: u64,
    /// Seconds of work that rejections have cost and no worker has paid yet.
    debt: f64,
    rng: fastrand::Rng,
}

struct Job {
    request: Request,
    came: f64,
    reply: oneshot::Sender<Result<(), Failure>>,
}

impl Form {
    pub(crate) const BOTH: [Self; 2] = [Self::Dropped, Self::Worked];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Dropped => "dropped",
            Self::Worked => "worked",
        }
    }
}

// ===== impl Clock =====

impl Clock {
    pub(crate) fn start() -> Self {
        Self(now())
    }

    /// Seconds since the run began.
    pub(crate) fn now(self) -> f64 {
        now().duration_since(self.0).as_secs_f64()
    }

    pub(crate) fn instant(self, seconds: f64) -> Instant {
        self.0 + Duration::from_secs_f64(seconds)
    }
}

#[allow(clippy::disallowed_methods)] // the one place of the simulation
fn now() -> Instant {
    Instant::now()
}

// ===== impl Tally =====

impl Tally {
    fn note_attempt(&mut self, id: usize, now: f64) {
        if self.attempts.len() <= id {
            self.attempts.resize(id + 1, 0);
            self.told.resize(id + 1, 0.0);
        }
        self.attempts[id] += 1;
        if self.told[id] > 0.0 {
            self.retries_after_hint += 1;
            // A microsecond is what rounding seconds to nanoseconds and back may cost.
            self.retries_too_early += u32::from(now + 1e-6 < self.told[id]);
        }
    }
}

// ===== impl Server =====

impl Server {
    pub(crate) fn new(
        workers: usize,
        ill: bool,
        fault: Fault,
        form: Form,
        clock: Clock,
        seed: u64,
        tally: &Arc<Mutex<Tally>>,
    ) -> Self {
        let core = Core {
            workers,
            ill,
            busy: 0,
            queue: VecDeque::new(),
            under_way: BTreeMap::new(),
            started: 0,
            debt: 0.0,
            rng: fastrand::Rng::with_seed(seed),
        };
        let server =
            Self { core: Arc::new(Mutex::new(core)), tally: Arc::clone(tally), clock, fault, form };
        let turning = server.clone();
        tokio::spawn(async move {
            for at in turning.fault.turns() {
                sleep_until(clock.instant(at)).await;
                turning.turn(at);
            }
        });
        server
    }

    /// The weather changes.
    fn turn(&self, now: f64) {
        let mut core = lock(&self.core);
        let ill = core.ill;
        if ill && self.fault.is_down(now) {
            // It died: what it was working for and what waited is lost.
            core.busy = 0;
            let lost = std::mem::take(&mut core.under_way).into_values();
            let lost: Vec<_> = lost.chain(std::mem::take(&mut core.queue)).collect();
            drop(core);
            for job in lost {
                let _ = job.reply.send(Err(Failure::Down));
            }
            return;
        }
        if ill && self.fault.ends_a_hang(now) {
            // It was started again: what hung is lost, what waited is not.
            let hung = std::mem::take(&mut core.under_way);
            core.busy = 0;
            for job in hung.into_values() {
                let _ = job.reply.send(Err(Failure::Down));
            }
        }
        self.start_jobs(&mut core, now);
    }

    fn arrive(&self, job: Job) {
        let mut core = lock(&self.core);
        let mut tally = lock(&self.tally);
        tally.note_attempt(job.request.id, job.came);
        if self.fault.pushes_back() && core.queue.len() >= CROWDED {
            core.debt += REFUSAL;
            tally.told[job.request.id] = job.came + HINT.as_secs_f64();
            let _ = job.reply.send(Err(Failure::Busy(HINT)));
            return;
        }
        if core.queue.len() >= QUEUE {
            let _ = job.reply.send(Err(Failure::Failed));
            return;
        }
        let came = job.came;
        core.queue.push_back(job);
        tally.longest_queue = tally.longest_queue.max(core.queue.len());
        drop(tally);
        self.start_jobs(&mut core, came);
    }

    /// Lets the workers that are free since `since` begin.
    fn start_jobs(&self, core: &mut Core, since: f64) {
        let fault = if core.ill { self.fault } else { Fault::None };
        while core.busy < fault.workers(core.workers, since) {
            let Some(job) = core.queue.pop_front() else { return };
            if self.form == Form::Dropped && job.reply.is_closed() {
                continue;
            }
            core.busy += 1;
            core.started += 1;
            let number = core.started;
            // Timers ring at whole milliseconds. A worker loses nothing by that: it begins at the
            // moment at which it was free.
            let begins = since.max(job.came);
            let hangs = fault.hangs(begins);
            let takes =
                lognormal(&mut core.rng) * fault.stretch(begins) + std::mem::take(&mut core.debt);
            core.under_way.insert(number, job);
            if !hangs {
                let server = self.clone();
                let ends = begins + takes;
                tokio::spawn(async move {
                    sleep_until(server.clock.instant(ends)).await;
                    server.end(number, takes, ends);
                });
            }
        }
    }

    fn end(&self, number: u64, took: f64, at: f64) {
        let mut core = lock(&self.core);
        let fault = if core.ill { self.fault } else { Fault::None };
        if fault.hangs(at) {
            return;
        }
        let Some(job) = core.under_way.remove(&number) else { return }; // it died meanwhile
        core.busy -= 1;
        let fails = fault.fails_late(at, &mut core.rng);
        let arrives = at + took * (fault.lag(at, &mut core.rng) - 1.0);
        let Job { request, came, reply } = job;
        let wanted = !reply.is_closed() && !fails && arrives <= request.worthless_at;
        let answer = if fails { Err(Failure::Failed) } else { Ok(()) };
        let of_use = if arrives > at {
            let arrives = self.clock.instant(arrives);
            tokio::spawn(async move {
                sleep_until(arrives).await;
                let _ = reply.send(answer);
            });
            wanted
        } else {
            reply.send(answer).is_ok() && wanted
        };
        if self.fault.is_during(came) {
            let mut tally = lock(&self.tally);
            tally.worked += took;
            if !of_use {
                tally.wasted += took;
            }
        }
        self.start_jobs(&mut core, at);
    }

    fn fails_at_once(&self, now: f64) -> Option<Failure> {
        let mut core = lock(&self.core);
        if core.ill && self.fault.is_down(now) {
            return Some(Failure::Down);
        }
        (core.ill && self.fault.fails_at_once(now, &mut core.rng)).then_some(Failure::Failed)
    }
}

impl Service<WithContext<Request>> for Server {
    type Response = ();
    type Error = Failure;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: WithContext<Request>) -> Self::Future {
        let server = self.clone();
        Box::pin(async move {
            let (request, came) = (request.request, server.clock.now());
            if let Some(failure) = server.fails_at_once(came) {
                lock(&server.tally).note_attempt(request.id, came);
                tokio::time::sleep(AT_ONCE).await;
                return Err(failure);
            }
            let (reply, answer) = oneshot::channel();
            server.arrive(Job { request, came, reply });
            answer.await.unwrap_or(Err(Failure::Down))
        })
    }
}

/// A service time with mean [`MEAN`], in seconds.
fn lognormal(rng: &mut fastrand::Rng) -> f64 {
    // Box and Muller 1958.
    let (u, v) = (1.0 - rng.f64(), rng.f64());
    let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
    (MEAN.ln() - SIGMA * SIGMA / 2.0 + SIGMA * normal).exp()
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
