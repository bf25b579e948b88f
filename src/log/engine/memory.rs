//! A log in memory.

use std::collections::HashMap;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::Notify;
use tower::Service;

use crate::core::config::{ConfigError, ConfigErrors};
use crate::core::epoch::Epoch;
use crate::core::position::Position;
use crate::core::sync::Mutex;
use crate::log::engine::reading::{ReadFuture, read_within};
use crate::log::error::LogError;
use crate::log::machine::{Law, Terms, Verdict, visible};
use crate::log::request::{Append, Appended, Of, Page, Read, Recorded};
use crate::shell::lock;

/// Default of [`MemoryLog::with_capacity`].
const CAPACITY: usize = 10_000_000;
/// Events are kept in blocks, so that none is ever moved.
const BLOCK: usize = 1 << 12;
/// There is one history of what is in memory.
const ERA: u32 = 1;

/// A log in memory: for tests, and for what need not outlive the process.
///
/// Clones are the same log. It holds 10 million events, or as many as it was [told](Self::with_capacity); what it has no room for
/// is refused.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use seawall::log::{Append, LogError, MemoryLog};
/// use tower::ServiceExt;
///
/// let log = MemoryLog::with_capacity(2)?;
/// log.clone().oneshot(Append::new("order-7", ["placed", "paid"])).await?;
/// let full = log.oneshot(Append::new("order-7", ["shipped"])).await;
/// assert!(matches!(full, Err(LogError::Full { capacity: 2 })));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct MemoryLog<E>(Arc<Shared<E>>);

struct Shared<E> {
    store: Mutex<Store<E>>,
    capacity: usize,
    /// Rings when there is more to read.
    more: Notify,
}

struct Store<E> {
    law: Law,
    /// All events, in order: that at position `n` is the `n`-th.
    blocks: Vec<Vec<Recorded<E>>>,
    streams: HashMap<Arc<str>, Stream>,
}

#[derive(Default)]
struct Stream {
    version: u64,
    /// The positions of its events.
    positions: Vec<u64>,
}

impl<E> MemoryLog<E> {
    /// An empty log.
    pub fn new() -> Self {
        Self::holding(CAPACITY)
    }

    /// An empty log that holds at most so many events.
    ///
    /// # Errors
    ///
    /// If it could hold none.
    pub fn with_capacity(events: usize) -> Result<Self, ConfigErrors> {
        if events == 0 {
            let wrong = ConfigError::new("capacity", 0, "at least 1");
            return Err(ConfigErrors::of(vec![wrong]));
        }
        Ok(Self::holding(events))
    }

    fn holding(capacity: usize) -> Self {
        let store = Store { law: Law::default(), blocks: Vec::new(), streams: HashMap::new() };
        Self(Arc::new(Shared { store: Mutex::new(store), capacity, more: Notify::new() }))
    }

    /// The position of its last event.
    pub fn end(&self) -> Position {
        at(lock(&self.0.store).law.end)
    }

    fn append(&self, ask: &Append<E>) -> Result<Appended, LogError> {
        ask.check()?;
        let terms = Terms {
            expect: ask.expect,
            events: ask.events.len() as u64,
            fence: ask.fence.map_or(0, Epoch::get),
        };
        let mut store = lock(&self.0.store);
        let verdict = store.append(ask, terms, self.0.capacity);
        drop(store);
        let verdict = verdict.ok_or(LogError::Full { capacity: self.0.capacity })?;
        Ok(match verdict {
            Verdict::Stored { last, version, .. } => {
                self.0.more.notify_waiters();
                Appended::Stored { position: at(last), version }
            }
            Verdict::Conflict { at } => Appended::Conflict { at },
            Verdict::Fenced { highest } => Appended::Fenced { highest: Epoch::new(highest) },
        })
    }

    fn read(&self, ask: &Read) -> Result<Page<E>, LogError> {
        lock(&self.0.store).read(ask)
    }
}

