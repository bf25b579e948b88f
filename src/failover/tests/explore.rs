//! Every way in which the health of two tiers can change, second by second.

use super::super::machine::{FULL, Params, Phase, Tiers, target};
use crate::core::explore::{Model, explore, holds, scale};

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
