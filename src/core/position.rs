//! How far: a place in one history of changes.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::core::config::{ConfigError, ConfigErrors};

/// How far: a place in one history of changes. An offset, the version of a log, a location of a write-ahead log.
///
/// Positions of one era compare: a later one has everything that an earlier one has. An `era` is one unbroken history. It
/// changes when history is continued from an earlier point: a replica that is promoted begins a new one, and so does a
/// log that was restored from a backup. What was written after that point is in no history that is left,
/// though the numbers go on and soon pass the one where it was. So positions of different eras do not compare: neither is
/// less, equal or greater, and each of `<`, `<=`, `>` and `>=` is `false`.
///
/// It prints as `era-at`, and is read back from that, for headers, cookies and files.
///
/// ```
/// use seawall::Position;
///
/// let written = Position { era: 1, at: 42 };
/// let replica: Position = "1-57".parse()?; // out of a header
/// assert!(written <= replica); // the replica has the write
/// assert_eq!(written.to_string(), "1-42");
///
/// let promoted = Position { era: 2, at: 9_000 }; // after a failover
/// assert!(!(written <= promoted)); // who knows
/// assert_eq!(written.partial_cmp(&promoted), None);
/// # Ok::<(), seawall::ConfigErrors>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
pub struct Position {
    /// Which history.
    pub era: u32,
    /// How far in it. 0 is before all that happened.
    pub at: u64,
}

impl PartialOrd for Position {
    /// `None` of positions of different eras.
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self.era == other.era).then(|| self.at.cmp(&other.at))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.era, self.at)
    }
}

impl FromStr for Position {
    type Err = ConfigErrors;

    fn from_str(text: &str) -> Result<Self, ConfigErrors> {
        let parse = || {
            let (era, at) = text.split_once('-')?;
            let is_number = |digits: &str| digits.bytes().all(|digit| digit.is_ascii_digit());
            let parts = Some((era, at)).filter(|(era, at)| is_number(era) && is_number(at))?;
            Some(Self { era: parts.0.parse().ok()?, at: parts.1.parse().ok()? })
        };
        parse().ok_or_else(|| {
            let shown: String = text.chars().take(LONGEST).collect();
            ConfigErrors::of(vec![ConfigError::new("position", shown, FORM)])
        })
    }
}

/// What is accepted.
const FORM: &str = "`era-at`, two whole numbers such as `1-42`: the era up to 4294967295, the other up to 18446744073709551615";
/// How many characters of what is wrong are shown: more than any position has.
const LONGEST: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_is_read_back() {
        for position in [
            Position::default(),
            Position { era: 7, at: 42 },
            Position { era: u32::MAX, at: u64::MAX },
        ] {
            assert_eq!(position.to_string().parse::<Position>().unwrap(), position);
        }
    }

    #[test]
    fn garbage_is_no_position_and_is_shown_cut() {
        let long = format!("1-{}", "9".repeat(10_000));
        for text in ["", "-", "1", "1-", "-1", "1-2-3", "+1-2", "1-+2", " 1-2", "1-٣", &long] {
            let wrong = text.parse::<Position>().unwrap_err().to_string();
            assert!(wrong.contains("`era-at`") && wrong.len() < 300, "{text}: {wrong}");
        }
        assert!("4294967296-1".parse::<Position>().is_err());
        assert!("1-18446744073709551616".parse::<Position>().is_err());
    }

    // pitfall B61
    #[test]
    fn positions_of_different_eras_do_not_compare() {
        let (before, after) = (Position { era: 1, at: 5 }, Position { era: 2, at: 500 });
        assert!(!(before <= after || before > after || before == after));
        assert!(before < Position { era: 1, at: 6 } && before <= before);
    }
}
