//! What is said to a service in a test, and what it says.

use std::fmt;
use std::sync::Arc;

/// How the innermost service of a test fails, if the test has no error of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("broken")]
pub struct Broken;

/// The requests, answers and errors of a test: how to make a request, what the innermost service
/// answers to it, and how it fails.
///
/// ```
/// use seawall::testing::{Broken, Scenario};
///
/// let numbers = Scenario::echo(|| Broken); // u32, given back
/// let words = Scenario::new(|| "hello".to_owned(), |word: String| word.len(), || Broken);
/// assert_eq!((numbers.request(), words.request().as_str()), (7, "hello"));
/// ```
pub struct Scenario<Req, Res, E> {
    request: Arc<dyn Fn() -> Req + Send + Sync>,
    answer: Arc<dyn Fn(Req) -> Res + Send + Sync>,
    error: Arc<dyn Fn() -> E + Send + Sync>,
}

impl<Req, Res, E> Scenario<Req, Res, E> {
    /// `request` makes one, `answer` answers it, `error` makes a failure.
    pub fn new(
        request: impl Fn() -> Req + Send + Sync + 'static,
        answer: impl Fn(Req) -> Res + Send + Sync + 'static,
        error: impl Fn() -> E + Send + Sync + 'static,
    ) -> Self {
        Self { request: Arc::new(request), answer: Arc::new(answer), error: Arc::new(error) }
    }

    /// A request.
    pub fn request(&self) -> Req {
        (self.request)()
    }

    /// What the innermost service answers to it.
    pub fn answer(&self, request: Req) -> Res {
        (self.answer)(request)
    }

    /// A failure of the innermost service.
    pub fn error(&self) -> E {
        (self.error)()
    }
}

impl<E> Scenario<u32, u32, E> {
    /// Numbers, given back as they came.
    pub fn echo(error: impl Fn() -> E + Send + Sync + 'static) -> Self {
        Self::new(|| 7, |request| request, error)
    }
}

impl<Req, Res, E> Clone for Scenario<Req, Res, E> {
    fn clone(&self) -> Self {
        let Self { request, answer, error } = self;
        Self { request: request.clone(), answer: answer.clone(), error: error.clone() }
    }
}

impl<Req, Res, E> fmt::Debug for Scenario<Req, Res, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scenario").finish_non_exhaustive()
    }
}
