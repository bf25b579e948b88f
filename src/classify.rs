//! What an answer means: the one place where responses and errors become outcomes.

use std::fmt;

use crate::error::{CallError, Reason, Rejected};
use crate::outcome::Outcome;

/// Says what a finished call means.
///
/// Most users never implement this: builders take
/// `classify_response(|res: &Response| …)` and `classify_error(|err: &E| …)`. Implement it where an
/// answer is not decided when its head arrives (a gRPC stream tells its status in its trailers).
///
/// A classifier runs outside every lock. If it panics, the panic reaches the caller and the call
/// counts as failed.
pub trait Classify<Res, Err> {
    /// Reads the answer and gives a verdict.
    fn classify(&self, result: Result<&Res, &Err>) -> Verdict;
}

/// The word of a [`Classify`] about an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The outcome is known.
    Now(Outcome),
    /// The outcome is known when the body ends; the layer's [`Finish`](crate::Finish) will tell.
    AtEnd,
}

impl Verdict {
    /// The outcome of an answer that is over with its head.
    #[inline]
    pub(crate) const fn of_head(self) -> Outcome {
        match self {
            Self::Now(outcome) => outcome,
            Self::AtEnd => Outcome::SUCCESS,
        }
    }

    /// The outcome of an error: there is no body whose end could tell.
    #[inline]
    pub(crate) const fn of_error(self) -> Outcome {
        match self {
            Self::Now(outcome) => outcome,
            Self::AtEnd => Outcome::TRANSIENT,
        }
    }
}

impl From<Outcome> for Verdict {
    #[inline]
    fn from(outcome: Outcome) -> Self {
        Self::Now(outcome)
    }
}

/// The default classifier, and the place where closures go.
///
/// An `Ok` is [`SUCCESS`](Outcome::SUCCESS), an error is [`TRANSIENT`](Outcome::TRANSIENT). A
/// rejection by one of this crate's layers further in is never evidence against the dependency
/// (`Silent`), with one exception: a call that ran out of its time limit is `Bad`, for the
/// dependency did not answer. A caller who came with too little time left
/// ([`Reason::DeadlineExceeded`]) is `Silent` again. Rejections are judged so before a closure
/// given to `classify_error` is asked.
#[derive(Clone, Copy, Default)]
pub struct Classifier<R = OkIsSuccess, E = ErrIsTransient> {
    response: R,
    error: E,
}

impl<R, E> Classifier<R, E> {
    pub(crate) fn with_response<F>(self, response: F) -> Classifier<Of<F>, E> {
        Classifier { response: Of(response), error: self.error }
    }

    pub(crate) fn with_error<F>(self, error: F) -> Classifier<R, Of<F>> {
        Classifier { response: self.response, error: Of(error) }
    }
}

impl<R, E> fmt::Debug for Classifier<R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Classifier").finish_non_exhaustive()
    }
}

impl<R, E, Res, Err> Classify<Res, Err> for Classifier<R, E>
where
    R: Judge<Res>,
    E: Judge<Err>,
    Err: CallError,
{
    #[inline]
    fn classify(&self, result: Result<&Res, &Err>) -> Verdict {
        match result {
            Ok(response) => self.response.judge(response).into(),
            Err(error) => match error.rejected() {
                Some(rejected) => of_rejection(rejected).into(),
                None => self.error.judge(error).into(),
            },
        }
    }
}

/// What a refusal by one of our own layers says: nothing about the dependency, except that a call
/// which ran into its own time limit was not answered.
pub(crate) fn of_rejection(rejected: &Rejected) -> Outcome {
    match rejected.reason() {
        Reason::TimedOut => Outcome::TRANSIENT,
        Reason::DeadlineExceeded | Reason::RequestTimeout | Reason::RequestBroken => {
            Outcome::IGNORE
        }
        _ => {
            let again = Outcome { again: Outcome::TRANSIENT.again, ..Outcome::IGNORE }.unsent();
            rejected.retry_after().map_or(again, |d| again.after(d))
        }
    }
}

/// One half of a [`Classifier`]: reads a response, or an error.
pub trait Judge<T> {
    /// What `answer` means.
    fn judge(&self, answer: &T) -> Outcome;
}

/// Every response is a success.
#[derive(Debug, Clone, Copy, Default)]
pub struct OkIsSuccess;

impl<T> Judge<T> for OkIsSuccess {
    #[inline]
    fn judge(&self, _: &T) -> Outcome {
        Outcome::SUCCESS
    }
}

/// Every error is a failure that may pass.
#[derive(Debug, Clone, Copy, Default)]
pub struct ErrIsTransient;

impl<T> Judge<T> for ErrIsTransient {
    #[inline]
    fn judge(&self, _: &T) -> Outcome {
        Outcome::TRANSIENT
    }
}

/// A closure that judges.
#[derive(Clone, Copy)]
pub struct Of<F>(F);

impl<T, F: Fn(&T) -> Outcome> Judge<T> for Of<F> {
    fn judge(&self, answer: &T) -> Outcome {
        (self.0)(answer)
    }
}

impl<F> fmt::Debug for Of<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Of(closure)")
    }
}
