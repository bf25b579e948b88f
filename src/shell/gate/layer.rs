//! The layer that puts a policy around services, and what its handles hold of it.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use tower::Layer;

use super::both::Both;
use super::entrance::Entrance;
use super::policy::{Complete, Keyless, Policy};
use super::queued::Resume;
use super::service::{Core, Entry, Gate};
use super::shared::PolicyOf;
use crate::core::classify::Classify;
use crate::core::context::ClassifyContext;
use crate::core::error::CallError;
use crate::core::request::NoPropagation;
use crate::shell::caller::Caller;
use crate::shell::in_flight::InFlight;

/// Puts a policy around services. All that it and its clones make share one state.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use seawall::rate_limit::RateLimitLayer;
/// use seawall::{Error, Reason};
/// use std::{convert::Infallible, time::Duration};
///
/// let quota = RateLimitLayer::builder("mails").limit(1).queue(10).build()?;
/// let send = || quota.run(|| async { Ok::<_, Error<Infallible>>("sent") });
/// let (first, second, ()) = tokio::join!(send(), send(), quota.drain());
/// assert_eq!(first, Ok("sent"));
/// assert!(matches!(second, Err(Error::Rejected(why)) if why.reason() == Reason::Draining));
/// assert_eq!(quota.in_flight(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct GateLayer<P, C, K = NoPropagation> {
    gate: Arc<InFlight<Core<P, C>>>,
    propagate: K,
}

/// Two layers as one: see [`GateLayer::and`].
pub type And<P, C, K, B, D, Y> =
    GateLayer<(PolicyOf<P, C>, PolicyOf<B, D>), Both<PolicyOf<P, C>, PolicyOf<B, D>>, Both<K, Y>>;

impl<P, C, K> GateLayer<P, C, K> {
    pub(crate) fn make(policy: P, classify: C, propagate: K) -> Self {
        Self { gate: Arc::new(InFlight::new(Core { policy, classify })), propagate }
    }

    pub(crate) fn policy(&self) -> &P {
        &self.gate.policy
    }

    pub(crate) const fn gate(&self) -> &Arc<InFlight<Core<P, C>>> {
        &self.gate
    }

    pub(crate) const fn propagate(&self) -> &K {
        &self.propagate
    }
}

impl<P: Policy, C, K> GateLayer<P, C, K> {
    /// What a handle holds.
    pub(crate) fn entrance<T>(&self) -> Arc<dyn Entrance<T>>
    where
        T: 'static,
        P: Borrow<T>,
        C: Send + Sync + 'static,
    {
        Arc::clone(&self.gate) as Arc<dyn Entrance<T>>
    }

    /// This layer outside of `inner`, as one layer that does what the two do.
    ///
    /// It costs less: a call has one future, one timer and one count for both. And what `inner` rejects
    /// never was a call of this one: it gives its permit back, a token of a rate limit too, unless the call
    /// had to wait for that. The handles of both go on to see and steer them; only draining, and the calls in flight, are those of the new
    /// layer. Results are classified by one classifier, that of this layer if it classifies at all, and the same
    /// goes for what is [propagated](crate::propagate::Propagate) with a request.
    ///
    /// Two layers stacked with a [`ServiceBuilder`](https://docs.rs/tower/0.5/tower/struct.ServiceBuilder.html) do the same work. Take this
    /// where nanoseconds count, or a rejection further in should cost nothing further out.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
    /// use seawall::rate_limit::RateLimitLayer;
    /// use seawall::timeout::TimeoutLayer;
    /// use seawall::Error;
    /// use std::time::Duration;
    ///
    /// # async fn lookup(_: &str) -> Result<u32, std::io::Error> { Ok(7) }
    /// let quota = RateLimitLayer::new("search", 10, Duration::from_secs(1))?;
    /// let timeout = TimeoutLayer::new("search", Duration::from_millis(300));
    /// let search = quota.and(timeout);
    /// let found = search.run(|| async { lookup("seven").await.map_err(Error::Inner) }).await?;
    /// assert_eq!(found, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn and<B: Policy, D, Y>(self, inner: GateLayer<B, D, Y>) -> And<P, C, K, B, D, Y>
    where
        C: Send + Sync + 'static,
        D: Send + Sync + 'static,
    {
        let parts = || {
            let (outer, inner) = (self.gate.policy(), inner.gate.policy());
            (PolicyOf(Arc::clone(outer)), PolicyOf(Arc::clone(inner)))
        };
        let ((outer, within), policy) = (parts(), parts());
        GateLayer::make(policy, Both(outer, within), Both(self.propagate, inner.propagate))
    }

