//! Seeing from anywhere whether this process leads.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::standing::{News, Standing};
use super::state::State;
use super::store::{Durable, Token};
use crate::core::epoch::Epoch;
use crate::core::origin::Origin;

/// Sees whether a candidate leads. Cheap to clone.
///
/// It compares the end of the term with the clock, so it is right also when the process was stopped
/// meanwhile, when its runtime is busy, or when the candidate was dropped.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use seawall::leader::{Candidate, Leadership, MemoryStore};
/// use std::time::Duration;
///
/// /// Cleans up, if this is the one that does.
/// async fn tick(leadership: &Leadership) -> bool {
///     let Some(term) = leadership.term() else { return false };
///     term.remaining() > Duration::from_secs(1)
/// }
///
/// let candidate = Candidate::builder("cleaner", MemoryStore::new()).build()?;
/// let leadership = candidate.leadership();
/// tokio::spawn(candidate.campaign());
/// assert!(!tick(&leadership).await);
/// leadership.watch().changed().await;
/// assert!(tick(&leadership).await);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct Leadership<T = Epoch> {
    pub(super) standing: Arc<Standing>,
    token: PhantomData<fn() -> T>,
}

impl<T: Token> Leadership<T> {
    pub(super) fn new(standing: Arc<Standing>) -> Self {
        Self { standing, token: PhantomData }
    }

    /// The kind and the name of the candidate.
    pub fn origin(&self) -> &Origin {
        &self.standing.reporter.origin
    }

    /// Whether it leads.
    pub fn state(&self) -> State {
        self.standing.state(self.standing.reporter.clock.now())
    }

    /// The present term; `None` while it does not lead.
    pub fn term(&self) -> Option<Term<T>> {
        let found = self.standing.term(self.standing.reporter.clock.now())?;
        Some(Term { leadership: self.clone(), number: found.number })
    }

    /// Who has the lease, as was last heard from the store.
    pub fn holder(&self) -> Option<Arc<str>> {
        self.standing.holder.get().as_ref().clone()
    }

    /// Why the store gave no answer when it was last asked; `None` if it did.
    pub fn last_error(&self) -> Option<Arc<str>> {
        self.standing.last_error.get().as_ref().clone()
    }

    /// Watches the state.
    pub fn watch(&self) -> Watch {
        let news = self.standing.news.subscribe();
        let seen = news.borrow().changes;
        Watch { standing: Arc::clone(&self.standing), news, seen }
    }

    /// Resigns: nothing more begins, and when all that was begun as the leader is over, the lease is given back. Returns
    /// then, at once where nobody campaigns. What is not over at the end of the term ends there; what cannot be
    /// ended, such as a call that nobody polls or that may [finish](super::LayerBuilder::finish), holds this up for one more
    /// [`ttl`](super::Config::ttl), and then the lease has ended by itself.
    ///
    /// A store that does not answer is asked again for a fifth of the `ttl`. The resigning goes on if the future
    /// of this is dropped.
    pub async fn resign(&self) {
        let mut news = self.standing.news.subscribe();
        let Some(campaign) = self.standing.resign() else { return };
        // It fails when nobody can campaign any more.
        let _ = news
            .wait_for(|news| {
                let is_over = !news.campaigns || news.state == State::Resigned;
                is_over || news.campaign != campaign
            })
            .await;
    }
}

impl<T> Clone for Leadership<T> {
    fn clone(&self) -> Self {
        Self { standing: Arc::clone(&self.standing), token: PhantomData }
    }
}

impl<T: Token> fmt::Debug for Leadership<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leadership")
            .field("origin", self.origin())
            .field("state", &self.state())
            .finish()
    }
}

// ===== impl Term =====

/// A term of leadership.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use seawall::Epoch;
/// use seawall::leader::{Candidate, MemoryStore, Term};
/// use std::time::Duration;
///
/// async fn report(term: Term) -> Epoch {
///     assert!(term.remaining() > Duration::from_secs(10));
///     term.epoch() // goes into every write, for the database to compare
/// }
///
/// let mut candidate = Candidate::builder("report", MemoryStore::new()).build()?;
/// assert_eq!(candidate.lead(report).await, Some(Epoch::new(1)));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct Term<T = Epoch> {
    leadership: Leadership<T>,
    pub(super) number: u64,
}

impl<T: Token> Term<T> {
    pub(super) fn new(leadership: Leadership<T>, number: u64) -> Self {
        Self { leadership, number }
    }

    /// Its epoch: later than those of all terms before it.
    pub fn epoch(&self) -> Epoch
    where
        T: Durable,
    {
        Epoch::new(self.number)
    }

    /// What is left of it, if it is not renewed. Zero when it is over.
    pub fn remaining(&self) -> Duration {
        let standing = &self.leadership.standing;
        let now = standing.reporter.clock.now();
        let end = standing.end_of(self.number, now);
        end.map_or(Duration::ZERO, |end| Duration::from_nanos(end.since(now)))
    }

    /// Whether it is over.
    pub fn is_over(&self) -> bool {
        self.remaining().is_zero()
    }

    /// Whether the candidate resigns: it waits for what it began, to the end of the term.
    pub fn is_resigning(&self) -> bool {
        self.leadership.standing.resigns()
    }

    /// Returns when the candidate resigns, or the term is over.
    pub async fn ending(&self) {
        let mut watch = self.leadership.watch();
        while !self.is_over() && !self.is_resigning() {
            // Nobody tells of the end of a term whose candidate is gone.
            let _ = timeout(self.remaining(), watch.changed()).await;
        }
    }
}

impl<T> Clone for Term<T> {
    fn clone(&self) -> Self {
        Self { leadership: self.leadership.clone(), number: self.number }
    }
}

impl<T: Token> fmt::Debug for Term<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Term")
            .field("number", &self.number)
            .field("remaining", &self.remaining())
            .finish()
    }
}

// ===== impl Watch =====

/// Watches whether a candidate leads.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use seawall::leader::{Candidate, MemoryStore, State, Watch};
///
/// /// Says who it is, whenever that changes.
/// async fn announce(mut watch: Watch) -> State {
///     assert_eq!(watch.state(), State::Following);
///     watch.changed().await
/// }
///
/// let candidate = Candidate::builder("report", MemoryStore::new()).build()?;
/// let announced = tokio::spawn(announce(candidate.leadership().watch()));
/// tokio::spawn(candidate.campaign());
/// assert_eq!(announced.await?, State::Leading);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Watch {
    standing: Arc<Standing>,
    news: watch::Receiver<News>,
    /// The number of the change that was seen last.
    seen: u64,
}

impl Watch {
    /// The state at this moment.
    pub fn state(&self) -> State {
        self.standing.state(self.standing.reporter.clock.now())
    }

    /// Returns the new state once it has changed since the last look, at once if it has already.
    ///
    /// Cancel safe: a change that happens while nobody waits is seen by the next call.
    pub async fn changed(&mut self) -> State {
        loop {
            let (state, changes) = {
                let news = self.news.borrow_and_update();
                (news.state, news.changes)
            };
            if std::mem::replace(&mut self.seen, changes) != changes {
                return state;
            }
            if self.news.changed().await.is_err() {
                std::future::pending::<()>().await; // cannot be: the sender is held
            }
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("state", &self.state()).finish_non_exhaustive()
    }
}