const fn at(number: u64) -> Position {
    Position { era: ERA, at: number }
}

// ===== impl Store =====

impl<E> Store<E> {
    /// `None` if there is no room.
    fn append(&mut self, ask: &Append<E>, terms: Terms, capacity: usize) -> Option<Verdict> {
        // Only what lands makes a stream.
        let mut version = self.streams.get(&ask.stream).map_or(0, |stream| stream.version);
        let mut law = self.law;
        let verdict = law.append(&mut version, terms);
        let Verdict::Stored { after, .. } = verdict else { return Some(verdict) };
        if terms.events == 0 {
            return Some(verdict);
        }
        if law.end > capacity as u64 {
            return None;
        }
        self.law = law;
        if !self.streams.contains_key(&ask.stream) {
            self.streams.insert(Arc::clone(&ask.stream), Stream::default());
        }
        let stream = self.streams.get_mut(&ask.stream)?;
        let before = stream.version;
        stream.version = version;
        for (nth, event) in (1..).zip(&ask.events) {
            stream.positions.push(after + nth);
            if self.blocks.last().is_none_or(|block| block.len() == BLOCK) {
                self.blocks.push(Vec::with_capacity(BLOCK.min(capacity)));
            }
            if let Some(block) = self.blocks.last_mut() {
                block.push(Recorded {
                    stream: Arc::clone(&ask.stream),
                    version: before + nth,
                    position: at(after + nth),
                    event: Arc::clone(event),
                });
            }
        }
        Some(verdict)
    }

    fn read(&self, ask: &Read) -> Result<Page<E>, LogError> {
        // Under one lock an append is there as soon as it has its positions: none is under way.
        let end = visible(self.law.end, None);
        match &ask.of {
            Of::All { .. } => {
                let after = ask.checked_after(at(end))?;
                let last = end.min(after.saturating_add(ask.most as u64));
                let events = (after + 1..=last).filter_map(|number| self.at(number)).collect();
                Ok(Page { events, end: at(last), version: 0, is_last: last == end })
            }
            Of::Stream { name, after } => {
                let positions = self.streams.get(name).map_or(&[][..], |stream| &stream.positions);
                let version = positions.len() as u64;
                let rest = &positions[(*after).min(version) as usize..];
                let read = &rest[..rest.len().min(ask.most)];
                let is_last = read.len() == rest.len();
                let seen = if is_last { end } else { read.last().copied().unwrap_or(end) };
                let events = read.iter().filter_map(|number| self.at(*number)).collect();
                Ok(Page { events, end: at(seen), version, is_last })
            }
        }
    }

    fn at(&self, number: u64) -> Option<Recorded<E>> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        self.blocks.get(index / BLOCK)?.get(index % BLOCK).cloned()
    }
}

// ===== services =====

impl<E> Service<Append<E>> for MemoryLog<E> {
    type Response = Appended;
    type Error = LogError;
    type Future = Ready<Result<Appended, LogError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), LogError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, ask: Append<E>) -> Self::Future {
        ready(self.append(&ask))
    }
}

impl<E: Send + Sync + 'static> Service<Read> for MemoryLog<E> {
    type Response = Page<E>;
    type Error = LogError;
    type Future = ReadFuture<E>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), LogError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, ask: Read) -> Self::Future {
        match self.read(&ask) {
            Ok(page) if page.events.is_empty() && !ask.wait.is_zero() => {
                let log = self.clone();
                ReadFuture::of(async move {
                    read_within(ask.wait, &log.0.more, || None, || ready(log.read(&ask))).await
                })
            }
            read => ReadFuture::ready(read),
        }
    }
}

// ===== the rest =====

impl<E> Clone for MemoryLog<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E> Default for MemoryLog<E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<E> fmt::Debug for MemoryLog<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLog")
            .field("end", &self.end())
            .field("capacity", &self.0.capacity)
            .finish()
    }
}
