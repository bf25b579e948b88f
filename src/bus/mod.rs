//! Publish/subscribe within a process: bounded, and each subscriber chooses what happens when it is slow.
//!
//! # Example
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! use futures::StreamExt;
//! use seawall::bus::{Bus, Delivery, Envelope, Subscribe, WhenSlow};
//! use std::time::Duration;
//! use tower::{Service, ServiceExt};
//!
//! let bus = Bus::builder("orders").capacity(2).build()?;
//! let mut dashboard = bus.subscribe(Subscribe::new("dashboard"));
//! let mut prices = bus.subscribe(Subscribe::new("prices").when_slow(WhenSlow::Latest));
//!
//! let mut publisher = bus.publisher(); // a tower service
//! for (price, item) in [(10, "tea"), (30, "rum"), (11, "tea"), (12, "tea")] {
//!     publisher.ready().await?.call(Envelope::new(price).key(item)).await?;
//! }
//!
//! // The ring has room for two: a loss is part of the stream.
//! assert_eq!(dashboard.next().await, Some(Delivery::Gap { from: 1, to: 2 }));
//! let Some(Delivery::Event(tea)) = dashboard.next().await else { panic!() };
//! assert_eq!((tea.number, *tea.event()), (3, 11));
//!
//! // Only the newest of each key.
//! for newest in [30, 12] {
//!     assert!(matches!(prices.next().await, Some(Delivery::Event(price)) if *price.event() == newest));
//! }
//!
//! // One that loses nothing, and for which publishers wait a second at most.
//! let billing = bus.subscribe(Subscribe::new("billing").when_slow(WhenSlow::Hold(Duration::from_secs(1))));
//! assert_eq!(bus.subscribers(), 3);
//! # drop(billing);
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! # When, and when not
//!
//! For what several parts of one process want to know: changes of configuration, prices, progress, cache invalidation. What was published
//! before a subscription is not received, and nothing outlives the process: for events that must not get lost, use a
//! log or a broker. A queue whose items are for one of several workers is a channel.
//!
//! # How it decides
//!
//! A bus is a ring of numbered events, and a subscriber a cursor in it. All subscribers share an event, which is not cloned.
//! Delivery is in order and at most once. When the ring is full, the oldest event makes room for the next. A subscriber that has not read it
//! has chosen at subscription what happens ([`WhenSlow`]):
//!
//! - **`Lose`**: it loses the event. The next that it receives is a [`Gap`](Delivery::Gap) with the numbers of what is lost. That is an item of the
//!   stream, so a `match` cannot overlook it.
//! - **`Hold`**: publishers wait, in order of arrival. If the subscriber does not read its next event for the time that it gave, it is cut off: it
//!   is given what is left, then [`Closed::TooSlow`]. Who held up the others is told, and they go on. A publisher for which there is room, and
//!   whose future is not polled for 100 ms, is passed by those behind it; it goes once it is polled.
//! - **`Latest`**: it keeps the newest event of each key, apart from the ring, and is given these in order.
//!
//! Filters by topic and by predicate run in the task of the subscriber, with no lock held. A predicate that panics or is slow harms nobody
//! else, and it may publish. `Latest` keeps the newest of each key before filters are asked.
//!
//! # Defaults
//!
//! | setting | default | what it does |
//! | --- | --- | --- |
//! | [`capacity`](Builder::capacity) | 1024 | events that are kept for those who have not read them |
//! | [`when_slow`](Subscribe::when_slow) | `Lose` | what happens when a subscriber is slow |
//! | [`topics`](Subscribe::topics) | all | only topics that begin so |
//! | [`filter`](Subscribe::filter) | all | only events for which it holds |
//!
//! A topic, a key and an id have 256 bytes at most.
//!
//! # Rejections
//!
//! None: [`PublishError`] says that the bus is closed, that a word of an envelope is too long, or, of
//! [`try_publish`](Publisher::try_publish) only, that a subscriber holds it up.
//!
//! # Events and metrics
//!
//! [`EventsLost`](crate::EventKind::EventsLost), to observers of the [subscription](Subscribe::observe). Metrics, by the name of the subscriber:
//! `seawall_bus_lag`, `seawall_bus_lost_total`.
//!
//! # Order
//!
//! A timeout in front of a [`Publisher`] bounds the wait for those who hold it up; a bulkhead how many wait. A retry has
//! nothing to do there.
//!
//! # Cancellation
//!
//! A call to a publisher that is dropped before it is done has published nothing, and leaves the line. Waiting for the next event can be
//! dropped at any time. A call that is kept and not polled any more holds up the others for 100 ms. A subscription that is dropped unsubscribes, and lets publishers go that waited for it.

mod config;
mod engine;
mod envelope;
mod future;
mod line;
mod machine;
mod meter;
mod service;
mod subscription;
#[cfg(test)]
mod tests;

pub use config::Builder;
pub use envelope::{Delivery, Envelope, Received};
#[doc(hidden)]
pub use future::ResponseFuture;
pub use machine::{Closed, WhenSlow};
pub use service::{Bus, PublishError, Publisher};
pub use subscription::{Subscribe, Subscription};
