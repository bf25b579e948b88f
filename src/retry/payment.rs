//! The price of a further attempt, until it is known what came of it.

use super::budget::{Budget, Withdrawal};

/// Goes back to the budget if the attempt does not begin, because its caller hung up or the time was
/// over, and if it succeeds.
#[derive(Debug)]
pub(super) struct Payment {
    budget: Budget,
    withdrawal: Option<Withdrawal>,
    begun: bool,
}

impl Payment {
    pub(super) const fn new(budget: Budget, withdrawal: Withdrawal) -> Self {
        Self { budget, withdrawal: Some(withdrawal), begun: false }
    }

    /// The attempt is under way, and has its price.
    pub(super) const fn begin(&mut self) {
        self.begun = true;
    }

    /// The attempt succeeded.
    pub(super) fn refund(mut self) {
        self.begun = false;
    }
}

impl Drop for Payment {
    fn drop(&mut self) {
        if let Some(withdrawal) = self.withdrawal.take().filter(|_| !self.begun) {
            withdrawal.give_back(&self.budget);
        }
    }
}
