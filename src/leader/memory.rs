//! A store of leases within this process.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;
use tower::Service;

use super::store::{Answer, Ask};
use crate::core::epoch::Epoch;
use crate::core::time;
use crate::shell::live::Live;

/// A store of leases within this process: for tests, and for programs that run once.
///
/// Clones are the same store. Its terms are counted for all leases together, and begin at 1 in each process.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use seawall::leader::{Candidate, MemoryStore};
///
/// let store = MemoryStore::new();
/// let mut pods = ["pod-1", "pod-2"].map(|pod| Candidate::builder("report", store.clone()).holder(pod).build().unwrap());
/// let [first, second] = &mut pods;
/// let (one, two) = tokio::join!(first.lead(|_| async { "one" }), second.lead(|_| async { "two" }));
/// assert_eq!((one, two), (Some("one"), Some("two"))); // one after the other
/// # });
/// ```
#[derive(Clone)]
pub struct MemoryStore(Arc<Live<Leases>>);

#[derive(Default, Clone)]
struct Leases {
    /// Terms that were given, of all leases.
    terms: u64,
    held: HashMap<Arc<str>, Lease>,
}

#[derive(Clone)]
struct Lease {
    holder: Arc<str>,
    term: u64,
    ends: Instant,
}

impl MemoryStore {
    /// A store in which every lease is free.
    pub fn new() -> Self {
        Self(Arc::new(Live::new(Leases::default())))
    }
}

impl Leases {
    fn answer(&mut self, ask: &Ask, now: Instant) -> Answer {
        self.held.retain(|_, lease| now < lease.ends);
        let (name, asks) = match ask {
            Ask::Acquire { lease, holder, .. }
            | Ask::Renew { lease, holder, .. }
            | Ask::Release { lease, holder } => (lease, Some(holder)),
            Ask::Look { lease } => (lease, None),
        };
        let Some(held) = self.held.get_mut(name) else {
            let Ask::Acquire { holder, ttl, .. } = ask else { return Answer::Free };
            self.terms += 1;
            let lease =
                Lease { holder: Arc::clone(holder), term: self.terms, ends: end(now, *ttl) };
            self.held.insert(Arc::clone(name), lease);
            return Answer::Granted { token: Epoch::new(self.terms), ttl: *ttl };
        };
        match ask {
            Ask::Renew { ttl, .. } if asks == Some(&held.holder) => {
                held.ends = end(now, *ttl);
                Answer::Granted { token: Epoch::new(held.term), ttl: *ttl }
            }
            Ask::Release { .. } if asks == Some(&held.holder) => {
                self.held.remove(name);
                Answer::Free
            }
            _ => Answer::Held {
                holder: Arc::clone(&held.holder),
                expires_in: Some(held.ends.saturating_duration_since(now)),
            },
        }
    }
}

/// A year for what no clock would reach.
fn end(now: Instant, ttl: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    now.checked_add(ttl).unwrap_or_else(|| now + YEAR)
}

impl Service<Ask> for MemoryStore {
    type Response = Answer;
    type Error = Infallible;
    type Future = Ready<Result<Answer, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, ask: Ask) -> Self::Future {
        let mut answer = Answer::Free;
        self.0.update(|leases| {
            let mut leases = leases.clone();
            answer = leases.answer(&ask, time::now());
            leases
        });
        ready(Ok(answer))
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("leases", &self.0.get().held.len()).finish()
    }
}
