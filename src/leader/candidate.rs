//! Who would lead.

use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tower::{BoxError, Service};

use super::campaign::{Campaign, Campaigning, Driver};
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
            follows: Follows { is_on: false, renew: true, ask_timeout: true, stop: true },
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
    /// If the future is dropped, the term goes on to its end, and then the lease is free: nobody gives it back, and nobody
    /// who [watches](Leadership::watch) is told. It counts as campaigning from this call on, before the future is polled.
    pub fn campaign(mut self) -> impl Future<Output = ()> + Send + use<S, T> {
        let campaigning = Campaigning::begin(&self.leadership.standing);
        async move { self.campaign.run(campaigning).await }
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
        let campaigning = Campaigning::begin(&self.leadership.standing);
        let mut runner = pin!(Runner::new(self.leadership.clone(), job));
        let mut campaign = pin!(self.campaign.run(campaigning));
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
    /// What was not said: it follows the `ttl`.
    follows: Follows,
    observers: Observers,
}

/// Which settings follow the `ttl`.
#[derive(Debug, Clone, Copy, Default)]
struct Follows {
    is_on: bool,
    renew: bool,
    ask_timeout: bool,
    stop: bool,
}

impl<S> Builder<S> {
    /// Who it is, for those who look. By default `candidate`. Random bits are added, so that a process that restarts
    /// does not take its own old lease for the new one.
    pub fn holder(mut self, holder: impl Into<Arc<str>>) -> Self {
        self.holder = Some(holder.into());
        self
    }

    /// Sets [`Config::ttl`]. What is not set follows it: [`renew`](Config::renew) is a third of it then, and
    /// [`ask_timeout`](Config::ask_timeout) and [`stop`](Config::stop) are a tenth and a thirtieth, or their defaults if
    /// these are shorter.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.config.ttl = ttl;
        self.follows.is_on = true;
        self
    }

    /// Sets [`Config::renew`].
    pub fn renew(mut self, renew: Duration) -> Self {
        self.config.renew = renew;
        self.follows.renew = false;
        self
    }

    /// Sets [`Config::ask_timeout`].
    pub fn ask_timeout(mut self, ask_timeout: Duration) -> Self {
        self.config.ask_timeout = ask_timeout;
        self.follows.ask_timeout = false;
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
        self.follows.stop = false;
        self
    }

    /// Sets all settings at once.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self.follows = Follows::default();
        self
    }

    /// Reports every change of state to `observer`. May be called more than once.
    pub fn observe(mut self, observer: impl Observe + 'static) -> Self {
        self.observers.add(observer);
        self
    }

    fn settings(&self) -> Config {
        let Follows { is_on, renew, ask_timeout, stop } = self.follows;
        let mut config = self.config.clone();
        let ttl = config.ttl;
        if is_on && renew {
            config.renew = ttl / 3;
        }
        if is_on && ask_timeout {
            config.ask_timeout = config.ask_timeout.min(ttl / 10);
        }
        if is_on && stop {
            config.stop = config.stop.min(ttl / 30);
        }
        config
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
        let config = self.settings();
        let params = config.params().map_err(|wrong| wrong.of_policy(&origin))?;
        let reporter = Reporter::new(origin, self.observers);
        let machine = Machine::new(reporter.clock.now());
        let standing = Arc::new(Standing::new(reporter, nanos(config.stop), params.retry));
        let leadership = Leadership::new(Arc::clone(&standing));
        let driver = Driver {
            standing,
            lease: self.lease,
            name: self.holder.unwrap_or_else(|| CANDIDATE.into()),
            holder: Arc::from(""),
            config,
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
