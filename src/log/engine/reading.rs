//! What both logs do to read: ask again while there is nothing, and work for which a thread may have to wait.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::Either;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::core::time;
use crate::log::engine::exclusive::{Boxed, Exclusive};
use crate::log::error::LogError;
use crate::log::request::Page;

/// Reads, and if there is nothing, reads again whenever there is more, until there is something that was asked for, or the
/// time is up. Where nothing will come any more it does not wait, and says why.
pub(super) async fn read_within<E, F>(
    patience: Duration,
    more: &Notify,
    gone: impl Fn() -> Option<LogError>,
    read: impl Fn() -> F,
) -> Result<Page<E>, LogError>
where
    F: Future<Output = Result<Page<E>, LogError>>,
{
    let mut late = None;
    loop {
        let mut rings = pin!(more.notified());
        rings.as_mut().enable(); // before it looks: what comes in between is not overheard
        let gone = gone(); // before it reads: all that has come is there then
        let page = read().await?;
        if !page.events.is_empty() || patience.is_zero() {
            return Ok(page);
        }
        if let Some(gone) = gone {
            return Err(gone);
        }
        let late = match &mut late {
            Some(late) => late,
            late => late.insert(Box::pin(end_of(patience)?)),
        };
        if let Either::Right(_) = futures::future::select(rings, late.as_mut()).await {
            return read().await;
        }
    }
}

/// When so much time has passed.
fn end_of(patience: Duration) -> Result<impl Future<Output = ()>, LogError> {
    let until = time::now().checked_add(patience);
    let timer = match until {
        Some(until) => Some(time::timer(until).ok_or(LogError::Runtime { lacks: "timers" })?),
        None => None,
    };
    Ok(async move {
        match timer {
            Some(timer) => timer.await,
            None => std::future::pending().await,
        }
    })
}

/// Does what may have to wait for a disk on a thread for that. It goes on to its end if nobody waits for it any more.
pub(in crate::log) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    let runtime = Handle::try_current().map_err(|_| LogError::Runtime { lacks: "threads" })?;
    let ended = runtime.spawn_blocking(work).await;
    ended.map_err(|ended| LogError::Closed { why: Arc::from(ended.to_string()) })?
}

/// The answer to a [`Read`](crate::log::Read).
pub struct ReadFuture<E>(Reading<E>);

/// What is read at once, or what has to be waited for.
enum Reading<E> {
    Read(Option<Result<Page<E>, LogError>>),
    Waits(Boxed<Result<Page<E>, LogError>>),
}

impl<E> ReadFuture<E> {
    pub(super) const fn ready(page: Result<Page<E>, LogError>) -> Self {
        Self(Reading::Read(Some(page)))
    }

    pub(super) fn of(
        future: impl Future<Output = Result<Page<E>, LogError>> + Send + 'static,
    ) -> Self {
        Self(Reading::Waits(Exclusive::new(Box::pin(future))))
    }
}

impl<E> Unpin for ReadFuture<E> {}

impl<E> Future for ReadFuture<E> {
    type Output = Result<Page<E>, LogError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            Reading::Read(page) => page.take().map_or(Poll::Pending, Poll::Ready),
            Reading::Waits(future) => future.get().as_mut().poll(cx),
        }
    }
}

impl<E> fmt::Debug for ReadFuture<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadFuture").finish_non_exhaustive()
    }
}
