//! What a digest promises the shell, and what a breaker promises everyone: that it ends.

use super::world::World;
use super::*;
use crate::Reason;
use crate::circuit_breaker::params::Rule;

/// The shell decides by the digest what `step` would have decided.
pub(super) fn digest_agrees_with_step(world: &World, params: &Params) -> Result<(), String> {
    let digest = world.machine.digest(params);
    holds(digest.state == world.state(), "the digest tells the state")?;
    if digest.quiet {
        quiet_changes_nothing(world, params)?;
    }
    let until = digest.reject_until;
    if until > world.now {
        // At both ends of the time for which it rejects by itself.
        for at in [world.now, Tick(until.0 - 1)] {
            for draw in DRAWS {
                let mut machine = world.machine.clone();
                let effect = machine.step(params, at, draw, Input::Admit);
                let rejected = Decision::Reject {
                    until,
                    reason: Reason::CircuitOpen,
                    measurement: digest.measurement,
                };
                holds(effect == Effect::of(rejected), "what the digest rejects, step rejects")?;
                holds(machine == world.machine, "and a rejection changes nothing")?;
            }
        }
    }
    if until != Tick::NEVER && until != Tick::ZERO {
        let mut machine = world.machine.clone();
        let effect = machine.step(params, until.max(world.now), 0, Input::Admit);
        holds(matches!(effect.decision, Decision::Admit(_)), "who comes back when told gets in")?;
    }
    Ok(())
}

/// Admitting and then a fast success would change nothing that anybody could ever notice: neither
/// now nor after any three endings of further calls, at any distance. (What may differ is when a
/// call was last seen, and where a full ring of successes begins.)
fn quiet_changes_nothing(world: &World, params: &Params) -> Result<(), String> {
    let mut machine = world.machine.clone();
    let effect = machine.step(params, world.now, 0, Input::Admit);
    let Decision::Admit(pass) = effect.decision else { return Err("quiet, and rejects".into()) };
    holds(pass == Pass::new(world.epoch(), PassKind::Free), "quiet gives free passes")?;
    let settle = Input::CallGuard { pass, sample: sample(Signal::Success) };
    let done = machine.step(params, world.now, 0, settle);
    holds(effect.changes == [None, None] && done == Effect::NONE, "quiet is heard by nobody")?;
    holds(machine.digest(params) == world.machine.digest(params), "the digest stays what it was")?;
    if params.rules.iter().all(|rule| matches!(rule, Rule::Evidence(_) | Rule::Consecutive { .. }))
    {
        let seen = |machine: &Breaker| machine.clone().seen_at(Tick::ZERO);
        holds(seen(&machine) == seen(&world.machine), "quiet changes nothing")?;
    }

    let pass = Pass { pending: true, ..pass };
    let ends = [
        Input::CallGuard { pass, sample: sample(Signal::Failure) },
        Input::CallGuard { pass, sample: sample(Signal::Success) },
        Input::Abandon { pass, waited: None, usual: None },
    ];
    for later in [0, params.evidence_ttl.saturating_add(1)] {
        let now = world.now.plus(later);
        for story in 0..ends.len().pow(3) {
            let (mut told, mut pending_events) = (machine.clone(), world.machine.clone());
            for nth in 0..3 {
                let end = ends[story / ends.len().pow(nth) % ends.len()];
                let same =
                    told.step(params, now, 0, end) == pending_events.step(params, now, 0, end);
                holds(same, "quiet makes no difference later")?;
            }
            holds(
                told.digest(params) == pending_events.digest(params),
                "nor does it to the digest",
            )?;
        }
    }
    Ok(())
}

/// Whatever became of the calls in flight, and even if none of them ever comes back: once nobody
/// holds it, a breaker whose calls succeed closes, in a bounded number of calls and of breaks.
// pitfall B2
pub(super) fn there_is_a_way_out(world: &World, params: &Params) -> Result<(), String> {
    let (mut machine, mut now) = (world.machine.clone(), world.now);
    for _ in 0..world.open_holds {
        let _ = machine.step(params, now, 0, Input::Command(Command::ReleaseOpen));
    }
    let _ = machine.step(params, now, 0, Input::Command(Command::Release));
    for _ in 0..world.closed_holds {
        let _ = machine.step(params, now, 0, Input::Command(Command::ReleaseClosed));
    }
    let longest = params.max_retry_after
        + params.break_duration.max
        + params.break_duration.max * (params.reopen_threshold + params.close_threshold) as u64;
    let give_up = now.plus(8 * longest + 8 * params.ramp.max(params.slow_start));
    for _ in 0..8 * (params.close_threshold + params.reopen_threshold) + 16 {
        let effect = machine.step(params, now, 0, Input::Admit);
        now = match effect.decision {
            Decision::Admit(Pass { kind: PassKind::Free, .. }) => return Ok(()),
            Decision::Admit(pass @ Pass { kind: PassKind::Slot, .. }) => {
                let settle = Input::CallGuard { pass, sample: sample(Signal::Success) };
                let _ = machine.step(params, now, 0, settle);
                let ramp = params.ramp.max(params.slow_start);
                if machine.state() == State::Closed { now.plus(ramp) } else { now }
            }
            Decision::Reject { until, .. } => until,
            _ => machine.probes_at().unwrap_or(now.plus(params.break_duration.max)),
        };
        if now > give_up {
            break;
        }
    }
    Err(format!("no way out: {machine:?}"))
}
