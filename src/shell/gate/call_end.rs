//! What a call ended with, for those further out who may say something else of it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::core::error::Rejected;
use crate::core::outcome::Outcome;

/// How a call ended.
#[allow(missing_debug_implementations, reason = "it holds a closure")]
pub struct CallEnd<'a> {
    /// Of an error, what it says if one of our own layers made it.
    pub failure: Result<(), Option<&'a Rejected>>,
    /// Whether the caller was still sending its request.
    pub excused: bool,
    /// What the classifier says of it: of the result, or of what somebody further in said instead.
    pub(super) classify: &'a dyn Fn(Option<&Rejected>) -> Outcome,
    pub(super) instead: Option<&'a Rejected>,
}

impl<'a> CallEnd<'a> {
    pub(crate) fn new(
        failure: Result<(), Option<&'a Rejected>>,
        classify: &'a dyn Fn(Option<&Rejected>) -> Outcome,
    ) -> Self {
        Self { failure, excused: false, classify, instead: None }
    }

    /// The same, after a part further in has said this instead.
    pub(crate) fn instead<'b>(&'b self, rejected: &'b Rejected) -> CallEnd<'b> {
        CallEnd { failure: Err(Some(rejected)), instead: Some(rejected), ..*self }
    }

    /// Its outcome. Where the classifier panics the call has failed, and the caller is told what was said
    /// instead: some parts of the policy are over by then, and the others have to be.
    pub(crate) fn outcome(&self) -> Outcome {
        let classify = || (self.classify)(self.instead);
        catch_unwind(AssertUnwindSafe(classify)).unwrap_or(Outcome::FAILURE)
    }
}
