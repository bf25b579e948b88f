//! A map of owners: an epoch, the members, and whose each key is.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use twox_hash::XxHash3_64;

use super::key::Key;
use super::member::{Member, check};
use super::range::{KeyRange, Ranges};
use super::slots::{self, Share, fill, slot_of};
use crate::core::config::{ConfigError, ConfigErrors};
use crate::core::epoch::Epoch;

/// The most members a map can have.
const MAX_MEMBERS: usize = 16_384;
/// The most keys that can have an owner of their own.
const MAX_PINNED: usize = 65_536;

/// Whose each key is: an [epoch](Epoch), members, and a rule. A value that never changes; another map, with
/// a later epoch, takes its place.
///
/// Every key has exactly one owner, and who makes the same map has the same owners, on every platform and
/// in every release. Cheap to clone.
///
/// ```
/// use seawall::shards::{Key, Map};
///
/// let map = Map::hashed(7, ["orders-0", "orders-1", "orders-2"])?;
/// let owner = map.owner(Key::from("acme"));
/// assert_eq!(Map::hashed(8, ["orders-2", "orders-1", "orders-0"])?.owner(Key::from("acme")), owner);
/// # Ok::<(), seawall::ConfigErrors>(())
/// ```
#[derive(Clone)]
pub struct Map(Arc<Inner>);

struct Inner {
    epoch: Epoch,
    members: Box<[Member]>,
    rule: Rule,
}

enum Rule {
    Hashed { slots: Box<[u16]>, pinned: HashMap<Box<[u8]>, u16> },
    Ranged(Ranges),
}

impl Map {
    /// Keys are spread by their hash, evenly or by the [weights](Member::weight) of the members.
    ///
    /// Each key falls into one of 16,384 slots, and each slot goes to the member with the highest score for it
    /// that has less than 1.05 of its fair share (capped rendezvous hashing). When a member comes or goes,
    /// hardly any key moves between two that stay. Up to some 500 members are served evenly; of 1,000 each has
    /// 16 slots, so that one more or less is 6 %.
    ///
    /// Takes time in proportion to the number of members: milliseconds for 100, a second for 16,384.
    ///
    /// # Errors
    ///
    /// Everything that is wrong: no members or more than 16,384, empty names, names that occur twice, a
    /// weight that is not 1 to 100, epoch 0.
    pub fn hashed<M: Into<Member>>(
        epoch: impl Into<Epoch>,
        members: impl IntoIterator<Item = M>,
    ) -> Result<Self, ConfigErrors> {
        Self::directory(epoch, members, std::iter::empty::<(&str, &str)>())
    }

    /// The same, but some keys have an owner of their own: a tenant that is too large for its slot, or that
    /// is to stay where it is.
    ///
    /// ```
    /// use seawall::shards::{Key, Map};
    ///
    /// let map = Map::directory(7, ["orders-0", "orders-1"], [("acme", "orders-1")])?;
    /// assert_eq!(map.owner(Key::from("acme")).name(), "orders-1");
    /// # Ok::<(), seawall::ConfigErrors>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`hashed`](Self::hashed); and an owner that is no member, a key that occurs twice, or more
    /// than 65,536 such keys.
    pub fn directory<M: Into<Member>, K: AsRef<[u8]>, N: AsRef<str>>(
        epoch: impl Into<Epoch>,
        members: impl IntoIterator<Item = M>,
        pinned: impl IntoIterator<Item = (K, N)>,
    ) -> Result<Self, ConfigErrors> {
        let (epoch, members, mut problems) = checked(epoch, members);
        let places = places(&members);
        let mut owners = HashMap::new();
        for (nth, (key, name)) in pinned.into_iter().enumerate() {
            // By its number: a key may be somebody's secret.
            let entry = |accepted: &str| format!("{accepted}, in entry {nth}");
            let Some(place) = places.get(name.as_ref()) else {
                let accepted = entry("the name of a member");
                problems.push(ConfigError::new("pinned", name.as_ref(), accepted));
                continue;
            };
            if owners.insert(key.as_ref().into(), *place).is_some() {
                problems.push(ConfigError::new("pinned", name.as_ref(), entry("each key once")));
            }
        }
        if owners.len() > MAX_PINNED {
            let accepted = format!("at most {MAX_PINNED} keys");
            problems.push(ConfigError::new("pinned", owners.len(), accepted));
        }
        ConfigErrors::none_of(problems)?;
        let shares: Vec<_> = members.iter().map(share).collect();
        let rule = Rule::Hashed { slots: fill(&shares), pinned: owners };
        Ok(Self(Arc::new(Inner { epoch, members: members.into(), rule })))
    }

