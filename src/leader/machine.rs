//! How a candidate leads: a lease, as one candidate sees it. Pure.
//!
//! Three rules make two leaders impossible while clocks keep to the allowed drift:
//!
//! 1. A term counts from *before* the question left, with the time that was *granted*, less the drift.
//! 2. A term ends because time passes it, and not because of a message or a timer.
//! 3. An answer that is no clear yes never lengthens a term.

use crate::core::time::Tick;

/// Little of a term is left when this part of it is.
const LOW: u64 = 5;

/// The settings, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Params {
    /// What is asked for.
    pub(super) ttl: u64,
    /// From one renewal to the next.
    pub(super) renew: u64,
    /// From a failed question to the next, before jitter.
    pub(super) retry: u64,
    /// By how much clocks may differ in speed, in parts per million.
    pub(super) drift: u64,
}

/// One candidate.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Machine {
    stage: Stage,
    /// The number of the present term, or of the last one.
    epoch: u64,
    /// It may act before this.
    until: Tick,
    /// What was asked and not answered, and since when.
    asked: Option<(Question, Tick)>,
    /// When to ask next.
    next: Tick,
    /// The lease is not asked for again before this, whatever the store says.
    pace: Tick,
    /// Little of the term is left from here on.
    low: Tick,
    /// Whether the store may have heard of the present name of this holder.
    known: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// Somebody else may lead.
    Following,
    /// The store has said that the lease is ours; since when, the next answer tells.
    Adopting,
    Leading,
    /// It leads to the end of what it has begun, and asks for no more time.
    Resigning,
    /// The term is over before all that was begun in it. The lease is not given back under it.
    Ending,
    /// It acts no more, and gives the lease back.
    Releasing,
    Resigned,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Question {
    Acquire,
    Renew,
    Release,
}

impl Question {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Acquire => "acquire",
            Self::Renew => "renew",
            Self::Release => "release",
        }
    }
}

/// What the store said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Heard {
    /// Ours, for this many nanoseconds from somewhen after the question left.
    Granted { epoch: u64, ttl: u64 },
    /// Ours already, says the answer to somebody who did not know.
    Ours,
    /// Somebody else's, for so long if that is known.
    Theirs(Option<u64>),
    /// Nobody's.
    Free,
    /// No answer, or an error: nothing is known.
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Input {
    /// Time has passed.
    Time,
    Heard(Heard),
    /// It shall lead no more.
    Resign,
    /// All that was begun as the leader is over.
    Idle,
}

/// What changed, for those who watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Change {
    Acquired,
    /// The term is over, by the clock.
    Expired,
    /// The store says that the lease is not ours.
    Lost,
    /// It was told to resign.
    Resigned,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct Effect {
    pub(super) ask: Option<Question>,
    pub(super) change: Option<Change>,
    /// The term is over: the next one is asked for under another name.
    pub(super) rename: bool,
    /// The store gave a term that is not later than the last one. It was not taken.
    pub(super) went_back: bool,
}

impl Machine {
    /// A candidate that asks at once.
    pub(super) const fn new(now: Tick) -> Self {
        Self {
            stage: Stage::Following,
            epoch: 0,
            until: Tick::ZERO,
            asked: None,
            next: now,
            pace: Tick::ZERO,
            low: Tick::ZERO,
            known: false,
        }
    }

    /// Somebody drives it again, who may have dropped it at any moment: answers that were on their way are not
    /// heard any more. A term that is left goes on. Whether the next one is asked for under another name.
    pub(super) fn again(&mut self, now: Tick) -> bool {
        let leads = self.term().is_some_and(|(_, until)| now < until);
        if leads {
            (self.stage, self.asked, self.next) = (Stage::Leading, None, now);
        } else {
            *self = Self { epoch: self.epoch, ..Self::new(now) };
        }
        !leads
    }

    pub(super) const fn stage(&self) -> Stage {
        self.stage
    }

    /// The present term, and when it ends; `None` if it is over.
    pub(super) fn term(&self) -> Option<(u64, Tick)> {
        matches!(self.stage, Stage::Leading | Stage::Resigning).then_some((self.epoch, self.until))
    }

