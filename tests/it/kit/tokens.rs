//! A rate limit that rejects: one call a second, and no waiting.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use seawall::testing::Broken;
use tokio::time::Instant;
use tower::{Layer, Service};

use super::bent::{Answer, Inner};

const PERIOD: Duration = Duration::from_secs(1);

/// When the last one was spent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tokens(Arc<Mutex<Option<Instant>>>);

impl Tokens {
    fn spend(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let free = last.is_none_or(|last| last.elapsed() >= PERIOD);
        if free {
            *last = Some(now());
        }
        free
    }
}

#[allow(clippy::disallowed_methods)] // it is the clock that the kit waits by
fn now() -> Instant {
    Instant::now()
}

#[derive(Debug, Clone)]
pub(crate) struct Limited(Inner, Tokens);

impl Layer<Inner> for Tokens {
    type Service = Limited;

    fn layer(&self, inner: Inner) -> Limited {
        Limited(inner, self.clone())
    }
}

impl Service<u32> for Limited {
    type Response = u32;
    type Error = Broken;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: u32) -> Answer {
        if self.1.spend() {
            return Box::pin(self.0.call(request));
        }
        self.0 = self.0.clone(); // gives back the reservation
        Box::pin(async { Err(Broken) })
    }
}
