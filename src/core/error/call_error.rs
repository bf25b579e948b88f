//! The error type of a stack, and what it must implement.

use std::any::Any;
use std::error::Error as StdError;
use std::fmt;
use std::io;

use tower::{BoxError, Service};

use super::Rejected;

/// The error type of a stack: it can hold a [`Rejected`], and return it.
///
/// [`Error`] is ready made and typed; [`BoxError`] works too, and so does an enum of your own:
///
/// ```
/// use seawall::{CallError, Rejected};
///
/// #[derive(Debug, thiserror::Error)]
/// enum PaymentError {
///     #[error("the payment service said no")]
///     Declined,
///     #[error(transparent)]
///     NotTried(#[from] Rejected),
/// }
///
/// impl CallError for PaymentError {
///     fn rejected(&self) -> Option<&Rejected> {
///         match self {
///             Self::NotTried(rejected) => Some(rejected),
///             Self::Declined => None,
///         }
///     }
/// }
///
/// assert_eq!(PaymentError::Declined.rejected(), None); // the service's own word, not a layer's
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot hold a rejection, so it cannot be the error of a seawall stack",
    label = "this service fails with `{Self}`",
    note = "put `.map_err(seawall::Error::Inner)` just above the innermost service",
    note = "or implement `seawall::CallError` and `From<seawall::Rejected>` for your own error type"
)]
pub trait CallError: From<Rejected> {
    /// The rejection in this error, if one of this stack's layers ended the call.
    fn rejected(&self) -> Option<&Rejected>;

    /// The rejection behind this error: by a layer of this stack, or by a layer inside the client, such as a bulkhead
    /// around its connections, that the client has wrapped in an error of its own.
    ///
    /// By default it is [`rejected`](Self::rejected). For your own error type with foreign errors in it, call
    /// [`Rejected::find`].
    ///
    /// ```
    /// use seawall::{CallError, Rejected};
    /// use std::io;
    ///
    /// #[derive(Debug, thiserror::Error)]
    /// enum StoreError {
    ///     #[error(transparent)]
    ///     NotTried(#[from] Rejected),
    ///     #[error("the store failed")]
    ///     Io(#[from] io::Error),
    /// }
    ///
    /// impl CallError for StoreError {
    ///     fn rejected(&self) -> Option<&Rejected> {
    ///         if let Self::NotTried(rejected) = self { Some(rejected) } else { None }
    ///     }
    ///
    ///     fn rejected_within(&self) -> Option<&Rejected> {
    ///         match self {
    ///             Self::NotTried(rejected) => Some(rejected),
    ///             Self::Io(error) => Rejected::find(error),
    ///         }
    ///     }
    /// }
    /// # fn is_one(_: impl CallError) {}
    /// # is_one(StoreError::Io(io::Error::other("cut")));
    /// ```
    fn rejected_within(&self) -> Option<&Rejected>
    where
        Self: 'static,
    {
        self.rejected()
    }
}

/// The error of a stack: a layer rejected the call, or the innermost service failed.
///
/// The inner error is the [`source`](StdError::source). It must implement `std::error::Error`. A [`BoxError`] does not;
/// it is a [`CallError`] by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error<E> {
    /// A layer of the stack rejected the call.
    Rejected(Rejected),
    /// The innermost service failed.
    Inner(E),
}

impl<E> Error<E> {
    /// The error of the innermost service, if it was reached and failed.
    pub fn into_inner(self) -> Option<E> {
        match self {
            Self::Inner(error) => Some(error),
            Self::Rejected(_) => None,
        }
    }
}

impl<E: StdError + 'static> Error<E> {
    /// The error of the innermost service, or the rejection that caused it.
    ///
    /// A layer inside a client, such as a bulkhead around its connections, may reject a call, and the client wraps the
    /// rejection in its own error. With `.map_err(Error::lift)` instead of `.map_err(Error::Inner)`, it is
    /// [`Rejected`](Self::Rejected) to every layer and to the caller. The client's own error is lost then.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use seawall::{Error, Reason, bulkhead::BulkheadLayer, circuit_breaker::CircuitBreakerLayer};
    /// use std::io;
    /// use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
    ///
    /// // A driver that limits its connections, and wraps whatever goes wrong with them.
    /// let connections = BulkheadLayer::builder("connections").limit(1).queue(0).build()?;
    /// let _all = connections.run(|| std::future::pending::<Result<(), BoxError>>());
    /// let driver = service_fn(move |_query: &str| {
    ///     let connected = connections.run(|| async { Ok::<_, BoxError>(()) });
    ///     async { connected.await.map_err(io::Error::other) }
    /// });
    ///
    /// let breaker = CircuitBreakerLayer::new("database");
    /// let database = ServiceBuilder::new().layer(breaker).map_err(Error::lift).service(driver);
    /// let full = database.oneshot("select 7").await.unwrap_err();
    /// assert!(matches!(full, Error::Rejected(why) if why.reason() == Reason::Full));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn lift(error: E) -> Self {
        match Rejected::find(&error) {
            Some(rejected) => Self::Rejected(rejected.clone()),
            None => Self::Inner(error),
        }
    }
}

impl<E: fmt::Display> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejected) => rejected.fmt(f),
            Self::Inner(error) => error.fmt(f),
        }
    }
}

impl<E: StdError + 'static> StdError for Error<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Rejected(rejected) => Some(rejected),
            Self::Inner(error) => Some(error),
        }
    }
}

impl<E> From<Rejected> for Error<E> {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

impl<E> CallError for Error<E> {
    fn rejected(&self) -> Option<&Rejected> {
        match self {
            Self::Rejected(rejected) => Some(rejected),
            Self::Inner(_) => None,
        }
    }

    fn rejected_within(&self) -> Option<&Rejected>
    where
        Self: 'static,
    {
        match self {
            Self::Rejected(rejected) => Some(rejected),
            Self::Inner(error) => Rejected::find(as_error(error)?),
        }
    }
}

/// What is known to be an error, of a type that need not be one.
fn as_error<E: 'static>(error: &E) -> Option<&(dyn StdError + 'static)> {
    let any: &dyn Any = error;
    #[cfg(feature = "reqwest")]
    if let Some(error) = any.downcast_ref::<reqwest::Error>() {
        return Some(error);
    }
    if let Some(error) = any.downcast_ref::<io::Error>() {
        return Some(error);
    }
    any.downcast_ref::<BoxError>().map(|error| &**error as _)
}

impl CallError for BoxError {
    fn rejected(&self) -> Option<&Rejected> {
        Rejected::find(&**self)
    }
}

/// Returns `service` unchanged, and makes the compiler report a missing `map_err` in one sentence.
///
/// Without it, a forgotten `map_err` is a long error about trait bounds at the first call. It costs nothing.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// # use std::{convert::Infallible, time::Duration};
/// use seawall::{Error, timeout::TimeoutLayer};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// let service = ServiceBuilder::new()
///     .layer(TimeoutLayer::new("payments", Duration::from_secs(1)))
///     .map_err(Error::Inner)
///     .service(service_fn(|amount: u32| async move { Ok::<_, Infallible>(amount) }));
/// assert_eq!(seawall::check_service(service).oneshot(100).await?, 100);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub fn check_service<S, Req>(service: S) -> S
where
    S: Service<Req>,
    S::Error: CallError,
{
    service
}
