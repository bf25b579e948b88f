//! Strategies for requests: how to copy one, and what is propagated with one.
//!
//! These are traits on *strategies*, never blanket traits on requests: a blanket impl for every
//! `Clone` request would collide with the request types of `http` and `reqwest`.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use crate::core::context::AttemptTimes;
#[cfg(any(feature = "leader", feature = "shards"))]
use crate::core::epoch::Epoch;
use crate::core::error::{Measurement, SetBy};
use crate::core::time;
use crate::core::upload::Upload;

mod deadline;
mod key;

pub use self::deadline::Deadline;
pub(crate) use self::deadline::{Cut, is_no_later};
pub use self::key::ExtractKey;

/// Makes a copy of a request, or declines.
///
/// A closure `Fn(&Req) -> Option<Req>` is one.
///
/// Only you know if a request is idempotent, so by default no request is copied: see [`Never`] and [`Cloned`].
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::retry::{Backoff, CloneRequest, RetryLayer};
/// use seawall::Error;
/// use std::io;
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// #[derive(Clone)]
/// enum Query {
///     Read(u32),
///     Write(u32, String),
/// }
///
/// /// Repeats reads. A write is repeated only if it certainly never left.
/// #[derive(Clone, Copy)]
/// struct Reads;
///
/// impl CloneRequest<Query> for Reads {
///     fn clone_request(&self, query: &Query) -> Option<Query> {
///         matches!(query, Query::Read(_)).then(|| query.clone())
///     }
///
///     fn clone_unsent(&self, query: &Query) -> Option<Query> {
///         Some(query.clone())
///     }
/// }
///
/// static SENT: AtomicU32 = AtomicU32::new(0);
/// let store = ServiceBuilder::new()
///     .layer(RetryLayer::builder("store").copy_with(Reads).backoff(Backoff::none()).build()?)
///     .map_err(Error::Inner)
///     .service(service_fn(|_: Query| async {
///         SENT.fetch_add(1, Ordering::Relaxed);
///         Err::<(), _>(io::Error::other("broken pipe"))
///     }));
///
/// assert!(store.clone().oneshot(Query::Read(7)).await.is_err());
/// assert_eq!(SENT.swap(0, Ordering::Relaxed), 3);
/// assert!(store.oneshot(Query::Write(7, "seven".into())).await.is_err());
/// assert_eq!(SENT.load(Ordering::Relaxed), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub trait CloneRequest<Req> {
    /// A copy of `req`, or `None` if it must not be retried.
    fn clone_request(&self, req: &Req) -> Option<Req>;

    /// A copy of a request that must not be retried. It is sent only if [nothing of the original
    /// was](crate::Sent::Never), which is safe. By default there is none.
    fn clone_unsent(&self, req: &Req) -> Option<Req> {
        let _ = req;
        None
    }

    /// Whether `copy` can still be sent, after the original failed.
    ///
    /// A copy that draws on its original, such as a body that is recorded while it is sent, may have
    /// lost what it needs since it was made. From here on nothing that is left of the original may
    /// take it away.
    fn take_over(&self, copy: &mut Req) -> bool {
        let _ = copy;
        true
    }
}

impl<Req, F: Fn(&Req) -> Option<Req>> CloneRequest<Req> for F {
    fn clone_request(&self, req: &Req) -> Option<Req> {
        self(req)
    }
}

/// Retries nothing.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::{stack, Error};
/// use seawall::retry::Never;
/// use std::io;
/// use std::sync::atomic::{AtomicU32, Ordering};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// // The whole stack around transfers of money, less the repeating.
/// static SENT: AtomicU32 = AtomicU32::new(0);
/// let transfers = ServiceBuilder::new()
///     .layer(stack::client("transfers").copy_with(Never).build()?)
///     .map_err(Error::Inner)
///     .service(service_fn(|_cents: u64| async {
///         SENT.fetch_add(1, Ordering::Relaxed);
///         Err::<(), _>(io::Error::other("broken pipe"))
///     }));
/// assert!(transfers.oneshot(100_00).await.is_err());
/// assert_eq!(SENT.load(Ordering::Relaxed), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Never;

impl<Req> CloneRequest<Req> for Never {
    fn clone_request(&self, _: &Req) -> Option<Req> {
        None
    }
}

/// Retries every request, through its `Clone`.
///
/// ```
/// use seawall::retry::{CloneRequest, Cloned};
///
/// /// Small messages are kept for a retry, large ones are not worth the memory.
/// fn copy(message: &Vec<u8>) -> Option<Vec<u8>> {
///     (message.len() <= 1024).then(|| Cloned.clone_request(message)).flatten()
/// }
///
/// // and then: `RetryLayer::new("queue").copy(copy)`
/// assert_eq!(copy(&vec![7; 16]), Some(vec![7; 16]));
/// assert_eq!(copy(&vec![7; 4096]), None);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Cloned;

