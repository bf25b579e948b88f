//! What an answer means: the one place where responses and errors become outcomes.

use std::error::Error as StdError;
use std::fmt;
use std::marker::PhantomData;

use crate::core::context::ClassifyContext;
use crate::core::error::{CallError, Error, Means, Rejected};
use crate::core::outcome::Outcome;

/// Says what a finished call means.
///
/// Most users never implement this: builders take
/// `classify_response(|res: &Response| …)`, `classify_error(|err: &E| …)` and
/// `classify_result(|result: Result<&Response, &E>| …)`. Implement it where an
/// answer is not decided when its head arrives (a gRPC stream tells its status in its trailers), or
/// where the deadline of the caller matters.
///
/// A classifier runs outside every lock. If it panics, the panic reaches the caller and the call
/// counts as failed.
///
/// It hears of everything that ended a call, rejections by layers further in included, and those that a
/// client has wrapped in an error of its own. They are no evidence against the dependency:
/// [`Outcome::of_cause`] finds them in any error, and says what they mean. Ask it first.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::circuit_breaker::CircuitBreakerLayer;
/// use seawall::{ClassifyContext, CallError, Classify, Deadline, Error, Outcome, Classification};
/// use std::io;
/// use std::time::Duration;
///
/// /// The classifier of a database client that says `TimedOut` when time ran out, whosever time it was.
/// struct Database;
///
/// impl<Rows> Classify<Rows, Error<io::Error>> for Database {
///     fn classify(&self, result: Result<&Rows, &Error<io::Error>>) -> Classification {
///         self.classify_call(result, &ClassifyContext::default())
///     }
///
///     fn classify_call(
///         &self,
///         result: Result<&Rows, &Error<io::Error>>,
///         call: &ClassifyContext,
///     ) -> Classification {
///         let Err(error) = result else { return Outcome::SUCCESS.into() };
///         let rejected = Outcome::of_cause(error); // by one of our layers, also inside the client
///         rejected
///             .unwrap_or_else(|| match error {
///                 Error::Inner(error) if error.kind() != io::ErrorKind::TimedOut => Outcome::TRANSIENT,
///                 _ if call.may_have_timed_out() => Outcome::IGNORE,
///                 _ => Outcome::TRANSIENT,
///             })
///             .into()
///     }
/// }
///
/// let breaker = CircuitBreakerLayer::builder("database").classify(Database).build()?;
/// # drop(breaker);
/// let late: Result<(), _> = Err(Error::Inner(io::ErrorKind::TimedOut.into()));
/// let impatient = ClassifyContext::new(Deadline::after(Duration::from_millis(1)));
/// let patient = ClassifyContext::new(Deadline::after(Duration::from_secs(60)));
/// assert_eq!(Database.classify_call(late.as_ref(), &impatient), Outcome::IGNORE.into());
/// assert_eq!(Database.classify_call(late.as_ref(), &patient), Outcome::TRANSIENT.into());
/// # Ok::<(), seawall::ConfigErrors>(()) }).unwrap();
/// ```
pub trait Classify<Res, Err> {
    /// Reads the answer and gives a classification.
    fn classify(&self, result: Result<&Res, &Err>) -> Classification;

    /// The same, told by a layer that knows more of the call than its answer: until when its caller
    /// waits. Layers ask this; by default it is [`classify`](Self::classify).
    fn classify_call(&self, result: Result<&Res, &Err>, _call: &ClassifyContext) -> Classification {
        self.classify(result)
    }

    #[doc(hidden)] // whether it tells good answers from bad ones
    fn classifies(&self) -> bool {
        true
    }
}

/// The word of a [`Classify`] about an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Classification {
    /// The outcome is known.
    Now(Outcome),
    /// The outcome is known when the body ends; the layer's [`Completion`](crate::Completion) will tell.
    AtEnd,
}

