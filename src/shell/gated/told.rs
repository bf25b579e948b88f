//! What a call ended with, for those further out who may say something else of it.

use crate::error::Rejected;
use crate::outcome::Outcome;

/// How a call ended.
#[allow(missing_debug_implementations, reason = "it holds a closure")]
pub struct Told<'a> {
    /// Of an error, what it says if one of our own layers made it.
    pub failure: Result<(), Option<&'a Rejected>>,
    /// What the classifier says of it: of the result, or of what somebody further in said instead.
    judge: &'a dyn Fn(Option<&Rejected>) -> Outcome,
    instead: Option<&'a Rejected>,
}

impl<'a> Told<'a> {
    pub(crate) fn new(
        failure: Result<(), Option<&'a Rejected>>,
        judge: &'a dyn Fn(Option<&Rejected>) -> Outcome,
    ) -> Self {
        Self { failure, judge, instead: None }
    }

    /// The same, after a part further in has said this instead.
    pub(crate) fn instead<'b>(&'b self, rejected: &'b Rejected) -> Told<'b> {
        Told { failure: Err(Some(rejected)), judge: self.judge, instead: Some(rejected) }
    }

    /// Its outcome.
    pub(crate) fn outcome(&self) -> Outcome {
        (self.judge)(self.instead)
    }
}
