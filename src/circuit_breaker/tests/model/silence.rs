//! What calls that were given up count, in the model.

use super::*;

/// An answer that takes longer than this is late, as long as none was measured.
const UNMEASURED: u64 = SECOND;
/// A probe that waited less did not do so in vain.
const PROBE_WAIT: u64 = 50 * MS;
/// And until then one that waited less than this says little, however long the silence.
const LEAST_WAIT: u64 = 20 * MS;
/// What a call counts that was given up too soon, as a share of one that waited in vain.
pub(super) const SHORT: f64 = 1.0 / 32.0;
/// The same of a long wait, as long as no answer was measured.
const COLD: f64 = 9.0 / 32.0;

impl Model {
    pub(super) fn weight(&self, waited: u64, silent_for: u64) -> f64 {
        let short = |is_old| if is_old { SHORT } else { 0.0 };
        match self.usual {
            Some(usual) if waited >= 2 * usual => 1.0,
            Some(usual) => short(silent_for >= 2 * usual),
            None if waited >= UNMEASURED => 1.0,
            None if waited >= LEAST_WAIT && silent_for >= 3 * waited => COLD,
            None => short(silent_for >= 3 * waited),
        }
    }

    pub(super) fn was_long_for_a_probe(&self, waited: Option<u64>) -> bool {
        waited.is_some_and(|waited| waited >= PROBE_WAIT.max(2 * self.usual.unwrap_or(0)))
    }

    /// What was given up while nothing at all was answered.
    pub(super) fn unanswered(&self) -> f64 {
        if Self::is_answered(&self.notes) {
            return 0.0;
        }
        let mut since = None;
        let mut weight = |note: &Note| {
            let Note::GivenUp { asked: true, at, waited, .. } = note else { return 0.0 };
            let silent_for = at - *since.get_or_insert(*at);
            let early = match self.usual {
                Some(usual) => PROBE_WAIT.max(2 * usual),
                None => 3 * waited.unwrap_or(0),
            };
            match *waited {
                waited if self.was_long_for_a_probe(waited) => 1.0,
                _ if silent_for >= early => SHORT,
                _ => 0.0,
            }
        };
        self.notes.iter().map(&mut weight).sum()
    }
}
