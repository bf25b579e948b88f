//! What a digest promises the shell, and what a breaker promises everyone: that it ends.

use super::world::World;
use super::*;
use crate::Reason;
use crate::circuit_breaker::law::Rule;

/// The shell decides by the digest what `step` would have decided.
pub(super) fn digest_agrees_with_step(world: &World, law: &Law) -> Result<(), String> {
    let digest = world.machine.digest(law);
    holds(digest.state == world.state(), "the digest tells the state")?;
    if digest.quiet {
        quiet_changes_nothing(world, law)?;
    }
    let until = digest.refuse_until;
    if until > world.now {
        // At both ends of the time for which it refuses by itself.
        for at in [world.now, Tick(until.0 - 1)] {
            for draw in DRAWS {
                let mut machine = world.machine.clone();
                let effect = machine.step(law, at, draw, Input::Admit);
                let refused = Verdict::Refuse {
                    until,
                    reason: Reason::CircuitOpen,
                    measured: digest.measured,
                };
                holds(effect == Effect::of(refused), "what the digest refuses, step refuses")?;
                holds(machine == world.machine, "and a refusal changes nothing")?;
            }
        }
    }
    if until != Tick::NEVER && until != Tick::ZERO {
        let mut machine = world.machine.clone();
        let effect = machine.step(law, until.max(world.now), 0, Input::Admit);
        holds(matches!(effect.verdict, Verdict::Admit(_)), "who comes back when told gets in")?;
    }
    Ok(())
}

/// Admitting and then a fast success would change nothing that anybody could ever notice: neither
/// now nor after any three endings of further calls, at any distance. (What may differ is when a
/// call was last seen, and where a full ring of successes begins.)
fn quiet_changes_nothing(world: &World, law: &Law) -> Result<(), String> {
    let mut machine = world.machine.clone();
    let effect = machine.step(law, world.now, 0, Input::Admit);
    let Verdict::Admit(pass) = effect.verdict else { return Err("quiet, and refuses".into()) };
    holds(pass == Pass::new(world.era(), PassKind::Free), "quiet gives free passes")?;
    let settle = Input::Settle { pass, sample: sample(Health::Good) };
    let done = machine.step(law, world.now, 0, settle);
    holds(effect.changes == [None, None] && done == Effect::NONE, "quiet is heard by nobody")?;
    holds(machine.digest(law) == world.machine.digest(law), "the digest stays what it was")?;
    if law.rules.iter().all(|rule| matches!(rule, Rule::Evidence(_) | Rule::Consecutive { .. })) {
        let seen = |machine: &Breaker| machine.clone().seen_at(Tick::ZERO);
        holds(seen(&machine) == seen(&world.machine), "quiet changes nothing")?;
    }

    let pass = Pass { pending: true, ..pass };
    let ends = [
        Input::Settle { pass, sample: sample(Health::Bad) },
        Input::Settle { pass, sample: sample(Health::Good) },
        Input::Abandon { pass, waited: None, usual: None },
    ];
    for later in [0, law.memory.saturating_add(1)] {
        let now = world.now.plus(later);
        for story in 0..ends.len().pow(3) {
            let (mut told, mut untold) = (machine.clone(), world.machine.clone());
            for nth in 0..3 {
                let end = ends[story / ends.len().pow(nth) % ends.len()];
                let same = told.step(law, now, 0, end) == untold.step(law, now, 0, end);
                holds(same, "quiet makes no difference later")?;
            }
            holds(told.digest(law) == untold.digest(law), "nor does it to the digest")?;
        }
    }
    Ok(())
}

/// Whatever became of the calls in flight, and even if none of them ever comes back: once nobody
/// holds it, a breaker whose calls succeed closes, in a bounded number of calls and of rests.
// pitfall B2
pub(super) fn there_is_a_way_out(world: &World, law: &Law) -> Result<(), String> {
    let (mut machine, mut now) = (world.machine.clone(), world.now);
    for _ in 0..world.open_holds {
        let _ = machine.step(law, now, 0, Input::Command(Command::ReleaseOpen));
    }
    let _ = machine.step(law, now, 0, Input::Command(Command::Release));
    for _ in 0..world.closed_holds {
        let _ = machine.step(law, now, 0, Input::Command(Command::ReleaseClosed));
    }
    let longest =
        law.hint_cap + law.rest.max + law.rest.max * (law.reopen_at + law.close_at) as u64;
    let give_up = now.plus(8 * longest + 8 * law.ramp.max(law.slow_start));
    for _ in 0..8 * (law.close_at + law.reopen_at) + 16 {
        let effect = machine.step(law, now, 0, Input::Admit);
        now = match effect.verdict {
            Verdict::Admit(Pass { kind: PassKind::Free, .. }) => return Ok(()),
            Verdict::Admit(pass @ Pass { kind: PassKind::Slot, .. }) => {
                let settle = Input::Settle { pass, sample: sample(Health::Good) };
                let _ = machine.step(law, now, 0, settle);
                let ramp = law.ramp.max(law.slow_start);
                if machine.state() == State::Closed { now.plus(ramp) } else { now }
            }
            Verdict::Refuse { until, .. } => until,
            _ => machine.probes_at().unwrap_or(now.plus(law.rest.max)),
        };
        if now > give_up {
            break;
        }
    }
    Err(format!("no way out: {machine:?}"))
}
