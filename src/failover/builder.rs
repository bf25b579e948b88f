//! Building a failover.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::machine::{Params, Probes, Tiers};
use super::plan::{MOST, Spread, State, Tier};
use super::service::Failover;
use crate::core::config::{ConfigError, ConfigErrors};
use crate::core::event::{Observe, Observers};
use crate::core::origin::Origin;
use crate::core::request::NoPropagation;
use crate::core::sync::atomic::AtomicBool;
use crate::core::time::{Clock, nanos};
use crate::shell::locked::Locked;
use crate::shell::reporter::Reporter;
use crate::shell::set::{Refused, Shared};

/// The kind of this set: the metric label `layer`.
const LAYER: &str = "failover";
/// How long a tier has to be better until load returns.
const UP_FOR: Duration = Duration::from_secs(10);
/// The same after many losses.
const MAX_UP_FOR: Duration = Duration::from_secs(300);
/// The load of a tier that returns doubles each time that so much has passed.
const STEP: Duration = Duration::from_secs(1);

/// Builds a [`Failover`]: first the [tiers](Self::tiers) and their [health](Self::health), then their
/// [services](Self::over).
#[must_use = "call `over`"]
#[derive(Clone)]
pub struct Builder<H = (), P = NoPropagation> {
    name: Arc<str>,
    tiers: Vec<Arc<str>>,
    health: H,
    propagate: P,
    up_for: Duration,
    max_up_for: Duration,
    observers: Observers,
}

impl Builder {
    pub(super) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            tiers: Vec::new(),
            health: (),
            propagate: NoPropagation,
            up_for: UP_FOR,
            max_up_for: MAX_UP_FOR,
            observers: Observers::default(),
        }
    }
}

impl<P> Builder<(), P> {
    /// Which share of a tier's members is healthy, from 0 to 1: those whose circuit is closed, or whose checks are good. It is
    /// asked on the way of each call, about the first tier at least, so it should be a few loads of memory; it must not block.
    pub fn health<H>(self, health: H) -> Builder<H, P>
    where
        H: Fn(&str) -> f64 + Send + Sync + 'static,
    {
        let Self { name, tiers, propagate, up_for, max_up_for, observers, .. } = self;
        Builder { name, tiers, health, propagate, up_for, max_up_for, observers }
    }
}

impl<H, P> Builder<H, P> {
    /// The names of the tiers, the first one first: 1 to 16.
    pub fn tiers<N: Into<Arc<str>>>(mut self, tiers: impl IntoIterator<Item = N>) -> Self {
        self.tiers = tiers.into_iter().map(Into::into).collect();
        self
    }

    /// Reads the number of the attempt from each request: a further attempt, which a [retry](crate::retry) around this makes, goes
    /// to the next tier. So the retry decides what may be repeated, until when, and out of which budget.
    pub fn propagate<P2>(self, propagate: P2) -> Builder<H, P2> {
        let Self { name, tiers, health, up_for, max_up_for, observers, .. } = self;
        Builder { name, tiers, health, propagate, up_for, max_up_for, observers }
    }

    /// How long a tier that lost load has to be better until some of it returns, the first time: longer than zero. 10 s by
    /// default.
    pub const fn up_for(mut self, up_for: Duration) -> Self {
        self.up_for = up_for;
        self
    }

    /// How long at most, after many losses: no less than [`up_for`](Self::up_for). 5 min by default.
    pub const fn max_up_for(mut self, max_up_for: Duration) -> Self {
        self.max_up_for = max_up_for;
        self
    }

    /// Reports events to `observer`. May be called more than once.
    pub fn observe(mut self, observer: impl Observe + 'static) -> Self {
        self.observers.add(observer);
        self
    }
}

impl<H: Fn(&str) -> f64, P> Builder<H, P> {
    /// The service of each tier, which `make` makes: a client with layers of its own around it, or a set of several.
    ///
    /// # Errors
    ///
    /// Everything that is wrong: no tiers or more than 16, empty names, names that occur twice, times out of range; or the
    /// service of a tier that could not be made.
    pub fn over<S, F>(self, make: F) -> Result<Failover<S, H, P>, ConfigErrors>
    where
        F: Fn(&str) -> Result<S, tower::BoxError> + Send + Sync + 'static,
    {
        let origin = Origin::new(LAYER, Arc::clone(&self.name));
        let refused = |problems| ConfigErrors::of(problems).of_policy(&origin);
        let problems = self.problems();
        if !problems.is_empty() {
            return Err(refused(problems));
        }
        let clock = Clock::start();
        let params = Params {
            up_for: nanos(self.up_for),
            max_up_for: nanos(self.max_up_for),
            step: nanos(STEP),
        };
        let count = self.tiers.len();
        let tiers = (Tiers::new(count, clock.now().0), Probes::new(count));
        let reporter = Arc::new(Reporter::new(origin.clone(), self.observers));
        let state = State {
            params,
            clock,
            tiers: Locked::new(tiers),
            is_whole: AtomicBool::new(true),
            reporter: Arc::clone(&reporter),
        };
        let spread = Spread {
            tiers: self.tiers.into_iter().map(Tier).collect(),
            health: self.health,
            propagate: self.propagate,
            state: Arc::new(state),
        };
        let make = move |tier: &Tier| make(&tier.0);
        match Shared::new(reporter, Box::new(make), spread) {
            Ok(shared) => Ok(Failover::new(shared)),
            Err(Refused::Member { name, error }) => {
                let accepted = format!("a service, and not the error: {error}");
                Err(refused(vec![ConfigError::new("over", &*name, accepted)]))
            }
            Err(_) => Err(refused(Vec::new())), // there is none before the first
        }
    }

    fn problems(&self) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        if !(1..=MOST).contains(&self.tiers.len()) {
            let accepted = format!("1 to {MOST} tiers");
            problems.push(ConfigError::new("tiers", self.tiers.len(), accepted));
        }
        for (nth, tier) in self.tiers.iter().enumerate() {
            if tier.is_empty() {
                problems.push(ConfigError::new("tiers", tier, "names that are not empty"));
            } else if self.tiers[..nth].contains(tier) {
                problems.push(ConfigError::new("tiers", tier, "each name once"));
            }
        }
        if self.up_for.is_zero() {
            problems.push(ConfigError::new("up_for", self.up_for, "longer than zero"));
        }
        if self.max_up_for < self.up_for {
            let accepted = format!("at least `up_for`, {:?}", self.up_for);
            problems.push(ConfigError::new("max_up_for", self.max_up_for, accepted));
        }
        problems
    }
}

impl<H, P> fmt::Debug for Builder<H, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("tiers", &self.tiers)
            .finish_non_exhaustive()
    }
}
