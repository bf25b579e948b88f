//! What the last step published: the words that spare most calls the lock.

use super::{Refusal, Shared};
use crate::circuit_breaker::engine::step::Digest;
use crate::circuit_breaker::engine::word::Word;
use crate::error::Reason;
use crate::sync::atomic::Ordering;
use crate::time::Tick;

impl Shared {
    /// A refusal from the published words alone: no lock.
    #[inline]
    pub(super) fn refuse_by_digest(&self, word: Word) -> Option<Refusal> {
        let until = Tick(self.refuse_until.load(Ordering::Acquire));
        if until == Tick::ZERO || !self.is_current(word) {
            return None;
        }
        let now = self.common.reporter.clock.now();
        if now >= until {
            return None;
        }
        let measured = word.measured(self.measured.load(Ordering::Acquire));
        // If the state changed under our eyes, the words may not belong together: take the lock.
        let reason = Reason::CircuitOpen;
        (self.word() == word).then_some(Refusal { now, until, reason, measured })
    }

    pub(super) fn publish(&self, digest: Digest, version: u64) {
        if digest.era != self.word().era() {
            // What was measured belongs to an era. While the words are exchanged they are marked as
            // made under settings that are not in force, so that nobody decides by a mixture.
            self.digest.store(Word::new(digest, version.wrapping_sub(1)).0, Ordering::Release);
        }
        self.measured.store(Word::payload(digest.measured), Ordering::Release);
        self.refuse_until.store(digest.refuse_until.0, Ordering::Release);
        self.digest.store(Word::new(digest, version).0, Ordering::Release);
    }

    #[inline]
    pub(super) fn word(&self) -> Word {
        Word(self.digest.load(Ordering::Acquire))
    }

    /// Whether a digest was made under the settings in force. Reading the version is a load of a line
    /// that is hardly ever written.
    #[inline]
    pub(super) fn is_current(&self, word: Word) -> bool {
        word.is_version(self.common.version())
    }

    /// The digest as a stamp: as long as it stays the same, nothing was decided. `None` before the
    /// first step.
    pub(crate) fn stamp(&self) -> Option<u64> {
        self.core.get()?;
        Some(self.digest.fetch_or(0, Ordering::AcqRel)) // not a load: the latest there is
    }
}
