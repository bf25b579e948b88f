//! Building a retry, and putting it around services.

use std::fmt;
use std::sync::Arc;

use tower::Layer;

use super::builder::Builder;
use super::config::Config;
use super::handle::RetryHandle;
use super::machine::Params;
use super::policy::{Retries, Retry};
use super::purse::OneBudget;
use crate::core::classify::Classifier;
use crate::core::config::ConfigErrors;
use crate::core::event::Observers;
use crate::core::origin::Origin;
use crate::core::request::{Cloned, Never, NoPropagation};
use crate::shell::budget::Budget;
use crate::shell::copy::{Chosen, CopyBy, CopyIsChosen, Unsaid};
use crate::shell::in_flight::InFlight;
use crate::shell::reporter::Reporter;
use crate::shell::retry::{Core, RequestTools};

/// The kind of this layer: the metric label `layer`.
pub(super) const LAYER: &str = "retry";

/// What the services that a layer makes share.
pub(super) type Shared<C> = InFlight<Core<Retries, (), (), C>>;

/// Calls services again where that may help.
///
/// It must be told how to copy a request, for repeating one is a promise that only its author can
/// make: [`cloned`](Self::cloned), [`copy`](Self::copy), [`copy_with`](Self::copy_with), or
/// [`never`](Self::never) on second thoughts. Until then it is no layer.
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct RetryLayer<C = Classifier, R = Unsaid, K = NoPropagation, B = OneBudget> {
    gate: Arc<Shared<C>>,
    tools: RequestTools<R, K>,
    payer: B,
}

impl RetryLayer {
    /// A retry with every setting at its [default](super#defaults) and a budget of its own.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        let (params, config) = (Params::of_defaults(), Config::default());
        let reporter = Reporter::new(Origin::new(LAYER, name), Observers::default());
        let budget = Some(Budget::default());
        let retries = Retries::new(reporter, budget, None, params, config);
        Self::made(retries, Classifier::default(), RequestTools::default(), OneBudget)
    }

    /// A retry with these settings, for instance from a configuration file.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings.
    pub fn from_config(name: impl Into<Arc<str>>, config: Config) -> Result<Self, ConfigErrors> {
        Self::builder(name).config(config).build()
    }

    /// Starts to build a retry.
    pub fn builder(name: impl Into<Arc<str>>) -> Builder {
        Builder::new(name.into())
    }
}

/// The ways to say how a request is copied, for the layer and for its builder.
macro_rules! copies {
    ($Target:ident) => {
        impl<C, R, K, B> $Target<C, R, K, B> {
            /// Copies requests through their `Clone`. Only you know that they are idempotent.
            pub fn cloned(self) -> $Target<C, Chosen<Cloned>, K, B> {
                self.copy_with(Cloned)
            }

            /// Copies requests with a closure; a request for which it returns `None` is not retried.
            pub fn copy<Req, F>(self, copy: F) -> $Target<C, Chosen<CopyBy<F>>, K, B>
            where
                F: Fn(&Req) -> Option<Req>,
            {
                self.copy_with(CopyBy(copy))
            }

            /// Repeats nothing: counts and reports only.
            pub fn never(self) -> $Target<C, Chosen<Never>, K, B> {
                self.copy_with(Never)
            }
        }
    };
}

copies!(RetryLayer);
copies!(Builder);

impl<C, R, K, B> RetryLayer<C, R, K, B> {
    pub(super) fn made(retry: Retries, classify: C, tools: RequestTools<R, K>, payer: B) -> Self {
        let core = Core { retry, whole: (), each: (), classify };
        Self { gate: Arc::new(InFlight::new(core)), tools, payer }
    }

    /// Copies requests with a [`CloneRequest`](crate::retry::CloneRequest) strategy.
    pub fn copy_with<R2>(self, copy: R2) -> RetryLayer<C, Chosen<R2>, K, B> {
        let tools = RequestTools { copy: Chosen(copy), propagate: self.tools.propagate };
        RetryLayer { gate: self.gate, tools, payer: self.payer }
    }

    pub(super) const fn gate(&self) -> &Arc<Shared<C>> {
        &self.gate
    }

    pub(super) const fn payer(&self) -> &B {
        &self.payer
    }

    /// Inspects and controls this retry.
    pub fn handle(&self) -> RetryHandle
    where
        C: Send + Sync + 'static,
    {
        RetryHandle::new(Arc::clone(&self.gate))
    }

    /// The calls that are in flight.
    pub fn in_flight(&self) -> usize {
        self.gate.in_flight()
    }

    /// Takes no further calls, ends the waits of those that are between two attempts or wait for the
    /// inner service to be ready, and returns when those in flight are over. An attempt that fails
    /// from now on is the last one of its call. There is no way back.
    ///
    /// Who is sent away or comes later is told [`Draining`](crate::Reason::Draining). A call is under
    /// way from when its future is first polled: one that was made before and never polled is not
    /// waited for, and is told the same if it is polled later. The rejecting goes on if the future of
    /// this is dropped.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
    /// use seawall::retry::{Backoff, RetryLayer};
    /// use seawall::{Error, Reason};
    /// use std::{io, time::Duration};
    /// use tokio::time::Instant;
    ///
    /// let wait = Backoff::fixed(Duration::from_secs(20));
    /// let search = RetryLayer::builder("search").backoff(wait).build()?;
    /// let down = || async { Err::<(), _>(Error::Inner(io::Error::other("no route"))) };
    /// let began = Instant::now();
    /// let (call, ()) = tokio::join!(search.run(down), search.drain());
    /// assert!(matches!(call, Err(Error::Rejected(why)) if why.reason() == Reason::Draining));
    /// assert!(began.elapsed().is_zero()); // the wait for the second attempt was over at once
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub async fn drain(&self) {
        self.stop();
        self.gate.emptied().await;
    }

    /// Takes no further calls, and returns when those in flight are over, with all the attempts they
    /// would have made anyway. [`drain`](Self::drain) still ends the waits.
    pub async fn drain_to_completion(&self) {
        self.gate.close();
        self.gate.emptied().await;
    }

    /// Begins to drain.
    pub(crate) fn stop(&self) {
        self.gate.stop();
    }
}

impl<S, C, R: CopyIsChosen, K: Clone, B: Clone> Layer<S> for RetryLayer<C, R, K, B> {
    type Service = Retry<S, C, R::Strategy, K, B>;

    fn layer(&self, inner: S) -> Self::Service {
        let tools = RequestTools {
            copy: self.tools.copy.strategy(),
            propagate: self.tools.propagate.clone(),
        };
        Retry::new(inner, Arc::clone(&self.gate), tools, self.payer.clone())
    }
}

impl<C, R: Clone, K: Clone, B: Clone> Clone for RetryLayer<C, R, K, B> {
    fn clone(&self) -> Self {
        let (tools, payer) = (self.tools.clone(), self.payer.clone());
        Self { gate: Arc::clone(&self.gate), tools, payer }
    }
}

impl<C, R, K, B> fmt::Debug for RetryLayer<C, R, K, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryLayer").field("policy", &self.gate.retry).finish_non_exhaustive()
    }
}
