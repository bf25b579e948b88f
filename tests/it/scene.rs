//! What the tests of retry, bulkhead, health and timeout share.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use seawall::{
    CallError, Classification, Classifier, Classify, ConfigErrors, Error, Event, EventKind,
    Measurement, Outcome, Reason,
};
use tokio::time::Instant;
use tower::util::BoxCloneService;
use tower::{Service, service_fn};

/// How a dependency fails: a name, and what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub(crate) struct Broken {
    pub(crate) what: &'static str,
    pub(crate) outcome: Outcome,
}

/// The error of the stacks in these tests.
pub(crate) type Fail = Error<Broken>;

/// A service whose type is of no interest.
pub(crate) type Boxed = BoxCloneService<u32, u32, Fail>;

/// A failure that may pass.
pub(crate) const fn broken(what: &'static str) -> Broken {
    Broken { what, outcome: Outcome::TRANSIENT }
}

/// Classifies failures by what they say of themselves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ByWord;

impl<T> Classify<T, Fail> for ByWord {
    fn classify(&self, result: Result<&T, &Fail>) -> Classification {
        match result {
            Err(Error::Inner(broken)) => broken.outcome.into(),
            other => <Classifier>::default().classify(other),
        }
    }
}

/// The time on the tests' clock, which stands still unless they move it.
#[allow(clippy::disallowed_methods)] // the one place in these tests
pub(crate) fn now() -> Instant {
    Instant::now()
}

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Why a layer ended a call itself, if one did.
pub(crate) fn reason<T, E: CallError>(result: &Result<T, E>) -> Option<Reason> {
    result.as_ref().err().and_then(CallError::rejected).map(seawall::Rejected::reason)
}

/// What a layer measured when it ended a call itself.
pub(crate) fn measurement<T, E: CallError>(result: &Result<T, E>) -> Option<Measurement> {
    result.as_ref().err().and_then(CallError::rejected).map(seawall::Rejected::measurement)
}

/// Polls once, with a waker that does nothing.
pub(crate) fn poll_once<F: Future + ?Sized>(future: &mut Pin<Box<F>>) -> Poll<F::Output> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// Whether a service is ready, asked once.
pub(crate) fn is_ready<Req, S: Service<Req>>(service: &mut S) -> bool {
    service.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready()
}

/// Lets every task that can run do so, without time going on.
pub(crate) async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// Ends a test that would hang.
pub(crate) async fn in_time<T>(call: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), call).await.expect("it hangs")
}

/// Every field that is wrong with a configuration, in the order of the fields. Each is named with
/// its value and what is accepted.
#[track_caller]
pub(crate) fn fields<T>(built: Result<T, ConfigErrors>) -> Vec<&'static str> {
    let Err(problems) = built else { return Vec::new() };
    let told = problems.to_string();
    for problem in &problems {
        assert!(!problem.value.is_empty() && !problem.accepted.is_empty(), "{problem:?}");
        assert!(told.contains(&problem.to_string()), "{told} leaves out {problem}");
    }
    problems.iter().map(|problem| problem.field).collect()
}

// ===== impl Calls =====

/// When a dependency was called, and how many of its calls are alive.
#[derive(Debug, Clone, Default)]
pub(crate) struct Calls {
    times: Arc<Mutex<Vec<Instant>>>,
    alive: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

/// A call, or an answer, that is alive.
#[derive(Debug)]
pub(crate) struct Alive(Arc<AtomicUsize>);

impl Calls {
    /// A call came in. Returns its number, counted from 1.
    pub(crate) fn note(&self) -> u32 {
        let mut times = lock(&self.times);
        times.push(now());
        u32::try_from(times.len()).unwrap()
    }

    pub(crate) fn enter(&self) -> Alive {
        let alive = self.alive.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(alive, Ordering::SeqCst);
        Alive(self.alive.clone())
    }

    pub(crate) fn count(&self) -> usize {
        lock(&self.times).len()
    }

    pub(crate) fn alive(&self) -> usize {
        self.alive.load(Ordering::SeqCst)
    }

    /// The most that were alive at a time.
    pub(crate) fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }

    /// The time from each call to the next.
    pub(crate) fn gaps(&self) -> Vec<Duration> {
        lock(&self.times).windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A dependency that answers its `n`-th call, counted from 1, at once.
pub(crate) fn answering<A>(answer: A) -> (Calls, Boxed)
where
    A: Fn(u32) -> Result<u32, Broken> + Clone + Send + Sync + 'static,
{
    let calls = Calls::default();
    let seen = calls.clone();
    let service = service_fn(move |_: u32| {
        let answer = answer(seen.note()).map_err(Error::Inner);
        async move { answer }
    });
    (calls, BoxCloneService::new(service))
}

/// A dependency that takes so long, and then gives its request back.
pub(crate) fn taking(time: Duration) -> (Calls, Boxed) {
    let calls = Calls::default();
    let seen = calls.clone();
    let service = service_fn(move |request: u32| {
        seen.note();
        let alive = seen.enter();
        async move {
            tokio::time::sleep(time).await;
            drop(alive);
            Ok(request)
        }
    });
    (calls, BoxCloneService::new(service))
}

// ===== impl Log =====

/// Everything that a layer told its observer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<EventKind>>>);

impl Log {
    pub(crate) fn observer(&self) -> impl Fn(&Event) + Send + Sync + use<> {
        let log = self.0.clone();
        move |event| lock(&log).push(event.kind)
    }

    pub(crate) fn all(&self) -> Vec<EventKind> {
        lock(&self.0).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
