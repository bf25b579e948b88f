//! Ending a future at each of its polls in turn.

use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project::pin_project;
use tokio::task::unconstrained;
use tokio::time::sleep;
use tower::Service;

/// A future that takes more polls than this is taken for one that never ends.
const MOST_POLLS: u32 = 1000;
/// How long a future may sleep between two polls before its wake counts as lost.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Where a future was dropped.
///
/// ```
/// use seawall::testing::{Dropped, NeverEnds, drop_at_every_poll};
/// use tokio::task::yield_now;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
/// #     .block_on(async {
/// let mut ended = Vec::new();
/// let note = async |(), dropped: Dropped| ended.push((dropped.polls, dropped.over));
/// assert_eq!(drop_at_every_poll(async || (), |()| yield_now(), note).await, Ok(2));
/// assert_eq!(ended, [(0, false), (1, false), (2, true)]);
///
/// let hangs = drop_at_every_poll(async || (), |()| std::future::pending::<()>(), async |(), _| {});
/// assert_eq!(hangs.await, Err(NeverEnds::NeverWoken(1)));
/// # });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dropped {
    /// After so many polls.
    pub polls: u32,
    /// Whether it was over by then: this is the last time.
    pub over: bool,
}

/// Why a future could not be dropped at each of its polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NeverEnds {
    /// It is not over after so many polls.
    #[error("it is not over after {0} polls")]
    Polls(u32),
    /// After so many polls, nobody woke it for an hour.
    #[error("after {0} polls it was never woken: the wake was lost")]
    NeverWoken(u32),
}

/// Drops a future after no poll, after one, after two, until it is over, and looks at what is left
/// each time. Returns how many polls the whole takes.
///
/// `make` makes a world anew each time, `run` the future in it, `check` sees what is left of it: that
/// nothing is in flight, that the next call works. [`Steps`] is the future of one polite call, with a
/// poll at each point where its caller could lose interest. Needs tokio's timers; with paused time it
/// takes no time.
///
/// ```
/// use seawall::testing::{Broken, Scenario, MockService, Reply, Steps, drop_at_every_poll};
/// use tower::{Layer, limit::ConcurrencyLimitLayer};
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
/// #     .block_on(async {
/// let polls = drop_at_every_poll(
///     async || {
///         let (handle, probe) = MockService::new(Scenario::echo(|| Broken));
///         handle.set_reply(Reply::After(2));
///         (handle, ConcurrencyLimitLayer::new(1).layer(probe))
///     },
///     |(_, service)| Steps::new(service.clone(), 7),
///     async |(handle, mut service), dropped| {
///         handle.assert_at_rest();
///         let again = Steps::new(&mut service, 7).await;
///         assert_eq!(again, Ok(7), "{dropped:?}");
///     },
/// );
/// assert_eq!(polls.await, Ok(5)); // ready, called, pending twice, answered
/// # });
/// ```
///
/// # Errors
///
/// If the future takes more than a thousand polls, or is not woken for an hour.
pub async fn drop_at_every_poll<T, F: Future>(
    mut make: impl AsyncFnMut() -> T,
    mut run: impl FnMut(&mut T) -> F,
    mut check: impl AsyncFnMut(T, Dropped),
) -> Result<u32, NeverEnds> {
    for polls in 0..=MOST_POLLS {
        let mut world = make().await;
        let over = {
            let future = run(&mut world);
            poll_at_most(polls, PATIENCE, future).await?.is_some()
        };
        check(world, Dropped { polls, over }).await;
        if over {
            return Ok(polls);
        }
    }
    Err(NeverEnds::Polls(MOST_POLLS))
}

/// Polls as often as it is woken, but no more than `polls` times, and drops it.
pub(super) async fn poll_at_most<F: Future>(
    polls: u32,
    patience: Duration,
    future: F,
) -> Result<Option<F::Output>, NeverEnds> {
    let mut left = polls;
    let (mut future, mut impatience) = (pin!(future), pin!(sleep(patience)));
    let driven = poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(Ok(None));
        }
        // Asked first: that this timer woke the task is no reason to poll the future.
        if impatience.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(NeverEnds::NeverWoken(polls - left)));
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(Some(output))),
            Poll::Pending if left == 0 => Poll::Ready(Ok(None)),
            Poll::Pending => Poll::Pending,
        }
    });
    // Without tokio's budget, which would make it say `Pending` more often than it has to.
    unconstrained(driven).await
}

/// One polite call, step by step: it asks until the service is ready, then calls it, then polls the
/// answer. Each step is a poll of its own, so that dropping it at every poll visits each point where
/// a caller can lose interest: with a reservation in hand, and with a future that was never polled.
///
/// Between the steps it wakes itself.
#[pin_project]
#[must_use = "futures do nothing unless polled"]
pub struct Steps<S: Service<Req>, Req> {
    // Dropped in this order, unless the service was let go before.
    #[pin]
    future: Option<S::Future>,
    service: Option<S>,
    request: Option<Req>,
    readied: bool,
    lets_go: bool,
}

impl<S: Service<Req>, Req> Steps<S, Req> {
    /// Calls `service`, and keeps it until the answer was dropped.
    pub fn new(service: S, request: Req) -> Self {
        let (service, request) = (Some(service), Some(request));
        Self { future: None, service, request, readied: false, lets_go: false }
    }

    /// Drops the service as soon as it was called, before the answer.
    pub fn lets_go(mut self) -> Self {
        self.lets_go = true;
        self
    }
}

impl<S: Service<Req>, Req> Future for Steps<S, Req> {
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(future) = this.future.as_mut().as_pin_mut() {
            return future.poll(cx);
        }
        let Some(service) = this.service else { return Poll::Pending };
        if *this.readied {
            if let Some(request) = this.request.take() {
                let future = service.call(request);
                this.future.set(Some(future));
            }
            if *this.lets_go {
                *this.service = None;
            }
        } else {
            ready!(service.poll_ready(cx))?;
            *this.readied = true;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: Service<Req>, Req> fmt::Debug for Steps<S, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steps")
            .field("readied", &self.readied)
            .field("called", &self.future.is_some())
            .finish_non_exhaustive()
    }
}
