//! Fencing: a resource refuses the writes of a leader whose term is over.
//!
//! # Example
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
//! use seawall::fence::{FenceLayer, MemoryStore};
//! use seawall::propagate::WithContext;
//! use seawall::{Epoch, Error, Reason};
//! use std::convert::Infallible;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! let store = MemoryStore::new(); // or a service that looks at the lease
//! store.raise("ledger", Epoch::new(7));
//! let ledger = ServiceBuilder::new()
//!     .layer(FenceLayer::new("ledger", store.clone()))
//!     .map_err(Error::Inner)
//!     .service(service_fn(|_: WithContext<&str>| async { Ok::<_, Infallible>("booked") }));
//!
//! let by = |epoch: u64| {
//!     let mut write = WithContext::from("10 €");
//!     write.call.epoch = Epoch::new(epoch);
//!     ledger.clone().oneshot(write)
//! };
//! assert_eq!(by(7).await?, "booked");
//! store.raise("ledger", Epoch::new(8)); // another one leads
//! assert_eq!(by(8).await?, "booked");
//! let Err(Error::Rejected(why)) = by(7).await else { panic!("that term is over") };
//! assert_eq!(why.reason(), Reason::Fenced);
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! # When, and when not
//!
//! At the resource that leaders write to, in front of what cannot compare epochs by itself: files, devices, an API of
//! somebody else. A [lease](crate::leader) makes it rare that two act, and only the resource makes it harmless.
//!
//! Where there is a transaction, the fence belongs into it: `update jobs set …, epoch = $2 where id = $1 and epoch <= $2`
//! holds whatever happens between the look and the write. This layer looks when a call comes in. A call that was let in goes on
//! when a later epoch comes, and may write after the first call of that; so keep what is behind it short, or let that compare
//! epochs too.
//!
//! Not for a resource that several processes serve at once, each with a fence of its own: one of them may have heard of a
//! later epoch, and another one not.
//!
//! # How it decides
//!
//! A call is made by an epoch. The highest one that is confirmed passes, lower ones are refused (the fencing tokens of
//! Kleppmann, *How to do distributed locking*, 2016; the sequencers of Burrows, *The Chubby lock service*, 2006).
//!
//! - A fence begins closed. It has forgotten what it let in before it was restarted, so it asks its store first, and calls wait
//!   for the answer.
//! - It is raised by the answers of its store and by nothing else. A call by a higher epoch waits until the store was asked, and
//!   passes if that confirms it. So an epoch that nobody was given raises nothing, and fences out nobody.
//! - One question at a time is on its way, for all who wait, and the next one comes after a pause. So who says new epochs all
//!   the time costs the store ten questions a second and not more; of a keyed fence for each key that is named.
//! - What a store answers counts if it was asked after the call came. A store that answers less than before has forgotten, and
//!   its word counts for nothing.
//!
//! The store is any tower service of [`Ask`]. [`MemoryStore`] is one for tests; what is lost with it stands there.
//!
//! The rules were explored in full within bounds, restarts of fences and late answers included:
//! `src/fence/tests.rs` has the bounds, and weaker rules that it finds out.
//!
//! # Defaults
//!
//! | setting | default | what it does |
//! | --- | --- | --- |
//! | [`queue`](Config::queue) | 1,000 | how many calls may wait for the store |
//! | [`max_wait`](Config::max_wait) | 1 s | how long a call may wait for it |
//! | [`ask_timeout`](Config::ask_timeout) | 500 ms | how long the store may take to answer |
//! | [`pause`](Config::pause) | 100 ms | from one question to the next at least |
//! | [`allow_without_epoch`](Config::allow_without_epoch) | no | whether calls pass that are made by no epoch |
//!
//! # Rejections
//!
//! [`Fenced`](crate::Reason::Fenced) (HTTP 412, gRPC `FAILED_PRECONDITION`): the epoch is over, or there is none.
//! [`Unconfirmed`](crate::Reason::Unconfirmed) (503, `UNAVAILABLE`): the store does not know the epoch, did not answer in time,
//! or too many wait for it. [`DeadlineExceeded`](crate::Reason::DeadlineExceeded) if the deadline of the call ends its wait.
//! [`Draining`](crate::Reason::Draining) after `drain`. [`Measurement::Epoch`](crate::Measurement::Epoch) names the
//! highest. Whoever is rejected here has done nothing.
//!
//! # Events and metrics
//!
//! [`EpochRaised`](crate::EventKind::EpochRaised), [`Rejected`](crate::EventKind::Rejected). Metrics: `seawall_fence_epoch`,
//! `seawall_fence_asked_total`, `seawall_calls_total`, `seawall_rejections_total`.
//!
//! # Order
//!
//! As near to the resource as can be: inside of all that waits, so that little happens between the look and the write.
//!
//! # Cancellation
//!
//! Dropping a call that waits gives its place back. The question goes on, for others who wait. It is asked by a task that
//! ends when nobody waits any more, and with the last service, layer and handle.

mod asking;
mod cell;
mod config;
mod handle;
mod keyed;
mod layer;
mod machine;
mod policy;
mod store;
#[cfg(test)]
mod tests;

pub use config::Config;
pub use handle::FenceHandle;
pub use keyed::KeyedFenceLayer;
#[doc(hidden)]
pub use keyed::{KeyedBuilder, KeyedFence};
pub use layer::{Builder, FenceLayer};
#[doc(hidden)]
pub use layer::{Fence, ResponseFuture};
#[doc(hidden)]
pub use policy::{EpochOf, Fenced, InRequest, Propagated};
pub use store::{Ask, MemoryStore};