    /// The calls that were made and are not over, those that wait included.
    pub fn in_flight(&self) -> usize {
        self.gate.in_flight()
    }

    /// Takes no further calls, sends away those that wait, for this layer or for the inner service to
    /// be ready, and returns when those in flight are over. There is no way back.
    ///
    /// Who is sent away or comes later is told [`Draining`](crate::Reason::Draining). A call is under
    /// way from when its future is first polled: one that was made before and never polled is not
    /// waited for, and is told the same if it is polled later. The rejecting goes on if the future of
    /// this is dropped.
    pub async fn drain(&self) {
        self.stop();
        self.gate.emptied().await;
    }

    /// Begins to drain.
    pub(crate) fn stop(&self) {
        self.gate.stop();
        self.gate.policy.wake_waiting();
    }

    /// Takes no further calls, and returns when those in flight and those that wait are over.
    /// [`drain`](Self::drain) still ends the waits.
    pub async fn drain_to_completion(&self) {
        self.gate.close();
        self.gate.policy.wake_waiting();
        self.gate.emptied().await;
    }
}

impl<P: Keyless, C, K> GateLayer<P, C, K> {
    /// Runs an async call through this layer, for callers without a service. Dropping the future drops
    /// the call.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use seawall::{Error, rate_limit::RateLimitLayer};
    /// use std::time::Duration;
    ///
    /// # async fn lookup(_: &str) -> Result<u32, std::io::Error> { Ok(7) }
    /// let quota = RateLimitLayer::new("lookup", 10, Duration::from_secs(1))?;
    /// let found = quota.run(|| async { lookup("seven").await.map_err(Error::Inner) }).await?;
    /// assert_eq!(found, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn run<Op, Fut, T, E>(
        &self,
        call: Op,
    ) -> impl Future<Output = Result<P::Response, E>> + use<Op, Fut, T, E, P, C, K>
    where
        Op: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: CallError,
        P: Complete<T>,
        C: Classify<T, E> + Send + Sync + 'static,
    {
        let resume: Resume<P, Op> = |policy, _, _, wait, cx, now| policy.poll_wait(wait, cx, now);
        let entry = Entry { inner: &mut Caller, readied: false, gate: &self.gate, resume };
        if self.gate.is_closed() {
            return entry.reject::<NoPropagation>(self.gate.policy.draining());
        }
        let admission = self.gate.policy.admit_plain();
        entry.enter(admission, call, ClassifyContext::default(), &NoPropagation, None)
    }
}

impl<S, P: Policy, C, K: Clone> Layer<S> for GateLayer<P, C, K> {
    type Service = Gate<S, P, C, K>;

    fn layer(&self, inner: S) -> Self::Service {
        self.gate.policy.applied();
        Gate::new(inner, Arc::clone(&self.gate), self.propagate.clone())
    }
}

impl<P, C, K: Clone> Clone for GateLayer<P, C, K> {
    fn clone(&self) -> Self {
        Self { gate: Arc::clone(&self.gate), propagate: self.propagate.clone() }
    }
}

impl<P: fmt::Debug, C, K> fmt::Debug for GateLayer<P, C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GateLayer").field("policy", &self.gate.policy).finish_non_exhaustive()
    }
}
