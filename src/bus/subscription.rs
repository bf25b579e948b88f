//! One subscriber: what it asks for, and its stream.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use futures::stream::FusedStream;

use super::engine::Shared;
use super::envelope::{Delivery, Envelope, Received};
use super::machine::{Taken, WhenSlow};
use super::meter::SubscriberMeter;
use crate::core::event::{EventKind, Observe, Observers};
use crate::core::origin::Origin;
use crate::shell::meter::Handles;
use crate::shell::reporter::{EventContext, Reporter};

/// So many events are passed over by a filter before others get their turn.
const MOST_PASSED: usize = 128;

type Filter<E> = Box<dyn Fn(&Envelope<E>) -> bool + Send + Sync>;

/// What a subscriber asks for.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use futures::StreamExt;
/// use seawall::bus::{Bus, Delivery, Envelope, Subscribe};
///
/// let bus = Bus::builder("orders").build()?;
/// let large = Subscribe::new("billing").topics("orders.eu").filter(|order: &Envelope<u32>| order.event > 100);
/// let mut large = bus.subscribe(large);
/// for (topic, amount) in [("orders.us", 700), ("orders.eu", 50), ("orders.eu", 300)] {
///     bus.publisher().try_publish(Envelope::new(amount).topic(topic))?;
/// }
/// let Some(Delivery::Event(order)) = large.next().await else { panic!() };
/// assert_eq!((order.number, *order.event()), (3, 300));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct Subscribe<E> {
    name: Arc<str>,
    when_slow: WhenSlow,
    topics: Option<String>,
    filter: Option<Filter<E>>,
    observers: Observers,
}

impl<E> Subscribe<E> {
    /// A subscriber of all events, by this name in metrics. If it is slow it [loses](WhenSlow::Lose) the oldest.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            when_slow: WhenSlow::default(),
            topics: None,
            filter: None,
            observers: Observers::default(),
        }
    }

    /// What happens when it is slow.
    #[must_use]
    pub fn when_slow(mut self, choice: WhenSlow) -> Self {
        self.when_slow = choice;
        self
    }

    /// Only events whose topic begins so.
    #[must_use]
    pub fn topics(mut self, prefix: impl Into<String>) -> Self {
        self.topics = Some(prefix.into());
        self
    }

    /// Only events for which the predicate holds. It runs in the task of the subscriber; if it panics, the event is delivered.
    #[must_use]
    pub fn filter(
        mut self,
        predicate: impl Fn(&Envelope<E>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.filter = Some(Box::new(predicate));
        self
    }

    /// Adds an observer of what this subscriber loses.
    #[must_use]
    pub fn observe(mut self, observer: impl Observe + 'static) -> Self {
        self.observers.add(observer);
        self
    }

    /// A panic says nothing about the event, so the event is delivered.
    fn wants(&self, event: &Envelope<E>) -> bool {
        self.topics.as_ref().is_none_or(|prefix| event.topic.starts_with(&**prefix))
            && self
                .filter
                .as_ref()
                .is_none_or(|wants| catch_unwind(AssertUnwindSafe(|| wants(event))).unwrap_or(true))
    }
}

impl<E> fmt::Debug for Subscribe<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscribe")
            .field("name", &self.name)
            .field("when_slow", &self.when_slow)
            .field("topics", &self.topics)
            .finish_non_exhaustive()
    }
}

/// The events for one subscriber: a stream. It ends with its [`Closed`](Delivery::Closed). Dropping it unsubscribes.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use futures::StreamExt;
/// use seawall::bus::{Bus, Delivery, Envelope, Subscribe, Subscription};
///
/// /// All that is left until the bus closes, and how many were lost.
/// async fn rest(mut events: Subscription<u32>) -> (Vec<u32>, u64) {
///     let (mut received, mut lost) = (Vec::new(), 0);
///     while let Some(delivery) = events.next().await {
///         match delivery {
///             Delivery::Event(event) => received.push(*event.event()),
///             Delivery::Gap { from, to } => lost += to - from + 1,
///             Delivery::Closed(_) => {}
///         }
///     }
///     (received, lost)
/// }
///
/// let bus = Bus::builder("orders").capacity(2).build()?;
/// let orders = bus.subscribe(Subscribe::new("audit"));
/// for order in 1..=5 {
///     bus.publisher().try_publish(Envelope::new(order))?;
/// }
/// bus.close();
/// assert_eq!(rest(orders).await, (vec![4, 5], 3));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[must_use = "a subscription that is dropped receives nothing"]
pub struct Subscription<E> {
    shared: Arc<Shared<E>>,
    reader: usize,
    asked: Subscribe<E>,
    reporter: Reporter<SubscriberMeter>,
    is_over: bool,
}

impl<E> Subscription<E> {
    pub(super) fn new(shared: &Arc<Shared<E>>, mut asked: Subscribe<E>) -> Self {
        let origin = Origin::new("subscription", Arc::clone(&asked.name));
        let observers = std::mem::take(&mut asked.observers);
        Self {
            reader: shared.subscribe(asked.when_slow),
            shared: Arc::clone(shared),
            asked,
            reporter: Reporter::new(origin, observers),
            is_over: false,
        }
    }

    /// How many events there are for this subscriber that it has not received yet, before its filters.
    pub fn lag(&self) -> u64 {
        self.shared.lag(self.reader)
    }

    fn tell_gap(&self, from: u64, to: u64) {
        let lost = to.saturating_sub(from).saturating_add(1);
        self.reporter.meter(|handles| handles.own.lost.increment(lost));
        self.reporter.tell_now(EventContext::default(), EventKind::EventsLost { from, to });
    }
}

impl<E> Stream for Subscription<E> {
    type Item = Delivery<E>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Delivery<E>>> {
        let this = self.get_mut();
        if this.is_over {
            return Poll::Ready(None);
        }
        for _ in 0..MOST_PASSED {
            let (taken, lag) = this.shared.take(this.reader, cx.waker());
            #[allow(clippy::cast_precision_loss)] // a gauge
            let level = |handles: &Handles<'_, SubscriberMeter>| {
                handles.set(&handles.own.lag, lag as f64);
            };
            this.reporter.meter.with(level, level);
            match taken {
                Taken::Event { number, event } if this.asked.wants(&event) => {
                    return Poll::Ready(Some(Delivery::Event(Received::new(number, event))));
                }
                Taken::Event { .. } => {}
                Taken::Gap { from, to } => {
                    this.tell_gap(from, to);
                    return Poll::Ready(Some(Delivery::Gap { from, to }));
                }
                Taken::Nothing => return Poll::Pending,
                Taken::Closed(closed) => {
                    this.is_over = true;
                    return Poll::Ready(Some(Delivery::Closed(closed)));
                }
            }
        }
        // The others of this task first: it is polled again once they had their turn.
        let mut turn = std::pin::pin!(tokio::task::yield_now());
        let _ = turn.as_mut().poll(cx);
        Poll::Pending
    }
}

impl<E> FusedStream for Subscription<E> {
    fn is_terminated(&self) -> bool {
        self.is_over
    }
}

impl<E> Drop for Subscription<E> {
    fn drop(&mut self) {
        self.shared.unsubscribe(self.reader);
    }
}

impl<E> fmt::Debug for Subscription<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("name", &self.asked.name)
            .field("lag", &self.lag())
            .field("is_over", &self.is_over)
            .finish_non_exhaustive()
    }
}