impl<Req: Clone> CloneRequest<Req> for Cloned {
    fn clone_request(&self, req: &Req) -> Option<Req> {
        Some(req.clone())
    }
}

/// Reads and writes the context of a request: its deadline and attempts.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::Error;
/// use seawall::propagate::{CallContext, Propagate};
/// use seawall::timeout::TimeoutLayer;
/// use std::convert::Infallible;
/// use std::time::Duration;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// /// A request of your own, with room for the facts.
/// struct Job {
///     name: &'static str,
///     call: CallContext,
/// }
///
/// #[derive(Clone)]
/// struct InJob;
///
/// impl Propagate<Job> for InJob {
///     fn extract(&self, job: &Job) -> CallContext {
///         job.call.clone()
///     }
///
///     fn inject(&self, job: &mut Job, call: &CallContext) {
///         job.call = call.clone();
///     }
/// }
///
/// let limit = Duration::from_secs(2);
/// let worker = ServiceBuilder::new()
///     .layer(TimeoutLayer::builder("worker").limit(limit).propagate(InJob).build()?)
///     .map_err(Error::Inner)
///     .service(service_fn(|job: Job| async move {
///         let left = job.call.deadline.map(|deadline| deadline.remaining());
///         Ok::<_, Infallible>((job.name, left))
///     }));
///
/// let (name, left) = worker.oneshot(Job { name: "resize", call: CallContext::default() }).await?;
/// assert_eq!(name, "resize");
/// assert!(left.is_some_and(|left| left <= limit)); // the layer told whoever is further in
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub trait Propagate<Req> {
    /// Whether there is anything to read or write. If not, layers read no clock.
    fn propagates(&self) -> bool {
        true
    }

    /// Reads the context of `req`.
    fn extract(&self, req: &Req) -> CallContext;
    /// Writes `call` into `req`, for inner layers.
    fn inject(&self, req: &mut Req, call: &CallContext);
}

/// Propagates nothing: requests have no context.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPropagation;

impl<Req> Propagate<Req> for NoPropagation {
    fn propagates(&self) -> bool {
        false
    }

    fn extract(&self, _: &Req) -> CallContext {
        CallContext::default()
    }

    fn inject(&self, _: &mut Req, _: &CallContext) {}
}

/// Propagates the context in the [`WithContext`] wrapper around a request.
#[derive(Debug, Clone, Copy, Default)]
pub struct FromWithContext;

impl<Req> Propagate<WithContext<Req>> for FromWithContext {
    fn extract(&self, req: &WithContext<Req>) -> CallContext {
        req.call.clone()
    }

    fn inject(&self, req: &mut WithContext<Req>, call: &CallContext) {
        req.call = call.clone();
    }
}

/// A request and its context, for request types without extensions.
#[derive(Debug, Clone, Default)]
pub struct WithContext<Req> {
    /// The request itself.
    pub request: Req,
    /// Its context.
    pub call: CallContext,
}

impl<Req> WithContext<Req> {
    /// Wraps a request that must be answered by `deadline`.
    pub fn new(request: Req, deadline: Deadline) -> Self {
        let call = CallContext { deadline: Some(deadline), ..CallContext::default() };
        Self { request, call }
    }
}

impl<Req> From<Req> for WithContext<Req> {
    fn from(request: Req) -> Self {
        Self { request, call: CallContext::default() }
    }
}

/// The context of a call: deadline and attempts, as they pass through the layers.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CallContext {
    /// The deadline of the call.
    pub deadline: Option<Deadline>,
    /// The number of this attempt, counted from 1; 0 without a retry.
    pub attempt: u32,
    /// How many of the attempts before were certainly [never sent](crate::Sent::Never), so that the dependency has not
    /// seen them.
    pub unsent: u32,
    /// How many attempts the caller made before this request; 0 if that is not read. A retry does not retry a request
    /// that its caller retries already.
    pub prior: u32,
    /// Records the time of each attempt, for an outer layer.
    pub measure: Option<AttemptTimes>,
    /// By which epoch the call is made, [`NOBODY`](Epoch::NOBODY)'s if nobody says so: the term of a leader, which a `LeaderLayer` writes, or the map
    /// of owners that the caller goes by, which an owner that refuses names beside its own.
    #[cfg(any(feature = "leader", feature = "shards"))]
    pub epoch: Epoch,
    /// Where a layer of this process cut the deadline to its own limit, so that the two are told apart.
    pub(crate) cut: Option<Cut>,
    /// Whether what carries the deadline has no place to say who set it.
    pub(crate) unsigned: bool,
    /// How far the body of the request has got, if it is still on its way.
    pub(crate) upload: Option<Upload>,
    pub(crate) read_at: ReadAt,
}

