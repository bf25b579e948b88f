//! An event on its way, and what a subscriber is given.

use std::borrow::Cow;
use std::sync::Arc;

use super::machine::{Closed, Keyed};

/// An event, and what it is published under.
///
/// ```
/// use seawall::bus::Envelope;
///
/// let paid = Envelope::new("paid").topic("orders.eu").key("order-7").id("7f3a");
/// assert_eq!((paid.event, &*paid.topic, paid.key.as_deref()), ("paid", "orders.eu", Some("order-7")));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Envelope<E> {
    /// The event.
    pub event: E,
    /// Under which topic; empty if it has none. Subscribers may ask for those that
    /// [begin](crate::bus::Subscribe::topics) in some way.
    pub topic: Cow<'static, str>,
    /// What it is the newest of, for [`WhenSlow::Latest`](crate::bus::WhenSlow::Latest). Without a key it is the newest of its topic.
    pub key: Option<Cow<'static, str>>,
    /// What tells it from others, for receivers that leave out what they have handled before.
    pub id: Option<Cow<'static, str>>,
}

impl<E> Envelope<E> {
    /// An event without a topic, a key or an id.
    pub const fn new(event: E) -> Self {
        Self { event, topic: Cow::Borrowed(""), key: None, id: None }
    }

    /// Sets [`topic`](Self::topic).
    #[must_use]
    pub fn topic(self, topic: impl Into<Cow<'static, str>>) -> Self {
        Self { topic: topic.into(), ..self }
    }

    /// Sets [`key`](Self::key).
    #[must_use]
    pub fn key(self, key: impl Into<Cow<'static, str>>) -> Self {
        Self { key: Some(key.into()), ..self }
    }

    /// Sets [`id`](Self::id).
    #[must_use]
    pub fn id(self, id: impl Into<Cow<'static, str>>) -> Self {
        Self { id: Some(id.into()), ..self }
    }

    /// How long the longest of its words is.
    pub(super) fn longest(&self) -> usize {
        let words = [self.key.as_deref(), self.id.as_deref()];
        words.into_iter().flatten().map(str::len).fold(self.topic.len(), usize::max)
    }
}

impl<E> Keyed for Arc<Envelope<E>> {
    fn key(&self) -> &str {
        self.key.as_deref().unwrap_or(&self.topic)
    }
}

/// What a subscriber is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery<E> {
    /// An event.
    Event(Received<E>),
    /// Events that this subscriber has lost: it was too slow.
    Gap {
        /// The number of the first.
        from: u64,
        /// The number of the last.
        to: u64,
    },
    /// No more events come; the stream ends.
    Closed(Closed),
}

/// An event that was received, and its number. Events of a bus are numbered while there are subscribers.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use futures::StreamExt;
/// use seawall::bus::{Bus, Delivery, Envelope, Received, Subscribe};
///
/// fn line(order: &Received<u32>) -> String {
///     format!("{}: {} {}", order.number, order.envelope.topic, order.event())
/// }
///
/// let bus = Bus::builder("orders").build()?;
/// let mut orders = bus.subscribe(Subscribe::new("log"));
/// bus.publisher().try_publish(Envelope::new(7).topic("paid"))?;
/// let Some(Delivery::Event(order)) = orders.next().await else { panic!() };
/// assert_eq!(line(&order), "1: paid 7");
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received<E> {
    /// Its number: grows by one with each event of the bus.
    pub number: u64,
    /// The event, which all subscribers share.
    pub envelope: Arc<Envelope<E>>,
}

impl<E> Received<E> {
    pub(super) const fn new(number: u64, envelope: Arc<Envelope<E>>) -> Self {
        Self { number, envelope }
    }

    /// The event.
    pub fn event(&self) -> &E {
        &self.envelope.event
    }
}

impl<E> Clone for Received<E> {
    fn clone(&self) -> Self {
        Self { number: self.number, envelope: Arc::clone(&self.envelope) }
    }
}
