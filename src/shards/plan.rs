//! Which slots to move so that loads become even: Slicer's weighted move (Adya et al. 2016, section 4.4), pure.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use super::member::Member;

/// The share of the slots that a plan moves at most, unless it is told otherwise: one in so many.
const CHURN: usize = 100;

/// A slot that is to go from one member to another.
///
/// ```
/// use seawall::shards::{Map, SlotMove};
///
/// let map = Map::hashed(1, ["a", "b"])?;
/// let slot = map.slot("acme").unwrap();
/// let (from, to) = if map.owner("acme").name() == "a" { ("a", "b") } else { ("b", "a") };
/// let next = map.reassigned(2, [&SlotMove { slot, from: from.into(), to: to.into() }])?;
/// assert_eq!(next.owner("acme").name(), to);
/// # Ok::<(), seawall::ConfigErrors>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SlotMove {
    /// The slot.
    pub slot: usize,
    /// Who has it.
    pub from: Arc<str>,
    /// Who is to have it.
    pub to: Arc<str>,
}

/// Moves of slots that make loads more even, the most useful first; see [`Map::plan`](super::Map::plan).
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    moves: Vec<SlotMove>,
    before: f64,
    after: f64,
}

impl Plan {
    /// The moves, the most useful first.
    pub fn moves(&self) -> &[SlotMove] {
        &self.moves
    }

    /// The highest load of a member over the mean, against weights: 1 is even.
    pub const fn before(&self) -> f64 {
        self.before
    }

    /// The same after the moves.
    pub const fn after(&self) -> f64 {
        self.after
    }
}

impl fmt::Debug for SlotMove {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {} from {:?} to {:?}", self.slot, self.from, self.to)
    }
}

/// The slots that a plan moves at most, unless it is told otherwise.
pub(super) fn churn(slots: usize) -> usize {
    (slots / CHURN).max(1)
}

/// A member while a plan is made.
struct Loaded {
    load: u128,
    weight: u128,
}

impl Loaded {
    /// Its load against its weight, in units in which nothing is lost.
    const fn level(&self, load: u128) -> u128 {
        (load << 32) / self.weight
    }
}

/// Each turn moves a slot from the member with the highest load to the one with the lowest: the one after which the higher
/// of the two is lowest. Ends where no move lowers it.
pub(super) fn plan(owners: &[u16], members: &[Member], loads: &[u64], most_moves: usize) -> Plan {
    let mut all: Vec<_> = members
        .iter()
        .map(|member| Loaded { load: 0, weight: u128::from(member.get_weight().max(1)) })
        .collect();
    let mut slots: Vec<Vec<usize>> = vec![Vec::new(); members.len()];
    for (slot, owner) in owners.iter().enumerate() {
        all[usize::from(*owner)].load += u128::from(loads[slot]);
        slots[usize::from(*owner)].push(slot);
    }
    let before = unevenness(&all);
    let mut moves = Vec::new();
    while moves.len() < most_moves {
        let levels = || all.iter().enumerate().map(|(at, one)| (one.level(one.load), at));
        let (Some((highest, from)), Some((_, to))) = (levels().max(), levels().min()) else {
            break;
        };
        let after = |slot: &usize| {
            let load = u128::from(loads[*slot]);
            let (giver, taker) = (&all[from], &all[to]);
            giver.level(giver.load - load).max(taker.level(taker.load + load))
        };
        let best = (0..slots[from].len())
            .filter(|nth| loads[slots[from][*nth]] > 0)
            .map(|nth| (after(&slots[from][nth]), nth))
            .min();
        let Some((_, nth)) = best.filter(|(level, _)| *level < highest) else { break };
        let slot = slots[from].swap_remove(nth);
        slots[to].push(slot);
        all[from].load -= u128::from(loads[slot]);
        all[to].load += u128::from(loads[slot]);
        let name = |at: usize| Arc::clone(members[at].shared_name());
        moves.push(SlotMove { slot, from: name(from), to: name(to) });
    }
    Plan { moves: simplified(moves, owners, members), before, after: unevenness(&all) }
}

/// A slot that moved twice moves once, from where it was; one that came back does not move.
fn simplified(moves: Vec<SlotMove>, owners: &[u16], members: &[Member]) -> Vec<SlotMove> {
    let mut out: Vec<SlotMove> = Vec::with_capacity(moves.len());
    let mut known: HashMap<usize, usize> = HashMap::new();
    for one in moves {
        match known.get(&one.slot) {
            Some(at) => out[*at].to = one.to,
            None => {
                known.insert(one.slot, out.len());
                out.push(one);
            }
        }
    }
    out.retain(|one| *one.to != *members[usize::from(owners[one.slot])].name());
    out
}

/// The highest load against the mean.
#[allow(clippy::cast_precision_loss)] // for people to read
fn unevenness(all: &[Loaded]) -> f64 {
    let (load, weight) =
        all.iter().fold((0, 0), |(load, weight), one| (load + one.load, weight + one.weight));
    if load == 0 {
        return 1.0;
    }
    let highest = all.iter().map(|one| one.load as f64 / one.weight as f64).fold(0.0, f64::max);
    highest * weight as f64 / load as f64
}
