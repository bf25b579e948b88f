//! The law of a topic: a bounded ring of numbered events, and cursors of those who read it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::line::{Line, TURN};
use crate::core::time::{Tick, nanos};

/// What happens when a subscriber has not read the oldest event and the topic needs its place: the choice of each subscriber.
///
/// ```
/// use seawall::bus::{Bus, Subscribe, WhenSlow};
/// use std::time::Duration;
///
/// let bus = Bus::<&str>::builder("orders").build()?;
/// let patient = WhenSlow::Hold(Duration::from_secs(1));
/// let _audit = bus.subscribe(Subscribe::new("audit").when_slow(patient));
/// # Ok::<(), seawall::ConfigErrors>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum WhenSlow {
    /// It loses the oldest events, and is told which: [`Delivery::Gap`](crate::bus::Delivery::Gap).
    #[default]
    Lose,
    /// Publishers wait for it, until it has not read its next event for so long after the first of them had to wait for that
    /// event. Then it is cut off: it is given what is left for it, and [`Closed::TooSlow`](crate::bus::Closed::TooSlow). The time begins anew
    /// with each event that it reads, and does not run while nobody has to wait: so one that reads an event within it is never cut
    /// off, and a publisher may wait for longer if others are before it in the line. With no time at all it is cut off as
    /// soon as the ring is full; with [`Duration::MAX`] never.
    ///
    /// Only a publisher that waits looks at the clock, and only in a runtime that has timers: without, a subscriber that is too slow
    /// is cut off when the next event is published.
    Hold(Duration),
    /// It is given the newest event of each [key](crate::bus::Envelope::key), and none that a newer one has replaced meanwhile. It has
    /// room for as many keys as the topic has for events. What does not fit is a gap, one for each run of numbers, and then
    /// all of it is lost.
    Latest,
}

/// Why no more events come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Closed {
    /// The bus was closed, or it and all of its publishers were dropped.
    Bus,
    /// A publisher has waited for this subscriber for as long as it [may](WhenSlow::Hold).
    TooSlow,
}

/// What an event is the newest of.
pub(super) trait Keyed: Clone {
    fn key(&self) -> &str;
}

/// The events and cursors of one bus.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Topic<T> {
    capacity: usize,
    /// The latest events, as many as there is room for.
    ring: VecDeque<T>,
    /// The number of the next event.
    next: u64,
    readers: Vec<Option<Reader<T>>>,
    /// How many there are, how many of them hold, and how many want the latest.
    count: usize,
    holding: usize,
    latest: usize,
    line: Line,
    is_closed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Reader<T> {
    /// The number of the event that it is given next.
    at: u64,
    slow: Slow<T>,
    /// It is given no event from here on.
    until: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Slow<T> {
    Lose,
    Hold {
        patience: u64,
        /// When a publisher was first held up by the event that is next.
        since: Option<Tick>,
    },
    Latest(Newest<T>),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Newest<T> {
    events: BTreeMap<u64, T>,
    of_key: BTreeMap<Box<str>, u64>,
    /// Those that did not fit: the first and last of each run, as many as there is room for events.
    lost: VecDeque<(u64, u64)>,
}

/// What became of an event.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Published<T> {
    /// It is there. What it displaced is to be dropped after the unlock.
    Done { number: u64, displaced: Displaced<T> },
    /// It waits.
    Held(T, Held),
    /// The topic is closed.
    Closed(T),
}

/// An event that waits for a slow reader, with a place in the line; it looks again at this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) ticket: u64,
    pub(super) until: Tick,
    /// A reader was cut off.
    pub(super) has_cut: bool,
    /// Somebody did not come in its turn, and it is that of somebody else now.
    pub(super) has_passed: bool,
}

/// What nobody will read any more: user values, not to be dropped under a lock.
pub(super) type Displaced<T> = (Option<T>, Vec<T>);

/// What a reader is given.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken<T> {
    Event {
        number: u64,
        event: T,
    },
    /// These are lost to it, the first and last of them.
    Gap {
        from: u64,
        to: u64,
    },
    Nothing,
    Closed(Closed),
}

// ===== impl Topic =====

