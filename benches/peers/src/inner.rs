//! The services that are called. Each counts its calls and answers a request with the number after
//! it, so that a batch can prove that its work was done.

use std::cell::Cell;
use std::fmt;
use std::future::{Future, Pending, Ready, pending, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use tower::Service;

thread_local!(static CALLS: Cell<u64> = const { Cell::new(0) });

/// Calls that reached an inner service on this thread.
pub fn calls() -> u64 {
    CALLS.get()
}

/// What the innermost service fails with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure;

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failed")
    }
}

impl std::error::Error for Failure {}

/// Answers at once.
#[derive(Debug, Clone, Copy)]
pub struct Echo;

/// Is pending at the first poll and answers at the second.
#[derive(Debug, Clone, Copy)]
pub struct EchoLater;

/// Fails at once.
#[derive(Debug, Clone, Copy)]
pub struct Broken;

/// Never answers.
#[derive(Debug, Clone, Copy)]
pub struct Hung;

macro_rules! always_ready {
    ($($service:ident -> $future:ty: $answer:expr;)*) => {$(
        impl Service<u64> for $service {
            type Response = u64;
            type Error = Failure;
            type Future = $future;

            #[inline]
            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
                Poll::Ready(Ok(()))
            }

            #[inline]
            fn call(&mut self, request: u64) -> $future {
                CALLS.set(CALLS.get() + 1);
                let answer: fn(u64) -> $future = $answer;
                answer(request)
            }
        }
    )*};
}

always_ready! {
    Echo -> Ready<Result<u64, Failure>>: |request| ready(Ok(request + 1));
    EchoLater -> Later: |request| Later { answer: request + 1, polled: false };
    Broken -> Ready<Result<u64, Failure>>: |_| ready(Err(Failure));
    Hung -> Pending<Result<u64, Failure>>: |_| pending();
}

/// The future of [`EchoLater`].
#[derive(Debug)]
pub struct Later {
    answer: u64,
    polled: bool,
}

impl Future for Later {
    type Output = Result<u64, Failure>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        if std::mem::replace(&mut self.polled, true) {
            Poll::Ready(Ok(self.answer))
        } else {
            Poll::Pending // the bench polls again by itself
        }
    }
}
