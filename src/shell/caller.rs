//! The service behind `policy.run(…)`: its requests are the calls themselves.

use std::task::{Context, Poll};

use tower::Service;

/// Calls the closure it is given. Always ready.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Caller;

impl<F, Fut, T, E> Service<F> for Caller
where
    F: FnOnce() -> Fut,
    Fut: Future<Output = Result<T, E>>,
{
    type Response = T;
    type Error = E;
    type Future = Fut;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: F) -> Fut {
        call()
    }
}
