//! One of those who share the keys.

use std::sync::Arc;

use super::slots::MAX_WEIGHT;
use crate::core::config::ConfigError;

/// One of those who share the keys: a name, which it keeps, and how much of the keys it is to have.
///
/// The name decides which keys it has, so it must not change when its address does: `orders-3`, and not
/// `10.0.0.7:443`.
///
/// ```
/// use seawall::shards::Member;
///
/// let big = Member::new("orders-3").weight(2); // twice the share of those that weigh 1
/// assert_eq!((big.name(), big.get_weight()), ("orders-3", 2));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    name: Arc<str>,
    weight: u32,
    zone: Option<Arc<str>>,
}

impl Member {
    /// A member that weighs 1.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), weight: 1, zone: None }
    }

    /// Its share of the keys, against that of the others: 1 to 100. Where keys are in
    /// [ranges](super::Map::ranged), the ranges are what it has.
    #[must_use]
    pub const fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Where it is, for maps [by region](super::Map::geo).
    #[must_use]
    pub fn zone(mut self, zone: impl Into<Arc<str>>) -> Self {
        self.zone = Some(zone.into());
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it weighs.
    pub const fn get_weight(&self) -> u32 {
        self.weight
    }

    /// Where it is, if that was said.
    pub fn get_zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }

    pub(super) const fn shared_name(&self) -> &Arc<str> {
        &self.name
    }
}

impl<N: Into<Arc<str>>> From<N> for Member {
    fn from(name: N) -> Self {
        Self::new(name)
    }
}

/// Everything that is wrong with the members of a map.
pub(super) fn check(members: &[Member], most: usize, problems: &mut Vec<ConfigError>) {
    if members.is_empty() || members.len() > most {
        let accepted = format!("1 to {most} members");
        problems.push(ConfigError::new("members", members.len(), accepted));
    }
    let mut names: Vec<_> = members.iter().map(Member::name).collect();
    names.sort_unstable();
    if names.first().is_some_and(|name| name.is_empty()) {
        problems.push(ConfigError::new("members", "", "names that are not empty"));
    }
    for pair in names.windows(2).filter(|pair| pair[0] == pair[1]) {
        problems.push(ConfigError::new("members", pair[0], "each name once"));
    }
    for member in members.iter().filter(|member| !(1..=MAX_WEIGHT).contains(&member.weight)) {
        let accepted = format!("1 to {MAX_WEIGHT}, for member {:?}", member.name());
        problems.push(ConfigError::new("weight", member.weight, accepted));
    }
}
