//! The classifier of policies that do not judge answers.

use crate::classify::{Classify, Verdict};
use crate::error::CallError;
use crate::outcome::Outcome;

/// Every answer is good and every error is bad, but for those of our own layers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unjudged;

impl<Res, Err: CallError> Classify<Res, Err> for Unjudged {
    #[inline]
    fn classify(&self, result: Result<&Res, &Err>) -> Verdict {
        Verdict::Now(match result {
            Ok(_) => Outcome::SUCCESS,
            Err(error) => error.rejected().map_or(Outcome::FAILURE, Outcome::of_rejection),
        })
    }

    #[inline]
    fn judges(&self) -> bool {
        false
    }
}
