//! Read/write split: commands go to the primary, queries to replicas that are fresh enough.
//!
//! # Example
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! use seawall::split::{Freshness, Member, Session, Side, Split};
//! use seawall::{Error, Position};
//! use std::convert::Infallible;
//! use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
//! use tower::{ServiceExt, service_fn};
//!
//! /// How many orders the primary has, and each of the replicas.
//! static ORDERS: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];
//! # fn index(name: &str) -> usize { ["primary", "a", "b"].iter().position(|one| *one == name).unwrap() }
//! enum Query { Place(Session), Count(Session) }
//! struct Answer { orders: u64, position: Option<Position> }
//!
//! let orders = Split::builder("orders")
//!     .side(|query: &Query| match query {
//!         Query::Place(_) => Side::Command,
//!         Query::Count(_) => Side::Query(Freshness::Seen), // at least what this user has written and read
//!     })
//!     .session(|(Query::Place(session) | Query::Count(session))| Some(session))
//!     .position(|answer: &Answer| answer.position) // after the commit
//!     .positions(service_fn(|member: Member| async move {
//!         let at = ORDERS[index(member.name())].load(Relaxed); // ask the database
//!         Ok::<_, Infallible>(Position { era: 1, at })
//!     }))
//!     .primary("primary", |_| Ok(service_fn(|_: Query| async {
//!         let orders = ORDERS[0].fetch_add(1, Relaxed) + 1;
//!         Ok::<_, Error<Infallible>>(Answer { orders, position: Some(Position { era: 1, at: orders }) })
//!     })))
//!     .replicas(["a", "b"])
//!     .over(|name| {
//!         let replica = index(name); // connect, with a `stack::client` of its own
//!         Ok(service_fn(move |_: Query| async move {
//!             let orders = ORDERS[replica].load(Relaxed);
//!             Ok::<_, Error<Infallible>>(Answer { orders, position: None })
//!         }))
//!     })?;
//!
//! let user = Session::new(); // or `Session::of_stranger(cookie)`
//! orders.clone().oneshot(Query::Place(user.clone())).await?;
//! assert_eq!(user.token(), "1-1"); // goes back as a cookie
//! ORDERS[2].store(1, Relaxed); // replica `b` has the order now, and `a` does not
//! assert_eq!(orders.oneshot(Query::Count(user)).await?.orders, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! # When, and when not
//!
//! Where a database has replicas that lag behind, or a read model follows a log of events, and users are to see what they have
//! just written. Not where every read has to be the latest: that is the primary's alone. For servers that all give
//! the same answers take [`endpoints`](crate::endpoints).
//!
//! - After a failover every session of the earlier history is told [`Lost`](crate::Reason::Lost), unless members say where the new one
//!   [`began`](Progress::began): a bare position does not.
//! - Without [`positions`](Builder::positions), a token that says that a command is of unknown position says so until its cookie ends.
//! - [`Replicas`] alone have no primary to compare with: they serve no [`Within`](Freshness::Within), and no token of a stranger.
//! - A query that was sent to a replica whose stack is not ready waits for that stack, within what the layers around allow.
//!
//! # How it decides
//!
//! A request is a [`Command`](Side::Command), which only the primary gets, or a [`Query`](Side::Query), which says how
//! [fresh](Freshness) its answer has to be. Of the replicas that are known to be fresh enough, and whose stack lets calls through,
//! two are drawn, and the less loaded gets the query. What is not known is never fresh.
//!
//! If there is none, the query waits for one, a little. Then the primary takes it, out of a *budget*: without one the
//! reads that no replica can answer would drown the writes. If that is empty, the query is rejected as stale.
//!
//! How fresh a replica is, positions tell, not seconds: on an idle primary seconds of lag grow though nothing is missing.
//! [`Within`](Freshness::Within) too goes by positions: the primary was asked at some time and said one; who has come so far is
//! at most as old as that question.
//!
//! A [`Session`] remembers how far its user has written and read. An answer may say its position; otherwise a member is
//! asked after the answer, and until it has said, reads stay with the replica that was read from. After a command whose position
//! nobody knows, lost or timed out, queries go to the primary until that has said a later one.
//!
//! After a failover the new primary begins a new [era](crate::Position::era). What a session has seen of the old one
//! after the point where the new one [left](Progress::began) it is lost. The next query of that session is told so, once; then it
//! goes on in the new history.
//!
//! # Defaults
//!
//! | setting | default |
//! | --- | --- |
//! | [`every`](Builder::every) | 250 ms |
//! | [`timeout`](Builder::timeout) of a question | 1 s |
//! | [`patience`](Builder::patience) | 50 ms |
//! | [`max_waiting`](Builder::max_waiting) | 1,024 |
//! | [`uncertain_for`](Builder::uncertain_for) | 10 s |
//! | [`spill`](Builder::spill) | 20 % of the queries, and 10 each second |
//!
//! # Rejections
//!
//! [`Stale`](crate::Reason::Stale) and [`NoReplica`](crate::Reason::NoReplica), when the budget is empty or there is no primary;
//! [`Lost`](crate::Reason::Lost) after a failover; [`DeadlineExceeded`](crate::Reason::DeadlineExceeded) before a query
//! waits; [`Draining`](crate::Reason::Draining) after [`drain`](SplitHandle::drain).
//!
//! # Events and metrics
//!
//! [`Rejected`](crate::EventKind::Rejected). Metrics: `seawall_split_replicas`, `seawall_split_behind`,
//! `seawall_split_spilled_total`, `seawall_split_waited_total`, `seawall_split_unanswered_total`,
//! `seawall_rejections_total`. The layers of each member have theirs, under the names you give them.
//!
//! # Order
//!
//! The deadline of the whole call, retries and limits for calls in all go around; breakers, bulkheads and attempt timeouts belong to
//! the members, in the closures. A retry around is told what was not sent, and its next attempt goes to another replica.
//!
//! # Cancellation
//!
//! Dropping the future drops the call in flight. A command may have happened: its session is uncertain.

mod ask;
mod builder;
mod future;
mod handle;
mod knowledge;
mod load;
mod meter;
mod plan;
mod replicas;
mod seen;
mod service;
mod session;
mod side;
mod sides;
mod spill;
mod timeline;

pub use ask::{Member, Progress};
pub use builder::Builder;
#[doc(hidden)]
pub use future::ResponseFuture;
pub use handle::SplitHandle;
pub use replicas::Replicas;
pub use service::Split;
pub use session::Session;
pub use side::{Freshness, Side};

#[cfg(test)]
mod tests;
