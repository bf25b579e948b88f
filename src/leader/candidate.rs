//! Who would lead.

use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tower::{BoxError, Service};

use super::campaign::{Campaign, Driver};
use super::config::Config;
use super::leadership::{Leadership, Term};
use super::machine::Machine;
use super::runner::Runner;
use super::standing::Standing;
use super::store::{Answer, Ask, Token};
use crate::core::config::ConfigErrors;
use crate::core::epoch::Epoch;
use crate::core::event::{Observe, Observers};
use crate::core::origin::Origin;
use crate::core::time::nanos;
use crate::shell::reporter::Reporter;

/// The kind: the metric label `layer`.
const CANDIDATE: &str = "candidate";

/// Would lead: asks a store for a lease, and renews it.
///
/// It does nothing by itself: drive it with [`campaign`](Self::campaign) or [`lead`](Self::lead). See the
/// [guide](crate::leader).
pub struct Candidate<S, T = Epoch> {
    campaign: Campaign<S, T>,
    leadership: Leadership<T>,
}

impl Candidate<(), ()> {
    /// Starts to build a candidate for the lease of this name, at this store.
    ///
    /// A store is any [`Service<Ask, Response = Answer>`](Ask), with layers in front of it if you like.
    pub fn builder<S>(lease: impl Into<Arc<str>>, store: S) -> Builder<S> {
        Builder {
            lease: lease.into(),
            store,
            holder: None,
            config: Config::default(),
            observers: Observers::default(),
        }
    }
}

impl<S, T> Candidate<S, T>
where
    S: Service<Ask, Response = Answer<T>, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + 'static,
    T: Token,
{
    /// Sees whether it leads.
    pub fn leadership(&self) -> Leadership<T> {
        self.leadership.clone()
    }

    /// Campaigns, leads, and campaigns again, until it [resigns](Leadership::resign). Layers and others see by its
    /// [leadership](Self::leadership) whether it leads.
    ///
    /// If the future is dropped, the term goes on to its end, and then the lease is free: nobody gives it back.
    pub async fn campaign(mut self) {
        self.campaign.run().await;
    }

    /// Campaigns, and runs `job` while it leads. Returns what the job returns, after the lease was given back; `None`
    /// if it [resigned](Leadership::resign) before there was anything to return.
    ///
    /// When the term is over, the future of the job is dropped: at the latest when it would be polled next, so a
    /// process that was stopped past its term does nothing late. Then it campaigns again, and the job begins
    /// anew with the next term. Whoever resigns waits for the job, to the end of the term; it is told by
    /// [`Term::ending`].
    ///
    /// If the future is dropped, so is the job, and the lease is free at the end of the term. A panic of the job is the
    /// caller's.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
    /// use seawall::leader::{Candidate, MemoryStore};
    ///
    /// let store = MemoryStore::new();
    /// let mut candidate = Candidate::builder("nightly-report", store).holder("pod-7").build()?;
    /// let rows = candidate.lead(|_term| async { 42 }).await;
    /// assert_eq!(rows, Some(42));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub async fn lead<F, Fut>(&mut self, job: F) -> Option<Fut::Output>
    where
        F: FnMut(Term<T>) -> Fut,
        Fut: Future,
    {
        let mut runner = pin!(Runner::new(self.leadership.clone(), job));
        let mut campaign = pin!(self.campaign.run());
        poll_fn(|cx: &mut Context<'_>| {
            // The campaign first: what it hears decides whether the job goes on. Then once more, for what the job
            // has ended.
            let mut is_over = campaign.as_mut().poll(cx).is_ready();
            if runner.as_mut().poll_job(cx) && !is_over {
                is_over = campaign.as_mut().poll(cx).is_ready();
            }
            if is_over { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        runner.take()
    }
}

impl<S, T: Token> fmt::Debug for Candidate<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Candidate").field("leadership", &self.leadership).finish_non_exhaustive()
    }
}

// ===== impl Builder =====

/// Builds a [`Candidate`].
#[must_use = "call `build`"]
#[derive(Clone)]
pub struct Builder<S> {
    lease: Arc<str>,
    store: S,
    holder: Option<Arc<str>>,
    config: Config,
    observers: Observers,
}

impl<S> Builder<S> {
    /// Who it is, for those who look. By default `candidate`. Random bits are added, so that a process that restarts
    /// does not take its own old lease for the new one.
    pub fn holder(mut self, holder: impl Into<Arc<str>>) -> Self {
        self.holder = Some(holder.into());
        self
    }

    /// Sets [`Config::ttl`], and what depends on it by default: [`renew`](Config::renew) becomes a third of it, and
    /// [`ask_timeout`](Config::ask_timeout) and [`stop`](Config::stop) no longer than a tenth and a thirtieth.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.config.ttl = ttl;
        self.config.renew = ttl / 3;
        self.config.ask_timeout = self.config.ask_timeout.min(ttl / 10);
        self.config.stop = self.config.stop.min(ttl / 30);
        self
    }

    /// Sets [`Config::renew`].
    pub fn renew(mut self, renew: Duration) -> Self {
        self.config.renew = renew;
        self
    }

    /// Sets [`Config::ask_timeout`].
    pub fn ask_timeout(mut self, ask_timeout: Duration) -> Self {
        self.config.ask_timeout = ask_timeout;
        self
    }

    /// Sets [`Config::drift`].
    pub fn drift(mut self, drift: f64) -> Self {
        self.config.drift = drift;
        self
    }

    /// Sets [`Config::stop`].
    pub fn stop(mut self, stop: Duration) -> Self {
        self.config.stop = stop;
        self
    }

    /// Sets all settings at once.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Reports every change of state to `observer`. May be called more than once.
    pub fn observe(mut self, observer: impl Observe + 'static) -> Self {
        self.observers.add(observer);
        self
    }

    /// The candidate.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings.
    pub fn build<T>(self) -> Result<Candidate<S, T>, ConfigErrors>
    where
        S: Service<Ask, Response = Answer<T>>,
        T: Token,
    {
        let origin = Origin::new(CANDIDATE, Arc::clone(&self.lease));
        let params = self.config.params().map_err(|wrong| wrong.of_policy(&origin))?;
        let reporter = Reporter::new(origin, self.observers);
        let machine = Machine::new(reporter.clock.now());
        let standing = Arc::new(Standing::new(reporter, nanos(self.config.stop)));
        let leadership = Leadership::new(Arc::clone(&standing));
        let driver = Driver {
            standing,
            lease: self.lease,
            name: self.holder.unwrap_or_else(|| CANDIDATE.into()),
            holder: Arc::from(""),
            config: self.config,
            params,
            machine,
            token: PhantomData,
        };
        let campaign = Campaign { store: self.store, driver: driver.renamed() };
        Ok(Candidate { campaign, leadership })
    }
}

impl<S> fmt::Debug for Builder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("lease", &self.lease)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
