//! A digest as one atomic word.

use super::step::Digest;
use crate::error::Measured;
use crate::event::State;

/// From the low end: 3 bits of state, 3 of what was measured, 1 of quiet, 9 of the version of the
/// settings it was made under, 48 of era.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word(pub(crate) u64);

impl Word {
    const QUIET: u64 = 1 << 6;
    /// Versions are compared modulo this plus one.
    pub(crate) const VERSIONS: u64 = 0x1ff;

    pub(crate) fn new(digest: Digest, version: u64) -> Self {
        let kind = match digest.measured {
            Measured::Evidence { .. } => 1,
            Measured::Count { .. } => 2,
            Measured::FailureRate { .. } => 3,
            Measured::SlowRate { .. } => 4,
            Measured::Recent { .. } => 5,
            _ => 0,
        };
        Self(
            digest.state.index() as u64
                | (kind << 3)
                | (u64::from(digest.quiet) * Self::QUIET)
                | ((version & Self::VERSIONS) << 7)
                | (digest.era << 16),
        )
    }

    #[inline]
    pub(crate) const fn is_quiet(self) -> bool {
        self.0 & Self::QUIET != 0
    }

    /// The same, and of this era.
    #[inline]
    pub(crate) const fn is_quiet_in(self, era: u64) -> bool {
        (self.0 ^ (era << 16 | Self::QUIET)) & (!0xffff | Self::QUIET) == 0
    }

    #[inline]
    pub(crate) const fn is_version(self, version: u64) -> bool {
        (self.0 >> 7) & Self::VERSIONS == version & Self::VERSIONS
    }

    #[inline]
    pub(crate) const fn era(self) -> u64 {
        self.0 >> 16
    }

    #[inline]
    pub(crate) const fn state(self) -> State {
        State::ALL[(self.0 & 0b111) as usize % State::ALL.len()]
    }

    /// Whether calls pass for sure, or almost.
    #[inline]
    pub(crate) const fn is_passing(self) -> bool {
        let state = (self.0 & 0b111) as usize;
        state == State::Closed.index() || state == State::ForcedClosed.index()
    }

    /// The numbers of a measurement, to be put together again by [`measured`](Self::measured).
    pub(crate) const fn payload(measured: Measured) -> u64 {
        match measured {
            Measured::Evidence { observed, threshold }
            | Measured::Count { observed, threshold }
            | Measured::Recent { observed, threshold }
            | Measured::FailureRate { observed, threshold }
            | Measured::SlowRate { observed, threshold } => {
                (observed as u64) << 32 | threshold as u64
            }
            _ => 0,
        }
    }

    pub(crate) const fn measured(self, payload: u64) -> Measured {
        let (observed, threshold) = ((payload >> 32) as u32, payload as u32);
        match (self.0 >> 3) & 0b111 {
            1 => Measured::Evidence { observed, threshold },
            2 => Measured::Count { observed, threshold },
            3 => Measured::FailureRate { observed, threshold },
            4 => Measured::SlowRate { observed, threshold },
            5 => Measured::Recent { observed, threshold },
            _ => Measured::Nothing,
        }
    }
}