impl<T: Keyed> Topic<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity,
            ring: VecDeque::new(),
            next: 1,
            readers: Vec::new(),
            count: 0,
            holding: 0,
            latest: 0,
            line: Line::default(),
            is_closed: false,
        }
    }

    /// A reader of all events from now on.
    pub(super) fn subscribe(&mut self, when: WhenSlow) -> usize {
        let slow = match when {
            WhenSlow::Lose => Slow::Lose,
            WhenSlow::Hold(patience) => Slow::Hold { patience: nanos(patience), since: None },
            WhenSlow::Latest => Slow::Latest(Newest {
                events: BTreeMap::new(),
                of_key: BTreeMap::new(),
                lost: VecDeque::new(),
            }),
        };
        self.count += 1;
        self.holding += usize::from(matches!(slow, Slow::Hold { .. }));
        self.latest += usize::from(matches!(slow, Slow::Latest(_)));
        let reader = Some(Reader { at: self.next, slow, until: None });
        match self.readers.iter().position(Option::is_none) {
            Some(free) => {
                self.readers[free] = reader;
                free
            }
            None => {
                self.readers.push(reader);
                self.readers.len() - 1
            }
        }
    }

    /// A reader is no more. With the last one all events go.
    pub(super) fn unsubscribe(&mut self, reader: usize) -> Vec<T> {
        let Some(gone) = self.readers[reader].take() else { return Vec::new() };
        self.count -= 1;
        let mut displaced = Vec::new();
        match gone.slow {
            Slow::Lose => {}
            Slow::Hold { .. } => self.holding -= 1,
            Slow::Latest(newest) => {
                self.latest -= 1;
                displaced.extend(newest.events.into_values());
            }
        }
        if self.count == 0 {
            self.readers = Vec::new();
            displaced.extend(std::mem::take(&mut self.ring));
        }
        displaced
    }

    pub(super) const fn readers(&self) -> usize {
        self.count
    }

    /// Events that no publisher's line holds up and no reader would lose are always taken: then no clock is needed.
    pub(super) fn needs_clock(&self) -> bool {
        !self.line.is_empty() || (self.holding > 0 && self.ring.len() >= self.capacity)
    }

    /// Puts an event into the ring, if nobody holds it up. `ticket` is the place in the line of an event that was held
    /// before.
    pub(super) fn publish(&mut self, event: T, ticket: Option<u64>, now: Tick) -> Published<T> {
        if self.is_closed {
            self.line.go(ticket);
            return Published::Closed(event);
        }
        let waits = self.holding > 0 || !self.line.is_empty();
        if waits && let Some(held) = self.held_up(ticket, now) {
            return Published::Held(event, held);
        }
        self.line.go(ticket);
        let number = self.next;
        self.next += 1;
        if self.count == 0 {
            return Published::Done { number, displaced: (Some(event), Vec::new()) };
        }
        let replaced = if self.latest > 0 { self.replace(number, &event) } else { Vec::new() };
        let oldest = if self.ring.len() >= self.capacity { self.ring.pop_front() } else { None };
        self.ring.push_back(event);
        Published::Done { number, displaced: (oldest, replaced) }
    }

    /// Whether a reader, or somebody in the line, holds the next event up.
    fn held_up(&mut self, ticket: Option<u64>, now: Tick) -> Option<Held> {
        if ticket.is_some() {
            self.line.join(ticket, now);
        }
        let (held_until, has_cut) = self.hold(now);
        let (until, has_passed) = match held_until {
            Some(until) => {
                self.line.hold();
                (Some(until), false)
            }
            None => self.line.turn(ticket, now),
        };
        let until = until?;
        let ticket = self.line.join(ticket, now);
        // Who has somebody before it looks again: that one may never come, and one that was passed may come to be first again.
        let is_oldest = self.line.oldest() == Some(ticket);
        let until = if is_oldest { until } else { until.min(now.plus(TURN)) };
        Some(Held { ticket, until, has_cut, has_passed })
    }

    /// Who did not come in its turn, since this was asked last.
    pub(super) fn take_passed(&mut self) -> Vec<u64> {
        self.line.take_passed()
    }

    /// Until when readers hold the next event up, if they do. Those that have done so for too long are cut off.
    fn hold(&mut self, now: Tick) -> (Option<Tick>, bool) {
        let (mut held_until, mut has_cut) = (None::<Tick>, false);
        if self.holding == 0 || self.ring.len() < self.capacity {
            return (held_until, has_cut);
        }
        let oldest = self.oldest();
        for reader in self.readers.iter_mut().flatten() {
            if let Slow::Hold { patience, since } = &mut reader.slow
                && reader.at <= oldest
            {
                let until = since.get_or_insert(now).plus(*patience);
                if until <= now {
                    reader.until = Some(self.next);
                    reader.slow = Slow::Lose;
                    self.holding -= 1;
                    has_cut = true;
                } else {
                    held_until = Some(held_until.map_or(until, |earlier| earlier.min(until)));
                }
            }
        }
        (held_until, has_cut)
    }

    /// A publisher waits no longer.
    pub(super) fn leave(&mut self, ticket: u64) {
        self.line.leave(ticket);
    }

    pub(super) fn has_line(&self) -> bool {
        !self.line.is_empty()
    }

    /// Who is first in the line. If there is room for it, its turn begins.
    pub(super) fn call(&mut self, now: Tick) -> Option<u64> {
        let oldest = self.oldest();
        let holds =
            |reader: &Reader<T>| matches!(reader.slow, Slow::Hold { .. }) && reader.at <= oldest;
        let is_full = self.ring.len() >= self.capacity;
        if is_full && self.readers.iter().flatten().any(holds) {
            return self.line.first();
        }
        self.line.call(now)
    }

    /// For those who want the latest only.
    fn replace(&mut self, number: u64, event: &T) -> Vec<T> {
        let mut replaced = Vec::new();
        for reader in self.readers.iter_mut().flatten() {
            let Slow::Latest(newest) = &mut reader.slow else { continue };
            let older = match newest.of_key.get_mut(event.key()) {
                Some(latest) => Some(std::mem::replace(latest, number)),
                None => newest.of_key.insert(event.key().into(), number),
            };
            replaced.extend(older.and_then(|older| newest.events.remove(&older)));
            newest.events.insert(number, event.clone());
            if newest.events.len() > self.capacity
                && let Some((lost, event)) = newest.events.pop_first()
            {
                newest.of_key.remove(event.key());
                // It is the oldest, so these come in order.
                let is_full = newest.lost.len() >= self.capacity;
                match newest.lost.back_mut() {
                    Some((_, last)) if is_full || *last + 1 == lost => *last = lost,
                    _ => newest.lost.push_back((lost, lost)),
                }
                replaced.push(event);
            }
        }
        replaced
    }

    fn oldest(&self) -> u64 {
        self.next - self.ring.len() as u64
    }

    /// What is next for a reader.
    pub(super) fn take(&mut self, reader: usize) -> Taken<T> {
        let (oldest, next, is_closed) = (self.oldest(), self.next, self.is_closed);
        let Some(Some(reader)) = self.readers.get_mut(reader) else {
            return Taken::Closed(Closed::Bus);
        };
        let until = reader.until.unwrap_or(next);
        if let Slow::Latest(newest) = &mut reader.slow {
            if let Some((from, to)) = newest.lost.pop_front() {
                return Taken::Gap { from, to };
            }
            if let Some((number, event)) = newest.events.pop_first() {
                newest.of_key.remove(event.key());
                return Taken::Event { number, event };
            }
            reader.at = next;
        } else if reader.at < oldest.min(until) {
            let from = std::mem::replace(&mut reader.at, oldest.min(until));
            return Taken::Gap { from, to: reader.at - 1 };
        }
        if reader.at < until
            && let Ok(place) = usize::try_from(reader.at - oldest)
            && let Some(event) = self.ring.get(place)
        {
            let number = reader.at;
            reader.at += 1;
            if let Slow::Hold { since, .. } = &mut reader.slow {
                *since = None;
            }
            return Taken::Event { number, event: event.clone() };
        }
        match reader.until {
            Some(_) => Taken::Closed(Closed::TooSlow),
            None if is_closed => Taken::Closed(Closed::Bus),
            None => Taken::Nothing,
        }
    }

    /// How many events there are for a reader that it was not given yet.
    pub(super) fn lag(&self, reader: usize) -> u64 {
        match self.readers.get(reader) {
            Some(Some(Reader { slow: Slow::Latest(newest), .. })) => newest.events.len() as u64,
            Some(Some(reader)) => reader.until.unwrap_or(self.next).saturating_sub(reader.at),
            _ => 0,
        }
    }

    /// No more events come. What is there can be read.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
    }
}
