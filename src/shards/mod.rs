//! Sharding: each request goes to the owner of its key.
//!
//! # Example
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! use seawall::shards::{Key, Map, Shards};
//! use seawall::{Error, stack};
//! use std::io;
//! use tower::{Layer, ServiceExt, service_fn};
//!
//! #[derive(Clone)]
//! struct Order { tenant: String }
//!
//! let orders = Shards::builder("orders")
//!     .key(|order: &Order| Key::from(&order.tenant))
//!     .map(Map::hashed(1, ["orders-0", "orders-1", "orders-2"])?)
//!     .over(|shard| {
//!         let name = shard.name().to_owned(); // connect to its address here
//!         let database = service_fn(move |_: Order| {
//!             let name = name.clone();
//!             async move { Ok::<_, Error<io::Error>>(name) }
//!         });
//!         Ok(stack::client(shard.name()).cloned().build()?.layer(database))
//!     })?;
//!
//! let owner = orders.handle().map().owner("acme").name().to_owned();
//! let answer = orders.oneshot(Order { tenant: "acme".into() }).await?;
//! assert_eq!(answer, owner);
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! # When, and when not
//!
//! Where each key has one home: data that is partitioned over databases, tenants over clusters, sessions over
//! servers that keep them in memory. Not to spread load over servers that are all alike: any of them will do
//! there, and the owner of a key that is down answers nobody. For caches, where the owner of a key is the best of all and any other will do,
//! there is [`Affine`]: another type, so that data is never taken for a cache.
//!
//! It cannot move your data. When a map changes, keys have another owner: copy what they own before you adopt
//! it, and wait until the old one is [settled](ShardsHandle::settled) before you delete. Writes that come
//! meanwhile, and those of calls that were given up, are for the owners to hold back: put an [`OwnsLayer`] into each. Nor can it
//! keep two routers at the same map: each adopts when it hears of one. Two processes that both believe to be the same owner are a matter for a lease, not for this.
//!
//! # How it decides
//!
//! A [map](Map) says whose each key is:
//!
//! | map | whose a key is |
//! | --- | --- |
//! | [`hashed`](Map::hashed) | that of its hash: 16,384 slots, each of the member with the highest score that is not full (capped rendezvous hashing) |
//! | [`directory`](Map::directory) | some keys' owners are listed, the others are hashed |
//! | [`filled`](Map::filled) | hashed, with the slots given out in another [way](Fill): more of them for some 1,000 members, or Maglev |
//! | [`ranged`](Map::ranged) | that of the range it lies in |
//! | [`geo`](Map::geo) | hashed over the members of the first zone of its [region](Region) that has any |
//! | [`shuffled`](Map::shuffled) | a few members of all, by a keyed hash: tenants that share all of theirs are rare |
//!
//! Hashing is XXH3 with 64 bits and seed 0 (under a secret `SipHash`-2-4), and the slots are filled in whole numbers: equal on every
//! platform and in every release. With a member more or less, about as many keys move as the new one has, or
//! the old one had. What each fill costs, with the highest load over the mean, and the keys that one more member moves over the
//! fewest possible:
//!
//! | slots | highest of 100 | moved | highest of 1,000 | moved |
//! | --- | ---: | ---: | ---: | ---: |
//! | 16,384 ([`Rendezvous`](Fill::Rendezvous)) | 1.06 | 1.19 | 1.10 | 1.22 |
//! | 65,536 ([`FineRendezvous`](Fill::FineRendezvous)) | 1.05 | 0.98 | 1.05 | 1.47 |
//! | 65,536 ([`Maglev`](Fill::Maglev)) | 1.00 | 1.55 | 1.01 | 6.51 |
//!
//! [`Map::plan`] says which few slots to give to others when loads are uneven, and [`Map::reassigned`] makes a map of that.
//!
//! Each map has an [epoch](crate::Epoch). [`adopt`](ShardsHandle::adopt) puts a later one in force: at once
//! for all clones, without a pause, and without an error for calls in flight, which end where they are.
//!
//! Maps come from code, from a watched file or a directory of yours ([`MapSource`], [`ShardsHandle::follow`]), or from tower's
//! [`Discover`](ShardsHandle::follow_discover). Whatever is wrong with what they say, the last good map stays.
//!
//! The service of each member is made from a closure, when the member is first in a map. It stays while the
//! member does, so that its breaker remembers.
//!
//! Owners know more than routers. An [`OwnsLayer`] in the server of each member refuses keys that are not its own, with a
//! [`Hint`] whose they are; a router with a [`redirect`](Builder::redirect) goes there, at most twice, and remembers it until a
//! later map comes. To give keys to another owner without two owners at any time, and without losing a write:
//!
//! | step | who | how |
//! | --- | --- | --- |
//! | record | coordinator | writes *moving* to a directory of yours by compare-and-set: [`Move`], [`MoveRecord`] |
//! | hold | old owner | [`OwnsHandle::hold`]: writes of these keys wait, reads and other keys go on |
//! | settle | old owner | [`Holding::settled`]: the writes in flight are over |
//! | copy | you | what is left |
//! | commit | coordinator | writes *committed* and the new map by compare-and-set, if the map is still the one that the move began from |
//! | open | both owners | [`OwnsHandle::heard`] at the old one, [`OwnsHandle::adopt`] at the new one; routers follow hints, or adopt too |
//!
//! An owner that held too long ([`OwnsHandle::overdue`]) writes *aborted* itself, by compare-and-set, and opens only then. One that restarts
//! begins with what it [reads](OwnsBuilder::moving), or [closed](OwnsBuilder::closed) until it has read. A later map ends no hold: another move
//! of other keys may have come to it. What [reads](OwnsBuilder::writes) may be answered by the old owner until it has heard of the commit.
//!
//! # Defaults
//!
//! | setting | default |
//! | --- | --- |
//! | [`redirect`](Builder::redirect), [`copy_with`](Builder::copy_with) | none is followed, nothing is copied |
//! | [`count_loads`](Builder::count_loads) | not counted |
//! | [`max_hold`](OwnsBuilder::max_hold) | 5 s |
//! | [`most_held`](OwnsBuilder::most_held) | 1,000 |
//!
//! The key, the map and the services are yours.
//!
//! # Rejections
//!
//! [`Draining`](crate::Reason::Draining) after [`drain`](ShardsHandle::drain); [`NotOwner`](crate::Reason::NotOwner) after two
//! hints; [`NoShard`](crate::Reason::NoShard) if the member that a hint or [`all`](Shards::all) meant is gone. Everything else
//! that a call can fail of is its owner's. An [`OwnsLayer`] rejects with `NotOwner`, and with
//! [`Moving`](crate::Reason::Moving) when a write waited too long or too many do.
//!
//! # Events and metrics
//!
//! [`MapAdopted`](crate::EventKind::MapAdopted), [`Redirected`](crate::EventKind::Redirected), [`HintForgotten`](crate::EventKind::HintForgotten),
//! [`HoldOverdue`](crate::EventKind::HoldOverdue), [`PassedOver`](crate::EventKind::PassedOver), [`SourceFailed`](crate::EventKind::SourceFailed). Metrics: `seawall_shards_epoch`,
//! `seawall_shards_members`, `seawall_shards_source_age_seconds`, `seawall_shards_passed_total`,
//! `seawall_shards_exceptions`, `seawall_shards_redirects_total`, `seawall_owns_epoch`, `seawall_owns_held`, `seawall_owns_hold_age_seconds`,
//! `seawall_rejections_total`. The layers of each member have theirs, under the names you give them.
//!
//! # Order
//!
//! Retries, breakers, limits and attempt timeouts belong to the members, in the closure. What is about the
//! whole call, its deadline above all, goes around, as does a limit for calls in all: they wait in their futures
//! for owners that are not ready, and nothing here bounds how many.
//!
//! # Cancellation
//!
//! Dropping the future drops the call in flight, and counts as its end for
//! [`settled`](ShardsHandle::settled).

mod affine;
mod builder;
mod error;
mod exceptions;
mod follow;
#[cfg(feature = "serde")]
mod format;
mod future;
mod handle;
mod key;
mod machine;
mod map;
mod member;
mod owners;
mod owns;
mod plan;
mod planning;
mod range;
mod region;
mod rule;
mod service;
mod shuffle;
mod siphash;
mod slots;
mod source;
mod wanted;

#[doc(hidden)]
pub use affine::AffineFuture;
pub use affine::{Affine, AffineBuilder};
pub use builder::Builder;
pub use error::AdoptError;
#[doc(hidden)]
pub use future::{OneCall, ResponseFuture};
pub use handle::ShardsHandle;
pub use key::Key;
pub use machine::{Move, MoveRecord, MoveStep};
pub use map::Map;
pub use member::Member;
pub use owns::{HoldError, Holding, OwnsBuilder, OwnsHandle, OwnsLayer};
pub use plan::{Plan, SlotMove};
pub use range::KeyRange;
pub use region::Region;
pub use service::Shards;
pub use slots::Fill;
pub use source::MapSource;

pub use crate::core::hint::{ByRejection, Hint, Redirect, Stay};

#[cfg(test)]
mod tests;
