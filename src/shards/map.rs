//! A map of owners: an epoch, the members, and whose each key is.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use twox_hash::XxHash3_64;

use super::key::Key;
use super::member::{Member, check};
use super::range::{KeyRange, Ranges};
use super::region::{Region, Regions};
use super::rule::Rule;
use super::shuffle::{self, Shuffled};
use super::slots::{self, Fill, Share, Slots};
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
pub struct Map(pub(super) Arc<Inner>);

pub(super) struct Inner {
    epoch: Epoch,
    pub(super) members: Box<[Member]>,
    /// What each member is as far as slots are concerned, in the same order.
    shares: Box<[Share]>,
    pub(super) rule: Rule,
}

impl Map {
    /// Keys are spread by their hash, evenly or by the [weights](Member::weight) of the members.
    ///
    /// Each key falls into one of 16,384 slots, and each slot goes to the member with the highest score for it
    /// that has less than 1.05 of its fair share (capped rendezvous hashing). When a member comes or goes,
    /// hardly any key moves between two that stay. Up to some 500 members are served evenly; of 1,000 each has
    /// 16 slots, so that one more or less is 6 %: [`filled`](Self::filled) has more slots.
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
        Self::listed(epoch, members, pinned, Fill::Rendezvous)
    }

    /// The same as [`hashed`](Self::hashed), with slots that are given to the members in another [way](Fill). Choose
    /// before there is data: another way moves nearly every key.
    ///
    /// ```
    /// use seawall::shards::{Fill, Map};
    ///
    /// let caches = (0..1_000).map(|nth| format!("cache-{nth}"));
    /// let map = Map::filled(7, caches, Fill::FineRendezvous)?;
    /// assert_eq!(map.slots(), 65_536);
    /// # Ok::<(), seawall::ConfigErrors>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`hashed`](Self::hashed).
    pub fn filled<M: Into<Member>>(
        epoch: impl Into<Epoch>,
        members: impl IntoIterator<Item = M>,
        by: Fill,
    ) -> Result<Self, ConfigErrors> {
        Self::listed(epoch, members, std::iter::empty::<(&str, &str)>(), by)
    }

    pub(super) fn listed<M: Into<Member>, K: AsRef<[u8]>, N: AsRef<str>>(
        epoch: impl Into<Epoch>,
        members: impl IntoIterator<Item = M>,
        pinned: impl IntoIterator<Item = (K, N)>,
        by: Fill,
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
        let slots = Slots::filled(&shares(&members), by);
        Ok(Self::new(epoch, members, Rule::Hashed { slots, pinned: owners }))
    }

    /// Keys have a few members each, of all: shuffle shards. Two tenants hardly ever have all of
    /// theirs in common, so one that brings its members down takes few others with it. A router sends calls to the
    /// [owner](Self::owner), the first of them; [`owner_among`](Self::owner_among) goes on to the next.
    ///
    /// The members of a key are chosen by a hash under a `secret`: who does not know it cannot choose keys that meet those of
    /// somebody else. [`overlap`](Self::overlap) says how likely it is that keys share members.
    ///
    /// ```
    /// use seawall::shards::Map;
    ///
    /// let workers = (0..8).map(|nth| format!("worker-{nth}"));
    /// let map = Map::shuffled(7, workers, 2, *b"sixteen  bytes :")?;
    /// let [none, one, both] = map.overlap()[..] else { panic!("two each") };
    /// assert!((both - 1.0 / 28.0).abs() < 1e-4 && one > both && none > one);
    /// # Ok::<(), seawall::ConfigErrors>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`hashed`](Self::hashed); and members of each key that are not 1 to 16, or more than there are, and
    /// members with a weight, which would have more in common than others.
    pub fn shuffled<M: Into<Member>>(
        epoch: impl Into<Epoch>,
        members: impl IntoIterator<Item = M>,
        each: usize,
        secret: [u8; 16],
    ) -> Result<Self, ConfigErrors> {
        let (epoch, members, mut problems) = checked(epoch, members);
        let most = shuffle::MOST.min(members.len());
        if !(1..=most).contains(&each) {
            problems.push(ConfigError::new("each", each, format!("1 to {most} members")));
        }
        for member in members.iter().filter(|member| member.get_weight() > 1) {
            let accepted = format!("1 for shuffle shards, for member {:?}", member.name());
            problems.push(ConfigError::new("weight", member.get_weight(), accepted));
        }
        ConfigErrors::none_of(problems)?;
        let shuffled = Shuffled::new(&shares(&members), each, secret);
        Ok(Self::new(epoch, members, Rule::Shuffled(shuffled)))
    }

    /// Keys belong to [regions](Region), which have zones in which their keys are at home: within the first zone that has
    /// members they are hashed.
    ///
    /// ```
    /// use seawall::shards::{Key, Map, Member, Region};
    ///
    /// let members = ["eu-0", "eu-1", "us-0"].map(|name| Member::new(name).zone(&name[..2]));
    /// let map = Map::geo(7, members, [Region::new("de", ["eu"]).resident(), Region::otherwise(["us"])])?;
    /// assert!(map.owner(Key::from("acme").in_region("de")).name().starts_with("eu"));
    /// assert_eq!(map.owner("acme").name(), "us-0");
    /// # Ok::<(), seawall::ConfigErrors>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`hashed`](Self::hashed); and members without a zone, regions that occur twice or have no zone with members,
    /// or none for all other keys.
    pub fn geo<M: Into<Member>>(
        epoch: impl Into<Epoch>,
        members: impl IntoIterator<Item = M>,
        regions: impl IntoIterator<Item = Region>,
    ) -> Result<Self, ConfigErrors> {
        let (epoch, members, mut problems) = checked(epoch, members);
        let regions: Vec<_> = regions.into_iter().collect();
        let regions = Regions::new(&regions, &members, &shares(&members), &mut problems);
        ConfigErrors::none_of(problems)?;
        let Some(regions) = regions else { return Err(ConfigErrors::of(Vec::new())) };
        Ok(Self::new(epoch, members, Rule::Geo(regions)))
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
        Ok(Self::new(epoch, members, Rule::Ranged(ranges)))
    }

    pub(super) fn new(epoch: Epoch, members: Vec<Member>, rule: Rule) -> Self {
        let shares = shares(&members).into();
        Self(Arc::new(Inner { epoch, members: members.into(), shares, rule }))
    }

    /// Whether it says the same in all.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let (one, other) = (&*self.0, &*other.0);
        one.epoch == other.epoch && one.members == other.members && one.rule == other.rule
    }

    /// Whether the rule would ever give a key to the member at this place.
    pub(super) fn allows(&self, key: &Key<'_>, at: usize) -> bool {
        u16::try_from(at).is_ok_and(|at| self.0.rule.allows(key, at))
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
        usize::from(self.0.rule.owner(&key))
    }

    /// Those who may have a key, its owner first: one, but for [shuffle shards](Self::shuffled).
    pub fn owners<'a>(&self, key: impl Into<Key<'a>>) -> Vec<&Member> {
        let key = key.into();
        let places = match &self.0.rule {
            Rule::Shuffled(shuffled) => shuffled.owners(key.as_bytes()).to_vec(),
            rule => vec![rule.owner(&key)],
        };
        places.into_iter().map(|at| &self.0.members[usize::from(at)]).collect()
    }

    /// Who takes a key if its owner may be passed over, as in a cache: the first of whom `accepts`, in the
    /// key's own order, its owner first. Never somebody whom the map does not allow: outside of the zones of a
    /// [resident](Region::resident) region, or not one of the members of a [shuffled](Self::shuffled) key. In a map of ranges
    /// there is only the owner.
    ///
    /// ```
    /// use seawall::shards::Map;
    ///
    /// let caches = Map::hashed(7, ["cache-0", "cache-1", "cache-2"])?;
    /// let owner = caches.owner("acme");
    /// let instead = caches.owner_among("acme", |cache| cache != owner);
    /// assert!(instead.is_some_and(|instead| instead != owner));
    /// # Ok::<(), seawall::ConfigErrors>(())
    /// ```
    pub fn owner_among<'a>(
        &self,
        key: impl Into<Key<'a>>,
        mut accepts: impl FnMut(&Member) -> bool,
    ) -> Option<&Member> {
        let member = |at| &self.0.members[usize::from(at)];
        let next = self.0.rule.next(&key.into(), &self.0.shares, |at| accepts(member(at)));
        next.map(member)
    }

    /// The same by places.
    pub(super) fn next_place(
        &self,
        key: &Key<'_>,
        accepts: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let next = self.0.rule.next(key, &self.0.shares, |at| accepts(usize::from(at)));
        next.map(usize::from)
    }

    /// The places of those who may have a key, if it has several.
    #[inline]
    pub(super) fn shuffle_shard(&self, key: &Key<'_>) -> Option<&[u16]> {
        match &self.0.rule {
            Rule::Shuffled(shuffled) => Some(shuffled.owners(key.as_bytes())),
            _ => None,
        }
    }

    /// The share of the keys that another map gives to somebody else, from 0 to 1: of the slots, if both
    /// hash, whatever keys have an owner of their own; of the ranges of either map otherwise, for nobody knows
    /// how many keys there are in one; by region, the mean over the regions; 1 between maps of different kinds.
    ///
    /// ```
    /// use seawall::shards::Map;
    ///
    /// let four = Map::hashed(1, ["a", "b", "c", "d"])?;
    /// let five = Map::hashed(2, ["a", "b", "c", "d", "e"])?;
    /// assert!((0.19..0.26).contains(&four.moved_to(&five))); // a fifth, which the new one has
    /// # Ok::<(), seawall::ConfigErrors>(())
    /// ```
    pub fn moved_to(&self, other: &Self) -> f64 {
        let theirs = places(&other.0.members);
        let same: Vec<_> =
            self.0.members.iter().map(|member| theirs.get(member.name()).copied()).collect();
        self.0.rule.moved_to(&other.0.rule, |old, new| same[usize::from(old)] == Some(new))
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
pub(super) fn places(members: &[Member]) -> HashMap<&str, u16> {
    members.iter().enumerate().map(|(at, member)| (member.name(), at as u16)).collect()
}

fn shares(members: &[Member]) -> Vec<Share> {
    members.iter().map(share).collect()
}

fn share(member: &Member) -> Share {
    Share { seed: XxHash3_64::oneshot(member.name().as_bytes()), weight: member.get_weight() }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = match &self.0.rule {
            Rule::Hashed { pinned, .. } if !pinned.is_empty() => "directory",
            rule => rule.name(),
        };
        f.debug_struct("Map")
            .field("epoch", &self.0.epoch)
            .field("rule", &rule)
            .field("members", &self.0.members)
            .finish()
    }
}

const _: () = assert!(slots::SLOTS >= MAX_MEMBERS, "each member can have a slot");
