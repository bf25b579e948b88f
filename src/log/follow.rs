//! A subscription to a log: catches up, then goes on live.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use tower::BoxError;

use super::engine::exclusive::Exclusive;
use super::event_log::Readable;
use super::projection::PATIENCE;
use super::request::{Page, Read, Recorded};
use crate::core::position::Position;

/// Follows a log from a position on: all that there is after it, then all that comes, in order, without a gap.
///
/// A stream that does not end by itself. After an error it ends: go on from the position of the last event, after a pause
/// of your own. It reads one page ahead, so a slow reader holds up nobody.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use futures::StreamExt;
/// use seawall::log::{Append, MemoryLog, follow};
/// use tower::ServiceExt;
///
/// let log = MemoryLog::new();
/// log.clone().oneshot(Append::new("order-7", ["placed"])).await?;
/// let mut events = follow(log.clone(), None);
/// assert_eq!(*events.next().await.unwrap()?.event, "placed"); // it catches up,
///
/// log.oneshot(Append::new("order-7", ["paid"])).await?;
/// assert_eq!(*events.next().await.unwrap()?.event, "paid"); // and goes on live
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(()) }).unwrap();
/// ```
pub fn follow<E, L: Readable<E>>(log: L, after: impl Into<Option<Position>>) -> Follow<E> {
    let ask = move |after: Option<Position>| -> Reading<E> {
        let reading = log.read(Read::all().after(after).wait(PATIENCE));
        Box::pin(async move { reading.await.map_err(Into::into) })
    };
    let after = after.into();
    let reading = Some(Exclusive::new(ask(after)));
    Follow { reading, ask: Exclusive::new(Box::new(ask)), page: VecDeque::new(), after }
}

type Asks<E> = Box<dyn Fn(Option<Position>) -> Reading<E> + Send>;
type Reading<E> = Pin<Box<dyn Future<Output = Result<Page<E>, BoxError>> + Send>>;

/// The events of a log as they come: see [`follow`].
pub struct Follow<E> {
    ask: Exclusive<Asks<E>>,
    /// `None` once it has ended.
    reading: Option<Exclusive<Reading<E>>>,
    page: VecDeque<Recorded<E>>,
    after: Option<Position>,
}

impl<E> Unpin for Follow<E> {}

impl<E> Stream for Follow<E> {
    type Item = Result<Recorded<E>, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(recorded) = self.page.pop_front() {
                return Poll::Ready(Some(Ok(recorded)));
            }
            let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
            match ready!(reading.get().as_mut().poll(cx)) {
                Ok(page) => {
                    self.after = Some(page.end);
                    self.page = page.events.into();
                    let after = self.after;
                    self.reading = Some(Exclusive::new((self.ask.get())(after)));
                }
                Err(error) => {
                    self.reading = None;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}

impl<E> fmt::Debug for Follow<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow").field("after", &self.after).finish_non_exhaustive()
    }
}