impl Classification {
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

impl From<Outcome> for Classification {
    #[inline]
    fn from(outcome: Outcome) -> Self {
        Self::Now(outcome)
    }
}

/// The default classifier, and the place where closures go.
///
/// An `Ok` is [`SUCCESS`](Outcome::SUCCESS), an error is [`TRANSIENT`](Outcome::TRANSIENT). A
/// rejection by one of this crate's layers further in is never evidence against the dependency
/// (`Ignored`), with one exception: a call that ran out of its time limit is `Failure`, for the
/// dependency did not answer. A caller who came with too little time left
/// ([`DeadlineExceeded`](crate::Reason::DeadlineExceeded)) is `Ignored` again, and so is any error that comes once the
/// [deadline of the caller](ClassifyContext::is_past_deadline) has passed. Both are classified before a
/// closure given to `classify_error` is asked.
///
/// # Rejections inside foreign errors
///
/// A layer inside the client, such as a bulkhead around its connections, rejects a call too, and the
/// client wraps that in an error of its own. The classifiers of HTTP and gRPC look at every cause of an
/// error. This one is for errors of every type, also such as have no causes, so what it sees depends:
///
/// | error of the stack | a wrapped rejection is seen |
/// | --- | --- |
/// | [`BoxError`](https://docs.rs/tower/0.5/tower/type.BoxError.html) | always |
/// | an [`Error`] made with [`Error::lift`] instead of `Error::Inner` | always |
/// | an `Error` with an [`io::Error`](std::io::Error), a `BoxError` or a `reqwest::Error` in it | with `classify_error` or `classify_result` |
/// | your own | with these two, where its [`rejected_within`](CallError::rejected_within) finds it |
/// | any, with a [`Classify`] of your own | with [`Outcome::of_cause`] |
#[derive(Clone, Copy, Default)]
pub struct Classifier<R = OkIsSuccess, E = ErrIsTransient> {
    response: R,
    error: E,
}

impl<R, E> Classifier<R, E> {
    pub(crate) fn with_response<F>(self, response: F) -> Classifier<Of<F>, E> {
        Classifier { response: Of(response), error: self.error }
    }

    pub(crate) fn with_error<F, Err>(self, error: F) -> Classifier<R, OfError<F, Err>> {
        Classifier { response: self.response, error: OfError(error, PhantomData) }
    }
}

impl<R, E> fmt::Debug for Classifier<R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Classifier").finish_non_exhaustive()
    }
}

impl<R, E, Res, Err> Classify<Res, Err> for Classifier<R, E>
where
    R: Rule<Res>,
    E: Rule<Err>,
    Err: CallError,
{
    #[inline]
    fn classify(&self, result: Result<&Res, &Err>) -> Classification {
        self.classify_call(result, &ClassifyContext::default())
    }

    #[inline]
    fn classify_call(&self, result: Result<&Res, &Err>, call: &ClassifyContext) -> Classification {
        match result {
            Ok(response) => self.response.classify(response).into(),
            Err(error) => {
                let classified = || self.error.classify(error);
                beyond_us(error.rejected(), call).unwrap_or_else(classified).into()
            }
        }
    }
}

/// What an error means that says nothing of the dependency, whatever else it may say.
fn beyond_us(rejected: Option<&Rejected>, call: &ClassifyContext) -> Option<Outcome> {
    let rejected = rejected.map(Outcome::of_rejection);
    rejected.or_else(|| call.is_past_deadline().then_some(Outcome::IGNORE))
}

