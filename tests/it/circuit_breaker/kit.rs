//! A dependency that does what each request asks of it, and a breaker in front of it.

use std::fmt;
use std::future::pending;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use seawall::circuit_breaker::{
    Builder, CircuitBreaker, CircuitBreakerHandle, CircuitBreakerLayer, Config, State, Transition,
};
use seawall::{
    Classification, Classifier, Classify, Error, Event, EventKind, OnResponse, Outcome, Reason,
};
use tokio::sync::oneshot;
use tokio::time::{advance, sleep};
use tower::{Layer, Service, ServiceExt};

/// What the dependency answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Success,
    Failure,
    Pushback,
    Ignored,
    /// Failed, and asks to be left alone for so long.
    Busy(Duration),
}

/// What a request asks the dependency to do.
#[derive(Debug)]
pub(super) enum Ask {
    Now(Answer),
    After(Duration, Answer),
    /// Answers when told to; hangs if the sender is dropped.
    When(oneshot::Receiver<Answer>),
    Hang,
    PanicInCall,
    PanicLater,
}

pub(super) const GOOD: Ask = Ask::Now(Answer::Success);
pub(super) const BAD: Ask = Ask::Now(Answer::Failure);

/// Every answer but a good one, as an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault(pub(super) Answer);

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::error::Error for Fault {}

pub(super) type Result<T = ()> = std::result::Result<T, Error<Fault>>;

/// Does what it is asked, and holds its callers to tower's contract.
#[derive(Debug, Default)]
pub(super) struct Dependency {
    pub(super) seen: Arc<Seen>,
    reserved: bool,
}

/// What a dependency has seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    calls: AtomicUsize,
    in_flight: AtomicUsize,
    reservations: AtomicUsize,
    polls: AtomicUsize,
    busy: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
}

impl Seen {
    pub(super) fn calls(&self) -> usize {
        self.calls.load(SeqCst)
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(SeqCst)
    }

    /// Instances that are ready and were not called.
    pub(super) fn reservations(&self) -> usize {
        self.reservations.load(SeqCst)
    }

    /// How often it was asked whether it is ready.
    pub(super) fn polls(&self) -> usize {
        self.polls.load(SeqCst)
    }

    /// Makes it ready, or never ready until told otherwise.
    pub(super) fn set_ready(&self, ready: bool) {
        self.busy.store(!ready, SeqCst);
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap());
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Clone for Dependency {
    fn clone(&self) -> Self {
        Self { seen: self.seen.clone(), reserved: false }
    }
}

impl Drop for Dependency {
    fn drop(&mut self) {
        if self.reserved {
            self.seen.reservations.fetch_sub(1, SeqCst);
        }
    }
}

/// One call in the dependency.
struct Inside(Arc<Seen>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, SeqCst);
    }
}

impl Service<Ask> for Dependency {
    type Response = ();
    type Error = Error<Fault>;
    type Future = Pin<Box<dyn Future<Output = Result> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result> {
        self.seen.polls.fetch_add(1, SeqCst);
        if self.seen.busy.load(SeqCst) {
            self.seen.waiting.lock().unwrap().push(cx.waker().clone());
            return Poll::Pending;
        }
        if !std::mem::replace(&mut self.reserved, true) {
            self.seen.reservations.fetch_add(1, SeqCst);
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, ask: Ask) -> Self::Future {
        assert!(std::mem::take(&mut self.reserved), "called without being ready");
        let seen = &self.seen;
        seen.reservations.fetch_sub(1, SeqCst);
        seen.calls.fetch_add(1, SeqCst);
        assert!(!matches!(ask, Ask::PanicInCall), "as asked");
        seen.in_flight.fetch_add(1, SeqCst);
        let inside = Inside(seen.clone());
        Box::pin(async move {
            let _inside = inside;
            let answer = match ask {
                Ask::Now(answer) => answer,
                Ask::After(delay, answer) => {
                    sleep(delay).await;
                    answer
                }
                Ask::When(told) => match told.await {
                    Ok(answer) => answer,
                    Err(_) => pending().await,
                },
                Ask::Hang => pending().await,
                Ask::PanicInCall | Ask::PanicLater => panic!("as asked"),
            };
            if answer == Answer::Success { Ok(()) } else { Err(Error::Inner(Fault(answer))) }
        })
    }
}

/// Reads what the dependency says; what our own layers say is left to the default.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ByFault;

impl Classify<(), Error<Fault>> for ByFault {
    fn classify(&self, result: std::result::Result<&(), &Error<Fault>>) -> Classification {
        let Err(Error::Inner(Fault(answer))) = result else {
            return <Classifier>::default().classify(result);
        };
        Classification::Now(match answer {
            Answer::Success => Outcome::SUCCESS,
            Answer::Failure => Outcome::TRANSIENT,
            Answer::Pushback => Outcome::PUSHBACK,
            Answer::Ignored => Outcome::IGNORE,
            Answer::Busy(retry_after) => Outcome::TRANSIENT.after(*retry_after),
        })
    }
}

pub(super) type Breaker<S = Dependency> = CircuitBreaker<S, ByFault, OnResponse>;

pub(super) fn builder() -> Builder<ByFault> {
    CircuitBreakerLayer::builder("dep").classify(ByFault).seed(7)
}

/// A breaker in front of a scripted dependency.
#[derive(Debug, Clone)]
pub(super) struct Rig {
    pub(super) layer: CircuitBreakerLayer<ByFault>,
    pub(super) handle: CircuitBreakerHandle,
    pub(super) service: Breaker,
    pub(super) seen: Arc<Seen>,
}

impl Rig {
    pub(super) fn new(builder: Builder<ByFault>) -> Self {
        let layer = builder.build().unwrap();
        let dependency = Dependency::default();
        let (handle, seen) = (layer.handle(), dependency.seen.clone());
        Self { service: layer.layer(dependency), layer, handle, seen }
    }