    /// Keys are in order, and each range of them has an owner.
    ///
    /// ```
    /// use seawall::shards::{Key, KeyRange, Map};
    ///
    /// let map = Map::ranged(7, [
    ///     KeyRange::new(.."m", "names-a-l"),
    ///     KeyRange::new("m".., "names-m-z"),
    /// ])?;
    /// assert_eq!(map.owner(Key::from("lovelace")).name(), "names-a-l");
    /// assert_eq!(map.owner(Key::from("m")).name(), "names-m-z");
    /// # Ok::<(), seawall::ConfigErrors>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Everything that is wrong: no ranges, a hole, an overlap, ranges out of order or empty, empty names,
    /// epoch 0. The first range has to begin, and the last to end, without a bound.
    pub fn ranged(
        epoch: impl Into<Epoch>,
        ranges: impl IntoIterator<Item = KeyRange>,
    ) -> Result<Self, ConfigErrors> {
        let ranges: Vec<_> = ranges.into_iter().collect();
        let mut names: Vec<_> = ranges.iter().map(|range| Arc::clone(range.owner())).collect();
        names.sort_unstable();
        names.dedup();
        let (epoch, members, mut problems) = checked(epoch, names);
        let ranges = Ranges::new(&ranges, &places(&members), &mut problems);
        ConfigErrors::none_of(problems)?;
        let rule = Rule::Ranged(ranges);
        Ok(Self(Arc::new(Inner { epoch, members: members.into(), rule })))
    }

    /// Its epoch.
    pub fn epoch(&self) -> Epoch {
        self.0.epoch
    }

    /// The members, by name.
    pub fn members(&self) -> &[Member] {
        &self.0.members
    }

    /// Whose a key is.
    pub fn owner<'a>(&self, key: impl Into<Key<'a>>) -> &Member {
        &self.0.members[self.place(key.into())]
    }

    /// The place of its owner among the members.
    #[inline]
    pub(super) fn place(&self, key: Key<'_>) -> usize {
        usize::from(match &self.0.rule {
            Rule::Hashed { slots, pinned } if pinned.is_empty() => slots[slot_of(key.hash())],
            Rule::Hashed { slots, pinned } => match pinned.get(key.as_bytes()) {
                Some(owner) => *owner,
                None => slots[slot_of(key.hash())],
            },
            Rule::Ranged(ranges) => ranges.owner(key.as_bytes()),
        })
    }

    /// The share of the keys that another map gives to somebody else, from 0 to 1: of the slots, if both
    /// hash, whatever keys have an owner of their own; of the ranges of either map otherwise, for nobody knows
    /// how many keys there are in one; 1 between the two kinds.
    ///
    /// ```
    /// use seawall::shards::Map;
    ///
    /// let four = Map::hashed(1, ["a", "b", "c", "d"])?;
    /// let five = Map::hashed(2, ["a", "b", "c", "d", "e"])?;
    /// assert!((0.19..0.26).contains(&four.moved_to(&five))); // a fifth, which the new one has
    /// # Ok::<(), seawall::ConfigErrors>(())
    /// ```
    #[allow(clippy::cast_precision_loss)] // a share
    pub fn moved_to(&self, other: &Self) -> f64 {
        let name =
            |map: &Self, place: u16| Arc::clone(map.0.members[usize::from(place)].shared_name());
        let differs = |(old, new): (u16, u16)| name(self, old) != name(other, new);
        let (moved, all) = match (&self.0.rule, &other.0.rule) {
            (Rule::Hashed { slots: old, .. }, Rule::Hashed { slots: new, .. }) => {
                let pairs = old.iter().copied().zip(new.iter().copied());
                (pairs.filter(|pair| differs(*pair)).count(), old.len())
            }
            (Rule::Ranged(old), Rule::Ranged(new)) => {
                let starts: BTreeSet<_> = old.starts().chain(new.starts()).collect();
                let owners = |start: &&[u8]| (old.owner(start), new.owner(start));
                (starts.iter().filter(|start| differs(owners(start))).count(), starts.len())
            }
            _ => (1, 1),
        };
        moved as f64 / all.max(1) as f64
    }
}

fn checked<M: Into<Member>>(
    epoch: impl Into<Epoch>,
    members: impl IntoIterator<Item = M>,
) -> (Epoch, Vec<Member>, Vec<ConfigError>) {
    let (epoch, mut problems) = (epoch.into(), Vec::new());
    if epoch == Epoch::NOBODY {
        problems.push(ConfigError::new("epoch", epoch.get(), "1 or more"));
    }
    // In one order, so that it does not matter in which order they were named.
    let mut members: Vec<Member> = members.into_iter().map(Into::into).collect();
    members.sort_unstable_by(|a, b| a.name().cmp(b.name()));
    check(&members, MAX_MEMBERS, &mut problems);
    (epoch, members, problems)
}

/// The place of each member, by its name.
#[allow(clippy::cast_possible_truncation)] // more members than that were rejected
fn places(members: &[Member]) -> HashMap<&str, u16> {
    members.iter().enumerate().map(|(at, member)| (member.name(), at as u16)).collect()
}

fn share(member: &Member) -> Share {
    Share { seed: XxHash3_64::oneshot(member.name().as_bytes()), weight: member.get_weight() }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = match &self.0.rule {
            Rule::Hashed { pinned, .. } if pinned.is_empty() => "hashed",
            Rule::Hashed { .. } => "directory",
            Rule::Ranged(_) => "ranged",
        };
        f.debug_struct("Map")
            .field("epoch", &self.0.epoch)
            .field("rule", &rule)
            .field("members", &self.0.members)
            .finish()
    }
}

const _: () = assert!(slots::SLOTS >= MAX_MEMBERS, "each member can have a slot");
