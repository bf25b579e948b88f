//! Leader election in PostgreSQL, and positions of its replicas, for [`seawall`].
//!
//! A lease is one row. The server's clock says when it ends, and the epoch of its terms is a column that only grows: it
//! survives releases, restarts, and a promotion of a replica.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use seawall::leader::Candidate;
//! use seawall_postgres::{Clients, LeaseStore};
//! use tokio_postgres::NoTls;
//!
//! let clients = Clients::connect("host=10.0.0.7 user=app dbname=jobs".parse()?, NoTls);
//! let store = LeaseStore::new(&clients);
//! store.create_table().await?;
//! let mut candidate = Candidate::builder("report", store).holder("pod-7").build()?;
//! candidate.lead(|term| async move { println!("leads in term {}", term.epoch()) }).await;
//! # Ok(()) }
//! ```
//!
//! What a lease can do and what it cannot is told in [`seawall::leader`]. Where the work of the leader is in the
//! same database, let each write say its epoch, and have PostgreSQL refuse what comes late:
//!
//! ```sql
//! update reports set body = $3, epoch = $2 where id = $1 and epoch <= $2
//! ```
//!
//! # The server
//!
//! PostgreSQL 12 or later, its primary. A question is one statement in a transaction of its own, so nothing stays open
//! when a question is given up, and poolers such as `PgBouncer` may stand in between. It waits for a lock for
//! a second at most, and it is written durably whatever `synchronous_commit` says.
//!
//! The end of a lease is a time of the server's wall clock. If somebody sets that clock forward, or a replica takes over whose
//! clock is ahead, a lease ends early, and two may act until the first one's term is over: their epochs tell them apart.
//! With `fsync = off` a crash of the machine may lose terms, and epochs with them.
//!
//! # Instead of an advisory lock
//!
//! `pg_advisory_lock` belongs to a session. It ends when the connection does, which neither side may notice for minutes; it
//! has no token that a late write could be told by; and a pooler hands it to somebody else. A lease ends by the clock, on both
//! sides, and its epoch goes with every write.
//!
//! # Positions
//!
//! [`position_of_primary`] after a commit, and [`position_of_replica`]: a replica at or behind that position shows the
//! write. Positions from before a promotion do not compare with those from after it, for the write may be lost.
//!
//! # Cancellation
//!
//! A question that is dropped may still be answered by the server, as one whose answer was lost: all of them may be asked
//! again.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod clients;
mod error;
mod lease;
mod position;
mod statements;

pub use clients::Clients;
pub use error::PostgresError;
pub use lease::{BadTable, LEASES, LeaseStore};
pub use position::{position_of_primary, position_of_replica};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