    pub(super) fn state(&self) -> State {
        self.handle.state()
    }

    /// A call, answered at once.
    pub(super) async fn ask(&mut self, ask: Ask) -> Result {
        self.service.ready().await?.call(ask).await
    }

    /// A call that has been polled once.
    pub(super) fn launch(&mut self, ask: Ask) -> Calling {
        launch(&mut self.service, ask)
    }

    pub(super) async fn trip(&mut self) {
        for _ in 0..100_000 {
            if self.state() == State::Open {
                return;
            }
            let _ = self.ask(BAD).await;
        }
        panic!("never opened");
    }

    /// Lets the rest go by, and no more.
    pub(super) async fn break_duration(&self) {
        let break_duration = self.handle.snapshot().next_probe_in.expect("open");
        advance(break_duration).await;
    }

    pub(super) async fn recover(&mut self) {
        self.break_duration().await;
        for _ in 0..100 {
            self.ask(GOOD).await.unwrap();
            if self.state() == State::Closed {
                return;
            }
        }
        panic!("never closed");
    }

    /// Turns a setting of the running breaker.
    pub(super) fn reload(&self, turn: impl FnOnce(&mut Config)) {
        let mut config = self.handle.config();
        turn(&mut config);
        self.handle.reload(config).unwrap();
    }
}

/// A call through some service.
pub(super) type Calling = Pin<Box<dyn Future<Output = Result> + Send>>;

/// Calls a service that is ready at once, and polls the call once. What the first poll says is
/// found by polling again: a future that was ready is kept as its answer.
pub(super) fn launch<S>(service: &mut S, ask: Ask) -> Calling
where
    S: Service<Ask, Response = (), Error = Error<Fault>>,
    S::Future: Send + 'static,
{
    let ready = service.poll_ready(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(ready, Poll::Ready(Ok(()))), "not ready: {ready:?}");
    let mut call = Box::pin(service.call(ask));
    match poll(call.as_mut()) {
        Poll::Ready(answer) => Box::pin(async move { answer }),
        Poll::Pending => call,
    }
}

pub(super) fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

pub(super) fn is_rejected(answer: &Result) -> bool {
    matches!(answer, Err(Error::Rejected(why)) if why.reason() == Reason::CircuitOpen)
}

/// Keeps every event.
#[derive(Debug, Clone, Default)]
pub(super) struct Diary(Arc<Mutex<Vec<Event>>>);

impl Diary {
    pub(super) fn observer(&self) -> impl Fn(&Event) + Send + Sync + 'static {
        let events = self.0.clone();
        move |event| events.lock().unwrap().push(event.clone())
    }

    pub(super) fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }

    pub(super) fn changes(&self) -> Vec<Transition> {
        self.events().iter().filter_map(|event| Transition::of(&event.kind)).collect()
    }

    pub(super) fn count(&self, kind: EventKind) -> usize {
        self.events().iter().filter(|event| event.kind == kind).count()
    }
}
