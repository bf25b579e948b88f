//! Every way in which the health of two tiers can change, second by second; and of one, for all time.

use std::cell::Cell;

use super::super::machine::{FULL, Params, Phase, Tier, Tiers, target};
use crate::core::explore::{Broken, Model, explore, holds, scale};

const PARAMS: Params = Params { up_for: 3, max_up_for: 12, step: 1 };
const HEALTHS: [u32; 3] = [0, FULL / 2, FULL];

struct Seconds(u64);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    tiers: Tiers,
    now: u64,
    /// When each tier last lost some of what it may take.
    lost: [Option<u64>; 2],
    health: [u32; 2],
    /// What each could take before the last step.
    before: [u32; 2],
}

impl Model for Seconds {
    type State = World;
    type Step = [u32; 2];

    fn start(&self) -> World {
        let (tiers, health) = (Tiers::new(2, 0), [FULL; 2]);
        World { tiers, now: 0, lost: [None; 2], health, before: [FULL; 2] }
    }

    fn steps(&self, _: &World) -> Vec<[u32; 2]> {
        HEALTHS.into_iter().flat_map(|one| HEALTHS.map(|other| [one, other])).collect()
    }

    fn take(&self, world: &mut World, health: &[u32; 2]) -> Result<(), String> {
        world.now += 1;
        let caps = |tiers: &Tiers| [0, 1].map(|nth| tiers.tiers()[nth].cap);
        let before = caps(&world.tiers);
        world.tiers.step(&PARAMS, world.now, health);
        let after = caps(&world.tiers);
        for nth in 0..2 {
            if after[nth] < before[nth] {
                world.lost[nth] = Some(world.now);
            }
            let since = world.lost[nth].map_or(u64::MAX, |lost| world.now - lost);
            let rises = after[nth] > before[nth];
            holds(!rises || since >= PARAMS.up_for, "nobody comes back before `up_for` is over")?;
            holds(
                after[nth] <= (before[nth] * 2).max(FULL / 20),
                "what comes back doubles at most",
            )?;
        }
        (world.health, world.before) = (*health, before);
        Ok(())
    }

    fn check(&self, world: &World) -> Result<(), String> {
        for nth in 0..2 {
            let tier = &world.tiers.tiers()[nth];
            holds(tier.cap <= target(world.health[nth]), "going down is at once")?;
            let is_whole = matches!(tier.phase, Phase::Up { .. });
            holds(!is_whole || tier.cap == FULL, "who is up takes all")?;
            holds(PARAMS.wait(tier.losses) <= PARAMS.max_up_for, "the wait is bounded")?;
            holds(tier.losses <= 3, "and so are the losses that count")?;
        }
        let shares = world.tiers.shares();
        holds(shares.iter().sum::<u32>() == FULL, "the shares are all of the load")?;
        let first_is_whole = world.tiers.tiers()[0].cap == FULL;
        holds(!first_is_whole || shares[0] == FULL, "a whole first tier takes all")
    }

    fn is_within(&self, world: &World) -> bool {
        world.now < self.0
    }
}

// pitfall B71
#[test]
fn no_way_makes_a_tier_flap_or_lose_load() {
    let report = explore(&Seconds(7 + u64::from(scale()))).unwrap();
    println!("failover: {report}");
    assert!(report.states > 10_000, "{report}");
}

/// One tier, for any length of time: instants are told from now, and none further back than makes a difference, so that there are
/// finitely many states.
struct ForAllTime {
    /// Whether each loss doubles the wait (the rule that is broken in a twin).
    doubles: bool,
    /// The longest wait that was seen, and the most losses.
    longest: Cell<u64>,
    losses: Cell<u32>,
}

/// Now, in every state.
const NOW: u64 = 1_000;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Alone {
    tiers: Tiers,
    /// Seconds since it was last worse than it may take, or lost some of that; up to the longest wait.
    worse: u64,
    /// Seconds since it takes all again; up to as many.
    quiet: u64,
    /// What it had to wait for after its latest loss, if it had one.
    wait: u64,
}