impl Outcome {
    /// What a rejection by one of this crate's layers means to those further out: nothing about the
    /// dependency, except that a call which ran into its own time limit was not answered.
    ///
    /// | reason | means |
    /// | --- | --- |
    /// | [`TimedOut`](crate::Reason::TimedOut) | [`TRANSIENT`](Self::TRANSIENT) |
    /// | [`DeadlineExceeded`](crate::Reason::DeadlineExceeded), [`RequestTimeout`](crate::Reason::RequestTimeout), [`RequestBroken`](crate::Reason::RequestBroken): the caller is to blame | [`IGNORE`](Self::IGNORE) |
    /// | every other: the call was [rejected](Self::rejected) | `Ignored`, [unsent](Self::unsent); may be asked again, after [`retry_after`](Rejected::retry_after) |
    ///
    /// A [retry](crate::retry) that sees a rejection stops with
    /// [`StopReason::Rejected`](crate::retry::StopReason::Rejected), unless it was told to wait for those.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use seawall::{CallError, Error, Outcome, Signal, bulkhead::BulkheadLayer};
    /// use std::io;
    ///
    /// let full = BulkheadLayer::builder("jobs").limit(1).queue(0).build()?;
    /// let _held = full.run(|| std::future::pending::<Result<(), Error<io::Error>>>());
    /// let rejected = full.run(|| async { Ok::<(), Error<io::Error>>(()) }).await.unwrap_err();
    /// let outcome = Outcome::of_rejection(rejected.rejected().unwrap());
    /// assert_eq!(outcome.signal, Signal::Ignored);
    /// assert!(outcome.rejected);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn of_rejection(rejected: &Rejected) -> Self {
        match rejected.reason().means() {
            Means::Failed => Self::TRANSIENT,
            Means::OfCaller => Self::IGNORE,
            Means::RejectedForGood => Self { rejected: true, ..Self::IGNORE }.unsent(),
            Means::Rejected => {
                let again =
                    Self { retryable: Self::TRANSIENT.retryable, rejected: true, ..Self::IGNORE };
                rejected.retry_after().map_or(again, |delay| again.after(delay)).unsent()
            }
        }
    }
}

impl Outcome {
    /// What the [rejection](Rejected) that caused an error [means](Self::of_rejection), if there is one:
    /// the error itself, or a cause of it. `None` for all other errors.
    ///
    /// For a [`Classify`] of your own. An [`Error`] of the stack shows its own rejections, and not those
    /// which a layer inside the client made and the client wrapped, for it may hold any type. This
    /// takes what is known to be an error, as `Error<E>` is where `E` is one. For a
    /// [`BoxError`](https://docs.rs/tower/0.5/tower/type.BoxError.html) give it what is in the box.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use seawall::{Classification, Classify, Error, Outcome, Signal};
    /// use seawall::{bulkhead::BulkheadLayer, circuit_breaker::CircuitBreakerLayer};
    /// use std::io;
    /// use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
    ///
    /// struct Database;
    ///
    /// impl<Rows> Classify<Rows, Error<io::Error>> for Database {
    ///     fn classify(&self, result: Result<&Rows, &Error<io::Error>>) -> Classification {
    ///         let outcome = result.map_or_else(
    ///             |error| Outcome::of_cause(error).unwrap_or(Outcome::FAILURE),
    ///             |_| Outcome::SUCCESS,
    ///         );
    ///         outcome.into()
    ///     }
    /// }
    ///
    /// // A driver that limits its connections, and wraps whatever goes wrong with them.
    /// let connections = BulkheadLayer::builder("connections").limit(1).queue(0).build()?;
    /// let _all = connections.run(|| std::future::pending::<Result<(), BoxError>>());
    /// let driver = service_fn(move |_query: &str| {
    ///     let connected = connections.run(|| async { Ok::<_, BoxError>(()) });
    ///     async { connected.await.map_err(io::Error::other) }
    /// });
    ///
    /// let layer = CircuitBreakerLayer::builder("database").classify(Database).build()?;
    /// let database = ServiceBuilder::new().layer(layer.clone()).map_err(Error::Inner).service(driver);
    /// for _ in 0..100 {
    ///     let full: Result<(), _> = database.clone().oneshot("select 7").await;
    ///     let Classification::Now(outcome) = Database.classify(full.as_ref()) else { panic!("told at once") };
    ///     assert_eq!((outcome.signal, outcome.rejected), (Signal::Ignored, true));
    /// }
    /// assert_eq!(layer.handle().state(), seawall::circuit_breaker::State::Closed);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn of_cause(error: &(dyn StdError + 'static)) -> Option<Self> {
        Rejected::find(error).map(Self::of_rejection)
    }
}

