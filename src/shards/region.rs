//! Regions: in which zones the keys of one are at home.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::key::Key;
use super::member::Member;
use super::slots::{Fill, Share, Slots};
use crate::core::config::ConfigError;

/// The most regions a map can have.
const MOST: usize = 1_024;

/// The zones in which the keys of a region are at home, the nearest first.
///
/// Its keys have an owner in the first of its zones that has a member. Where the owner [may be passed
/// over](super::Map::owner_among), the members of the next zone follow, and after the last one the members of all
/// others; unless the region is [resident](Self::resident).
///
/// ```
/// use seawall::shards::Region;
///
/// let germany = Region::new("de", ["frankfurt", "berlin"]).resident(); // by law
/// let rest = Region::otherwise(["dublin", "frankfurt"]);
/// assert_eq!(format!("{germany:?} {rest:?}"), r#"Region("de" in ["frankfurt", "berlin"] only) Region(otherwise in ["dublin", "frankfurt"])"#);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Region {
    /// None for those that no other is for.
    name: Option<Arc<str>>,
    zones: Vec<Arc<str>>,
    resident: bool,
}

impl Region {
    /// Keys of this region ([`Key::in_region`]).
    pub fn new<Z: Into<Arc<str>>>(
        name: impl Into<Arc<str>>,
        zones: impl IntoIterator<Item = Z>,
    ) -> Self {
        let zones = zones.into_iter().map(Into::into).collect();
        Self { name: Some(name.into()), zones, resident: false }
    }

    /// Keys of no region, and of any that the map does not name. Every map by region has one, so that each key has an owner;
    /// where an unknown region must not leave the country, let it be a resident one too.
    pub fn otherwise<Z: Into<Arc<str>>>(zones: impl IntoIterator<Item = Z>) -> Self {
        Self { name: None, zones: zones.into_iter().map(Into::into).collect(), resident: false }
    }

    /// Its keys never leave its zones, whatever is down.
    #[must_use]
    pub const fn resident(mut self) -> Self {
        self.resident = true;
        self
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Region(")?;
        match &self.name {
            Some(name) => write!(f, "{name:?}")?,
            None => f.write_str("otherwise")?,
        }
        write!(f, " in {:?}{})", self.zones, if self.resident { " only" } else { "" })
    }
}

/// The regions of a map, and the owners of their keys.
#[derive(PartialEq, Eq)]
pub(super) struct Regions {
    by_name: HashMap<Arc<str>, Home>,
    otherwise: Home,
}

/// Where the keys of a region are at home.
#[derive(PartialEq, Eq)]
pub(super) struct Home {
    /// The same of all regions that are at home in the same zone.
    pub(super) slots: Arc<Slots>,
    /// The members it may go to, a zone after the other.
    pub(super) zones: Box<[Box<[u16]>]>,
}

impl Regions {
    /// Those of a map, and everything that is wrong with them.
    pub(super) fn new(
        regions: &[Region],
        members: &[Member],
        shares: &[Share],
        problems: &mut Vec<ConfigError>,
    ) -> Option<Self> {
        for member in members.iter().filter(|member| member.get_zone().is_none_or(str::is_empty)) {
            problems.push(ConfigError::new("members", member.name(), "members with a zone"));
        }
        if regions.len() > MOST {
            let accepted = format!("at most {MOST} regions");
            problems.push(ConfigError::new("regions", regions.len(), accepted));
        }
        if regions.iter().filter(|region| region.name.is_none()).count() != 1 {
            let all: Vec<_> = regions.iter().filter_map(|region| region.name.as_deref()).collect();
            let accepted = "regions, and one `Region::otherwise` for all other keys";
            problems.push(ConfigError::new("regions", all, accepted));
        }
        for (nth, region) in regions.iter().enumerate() {
            region.check(members, problems);
            if region.name.is_some() && regions[..nth].iter().any(|one| one.name == region.name) {
                problems.push(ConfigError::new("regions", region, "each region once"));
            }
        }
        // Those of the members too: who has no weight can have no slots.
        if !problems.is_empty() || members.is_empty() {
            return None;
        }
        let mut by_name: HashMap<_, _> = HashMap::new();
        let (mut otherwise, mut known) = (None, HashMap::new());
        for region in regions {
            let home = Home::new(region, members, shares, &mut known);
            match &region.name {
                Some(name) => drop(by_name.insert(Arc::clone(name), home)),
                None => otherwise = Some(home),
            }
        }
        otherwise.map(|otherwise| Self { by_name, otherwise })
    }

    /// Where a key is at home.
    #[inline]
    pub(super) fn home(&self, key: &Key<'_>) -> &Home {
        key.region().and_then(|region| self.by_name.get(region)).unwrap_or(&self.otherwise)
    }

    /// Each region by name, and that of all others.
    pub(super) fn homes(&self) -> impl Iterator<Item = (Option<&str>, &Home)> {
        let named = self.by_name.iter().map(|(name, home)| (Some(&**name), home));
        named.chain([(None, &self.otherwise)])
    }
}

impl Region {
    fn check(&self, members: &[Member], problems: &mut Vec<ConfigError>) {
        let mut wrong = |accepted: &'static str| {
            problems.push(ConfigError::new("regions", self, accepted));
        };
        if self.name.as_deref().is_some_and(str::is_empty) {
            wrong("names that are not empty");
        }
        if self.zones.iter().enumerate().any(|(nth, zone)| self.zones[..nth].contains(zone)) {
            wrong("each zone once");
        }
        let has_members =
            |zone: &Arc<str>| members.iter().any(|member| member.get_zone() == Some(zone));
        if !self.zones.iter().any(has_members) {
            wrong("one zone at least that has members");
        }
    }
}

impl Home {
    #[allow(clippy::cast_possible_truncation)] // more members than that were rejected
    fn new(
        region: &Region,
        members: &[Member],
        shares: &[Share],
        known: &mut HashMap<Box<[u16]>, Arc<Slots>>,
    ) -> Self {
        let is_in = |zone: &str| {
            let here =
                members.iter().enumerate().filter(move |(_, one)| one.get_zone() == Some(zone));
            here.map(|(at, _)| at as u16).collect::<Box<[u16]>>()
        };
        let mut zones: Vec<_> = region.zones.iter().map(|zone| is_in(zone)).collect();
        if !region.resident {
            let is_listed = |member: &Member| {
                region.zones.iter().any(|zone| member.get_zone() == Some(&**zone))
            };
            let rest = members.iter().enumerate().filter(|(_, member)| !is_listed(member));
            zones.push(rest.map(|(at, _)| at as u16).collect());
        }
        zones.retain(|zone| !zone.is_empty());
        let first = zones.first().cloned().unwrap_or_default();
        let slots = known.entry(first.clone()).or_insert_with(|| {
            let of_first: Vec<_> = first.iter().map(|at| shares[usize::from(*at)]).collect();
            let mut slots = Slots::filled(&of_first, Fill::Rendezvous);
            for owner in slots.owners_mut() {
                *owner = first[usize::from(*owner)];
            }
            Arc::new(slots)
        });
        Self { slots: Arc::clone(slots), zones: zones.into() }
    }
}
