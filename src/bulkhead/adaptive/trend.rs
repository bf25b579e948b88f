//! Whether most calls are late.

/// What a late call adds, and one in time takes away: with these, the sum grows when more than 58 % are late.
const LATE: u32 = 5;
const IN_TIME: u32 = 7;
/// A sum over this is evidence: six late calls in a row, or more among others.
const EVIDENCE: u32 = 28;
/// What is left of it after it was acted on: if nothing changed, three more are enough.
const ACTED: u32 = 14;

/// A cumulative sum (Page, *Continuous Inspection Schemes*, 1954) of late calls against those in time.
///
/// It tells a dependency that is overloaded, where all calls wait in the same queue and nearly all are late, from
/// one of which a part is slow: of four servers behind one address of which one hangs, a quarter of the calls
/// are late, for as long as it hangs, and the sum does not grow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trend(u32);

impl Trend {
    pub(super) const fn new() -> Self {
        Self(0)
    }

    pub(super) fn note(&mut self, late: bool) {
        self.0 = if late {
            (self.0 + LATE).min(EVIDENCE + LATE)
        } else {
            self.0.saturating_sub(IN_TIME)
        };
    }

    pub(super) const fn is_evident(self) -> bool {
        self.0 > EVIDENCE
    }

    pub(super) fn act(&mut self) {
        self.0 = ACTED;
    }

    pub(super) fn forget(&mut self) {
        self.0 = 0;
    }
}
