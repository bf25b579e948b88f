//! Calls a contender as its user would, many times, and polls each call in place.

use std::future::Future;
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

use tower::Service;

use crate::inner;
use crate::runtime;

/// How the caller holds the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// One clone, called again and again.
    Kept,
    /// A clone for each call, as axum and tonic do it.
    ClonedPerCall,
}

/// Runs so many calls.
pub type Batch = Box<dyn FnMut(u64) -> Tally + Send>;

/// Makes batches over clones of one and the same policy.
pub type Fork = Box<dyn Fn(Holding) -> Batch>;

/// What a batch came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub answered: u64,
    pub rejected: u64,
    /// The sum of all answers.
    pub sum: u64,
}

/// What has to come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Every call reached the inner service once and was answered.
    Answers,
    /// No call reached the inner service, and every one was rejected.
    HandleError,
}

impl Expect {
    /// Runs a batch, and panics if its work was not done.
    pub fn check(self, batch: &mut Batch, calls: u64) {
        let before = inner::calls();
        let tally = batch(calls);
        let reached = inner::calls() - before;
        let expected = match self {
            // Requests are 0, 1, 2, …, and each is answered with the number after it.
            Self::Answers => {
                (calls, Tally { answered: calls, rejected: 0, sum: calls * (calls + 1) / 2 })
            }
            Self::HandleError => (0, Tally { answered: 0, rejected: calls, sum: 0 }),
        };
        assert_eq!((reached, tally), expected, "the work was not done");
    }
}

/// A contender that is a service.
pub fn service<S>(service: S) -> Fork
where
    S: Service<u64, Response = u64> + Clone + Send + 'static,
{
    Box::new(move |holding| {
        let mut service = service.clone();
        match holding {
            Holding::Kept => Box::new(move |calls| {
                batch(calls, |request, cx, tally| call(&mut service, request, cx, tally))
            }),
            Holding::ClonedPerCall => Box::new(move |calls| {
                batch(calls, |request, cx, tally| call(&mut service.clone(), request, cx, tally))
            }),
        }
    })
}

/// A contender that wraps a future, for libraries without a service.
pub fn wrapper<P, S, F, Fut, E>(policy: P, service: S, wrap: F) -> Fork
where
    P: Clone + Send + 'static,
    S: Service<u64> + Clone + Send + 'static,
    F: Fn(&P, &mut S, u64) -> Fut + Copy + Send + 'static,
    Fut: Future<Output = Result<u64, E>>,
{
    Box::new(move |holding| {
        let (policy, mut service) = (policy.clone(), service.clone());
        match holding {
            Holding::Kept => Box::new(move |calls| {
                batch(calls, |request, cx, tally| {
                    ready(&mut service, cx);
                    finish(pin!(wrap(&policy, &mut service, request)), cx, tally);
                })
            }),
            Holding::ClonedPerCall => Box::new(move |calls| {
                batch(calls, |request, cx, tally| {
                    let (policy, mut service) = (policy.clone(), service.clone());
                    ready(&mut service, cx);
                    finish(pin!(wrap(&policy, &mut service, request)), cx, tally);
                })
            }),
        }
    })
}

/// A contender whose calls cannot be polled in place, because they wait for a timer to ring.
pub fn driven<S>(service: S) -> Fork
where
    S: Service<u64, Response = u64> + Clone + Send + 'static,
{
    Box::new(move |_| {
        let mut service = service.clone();
        Box::new(move |calls| {
            batch(calls, |request, cx, tally| {
                ready(&mut service, cx);
                match runtime().block_on(service.call(request)) {
                    Ok(answer) => tally.answer(answer),
                    Err(_) => tally.rejected += 1,
                }
            })
        })
    })
}

/// Calls a service with a broken inner one until its breaker is surely open.
pub fn tripped<S>(mut service: S) -> S
where
    S: Service<u64, Response = u64>,
{
    let mut cx = Context::from_waker(Waker::noop());
    for request in 0..1000 {
        call(&mut service, request, &mut cx, &mut Tally::default());
    }
    service
}

/// Fills a bulkhead with calls to a hung service, which nobody ever drops.
pub fn filled<S>(service: S, capacity: usize) -> S
where
    S: Service<u64> + Clone,
    S::Future: 'static,
{
    let mut cx = Context::from_waker(Waker::noop());
    for request in 0..capacity {
        let mut service = service.clone();
        ready(&mut service, &mut cx);
        let held = Box::leak(Box::new(Box::pin(service.call(request as u64))));
        assert!(held.as_mut().poll(&mut cx).is_pending(), "the bulkhead is full too early");
    }
    service
}

#[inline]
fn batch(calls: u64, mut one: impl FnMut(u64, &mut Context<'_>, &mut Tally)) -> Tally {
    let mut cx = Context::from_waker(Waker::noop());
    let mut tally = Tally::default();
    for request in 0..calls {
        one(black_box(request), &mut cx, &mut tally);
    }
    tally
}

#[inline]
fn call<S>(service: &mut S, request: u64, cx: &mut Context<'_>, tally: &mut Tally)
where
    S: Service<u64, Response = u64>,
{
    ready(service, cx);
    finish(pin!(service.call(request)), cx, tally);
}

#[inline]
fn ready<S: Service<u64>>(service: &mut S, cx: &mut Context<'_>) {
    assert!(matches!(service.poll_ready(cx), Poll::Ready(Ok(()))), "a contender is always ready");
}

#[inline]
fn finish<E>(
    mut future: Pin<&mut impl Future<Output = Result<u64, E>>>,
    cx: &mut Context<'_>,
    tally: &mut Tally,
) {
    loop {
        match future.as_mut().poll(cx) {
            Poll::Ready(Ok(answer)) => return tally.answer(answer),
            Poll::Ready(Err(error)) => {
                black_box(&error);
                tally.rejected += 1;
                return;
            }
            Poll::Pending => {}
        }
    }
}

impl Tally {
    #[inline]
    fn answer(&mut self, answer: u64) {
        self.answered += 1;
        self.sum += answer;
    }
}
