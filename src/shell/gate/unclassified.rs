//! The classifier of policies that do not classify answers.

use crate::core::classify::{Classification, Classify};
use crate::core::error::CallError;
use crate::core::outcome::Outcome;

/// Every answer is good and every error is bad, but for those of our own layers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unclassified;

impl<Res, Err: CallError> Classify<Res, Err> for Unclassified {
    #[inline]
    fn classify(&self, result: Result<&Res, &Err>) -> Classification {
        Classification::Now(match result {
            Ok(_) => Outcome::SUCCESS,
            Err(error) => error.rejected().map_or(Outcome::FAILURE, Outcome::of_rejection),
        })
    }

    #[inline]
    fn classifies(&self) -> bool {
        false
    }
}