/// When a shell read the clock for this call: all of its parts go by the same time. Nobody else does, so
/// that a copy has none.
#[derive(Default)]
pub(crate) struct ReadAt(Option<Instant>);

impl Clone for ReadAt {
    #[inline]
    fn clone(&self) -> Self {
        Self(None)
    }
}

impl fmt::Debug for ReadAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("_")
    }
}

impl CallContext {
    /// Whether there is anything in it that a policy may have written.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        #[cfg(any(feature = "leader", feature = "shards"))]
        if self.epoch != Epoch::NOBODY {
            return true;
        }
        self.deadline.is_some()
    }

    /// The time at which a shell asks its parts about this call, read once.
    #[inline]
    pub(crate) fn now(&mut self) -> Instant {
        *self.read_at.0.get_or_insert_with(time::now)
    }

    /// It is asked about again, later.
    pub(crate) const fn forget_now(&mut self) {
        self.read_at.0 = None;
    }

    /// A copy for the attempt that begins at the same time.
    #[inline]
    pub(crate) fn for_now(&self) -> Self {
        Self { read_at: ReadAt(self.read_at.0), ..self.clone() }
    }

    /// The caller's own deadline, without the limits of layers on the way. A [timeout](crate::timeout) for the whole call
    /// makes [`deadline`](Self::deadline) earlier, but not this one.
    ///
    /// ```
    /// use seawall::Deadline;
    /// use seawall::propagate::CallContext;
    /// use std::time::Duration;
    ///
    /// let mut call = CallContext::default();
    /// assert_eq!(call.caller_deadline(), None);
    /// let asked = Deadline::after(Duration::from_secs(2));
    /// call.deadline = Some(asked);
    /// assert_eq!(call.caller_deadline(), Some(asked));
    /// ```
    #[inline]
    pub fn caller_deadline(&self) -> Option<Deadline> {
        match self.cut {
            Some(Cut { to, from, .. }) if self.deadline == Some(to) => from,
            _ => self.deadline.filter(|deadline| *deadline != Deadline::NEVER),
        }
    }

    /// The deadline, if it is the limit of a layer on the way.
    #[inline]
    pub(crate) fn own_deadline(&self) -> Option<Deadline> {
        self.cut.map(|cut| cut.to).filter(|to| self.deadline == Some(*to))
    }

    /// Whether at least half of the time is left that a layer on the way gave the call.
    #[inline]
    pub(crate) fn has_most_of_its_time(&mut self) -> bool {
        let Some(Cut { to, limit, .. }) = self.cut else { return false };
        let Some(at) = to.instant() else { return true };
        at.saturating_duration_since(self.now()) >= Duration::from_nanos(limit / 2)
    }

    /// The deadline for the body of the answer too.
    #[cfg(feature = "reqwest")]
    pub(crate) fn body_deadline(&self) -> Option<Deadline> {
        match self.cut {
            Some(cut) if self.deadline == Some(cut.to) && !cut.whole => cut.from,
            _ => self.deadline,
        }
    }

    /// Who set the deadline in force, for those who are told that it has passed.
    pub(crate) fn whose_deadline(&self) -> Measurement {
        let (set_by, limit) = self.deadline_set_by();
        Measurement::Deadline { set_by, limit }
    }

    /// The same, and the limit of the layer if it was one.
    #[inline]
    pub(crate) fn deadline_set_by(&self) -> (SetBy, u64) {
        match self.cut {
            Some(Cut { to, limit, .. }) if self.deadline == Some(to) => (SetBy::Layer, limit),
            _ if self.unsigned => (SetBy::Unknown, u64::MAX),
            _ => (SetBy::Caller, u64::MAX),
        }
    }

    /// A layer gives the call `limit` nanoseconds from now. At a [tie](tie) with a deadline that is there
    /// the limit is named, at the earlier of the two moments.
    pub(crate) fn cut_to(&mut self, limit: u64, whole: bool) {
        if limit == u64::MAX {
            return;
        }
        let Some(end) = self.now().checked_add(Duration::from_nanos(limit)) else { return };
        let told = self.deadline.and_then(|deadline| deadline.instant());
        if told.is_none_or(|told| is_no_later(end, told, limit)) {
            let to = Deadline::at(told.map_or(end, |told| told.min(end)));
            self.cut = Some(Cut { to, from: self.caller_deadline(), whole, limit });
            self.deadline = Some(to);
        }
    }
}