    /// The number of the present term, or of the last one.
    pub(super) const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// When little is left of the present term.
    pub(super) const fn low(&self) -> Tick {
        self.low
    }

    /// Whether an answer is listened to.
    pub(super) const fn is_asking(&self) -> bool {
        self.asked.is_some()
    }

    /// Whether the present term will soon be over unless it is renewed.
    pub(super) fn is_low(&self, now: Tick) -> bool {
        self.term().is_some() && self.low <= now
    }

    /// When it wants to be stepped, if nothing is heard before.
    pub(super) fn wake(&self, now: Tick) -> Tick {
        let end = match self.term() {
            Some(_) if now < self.low => self.low,
            Some((_, until)) => until,
            None => Tick::NEVER,
        };
        let waits = matches!(self.stage, Stage::Resigning | Stage::Resigned);
        let ask = if self.asked.is_some() || waits { Tick::NEVER } else { self.next_ask() };
        end.min(ask)
    }

    #[cfg(test)]
    pub(super) fn pretend_that_it_asked_at(&mut self, now: Tick) {
        if let Some((_, sent)) = &mut self.asked {
            *sent = now;
        }
    }

    /// `draw` spreads candidates that would ask at the same time.
    pub(super) fn step(&mut self, params: &Params, now: Tick, draw: u32, input: Input) -> Effect {
        let mut effect = Effect::default();
        self.expire(params, now, &mut effect);
        match input {
            Input::Time => {}
            Input::Heard(heard) => {
                if let Some((question, sent)) = self.asked.take() {
                    let asked = Asked { question, sent, now, jitter: jitter(params.retry, draw) };
                    self.hear(params, &asked, heard, &mut effect);
                    self.expire(params, now, &mut effect); // an answer that came too late
                }
            }
            Input::Resign => self.resign(params, now, &mut effect),
            Input::Idle => {
                if matches!(self.stage, Stage::Resigning | Stage::Ending) {
                    self.release(params, now);
                }
            }
        }
        self.ask(params, now, &mut effect);
        effect
    }

    /// Rule 2.
    fn expire(&mut self, params: &Params, now: Tick, effect: &mut Effect) {
        if self.term().is_none_or(|(_, until)| now < until) {
            return;
        }
        if self.stage == Stage::Resigning {
            // By then the store has let go of it too.
            (self.stage, self.next) = (Stage::Ending, self.until.plus(params.ttl));
        } else {
            self.follow(now, effect);
            effect.change = Some(Change::Expired);
        }
    }

    /// Nobody's leader any more. What was asked in the old name is not listened to.
    fn follow(&mut self, next: Tick, effect: &mut Effect) {
        self.stage = Stage::Following;
        (self.asked, self.next) = (None, next);
        (self.known, effect.rename) = (false, true); // a late answer to the old name is nobody's
    }

    /// Tries for some time, for the lease ends by itself too.
    fn release(&mut self, params: &Params, now: Tick) {
        self.stage = if self.known { Stage::Releasing } else { Stage::Resigned };
        (self.next, self.until) = (now, now.plus(params.retry.saturating_mul(3)));
    }

    fn resign(&mut self, params: &Params, now: Tick, effect: &mut Effect) {
        match self.stage {
            Stage::Following | Stage::Adopting => self.release(params, now),
            Stage::Leading => self.stage = Stage::Resigning,
            Stage::Resigning | Stage::Ending | Stage::Releasing | Stage::Resigned => return,
        }
        effect.change = Some(Change::Resigned);
    }

