//! What the last step published: the words that spare most calls the lock.

use super::{Rejection, Shared};
use crate::circuit_breaker::engine::packed_digest::PackedDigest;
use crate::circuit_breaker::engine::step::Digest;
use crate::core::error::Reason;
use crate::core::sync::atomic::Ordering;
use crate::core::time::Tick;

impl Shared {
    /// A rejection from the published words alone: no lock.
    #[inline]
    pub(super) fn reject_by_digest(&self, word: PackedDigest) -> Option<Rejection> {
        let until = Tick(self.reject_until.load(Ordering::Acquire));
        if until == Tick::ZERO || !self.is_current(word) {
            return None;
        }
        let now = self.common.reporter.clock.now();
        if now >= until {
            return None;
        }
        let measurement = word.measurement(self.measurement.load(Ordering::Acquire));
        // If the state changed under our eyes, the words may not belong together: take the lock.
        let reason = Reason::CircuitOpen;
        (self.word() == word).then_some(Rejection { now, until, reason, measurement })
    }

    pub(super) fn publish(&self, digest: Digest, version: u64) {
        if digest.epoch != self.word().epoch() {
            // What was measured belongs to an epoch. While the words are exchanged they are marked as
            // made under settings that are not in force, so that nobody decides by a mixture.
            self.digest
                .store(PackedDigest::new(digest, version.wrapping_sub(1)).0, Ordering::Release);
        }
        self.measurement.store(PackedDigest::payload(digest.measurement), Ordering::Release);
        self.reject_until.store(digest.reject_until.0, Ordering::Release);
        self.digest.store(PackedDigest::new(digest, version).0, Ordering::Release);
    }

    #[inline]
    pub(super) fn word(&self) -> PackedDigest {
        PackedDigest(self.digest.load(Ordering::Acquire))
    }

    /// Whether a digest was made under the settings in force. Reading the version is a load of a line
    /// that is hardly ever written.
    #[inline]
    pub(super) fn is_current(&self, word: PackedDigest) -> bool {
        word.is_version(self.common.version())
    }

    /// The digest as a stamp: as long as it stays the same, nothing was decided. `None` before the
    /// first step.
    pub(crate) fn stamp(&self) -> Option<u64> {
        self.core.get()?;
        Some(self.digest.fetch_or(0, Ordering::AcqRel)) // not a load: the latest there is
    }
}
