//! The callers of a breaker, who count by themselves what it may do.

use super::*;

/// A breaker, the calls it let through, and what its callers know.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) machine: Breaker,
    /// The settings in force.
    pub(super) params: usize,
    pub(super) now: Tick,
    /// Every pass that was given out and not handed back.
    pub(super) flying: Vec<Pass>,
    pub(super) open_holds: u32,
    pub(super) closed_holds: u32,
    /// Held by nobody in particular: open, if `true`.
    pub(super) standing: Option<bool>,
    /// Calls answered in this epoch, if anyone counts them.
    pub(super) answers: u32,
    slow_start: Slow,
    /// When this epoch began, if it is half open or the ramp after one.
    began: Tick,
    /// When the latest probe went.
    probed: Tick,
}

/// How many calls at a time the rules of slow start allow, by the callers' own count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Slow {
    No,
    HalfOpen { allowed: u32, most: u32, answered: bool },
    Ramp { allowed: u32 },
}

impl Slow {
    fn answered(&mut self, good: bool, params: &Params) {
        let (allowed, cap) = match self {
            Self::No => return,
            Self::HalfOpen { allowed, .. } => (allowed, params.probes),
            Self::Ramp { allowed } => (allowed, u32::MAX),
        };
        *allowed = if good { allowed.saturating_mul(2).min(cap) } else { (*allowed / 2).max(1) };
        if let Self::HalfOpen { allowed, most, answered } = self {
            *most = (*most).max(*allowed);
            *answered = true;
        }
    }

    /// A probe was given up too soon to say anything, before any was answered.
    fn left(&mut self, params: &Params) {
        if let Self::HalfOpen { allowed, most, answered: false } = self {
            *allowed = (*allowed * 2).min(params.probes);
            *most = (*most).max(*allowed);
        }
    }
}

