//! Ranges of keys.

use std::collections::HashMap;
use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use super::key::Key;
use crate::core::config::ConfigError;

/// A range of keys, and who owns it. Keys are ordered by their bytes.
///
/// ```
/// use seawall::shards::KeyRange;
///
/// let letters = KeyRange::new("a".."n", "names-a-m");
/// let numbers = KeyRange::new(1_000_u64..=1_999, "orders-1000-1999");
/// assert_eq!(format!("{letters:?}"), r#"KeyRange("a".."n", "names-a-m")"#);
/// # drop(numbers);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// The first key that is in it.
    start: Box<[u8]>,
    /// The first one that is not; `None`, if all from the start on are.
    end: Option<Box<[u8]>>,
    owner: Arc<str>,
}

impl KeyRange {
    /// The keys within these bounds belong to `owner`.
    pub fn new<'a, T>(bounds: impl RangeBounds<T>, owner: impl Into<Arc<str>>) -> Self
    where
        T: Copy + Into<Key<'a>>,
    {
        let key = |bound: &T| -> Key<'a> { (*bound).into() };
        let bytes = |bound| key(bound).as_bytes().to_vec();
        // After the last number there is none: what begins there has no number in it.
        let after = |bound| key(bound).after();
        let start = match bounds.start_bound() {
            Bound::Included(start) => bytes(start),
            Bound::Excluded(start) => after(start).unwrap_or_else(|| vec![u8::MAX; 9]),
            Bound::Unbounded => Vec::new(),
        };
        let end = match bounds.end_bound() {
            Bound::Included(end) => after(end),
            Bound::Excluded(end) => Some(bytes(end)),
            Bound::Unbounded => None,
        };
        Self { start: start.into(), end: end.map(Into::into), owner: owner.into() }
    }

    pub(super) const fn owner(&self) -> &Arc<str> {
        &self.owner
    }
}

impl fmt::Debug for KeyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |bytes: &[u8]| format!("{:?}", String::from_utf8_lossy(bytes));
        let start = if self.start.is_empty() { String::new() } else { shown(&self.start) };
        let end = self.end.as_deref().map(shown).unwrap_or_default();
        write!(f, "KeyRange({start}..{end}, {:?})", self.owner)
    }
}

/// Ranges without a hole: where each begins, in order, and whose it is.
#[derive(PartialEq, Eq)]
pub(super) struct Ranges {
    starts: Box<[Box<[u8]>]>,
    owners: Box<[u16]>,
}

impl Ranges {
    /// Those of a map, and everything that is wrong with them.
    pub(super) fn new(
        ranges: &[KeyRange],
        places: &HashMap<&str, u16>,
        problems: &mut Vec<ConfigError>,
    ) -> Self {
        let mut wrong = |range: &KeyRange, accepted: &'static str| {
            problems.push(ConfigError::new("ranges", range, accepted));
        };
        if let Some(first) = ranges.first()
            && !first.start.is_empty()
        {
            wrong(first, "the first range begins without a bound");
        }
        if let Some(last) = ranges.last()
            && last.end.is_some()
        {
            wrong(last, "the last range ends without a bound");
        }
        for range in ranges {
            if range.end.as_ref().is_some_and(|end| *end <= range.start) {
                wrong(range, "a range that is not empty");
            }
        }
        for pair in ranges.windows(2) {
            match pair[0].end.as_ref().map(|end| end.cmp(&pair[1].start)) {
                Some(std::cmp::Ordering::Equal) => {}
                Some(std::cmp::Ordering::Less) => wrong(&pair[1], "no hole before it"),
                _ => wrong(&pair[1], "ranges in order, that do not overlap"),
            }
        }
        let owner = |range: &KeyRange| places.get(&*range.owner).copied().unwrap_or_default();
        Self {
            starts: ranges.iter().map(|range| range.start.clone()).collect(),
            owners: ranges.iter().map(owner).collect(),
        }
    }

    /// Whose a key is.
    #[inline]
    pub(super) fn owner(&self, key: &[u8]) -> u16 {
        let after = self.starts.partition_point(|start| **start <= *key);
        self.owners[after.saturating_sub(1)] // the first one begins with the first key
    }

    pub(super) fn starts(&self) -> impl Iterator<Item = &[u8]> {
        self.starts.iter().map(|start| &**start)
    }
}
