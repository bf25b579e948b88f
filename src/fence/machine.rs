//! What a fence knows: the highest epoch that its store confirmed.
//!
//! It is raised by answers of the store and by nothing else, and it never sinks. So an epoch that nobody was given
//! raises nothing, whoever says it.

use crate::parts::backoff::Curve;

/// What is known, and what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Machine {
    /// The highest epoch that was confirmed.
    highest: u64,
    /// The store has answered, so that nothing can be higher that was let in before.
    spoken: bool,
    /// Questions so far.
    begun: u64,
    /// The latest of them that was answered.
    answered: u64,
    /// Questions in vain, in a row.
    failures: u32,
    /// When the next question may be asked, in nanoseconds.
    next: u64,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Pass,
    /// Its epoch is over, or it has none.
    Fenced,
    /// The store has been asked since the call came, and does not know its epoch.
    Unknown,
    /// The store has to be asked, or has yet to answer.
    Wait,
}

/// What came of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// It is higher than what was known before, which was this.
    Raised(u64),
    /// It opens the fence, at what was known before.
    Opened,
    Same,
    /// It is lower than what was confirmed before: the store has forgotten that.
    Forgot,
}

impl Machine {
    /// By which number the epochs of calls pass at once; 0 if none does.
    pub(super) const fn open_at(&self) -> u64 {
        if self.spoken { self.highest } else { 0 }
    }

    pub(super) const fn highest(&self) -> u64 {
        self.highest
    }

    pub(super) const fn has_spoken(&self) -> bool {
        self.spoken
    }

    /// When the next question may be asked.
    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    /// Which question tells a call that comes now: not one that is on its way already, whose answer may be older than the
    /// epoch of the call.
    pub(super) const fn needs(&self) -> u64 {
        self.begun + 1
    }

    /// What becomes of a call by this epoch, 0 for none, that waits for the answer to the question `needs`. `lenient`: calls
    /// without an epoch pass.
    pub(super) const fn look(&self, epoch: u64, lenient: bool, needs: u64) -> Look {
        match epoch {
            0 if !lenient => Look::Fenced,
            _ if epoch != 0 && epoch < self.highest => Look::Fenced,
            _ if !self.spoken => Look::Wait,
            0 => Look::Pass,
            _ if epoch == self.highest => Look::Pass,
            _ if self.answered >= needs => Look::Unknown,
            _ => Look::Wait,
        }
    }

    /// A question is asked. Its number.
    pub(super) const fn asks(&mut self) -> u64 {
        self.begun += 1;
        self.begun
    }

    /// A question was answered.
    pub(super) fn hears(
        &mut self,
        question: u64,
        epoch: u64,
        now: u64,
        pause: &Curve,
        draw: u64,
    ) -> Heard {
        let before = self.highest;
        if epoch < before {
            self.fails(now, pause, draw);
            return Heard::Forgot;
        }
        let was_closed = !std::mem::replace(&mut self.spoken, true);
        self.highest = epoch;
        self.answered = self.answered.max(question);
        self.failures = 0;
        self.next = now.saturating_add(pause.wait(1, 0, draw));
        match epoch > before {
            true => Heard::Raised(before),
            false if was_closed => Heard::Opened,
            false => Heard::Same,
        }
    }

    /// A question was not answered.
    pub(super) fn fails(&mut self, now: u64, pause: &Curve, draw: u64) {
        self.failures = self.failures.saturating_add(1);
        self.next = now.saturating_add(pause.wait(self.failures, 0, draw));
    }

    /// Somebody who is trusted says that this epoch was given. It opens nothing: there may be a later one. What was known
    /// before, if that is lower.
    pub(super) fn confirmed(&mut self, epoch: u64) -> Option<u64> {
        let before = self.highest;
        (epoch > before).then(|| {
            self.highest = epoch;
            before
        })
    }
}
