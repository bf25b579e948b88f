//! Who may: a number that grows with each change of owner.

#![cfg_attr(
    not(any(
        feature = "endpoints",
        feature = "failover",
        feature = "leader",
        feature = "log",
        feature = "shards"
    )),
    allow(dead_code, unreachable_pub, reason = "a split has members that do not change")
)]

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

/// Who may: the version of a map of owners, or the term of a leader. It grows with each change, and a
/// later one overrules an earlier one.
///
/// 0 is nobody's. Epochs of different maps (or leaders) do not compare.
///
/// ```
/// use seawall::Epoch;
///
/// let epoch: Epoch = "7".parse()?; // out of a header or a file
/// assert!(epoch < epoch.next());
/// assert_eq!(epoch.next().to_string(), "8");
/// assert_eq!(Epoch::default(), Epoch::NOBODY);
/// # Ok::<(), std::num::ParseIntError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Epoch(u64);

impl Epoch {
    /// Before anybody was chosen.
    pub const NOBODY: Self = Self(0);

    /// The epoch with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The one after it. The last one there can be stays.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl From<u64> for Epoch {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl FromStr for Epoch {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