/// One half of a [`Classifier`]: reads a response, or an error.
pub trait Rule<T> {
    /// What `answer` means.
    fn classify(&self, answer: &T) -> Outcome;
}

/// Every response is a success.
#[derive(Debug, Clone, Copy, Default)]
pub struct OkIsSuccess;

impl<T> Rule<T> for OkIsSuccess {
    #[inline]
    fn classify(&self, _: &T) -> Outcome {
        Outcome::SUCCESS
    }
}

/// Every error is a failure that may pass.
#[derive(Debug, Clone, Copy, Default)]
pub struct ErrIsTransient;

impl<T> Rule<T> for ErrIsTransient {
    #[inline]
    fn classify(&self, _: &T) -> Outcome {
        Outcome::TRANSIENT
    }
}

/// A closure that classifies.
#[derive(Clone, Copy)]
pub struct Of<F>(F);

impl<T, F: Fn(&T) -> Outcome> Rule<T> for Of<F> {
    fn classify(&self, answer: &T) -> Outcome {
        (self.0)(answer)
    }
}

impl<F> fmt::Debug for Of<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Of(closure)")
    }
}

/// A closure that classifies errors: those of the stack, or those of the service inside an [`Error`].
pub struct OfError<F, Err>(F, PhantomData<fn(&Err)>);

impl<T, E, F> Rule<T> for OfError<F, E>
where
    T: CallError + Sees<E> + 'static,
    F: Fn(&E) -> Outcome,
{
    fn classify(&self, error: &T) -> Outcome {
        if let Some(rejected) = error.rejected_within() {
            return Outcome::of_rejection(rejected);
        }
        // What it does not see is a rejection, which was classified before.
        error.seen().map_or(Outcome::TRANSIENT, &self.0)
    }
}

impl<F: Clone, Err> Clone for OfError<F, Err> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<F, Err> fmt::Debug for OfError<F, Err> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OfError(closure)")
    }
}

/// An error in which a closure sees what it is written for: the error itself, or the one inside.
pub trait Sees<E> {
    /// The error that the closure is written for.
    fn seen(&self) -> Option<&E>;
}

impl<E> Sees<E> for E {
    fn seen(&self) -> Option<&E> {
        Some(self)
    }
}

impl<E> Sees<E> for Error<E> {
    fn seen(&self) -> Option<&E> {
        match self {
            Self::Inner(error) => Some(error),
            Self::Rejected(_) => None,
        }
    }
}

/// A closure that classifies whole results.
pub struct OfResult<F, Res, Err>(F, PhantomData<fn(&Res, &Err)>);

impl<F, Res, Err> OfResult<F, Res, Err> {
    pub(crate) const fn new(classify: F) -> Self {
        Self(classify, PhantomData)
    }
}

impl<F, V, Res, E, Err> Classify<Res, Err> for OfResult<F, Res, E>
where
    F: Fn(Result<&Res, &E>) -> V,
    V: Into<Classification>,
    Err: CallError + Sees<E> + 'static,
{
    fn classify(&self, result: Result<&Res, &Err>) -> Classification {
        self.classify_call(result, &ClassifyContext::default())
    }

    fn classify_call(&self, result: Result<&Res, &Err>, call: &ClassifyContext) -> Classification {
        let error = match result {
            Ok(response) => return (self.0)(Ok(response)).into(),
            Err(error) => error,
        };
        if let Some(outcome) = beyond_us(error.rejected_within(), call) {
            return outcome.into();
        }
        error.seen().map_or(Outcome::TRANSIENT.into(), |error| (self.0)(Err(error)).into())
    }
}

impl<F: Clone, Res, Err> Clone for OfResult<F, Res, Err> {
    fn clone(&self) -> Self {
        Self::new(self.0.clone())
    }
}

impl<F, Res, Err> fmt::Debug for OfResult<F, Res, Err> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OfResult(closure)")
    }
}
