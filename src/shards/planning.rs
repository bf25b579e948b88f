//! Maps of slots: what each slot is, whose, and which to give to others.

use std::collections::HashSet;

use super::key::Key;
use super::map::{Map, places};
use super::plan::{Plan, SlotMove, churn, plan};
use super::rule::Rule;
use super::shuffle::overlap;
use super::slots::Slots;
use crate::core::config::{ConfigError, ConfigErrors};
use crate::core::epoch::Epoch;

impl Map {
    /// The same map at a later epoch, with some slots given to others: what a [plan](Self::plan) comes to.
    ///
    /// ```
    /// use seawall::shards::{Map, Plan};
    ///
    /// let map = Map::hashed(7, ["a", "b", "c"])?;
    /// let mut loads = vec![1; map.slots()];
    /// loads[map.slot("acme").unwrap()] = 5_000; // a tenant that is busier than all others together
    /// let plan: Plan = map.plan(&loads, None)?;
    /// assert!(plan.after() < plan.before());
    /// let next = map.reassigned(8, plan.moves())?;
    /// assert!(map.moved_to(&next) <= 0.01);
    /// # Ok::<(), seawall::ConfigErrors>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The map has no slots of its own (it is ranged, by region, or shuffled), there is no such slot or member, the slot is not that of
    /// the member it is to leave, a slot occurs twice, or the epoch is not later.
    pub fn reassigned<'a>(
        &self,
        epoch: impl Into<Epoch>,
        moves: impl IntoIterator<Item = &'a SlotMove>,
    ) -> Result<Self, ConfigErrors> {
        let (epoch, mut problems) = (epoch.into(), Vec::new());
        if epoch <= self.epoch() {
            let accepted = format!("later than {}", self.epoch());
            problems.push(ConfigError::new("epoch", epoch.get(), accepted));
        }
        let Rule::Hashed { slots, pinned } = &self.0.rule else {
            problems.push(self.without_slots());
            return ConfigErrors::none_of(problems).map(|()| self.clone());
        };
        let (places, mut slots) = (places(&self.0.members), slots.clone());
        let mut seen = HashSet::new();
        for one in moves {
            let owner = slots.owners().get(one.slot).map(|at| &self.0.members[usize::from(*at)]);
            let to = places.get(&*one.to);
            let accepted = match (owner, to) {
                (None, _) => format!("a slot below {}", slots.owners().len()),
                _ if !seen.insert(one.slot) => "each slot once".into(),
                (Some(owner), _) if owner.name() != &*one.from => {
                    format!("a slot of {:?}, not of {:?}", one.from, owner.name())
                }
                (_, None) => "the name of a member".into(),
                (Some(_), Some(to)) => {
                    slots.owners_mut()[one.slot] = *to;
                    continue;
                }
            };
            problems.push(ConfigError::new("moves", one, accepted));
        }
        ConfigErrors::none_of(problems)?;
        let rule = Rule::Hashed { slots, pinned: pinned.clone() };
        Ok(Self::new(epoch, self.0.members.to_vec(), rule))
    }

    /// The same map, with some slots of somebody else than whose they would be.
    #[cfg(feature = "serde")]
    pub(super) fn with_slots(self, own: &[super::format::OwnSlot]) -> Result<Self, ConfigErrors> {
        let Rule::Hashed { slots, pinned } = &self.0.rule else { return Ok(self) };
        if own.is_empty() {
            return Ok(self);
        }
        let (places, mut slots) = (places(&self.0.members), slots.clone());
        let (mut seen, mut problems) = (HashSet::new(), Vec::new());
        for one in own {
            let all = slots.owners().len();
            let at = usize::try_from(one.slot).ok().filter(|at| *at < all);
            match (at, places.get(&*one.owner)) {
                (Some(at), Some(place)) if seen.insert(at) => slots.owners_mut()[at] = *place,
                (None, _) => {
                    let accepted = format!("slots below {all}");
                    problems.push(ConfigError::new("slots", one.slot, accepted));
                }
                (_, None) => {
                    let accepted = format!("the name of a member, for slot {}", one.slot);
                    problems.push(ConfigError::new("slots", &one.owner, accepted));
                }
                _ => problems.push(ConfigError::new("slots", one.slot, "each slot once")),
            }
        }
        ConfigErrors::none_of(problems)?;
        let rule = Rule::Hashed { slots, pinned: pinned.clone() };
        Ok(Self::new(self.epoch(), self.0.members.to_vec(), rule))
    }

    /// Slots that keys fall into; none where they are in ranges, and where slots cannot be given to others one by one (by
    /// region, shuffled).
    pub fn slots(&self) -> usize {
        self.own_slots().map_or(0, |slots| slots.owners().len())
    }

    /// The slot of a key, of which its load is part; `None` where there are no [slots](Self::slots), or the key has an owner
    /// of its own.
    pub fn slot<'a>(&self, key: impl Into<Key<'a>>) -> Option<usize> {
        let key = key.into();
        match &self.0.rule {
            Rule::Hashed { pinned, .. } if pinned.contains_key(key.as_bytes()) => None,
            Rule::Hashed { slots, .. } => Some(slots.slot_of(key.hash())),
            _ => None,
        }
    }

    /// Slots that a member has.
    pub fn slots_of(&self, member: &str) -> usize {
        let at = self.0.members.iter().position(|one| one.name() == member);
        let owners = self.own_slots().map_or(&[][..], Slots::owners);
        owners.iter().filter(|owner| Some(usize::from(**owner)) == at).count()
    }

    fn own_slots(&self) -> Option<&Slots> {
        match &self.0.rule {
            Rule::Hashed { slots, .. } => Some(slots),
            _ => None,
        }
    }

    fn without_slots(&self) -> ConfigError {
        ConfigError::new("map", self.0.rule.name(), "a map of slots: hashed, filled or directory")
    }

    /// Which slots to move so that the busiest member is less busy: first the moves that lower the highest load most,
    /// against its weight, and at most `most_moves` of them; `None` for 1 % of the slots. `loads` has a number for
    /// each slot: calls, bytes or seconds.
    ///
    /// Only proposes: [`reassigned`](Self::reassigned) makes a map of it, and what the slots own has to be moved before
    /// that is adopted.
    ///
    /// # Errors
    ///
    /// The map has no [slots](Self::slots), `loads` has another number of them, or `most_moves` is 0 or more
    /// than there are slots.
    pub fn plan(
        &self,
        loads: &[u64],
        most_moves: impl Into<Option<usize>>,
    ) -> Result<Plan, ConfigErrors> {
        let Some(slots) = self.own_slots() else {
            return Err(ConfigErrors::of(vec![self.without_slots()]));
        };
        let (all, mut problems) = (slots.owners().len(), Vec::new());
        if loads.len() != all {
            let accepted = format!("a number for each of {all} slots");
            problems.push(ConfigError::new("loads", loads.len(), accepted));
        }
        let most_moves = most_moves.into().unwrap_or_else(|| churn(all));
        if !(1..=all).contains(&most_moves) {
            let accepted = format!("1 to {all} slots");
            problems.push(ConfigError::new("most_moves", most_moves, accepted));
        }
        ConfigErrors::none_of(problems)?;
        Ok(plan(slots.owners(), &self.0.members, loads, most_moves))
    }

    /// How likely it is that two keys share exactly 0, 1, … of their members: the hypergeometric distribution of [shuffle
    /// shards](Self::shuffled), and one time in 16,384 all of them whatever their number. Of other maps, where each key has
    /// one owner, whether two have the same, if members have equal shares.
    #[allow(clippy::cast_precision_loss)] // probabilities
    pub fn overlap(&self) -> Vec<f64> {
        match &self.0.rule {
            Rule::Shuffled(shuffled) => overlap(self.0.members.len(), shuffled.each()),
            _ => {
                let same = 1.0 / self.0.members.len().max(1) as f64;
                vec![1.0 - same, same]
            }
        }
    }
}