impl World {
    pub(super) fn new(params: &Params) -> Self {
        Self {
            machine: Breaker::new(params),
            params: 0,
            now: Tick::ZERO,
            flying: Vec::new(),
            open_holds: 0,
            closed_holds: 0,
            standing: None,
            answers: 0,
            slow_start: Slow::No,
            began: Tick::ZERO,
            probed: Tick::ZERO,
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.machine.epoch()
    }

    pub(super) fn state(&self) -> State {
        self.machine.state()
    }

    fn slots(&self) -> u32 {
        let ours = |pass: &&Pass| pass.kind == PassKind::Slot && pass.epoch == self.epoch();
        self.flying.iter().filter(ours).count() as u32
    }

    /// Knocks, and holds the answer to what holds for all.
    pub(super) fn knock(
        &mut self,
        all_params: &[Params; 2],
        draw: u64,
        input: Input,
    ) -> Result<Effect, String> {
        let (state, epoch) = (self.state(), self.epoch());
        let effect = self.machine.step(&all_params[self.params], self.now, draw, input);
        let mut path = state;
        for change in effect.changes.iter().flatten() {
            holds(change.from == path, "a change starts where the last one ended")?;
            holds(change.from != change.to, "a state never changes into itself")?;
            let forced = |state| matches!(state, State::ForcedOpen | State::ForcedClosed);
            let by_hand = matches!(input, Input::Command(_));
            holds(by_hand || !forced(change.from), "only hands end what hands began")?;
            holds(by_hand || !forced(change.to), "only hands force")?;
            path = change.to;
            self.enter(&all_params[self.params], change)?;
        }
        holds(path == self.state(), "no change goes unreported")?;
        holds(self.epoch() >= epoch, "epochs only grow")?;
        holds(path == state || self.epoch() > epoch, "each state is an epoch of its own")?;
        Ok(effect)
    }

    fn enter(&mut self, params: &Params, change: &Transition) -> Result<(), String> {
        let by_probes = change.cause == TransitionCause::ProbesSucceeded;
        let (before, kept_away) = (self.began, change.from != State::ForcedClosed);
        (self.began, self.probed) = (self.now, self.now);
        self.slow_start = match (change.to, self.slow_start) {
            (State::HalfOpen, _) => Slow::HalfOpen { allowed: 1, most: 1, answered: false },
            (State::Closed, Slow::HalfOpen { allowed, .. }) if by_probes => {
                Slow::Ramp { allowed: allowed * 2 }
            }
            (State::Closed, _) => Slow::Ramp { allowed: params.ramp_from() },
            _ => Slow::No,
        };
        if change.to != State::Closed {
            return Ok(());
        }
        match self.machine.ramp_since() {
            Some(since) => {
                holds(since <= self.now, "the load does not come back before it may")?;
                let by_time = by_probes && since >= before;
                let at_once = since == self.now || by_time || !kept_away;
                holds(at_once, "the load comes back from when it may")?;
                self.began = since;
            }
            None => {
                let is_over = self.now.since(before) >= params.ramp_span();
                holds(is_over || !kept_away, "closed at once upon what was kept away")?;
                self.slow_start = Slow::No;
            }
        }
        Ok(())
    }

    pub(super) fn admit(&mut self, all_params: &[Params; 2], draw: u64) -> Result<Effect, String> {
        let was_open = self.machine.probes_at();
        let effect = self.knock(all_params, draw, Input::Admit)?;
        let params = &all_params[self.params];
        let pass = match effect.decision {
            Decision::Admit(pass) => Some(pass),
            Decision::Reject { until, .. } => {
                holds(!params.shadow, "a shadow rejects nobody")?;
                holds(until > self.now, "who is rejected is told a time to come")?;
                None
            }
            other => return Err(format!("not an answer to an Admit: {other:?}")),
        };
        let flies = pass.filter(|pass| pass.kind != PassKind::Shadow);
        let slots = self.slots();
        match (self.state(), self.slow_start) {
            (State::Open | State::ForcedOpen, _) => holds(flies.is_none(), "open admits nobody")?,
            (State::ForcedClosed, _) => holds(flies.is_some(), "forced closed admits everybody")?,
            (State::HalfOpen, Slow::HalfOpen { allowed, .. }) => {
                holds(was_open.is_none_or(|until| self.now >= until), "no probe before its time")?;
                let waited = self.now.since(self.probed);
                let least =
                    all_params.iter().map(|params| params.break_duration.first).min().unwrap_or(0);
                let most =
                    all_params.iter().map(|params| params.break_duration.max).max().unwrap_or(0);
                if flies.is_some() {
                    holds(slots < allowed || waited >= least, "a probe too many")?;
                } else {
                    holds(slots >= allowed, "a slot was lost")?;
                    holds(waited < most, "a probe that hangs keeps the next away for ever")?;
                }
                self.probed = if flies.is_some() { self.now } else { self.probed };
            }
            (State::Closed, Slow::Ramp { allowed }) => {
                let passed = self.now.since(self.began);
                let open = passed >= params.ramp || slots < allowed;
                if passed < params.ramp.max(params.slow_start) {
                    holds(flies.is_none_or(|pass| pass.kind == PassKind::Slot), "ramp: slots")?;
                    holds(flies.is_none() || open, "the ramp admits too many")?;
                    let excused = !open || draw > params.slow_start_share(passed);
                    holds(flies.is_some() || excused, "the ramp lost a slot")?;
                } else {
                    holds(flies.is_some_and(|pass| pass.kind == PassKind::Free), "ramp: over")?;
                    self.slow_start = Slow::No;
                }
            }
            (State::Closed, _) => {
                holds(flies.is_some_and(|pass| pass.kind == PassKind::Free), "closed admits")?;
            }
            (state, slow) => return Err(format!("{state} with {slow:?}")),
        }
        if let Some(pass) = pass {
            holds(pass.epoch == self.epoch(), "a pass is of the epoch it was given in")?;
            self.flying.push(pass);
        }
        Ok(effect)
    }

    pub(super) fn pend(&mut self, params: &Params, call: usize) {
        let pass = &mut self.flying[call];
        pass.pending = true;
        let is_timed = pass.kind == PassKind::Slot || Breaker::vigil(params).durations;
        pass.started = is_timed.then_some(self.now);
        self.in_order();
    }

    pub(super) fn settle(
        &mut self,
        all_params: &[Params; 2],
        call: usize,
        signal: Signal,
        retry_after: Option<u64>,
        draw: u64,
    ) -> Result<Effect, String> {
        let pass = self.flying.remove(call);
        let took = pass.started.map(|started| self.now.since(started));
        let sample = Sample { signal, took, retry_after };
        let params = &all_params[self.params];
        let slow = !pass.overdue && params.is_slow(took);
        let counts = self.counts(pass);
        if let (Slow::HalfOpen { answered, .. }, true, Signal::Pushback) =
            (&mut self.slow_start, counts, signal)
        {
            *answered = true;
        }
        match (self.state(), signal) {
            _ if !self.counts(pass) => {}
            (State::HalfOpen, Signal::Success) if !pass.overdue => {
                self.slow_start.answered(!slow, params);
            }
            (State::HalfOpen, Signal::Failure) if !pass.overdue => {
                self.slow_start.answered(false, params);
            }
            (State::Closed, Signal::Success) => self.slow_start.answered(true, params),
            (State::Closed, Signal::Failure) => self.slow_start.answered(false, params),
            _ => {}
        }
        self.end(all_params, draw, pass, Input::CallGuard { pass, sample })
    }

    pub(super) fn overdue(
        &mut self,
        all_params: &[Params; 2],
        call: usize,
        draw: u64,
    ) -> Result<Effect, String> {
        self.flying[call].overdue = true;
        let pass = self.flying[call];
        if self.counts(pass) && self.state() == State::HalfOpen {
            self.slow_start.answered(false, &all_params[self.params]);
        }
        self.end(all_params, draw, pass, Input::Overdue { pass })
    }

    pub(super) fn abandon(
        &mut self,
        all_params: &[Params; 2],
        call: usize,
        draw: u64,
    ) -> Result<Effect, String> {
        let pass = self.flying.remove(call);
        let params = &all_params[self.params];
        let waited = pass.started.map(|started| self.now.since(started));
        let failed = pass.pending
            && match params.abandonment {
                Abandonment::Failure => true,
                Abandonment::After(least) => waited.is_some_and(|waited| waited >= nanos(least)),
                _ => false,
            };
        let slow = pass.pending && !pass.overdue && params.is_slow(waited);
        if self.counts(pass) && (failed || slow && self.state() == State::HalfOpen) {
            self.slow_start.answered(false, params);
        } else if self.counts(pass)
            && params.abandonment == Abandonment::Silence
            && pass.pending
            && !pass.overdue
            && waited.is_none_or(|waited| waited < params.unmeasured)
        {
            self.slow_start.left(params);
        }
        self.end(all_params, draw, pass, Input::Abandon { pass, waited, usual: None })
    }

    pub(super) fn order(
        &mut self,
        all_params: &[Params; 2],
        command: Command,
    ) -> Result<Effect, String> {
        let held = match command {
            Command::HoldOpen if self.open_holds < 1 => &mut self.open_holds,
            Command::HoldClosed if self.closed_holds < 1 => &mut self.closed_holds,
            Command::HoldOpen | Command::HoldClosed => return Ok(Effect::NONE),
            Command::ReleaseOpen => {
                self.open_holds = self.open_holds.saturating_sub(1);
                return self.knock(all_params, 0, Input::Command(command));
            }
            Command::ReleaseClosed => {
                self.closed_holds = self.closed_holds.saturating_sub(1);
                return self.knock(all_params, 0, Input::Command(command));
            }
            Command::ForceOpen | Command::ForceClosed | Command::Release => {
                self.standing = match command {
                    Command::ForceOpen => Some(true),
                    Command::ForceClosed => Some(false),
                    _ => None,
                };
                return self.knock(all_params, 0, Input::Command(command));
            }
            Command::Reset => return self.knock(all_params, 0, Input::Command(command)),
        };
        *held += 1;
        self.knock(all_params, 0, Input::Command(command))
    }

    pub(super) fn turn(&mut self, all_params: &[Params; 2]) -> Result<Effect, String> {
        self.params = 1 - self.params;
        let params = &all_params[self.params];
        let is_over = self.now.since(self.began) >= params.ramp.max(params.slow_start);
        if is_over && matches!(self.slow_start, Slow::Ramp { .. }) {
            self.slow_start = Slow::No; // what ended does not come back with other config
        }
        self.knock(all_params, 0, Input::Configure)
    }

    fn counts(&self, pass: Pass) -> bool {
        pass.epoch == self.epoch() && pass.kind != PassKind::Shadow
    }

    /// What an ended call says; what does not count must change nothing.
    fn end(
        &mut self,
        all_params: &[Params; 2],
        draw: u64,
        pass: Pass,
        input: Input,
    ) -> Result<Effect, String> {
        let counts = self.counts(pass);
        self.answers += u32::from(counts);
        let before = self.machine.clone();
        let effect = self.knock(all_params, draw, input)?;
        if !counts {
            holds(self.machine == before, "an answer of an old epoch changes nothing")?;
            let late = pass.kind != PassKind::Shadow && !matches!(input, Input::Overdue { .. });
            let decision = if late { Decision::Late } else { Decision::Done };
            holds(effect == Effect::of(decision), "an answer of an old epoch is late")?;
        }
        Ok(effect)
    }

    /// Calls in flight are a set, and those of old epochs are all alike: fewer states, no other
    /// behaviour.
    pub(super) fn in_order(&mut self) {
        let epoch = self.epoch();
        for pass in &mut self.flying {
            if pass.epoch != epoch {
                let timed = pass.started.is_some();
                *pass = Pass {
                    pending: timed,
                    overdue: timed && pass.overdue,
                    started: timed.then_some(Tick::ZERO),
                    ..Pass::new(0, pass.kind)
                };
            }
        }
        self.flying.sort_by_key(|pass| {
            let kind = pass.kind as u8;
            (pass.epoch, kind, pass.pending, pass.overdue, pass.started)
        });
    }

    /// A ramp doubles for ever if no time passes; all that is far above the calls there are is alike.
    pub(super) fn is_bounded(&self) -> bool {
        !matches!(self.slow_start, Slow::Ramp { allowed } if allowed > 8)
    }

    pub(super) fn check(&self, all_params: &[Params; 2]) -> Result<(), String> {
        let open = self.open_holds > 0 || self.standing == Some(true);
        let closed = self.closed_holds > 0 || self.standing == Some(false);
        let forced = match (open, closed) {
            (true, _) => Some(State::ForcedOpen),
            (false, true) => Some(State::ForcedClosed),
            (false, false) => None,
        };
        let is_forced = matches!(self.state(), State::ForcedOpen | State::ForcedClosed);
        holds(forced.map_or(!is_forced, |state| state == self.state()), "holds hold")?;
        if let (State::HalfOpen, Slow::HalfOpen { most, .. }) = (self.state(), self.slow_start) {
            let break_duration =
                all_params.iter().map(|params| params.break_duration.first).min().unwrap_or(1);
            let breaks = self.now.since(self.began) / break_duration;
            holds(u64::from(self.slots()) <= u64::from(most) + breaks, "probes in flight")?;
        }
        Ok(())
    }
}
