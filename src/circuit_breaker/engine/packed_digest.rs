//! A digest as one atomic word.

use super::step::Digest;
use crate::circuit_breaker::transition::State;
use crate::core::error::Measurement;

/// From the low end: 3 bits of state, 3 of what was measured, 1 of quiet, 9 of the version of the
/// settings it was made under, 48 of epoch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct PackedDigest(pub(crate) u64);

impl PackedDigest {
    const QUIET: u64 = 1 << 6;
    /// Versions are compared modulo this plus one.
    pub(crate) const VERSIONS: u64 = 0x1ff;

    pub(crate) fn new(digest: Digest, version: u64) -> Self {
        let kind = match digest.measurement {
            Measurement::Evidence { .. } => 1,
            Measurement::Count { .. } => 2,
            Measurement::FailureRate { .. } => 3,
            Measurement::SlowRate { .. } => 4,
            Measurement::Recent { .. } => 5,
            _ => 0,
        };
        Self(
            digest.state.index() as u64
                | (kind << 3)
                | (u64::from(digest.quiet) * Self::QUIET)
                | ((version & Self::VERSIONS) << 7)
                | (digest.epoch << 16),
        )
    }

    #[inline]
    pub(crate) const fn is_quiet(self) -> bool {
        self.0 & Self::QUIET != 0
    }

    /// The same, and of this epoch.
    #[inline]
    pub(crate) const fn is_quiet_in(self, epoch: u64) -> bool {
        (self.0 ^ (epoch << 16 | Self::QUIET)) & (!0xffff | Self::QUIET) == 0
    }

    #[inline]
    pub(crate) const fn is_version(self, version: u64) -> bool {
        (self.0 >> 7) & Self::VERSIONS == version & Self::VERSIONS
    }

    #[inline]
    pub(crate) const fn epoch(self) -> u64 {
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

    /// The numbers of a measurement, to be put together again by [`measurement`](Self::measurement).
    pub(crate) const fn payload(measurement: Measurement) -> u64 {
        match measurement {
            Measurement::Evidence { observed, threshold }
            | Measurement::Count { observed, threshold }
            | Measurement::Recent { observed, threshold }
            | Measurement::FailureRate { observed, threshold }
            | Measurement::SlowRate { observed, threshold } => {
                (observed as u64) << 32 | threshold as u64
            }
            _ => 0,
        }
    }

    pub(crate) const fn measurement(self, payload: u64) -> Measurement {
        let (observed, threshold) = ((payload >> 32) as u32, payload as u32);
        match (self.0 >> 3) & 0b111 {
            1 => Measurement::Evidence { observed, threshold },
            2 => Measurement::Count { observed, threshold },
            3 => Measurement::FailureRate { observed, threshold },
            4 => Measurement::SlowRate { observed, threshold },
            5 => Measurement::Recent { observed, threshold },
            _ => Measurement::Nothing,
        }
    }
}