impl Alone {
    fn tier(&self) -> &Tier {
        &self.tiers.tiers()[0]
    }

    /// A second passes, with this health.
    fn step(&mut self, health: u32) {
        self.tiers.step(&PARAMS, NOW + 1, &[health]);
        self.tiers.shift(1, NOW - PARAMS.max_up_for);
    }

    /// Seconds until it takes all again, if it is well from now on; `None`: not in three times the longest wait.
    fn comes_back(&self) -> Option<u64> {
        let mut world = self.clone();
        (0..3 * PARAMS.max_up_for).find(|_| {
            world.step(FULL);
            world.tier().cap == FULL
        })
    }
}

impl Model for ForAllTime {
    type State = Alone;
    type Step = u32;

    fn start(&self) -> Alone {
        Alone { tiers: Tiers::new(1, NOW), worse: PARAMS.max_up_for, quiet: 0, wait: 0 }
    }

    fn steps(&self, _: &Alone) -> Vec<u32> {
        HEALTHS.to_vec()
    }

    fn take(&self, world: &mut Alone, health: &u32) -> Result<(), String> {
        let before = *world.tier();
        if !self.doubles {
            world.tiers.forget_losses();
        }
        world.step(*health);
        let after = *world.tier();
        let is_worse = after.cap < before.cap || target(*health) == before.cap && before.cap < FULL;
        let is_down = matches!(before.phase, Phase::Down { .. });
        let was_worse = (world.worse + 1).min(PARAMS.max_up_for);
        world.worse = if is_worse { 0 } else { was_worse };
        if let (Phase::Down { wait, .. }, false) = (after.phase, is_down) {
            let doubled = (2 * world.wait).clamp(PARAMS.up_for, PARAMS.max_up_for);
            let is_quiet = world.quiet + 1 >= PARAMS.max_up_for;
            let is_right = if is_quiet { wait <= doubled } else { wait == doubled };
            holds(is_right || !self.doubles, "each loss doubles the wait, and quiet halves it")?;
            world.wait = wait;
        }
        let is_up = matches!(after.phase, Phase::Up { .. });
        world.quiet = if is_up { (world.quiet + 1).min(PARAMS.max_up_for) } else { 0 };
        if is_down && after.cap > before.cap {
            holds(was_worse >= world.wait, "nobody comes back before the wait is over")?;
        }
        if let Phase::Down { wait, .. } = after.phase {
            self.longest.set(self.longest.get().max(wait));
        }
        self.losses.set(self.losses.get().max(after.losses));
        Ok(())
    }

    fn check(&self, world: &Alone) -> Result<(), String> {
        let bound = PARAMS.max_up_for + 6 * PARAMS.step;
        let back = world.comes_back();
        holds(back.is_some_and(|after| after <= bound), "who stays well comes back in the end")?;
        let mut quiet = world.clone();
        (0..6 * PARAMS.max_up_for).for_each(|_| quiet.step(FULL));
        holds(quiet.tier().losses == 0, "quiet makes up for all losses")
    }

    fn is_within(&self, _: &Alone) -> bool {
        true
    }
}

fn for_all_time(doubles: bool) -> (Result<crate::core::explore::Report, Broken>, u64, u32) {
    let model = ForAllTime { doubles, longest: Cell::new(0), losses: Cell::new(0) };
    let report = explore(&model);
    (report, model.longest.get(), model.losses.get())
}

// pitfall B71
#[test]
fn whatever_a_tier_went_through_it_comes_back_and_ever_later_while_it_flaps() {
    let (report, longest, losses) = for_all_time(true);
    let report = report.unwrap();
    println!("failover, one tier for all time: {report}");
    assert_eq!((longest, losses), (PARAMS.max_up_for, 2), "3 s, 6 s, 12 s");
    let (_, longest, _) = for_all_time(false);
    assert_eq!(longest, PARAMS.up_for, "nothing doubles where losses are forgotten");
}
