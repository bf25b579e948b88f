//! The law of a log: what may be appended, and how far a reader may see.

/// Which version a stream must have for events to be appended to it: optimistic concurrency control.
///
/// The version of a stream is the number of its events.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use seawall::log::{Append, Appended, Expect, MemoryLog};
/// use tower::ServiceExt;
///
/// let log = MemoryLog::new();
/// let opens = Append::new("account-7", ["opened"]).expect(Expect::NoStream);
/// assert!(matches!(log.clone().oneshot(opens.clone()).await?, Appended::Stored { version: 1, .. }));
/// assert_eq!(log.oneshot(opens).await?, Appended::Conflict { at: 1 });
/// # Ok::<(), seawall::log::LogError>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Expect {
    /// Any version.
    #[default]
    Any,
    /// There are no events of the stream yet.
    NoStream,
    /// The version is this one.
    At(u64),
}

impl Expect {
    const fn is_met_by(self, version: u64) -> bool {
        match self {
            Self::Any => true,
            Self::NoStream => version == 0,
            Self::At(expected) => version == expected,
        }
    }
}

/// What a log knows of itself as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Law {
    /// The position of its last event.
    pub(super) end: u64,
    /// The highest epoch of an append that landed.
    pub(super) highest: u64,
}

/// What an append asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Terms {
    pub(super) expect: Expect,
    pub(super) events: u64,
    /// The epoch of the writer; 0 is nobody's, and is not compared.
    pub(super) fence: u64,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Verdict {
    /// Its events have the positions after `after`, up to `last`, and the versions up to `version`.
    Stored {
        after: u64,
        last: u64,
        version: u64,
    },
    Conflict {
        at: u64,
    },
    Fenced {
        highest: u64,
    },
}

impl Law {
    /// Appends to a stream of this version. Nothing changes but where it lands.
    pub(super) const fn append(&mut self, version: &mut u64, terms: Terms) -> Verdict {
        if terms.fence != 0 && terms.fence < self.highest {
            return Verdict::Fenced { highest: self.highest };
        }
        if !terms.expect.is_met_by(*version) {
            return Verdict::Conflict { at: *version };
        }
        let after = self.end;
        if terms.events > 0 {
            self.end += terms.events;
            *version += terms.events;
            if terms.fence > self.highest {
                self.highest = terms.fence;
            }
        }
        Verdict::Stored { after, last: self.end, version: *version }
    }
}

/// How far a reader may see: up to what was appended, and no further than below the oldest append that has its positions
/// and is not there yet. One that is behind it may be there already; who read it would never come back for the older.
pub(super) fn visible(end: u64, oldest_under_way: Option<u64>) -> u64 {
    oldest_under_way.map_or(end, |oldest| end.min(oldest.saturating_sub(1)))
}

/// A state, and how many events of its stream are in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Fold<S> {
    pub(super) state: S,
    pub(super) version: u64,
}

impl<S> Fold<S> {
    /// Takes the event of this version in, once: what is in it already is passed over. `None` if events are missing before it.
    pub(super) fn take(self, version: u64, evolve: impl FnOnce(S) -> S) -> Option<Self> {
        if version <= self.version {
            return Some(self);
        }
        (version == self.version + 1).then(|| Self { state: evolve(self.state), version })
    }
}

/// Whether a snapshot may be folded on: if the same code made it. Whatever it was made by, it is worth no more than the log.
pub(super) const fn is_usable(made_by: u32, code: u32) -> bool {
    made_by == code
}
