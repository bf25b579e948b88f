//! Leader election: one of many processes acts, by a lease.
//!
//! # Example
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
//! use seawall::leader::{Candidate, LeaderLayer, MemoryStore};
//! use seawall::{Error, Reason};
//! use std::convert::Infallible;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! let store = MemoryStore::new(); // or any service of leases
//! let candidate = Candidate::builder("jobs", store).holder("pod-7").build()?;
//! let leadership = candidate.leadership();
//! let mut jobs = ServiceBuilder::new()
//!     .layer(LeaderLayer::new("jobs", &leadership))
//!     .map_err(Error::Inner)
//!     .service(service_fn(|job: &'static str| async move { Ok::<_, Infallible>(job) }));
//!
//! let early = jobs.ready().await?.call("clean up").await;
//! assert!(matches!(early, Err(Error::Rejected(why)) if why.reason() == Reason::NotLeader));
//!
//! let campaign = tokio::spawn(candidate.campaign());
//! leadership.watch().changed().await;
//! assert_eq!(jobs.ready().await?.call("clean up").await?, "clean up");
//!
//! leadership.resign().await; // waits for calls in flight, and gives the lease back
//! campaign.await?;
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! # When, and when not
//!
//! For work that one process of many should do: a nightly job, a scheduler, the writer of a queue.
//!
//! A lease makes it rare that two act, and never impossible: a process that is stopped between its last look at the clock
//! and the write to its database writes late, and clocks may drift more than was allowed for. What must not happen twice
//! has to be refused where it is written: send the [epoch](Term::epoch) with every write (a layer can
//! [propagate](LayerBuilder::propagate) it), and let the resource refuse
//! what is lower than the highest it has seen. In SQL that is one condition:
//! `update jobs set …, epoch = $2 where id = $1 and epoch <= $2`. The example `leader_job` of
//! [`seawall-postgres`](https://docs.rs/seawall-postgres) does so (`--postgres URL`).
//!
//! The monotonic clock of some systems stands still while a machine sleeps or is moved to another host. That is one more
//! reason for the resource to compare epochs. And what a job or a call has *spawned* is not ended with it.
//!
//! Not to elect the primary of a database: that has an election of its own, which knows what was replicated.
//!
//! # How it decides
//!
//! A [`Candidate`] asks a store for a lease (Gray and Cheriton, *Leases*, 1989), and renews it.
//!
//! - It leads from the answer until the moment *before the question left*, plus the time that was *granted*, less the
//!   [drift](Config::drift) of clocks. So its term ends before the store lets go of the lease, however long the answer took.
//! - A term ends by comparing two numbers on the monotonic clock, in every call, and not by a message or a timer: a process
//!   that was stopped past its term does nothing more when it continues.
//! - An answer that is no clear yes never lengthens a term. An answer that the lease is not ours ends it: calls in flight
//!   end when they are polled next, or within a fifteenth of `ttl`.
//! - Who has led is a candidate again under another holder name, so that no late message of the old term counts for the
//!   new one.
//! - [Resigning](Leadership::resign): nothing more begins, the renewals stop, and when all calls are over, or the term
//!   is, the lease is given back. So the next leader begins when nothing of the last is in flight.
//!
//! A store is any tower service of [`Ask`] and [`Answer`]: [`MemoryStore`], `EtcdStore` with the feature `etcd`, `LeaseStore`
//! of the package [`seawall-postgres`](https://docs.rs/seawall-postgres), or one of your own. Put a retry, a timeout or a breaker in front of it as of any other client.
//!
//! The rules were explored in full within bounds: two candidates, one store, messages of any delay or lost, clocks of
//! different speed. `src/leader/tests/explore.rs` has the bounds, and weaker rules that it finds out.
//!
//! # Defaults
//!
//! | setting | default | what it does |
//! | --- | --- | --- |
//! | [`ttl`](Config::ttl) | 15 s | for how long the lease is asked for |
//! | [`renew`](Config::renew) | 5 s | from one renewal to the next, less up to a quarter at random |
//! | [`ask_timeout`](Config::ask_timeout) | 2 s | how long one question may take |
//! | [`drift`](Config::drift) | 0.01 | by which share clocks may differ in speed |
//! | [`stop`](Config::stop) | 500 ms | the last part of a term, in which no call begins |
//!
//! A failed question is asked again after a fifteenth of `ttl`, and up to half as long at random. Who finds the lease held
//! asks again when it ends, or after `renew` if that is sooner.
//!
//! # Rejections
//!
//! [`NotLeader`](crate::Reason::NotLeader) while somebody else leads, with the rest of their term as
//! [`retry_after`](crate::Rejected::retry_after) if the store told it, and for calls whose term has ended. Those may have been
//! executed, so a retry repeats them only if they are [idempotent](crate::retry::CloneRequest::clone_request);
//! [`Draining`](crate::Reason::Draining) after `drain`.
//!
//! # Events and metrics
//!
//! [`Changed`](crate::EventKind::Changed) with the words of [`State`], because of `acquired`, `renewed`, `not_renewed`,
//! `expired`, `lost`, `resigned`, `released` or `started`; [`Rejected`](crate::EventKind::Rejected) of the layer. Metrics of the
//! candidate: `seawall_leader_state`, `seawall_leader_epoch`, `seawall_leader_margin_seconds`,
//! `seawall_leader_asked_total`; of the layer: `seawall_calls_total`, `seawall_rejections_total`.
//!
//! # Order
//!
//! The layer goes outside of retries, so that no attempt begins after the term, and inside of what answers in its place.
//!
//! # Cancellation
//!
//! A call is over when its answer is there: the body of an answer may outlive the term.
//!
//! Dropping the future of a call ends it as a call of the leader. Dropping a campaign ends the renewals: the term goes on to
//! its end, and calls with it.

mod campaign;
mod candidate;
mod config;
#[cfg(feature = "etcd")]
mod etcd;
#[cfg(feature = "etcd")]
mod etcd_error;
mod layer;
mod leadership;
mod machine;
mod memory;
mod policy;
mod runner;
mod standing;
mod state;
mod store;
#[cfg(test)]
mod tests;

pub use candidate::{Builder, Candidate};
pub use config::Config;
#[cfg(feature = "etcd")]
#[cfg_attr(docsrs, doc(cfg(feature = "etcd")))]
pub use etcd::EtcdStore;
#[cfg(feature = "etcd")]
#[cfg_attr(docsrs, doc(cfg(feature = "etcd")))]
pub use etcd_error::EtcdError;
pub use layer::{Builder as LayerBuilder, LeaderLayer};
#[doc(hidden)]
pub use layer::{Leader, ResponseFuture};
pub use leadership::{Leadership, Term, Watch};
pub use memory::MemoryStore;
#[doc(hidden)]
pub use policy::Led;
pub use state::State;
pub use store::{Advisory, Answer, Ask};
#[doc(hidden)]
pub use store::{Durable, Token};
