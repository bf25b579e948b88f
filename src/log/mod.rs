//! Event sourcing: an append-only log of events, the command side, and projections of it.
//!
//! # Example
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! use seawall::log::{Commands, Decide, Decided, MemoryLog, Projection, Recorded};
//! use std::collections::HashMap;
//! use std::convert::Infallible;
//! use std::future::ready;
//! use tower::{Service, ServiceExt};
//!
//! struct Order;
//! enum Command { Place(u32), Pay(u32) }
//! #[derive(Debug, PartialEq)]
//! enum Event { Placed, Paid }
//!
//! impl Decide for Order {
//!     type State = Option<bool>; // whether it is paid
//!     type Command = Command;
//!     type Event = Event;
//!     type Error = &'static str;
//!
//!     fn decide(order: &Option<bool>, command: &Command) -> Result<Vec<Event>, &'static str> {
//!         match (command, order) {
//!             (Command::Place(_), None) => Ok(vec![Event::Placed]),
//!             (Command::Pay(_), Some(false)) => Ok(vec![Event::Paid]),
//!             (Command::Pay(_), None) => Err("there is no such order"),
//!             _ => Ok(vec![]), // done before
//!         }
//!     }
//!
//!     fn evolve(_: Option<bool>, event: &Event) -> Option<bool> {
//!         Some(*event == Event::Paid)
//!     }
//! }
//!
//! let log = MemoryLog::new();
//! let mut orders = Commands::<Order, _>::builder("orders", log.clone())
//!     .stream(|(Command::Place(order) | Command::Pay(order))| format!("order-{order}"))
//!     .build()?;
//! let placed: Decided<Event> = orders.ready().await?.call(Command::Place(7)).await?;
//! let paid = orders.ready().await?.call(Command::Pay(7)).await?;
//! assert_eq!((placed.version, paid.version), (1, 2));
//! assert!(orders.ready().await?.call(Command::Pay(8)).await.is_err());
//!
//! // The state at any moment of the past.
//! assert_eq!(orders.at("order-7", placed.position).await?, (Some(false), 1));
//!
//! // A read model.
//! let mut unpaid = HashMap::new();
//! let mut list = Projection::builder("unpaid", log).build()?;
//! let apply = |recorded: Recorded<Event>| {
//!     *unpaid.entry(recorded.stream).or_insert(0) += if *recorded.event == Event::Placed { 1 } else { -1 };
//!     ready(Ok::<_, Infallible>(()))
//! };
//! let end = list.catch_up(apply).await?;
//! assert!(paid.position <= end); // it has seen what was decided
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! # When, and when not
//!
//! Where what has happened matters as much as what is: orders, accounts, permissions, anything that is audited or that several
//! read models are made of. The whole past stays: the state [at any moment](Commands::at), and new read models of old events.
//!
//! It is a small log and no framework of aggregates: no sagas, no schemas. How events are read that were written by older code is up to their
//! codec, or to `evolve`. Not for logs of text, nor for events that nobody folds: that is a [topic or a queue](crate::guide).
//! Nothing is ever deleted: put personal data elsewhere, and its key into the event.
//!
//! # How it decides
//!
//! A log is a tower service of two requests: [`Append`] and [`Read`]. So put a timeout, a retry or a breaker in front of it as
//! of any other client. All else works on any service of both:
//!
//! - **An append** is all or nothing. It says which version the stream must have ([`Expect`]), and is answered with its position,
//!   or with `Conflict`. With a [fence](Append::fence) the log refuses whoever is not the latest leader.
//! - **A read** of all streams gives events in one order, the same for all readers, and never passes over one that may still appear:
//!   it ends below the oldest append that is not there yet.
//! - **Commands**: [`Commands`] reads the stream, folds it with [`Decide::evolve`], decides with [`Decide::decide`], and appends with the version that was
//!   read (optimistic concurrency control). If another command was first, it reads the rest and decides again.
//! - **Projections**: [`Projection`] applies all events in order, keeps a checkpoint, and [says](ProjectionHandle::position)
//!   how far it is. A command is answered with its position, so a reader can wait for it.
//!
//! A log is in memory ([`MemoryLog`]), in files ([`FileLog`]), or any other service of both requests.
//!
//! [`Position`](crate::Position) goes through all of it. `src/log/tests/` has the law explored within bounds, each rule with a weaker one that is
//! found out.
//!
//! # Defaults
//!
//! | setting | default | what it does |
//! | --- | --- | --- |
//! | [`attempts`](CommandsBuilder::attempts) | 5 | how often a command is decided at most |
//! | [`budget`](CommandsBuilder::budget) | none | what pays for it |
//! | [`snapshots`](CommandsBuilder::snapshots) | none | states that need not be folded again |
//! | [`batch`](ProjectionBuilder::batch) | 256 | events between two checkpoints |
//! | [`sync`](Config::sync) | `Batch` | when a file is brought to the disk |
//! | [`segment`](Config::segment) | 256 MiB | bytes of a file before the next one begins |
//! | [`max_append`](Config::max_append) | 16 MiB | bytes of one append |
//! | [`queue`](Config::queue) | 1024 | appends that may wait to be written |
//! | [`queue_bytes`](Config::queue_bytes) | 64 MiB | bytes that they may have together |
//! | [`on_error`](ProjectionBuilder::on_error) | stop | what is done with an event that cannot be applied |
//!
//! # Rejections
//!
//! None: a conflict is an answer of the log, and [`CommandError::Conflict`] of a command; a late leader is answered `Fenced`. What goes
//! wrong with a log itself is a [`LogError`].
//!
//! # Events and metrics
//!
//! [`DecidedAgain`](crate::EventKind::DecidedAgain) by commands, [`EventSkipped`](crate::EventKind::EventSkipped) by projections.
//! Metrics: `seawall_log_conflicts_total`, `seawall_log_snapshots_total`, `seawall_log_applied_total`,
//! `seawall_log_position`, `seawall_log_behind`.
//!
//! # Order
//!
//! Layers in front of the log are asked once for each read and append. Layers in front of [`Commands`] are asked once for each
//! command: a bulkhead or a deadline goes there. A retry goes in front of the log for reads; an append that may have arrived should be repeated
//! only with an expected version, where a second one is a conflict.
//!
//! # Cancellation
//!
//! A command that is dropped has appended all of its events, or none. An append to a [`FileLog`] that is dropped may land; an `open` or a `close`
//! that is dropped leaves nothing locked. A projection that is dropped begins again at its checkpoint.
//! A read can be dropped at any time.