    fn hear(&mut self, params: &Params, asked: &Asked, heard: Heard, effect: &mut Effect) {
        match (self.stage, asked.question, heard) {
            (Stage::Releasing, Question::Release, Heard::Nothing) if asked.now < self.until => {
                self.next = asked.later(params.retry);
            }
            (Stage::Releasing, Question::Release, _) => self.stage = Stage::Resigned,
            (Stage::Resigning, _, Heard::Theirs(_) | Heard::Free) => {
                self.until = asked.now;
                self.stage = Stage::Ending;
                self.next = asked.now.plus(params.ttl);
            }
            // No more time is wanted, and whatever it has is given back.
            (Stage::Resigning | Stage::Ending | Stage::Releasing | Stage::Resigned, ..) => {}

            (Stage::Following | Stage::Adopting, _, Heard::Granted { epoch, ttl }) => {
                if epoch <= self.epoch {
                    effect.went_back = true;
                    // It is not renewed, so that it is free for others, who ask before this one does.
                    self.follow(asked.later(params.ttl.saturating_mul(2)), effect);
                } else if self.take(params, asked, ttl) {
                    (self.stage, self.epoch) = (Stage::Leading, epoch);
                    effect.change = Some(Change::Acquired);
                } else {
                    self.stage = Stage::Adopting;
                    self.next = asked.now.max(asked.sent.plus(params.retry));
                }
            }
            (Stage::Leading, _, Heard::Granted { epoch, ttl }) if epoch == self.epoch => {
                self.take(params, asked, ttl); // too late, and the term has expired
            }
            // Another term than ours: ours must have ended, there.
            (Stage::Leading, _, Heard::Granted { .. } | Heard::Theirs(_) | Heard::Free) => {
                self.until = asked.now;
                self.follow(asked.after(params, heard), effect);
                effect.change = Some(Change::Lost);
            }

            (Stage::Following, Question::Acquire, Heard::Ours) => {
                (self.stage, self.next) = (Stage::Adopting, asked.now);
            }
            (Stage::Following, _, Heard::Theirs(_)) => self.next = asked.after(params, heard),
            (Stage::Adopting, _, Heard::Theirs(_) | Heard::Free) => {
                self.follow(asked.after(params, heard), effect);
            }
            (_, _, Heard::Ours | Heard::Free | Heard::Nothing) => {
                self.next = asked.later(params.retry);
            }
        }
    }

    /// Rule 1. `false` if what was granted is over already.
    fn take(&mut self, params: &Params, asked: &Asked, ttl: u64) -> bool {
        let kept = kept(ttl, params.drift);
        self.until = asked.sent.plus(kept);
        self.low = asked.sent.plus(kept - kept / LOW);
        let pause = params.renew.min(ttl / 3);
        let next = asked.sent.plus(pause.saturating_sub(asked.jitter.min(pause / 4)));
        self.next = next.max(asked.now.plus(params.retry / 4)); // though next to nothing was granted
        asked.now < self.until
    }

    fn next_ask(&self) -> Tick {
        if self.stage == Stage::Following { self.next.max(self.pace) } else { self.next }
    }

    fn ask(&mut self, params: &Params, now: Tick, effect: &mut Effect) {
        if self.asked.is_some() || now < self.next_ask() {
            return;
        }
        let question = match self.stage {
            Stage::Following => {
                self.pace = now.plus(params.retry);
                Question::Acquire
            }
            Stage::Adopting | Stage::Leading => Question::Renew,
            Stage::Releasing => Question::Release,
            Stage::Ending => {
                self.stage = Stage::Resigned;
                return;
            }
            Stage::Resigning | Stage::Resigned => return,
        };
        (self.known, self.asked) = (true, Some((question, now)));
        effect.ask = Some(question);
    }
}

/// A question that was answered.
struct Asked {
    question: Question,
    sent: Tick,
    now: Tick,
    jitter: u64,
}

impl Asked {
    /// After so long, and a little more.
    const fn later(&self, pause: u64) -> Tick {
        self.now.plus(pause.saturating_add(self.jitter))
    }

    /// When to ask again after a refusal: when the other's lease ends, if that is known.
    fn after(&self, params: &Params, heard: Heard) -> Tick {
        let pause = match heard {
            // They may give it back before.
            Heard::Theirs(Some(left)) => left.min(params.renew).max(params.retry),
            _ => params.retry,
        };
        self.later(pause)
    }
}

/// What remains of a time on the clock of the store, on a clock that may be slower by so much.
fn kept(ttl: u64, drift: u64) -> u64 {
    let margin = (u128::from(ttl) * u128::from(drift)).div_ceil(1_000_000);
    ttl.saturating_sub(u64::try_from(margin).unwrap_or(u64::MAX))
}

/// Up to a half of `retry`.
fn jitter(retry: u64, draw: u32) -> u64 {
    let share = u128::from(retry / 2) * u128::from(draw) / u128::from(u32::MAX);
    u64::try_from(share).unwrap_or(u64::MAX)
}
