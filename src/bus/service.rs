//! A bus, and the service that publishes on it.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use thiserror::Error;
use tower::Service;

use super::config::Builder;
use super::engine::{Sent, Shared};
use super::envelope::Envelope;
use super::future::ResponseFuture;
use super::subscription::{Subscribe, Subscription};
use crate::core::origin::Origin;

/// The longest topic, key and id, in bytes.
const LONGEST: usize = 256;

/// Publish/subscribe within a process. Clones are handles of the same bus.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use futures::StreamExt;
/// use seawall::bus::{Bus, Closed, Delivery, Envelope, Subscribe};
///
/// let bus: Bus<&str> = Bus::builder("orders").build()?;
/// let mut events = bus.subscribe(Subscribe::new("billing"));
/// bus.publisher().try_publish(Envelope::new("paid"))?;
/// bus.close();
/// assert!(matches!(events.next().await, Some(Delivery::Event(paid)) if *paid.event() == "paid"));
/// assert_eq!(events.next().await, Some(Delivery::Closed(Closed::Bus)));
/// assert_eq!(events.next().await, None);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct Bus<E> {
    owner: Arc<Owner<E>>,
}

/// The service that publishes: `Service<Envelope<E>>`. It is always ready; if a subscriber [holds](crate::bus::WhenSlow::Hold) it
/// up, its future waits, in order with others. A future that is dropped before it is done has published nothing.
///
/// As a service it can stand behind layers; here it is published at most a hundred times a second.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use futures::StreamExt;
/// use seawall::Error;
/// use seawall::bus::{Bus, Delivery, Envelope, Publisher, Subscribe};
/// use seawall::rate_limit::RateLimitLayer;
/// use std::time::Duration;
/// use tower::{ServiceBuilder, ServiceExt};
///
/// let bus = Bus::builder("prices").build()?;
/// let mut prices = bus.subscribe(Subscribe::new("dashboard"));
/// let publisher = ServiceBuilder::new()
///     .layer(RateLimitLayer::new("prices", 100, Duration::from_secs(1))?)
///     .map_err(Error::Inner)
///     .service::<Publisher<u32>>(bus.publisher());
/// publisher.oneshot(Envelope::new(42)).await?;
/// assert!(matches!(prices.next().await, Some(Delivery::Event(price)) if *price.event() == 42));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct Publisher<E> {
    owner: Arc<Owner<E>>,
}

/// While a bus or a publisher is there, events may come.
pub(super) struct Owner<E> {
    origin: Origin,
    pub(super) shared: Arc<Shared<E>>,
}

impl<E> Drop for Owner<E> {
    fn drop(&mut self) {
        self.shared.close();
    }
}

/// Why an event was not published.
///
/// ```
/// use seawall::bus::{Bus, Envelope, PublishError};
///
/// let bus: Bus<u32> = Bus::builder("orders").build()?;
/// bus.close();
/// let refused = bus.publisher().try_publish(Envelope::new(7)).unwrap_err();
/// assert_eq!(refused, PublishError::Closed);
/// # Ok::<(), seawall::ConfigErrors>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The bus is closed.
    #[error("the bus is closed")]
    Closed,
    /// A subscriber [holds](crate::bus::WhenSlow::Hold) publishers up, and this one would not wait.
    #[error("a slow subscriber holds the bus up")]
    Full,
    /// Its topic, key or id is too long: so many bytes.
    #[error("a topic, key or id of {0} bytes: 256 are the most")]
    TooLong(usize),
}

// ===== impl Bus =====

impl<E> Bus<E> {
    /// Starts to build a bus; its name is for events and metrics.
    pub fn builder(name: impl Into<Arc<str>>) -> Builder<E> {
        Builder::new(name.into())
    }

    pub(super) fn new(origin: Origin, capacity: usize) -> Self {
        Self { owner: Arc::new(Owner { origin, shared: Arc::new(Shared::new(capacity)) }) }
    }

    /// A service that publishes.
    pub fn publisher(&self) -> Publisher<E> {
        Publisher { owner: Arc::clone(&self.owner) }
    }

    /// Subscribes to what is published from now on. A subscription does not keep the bus open.
    pub fn subscribe(&self, subscribe: Subscribe<E>) -> Subscription<E> {
        Subscription::new(&self.owner.shared, subscribe)
    }

    /// How many subscribers there are.
    pub fn subscribers(&self) -> usize {
        self.owner.shared.readers()
    }

    /// Ends it: subscribers receive what is there for them, then [`Closed`](crate::bus::Closed::Bus); publishers that wait are refused. The
    /// same happens when the bus and all publishers are dropped.
    pub fn close(&self) {
        self.owner.shared.close();
    }
}

impl<E> Clone for Bus<E> {
    fn clone(&self) -> Self {
        Self { owner: Arc::clone(&self.owner) }
    }
}

// ===== impl Publisher =====

impl<E> Publisher<E> {
    /// Publishes now. If nobody subscribes it costs one load, and the event is dropped.
    ///
    /// # Errors
    ///
    /// The bus is closed, a subscriber holds it up, or a word of the envelope is too long.
    #[inline]
    pub fn try_publish(&self, envelope: Envelope<E>) -> Result<(), PublishError> {
        if self.owner.shared.is_idle() {
            return Ok(());
        }
        match self.owner.shared.publish(checked(envelope)?, None, None) {
            Sent::Done => Ok(()),
            Sent::Held(_) => Err(PublishError::Full),
            Sent::Closed => Err(PublishError::Closed),
        }
    }
}

fn checked<E>(envelope: Envelope<E>) -> Result<Arc<Envelope<E>>, PublishError> {
    match envelope.longest() {
        ..=LONGEST => Ok(Arc::new(envelope)),
        length => Err(PublishError::TooLong(length)),
    }
}

impl<E> Service<Envelope<E>> for Publisher<E> {
    type Response = ();
    type Error = PublishError;
    type Future = ResponseFuture<E>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), PublishError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, envelope: Envelope<E>) -> ResponseFuture<E> {
        ResponseFuture::new(Arc::clone(&self.owner), checked(envelope))
    }
}

impl<E> Clone for Publisher<E> {
    fn clone(&self) -> Self {
        Self { owner: Arc::clone(&self.owner) }
    }
}

impl<E> fmt::Debug for Bus<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus")
            .field("name", &self.owner.origin.name())
            .field("subscribers", &self.subscribers())
            .field("is_closed", &self.owner.shared.is_closed())
            .finish_non_exhaustive()
    }
}

impl<E> fmt::Debug for Publisher<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("name", &self.owner.origin.name()).finish_non_exhaustive()
    }
}