mod checkpoint;
mod commands;
mod config;
mod decide;
mod engine;
mod error;
mod event_log;
mod follow;
mod machine;
mod meter;
mod projection;
mod record;
mod request;
mod service;
mod snapshot;
#[cfg(test)]
mod tests;

#[doc(hidden)]
pub use checkpoint::NoCheckpoint;
pub use checkpoint::{Checkpoints, FileCheckpoint, MemoryCheckpoint};
pub use commands::{Commands, CommandsBuilder};
pub use config::{Config, Fsync};
pub use decide::Decide;
#[doc(hidden)]
pub use engine::file::AppendFuture;
pub use engine::file::{Codec, Cut, FileLog};
pub use engine::memory::MemoryLog;
#[doc(hidden)]
pub use engine::reading::ReadFuture;
pub use engine::snapshots::MemorySnapshots;
pub use error::LogError;
#[doc(hidden)]
pub use event_log::{Appendable, Readable};
pub use follow::{Follow, follow};
pub use machine::Expect;
pub use projection::{OnError, Projection, ProjectionBuilder, ProjectionError, ProjectionHandle};
pub use request::{Append, Appended, Page, Read, Recorded};
#[doc(hidden)]
pub use service::ResponseFuture;
pub use service::{CommandError, Decided};
#[doc(hidden)]
pub use snapshot::NoSnapshots;
pub use snapshot::{Snapshot, Snapshots};
