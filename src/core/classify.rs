//! Classification: how responses and errors become outcomes.

use std::error::Error as StdError;
use std::fmt;
use std::marker::PhantomData;

use crate::core::context::ClassifyContext;
use crate::core::error::{CallError, Error, Means, Rejected};
use crate::core::outcome::Outcome;

/// Classifies a finished call: success, failure, pushback or ignored; retryable or not.
///
/// Most users never implement this: builders take
/// `classify_response(|res: &Response| …)`, `classify_error(|err: &E| …)` and
/// `classify_result(|result: Result<&Response, &E>| …)`. Implement it if the outcome
/// is not known when the response head arrives (a gRPC stream has its status in the trailers), or
/// if the caller's deadline matters.
///
/// A classifier runs outside every lock. If it panics, the panic reaches the caller and the call
/// counts as failed.
///
/// It gets every result, rejections by inner layers included, also those that a client has wrapped in an error of its
/// own. Rejections do not count against the dependency: call [`Outcome::of_cause`] first, which finds them in any
/// error.
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
    /// Classifies a response or an error.
    fn classify(&self, result: Result<&Res, &Err>) -> Classification;

    /// The same, with more about the call: the caller's deadline. Layers call this method; by default it calls
    /// [`classify`](Self::classify).
    fn classify_call(&self, result: Result<&Res, &Err>, _call: &ClassifyContext) -> Classification {
        self.classify(result)
    }

    #[doc(hidden)] // whether it tells good answers from bad ones
    fn classifies(&self) -> bool {
        true
    }
}

/// The result of a [`Classify`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Classification {
    /// The outcome is known.
    Now(Outcome),
    /// The outcome is known when the body ends; the layer's [`Completion`](crate::Completion) reports it.
    AtEnd,
}

impl Classification {
    /// The outcome of a response that is over with its head.
    #[inline]
    pub(crate) const fn of_head(self) -> Outcome {
        match self {
            Self::Now(outcome) => outcome,
            Self::AtEnd => Outcome::SUCCESS,
        }
    }

    /// The outcome of an error, which has no body.
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
/// An `Ok` is [`SUCCESS`](Outcome::SUCCESS), an error is [`TRANSIENT`](Outcome::TRANSIENT). A rejection by an inner
/// layer of this crate is `Ignored`, with one exception: a call that timed out is a `Failure`, because the dependency did
/// not answer. [`DeadlineExceeded`](crate::Reason::DeadlineExceeded) is `Ignored`, and so is any error after the
/// [caller's deadline](ClassifyContext::is_past_deadline) has passed. Both are classified before the closure of
/// `classify_error` is called.
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
    /// The outcome of a rejection by a layer of this crate: it is ignored, except that a call that timed out is a
    /// failure.
    ///
    /// | reason | outcome |
    /// | --- | --- |
    /// | [`TimedOut`](crate::Reason::TimedOut) | [`TRANSIENT`](Self::TRANSIENT) |
    /// | [`DeadlineExceeded`](crate::Reason::DeadlineExceeded), [`RequestTimeout`](crate::Reason::RequestTimeout), [`RequestBroken`](crate::Reason::RequestBroken): the caller is to blame | [`IGNORE`](Self::IGNORE) |
    /// | every other: the call was [rejected](Self::rejected) | `Ignored`, [unsent](Self::unsent); retryable after [`retry_after`](Rejected::retry_after) |
    ///
    /// A [retry](crate::retry) that gets a rejection stops with
    /// [`StopReason::Rejected`](crate::retry::StopReason::Rejected), unless
    /// [`on_rejection`](crate::retry::Config::on_rejection) lets it wait.
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
            Means::Rejected if rejected.has_begun() => {
                Self { retryable: Self::TRANSIENT.retryable, rejected: true, ..Self::IGNORE }
            }
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
    /// The [outcome](Self::of_rejection) of the [rejection](Rejected) behind an error, if there is one: the error itself,
    /// or one of its sources. `None` for all other errors.
    ///
    /// Use it in a [`Classify`] of your own. An [`Error`] shows rejections by layers of its stack. It cannot show those of a
    /// layer inside the client that the client wrapped, because it may hold any type. For a
    /// [`BoxError`](https://docs.rs/tower/0.5/tower/type.BoxError.html), pass the error inside the box.
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

/// One half of a [`Classifier`]: classifies a response, or an error.
pub trait Rule<T> {
    /// Classifies `answer`.
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

/// Every error is a transient failure.
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
