//! Runs the checks on a layer.

mod bench;
mod check;
mod endings;
mod readiness;
mod wakes;

use std::any::Any;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use tokio::task::unconstrained;
use tower::{Layer, Service};

pub use check::{Check, Violation, Violations};

use super::mock_service::{Breach, MockService};
use super::scenario::Scenario;
use bench::Bench;

/// How long anything may take that does not hang, unless it was told otherwise.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a layer is held to.
///
/// Checks are independent: each makes layers and services of its own. It needs tokio's timers.
#[must_use = "a contract checks nothing until `check`"]
pub struct Contract<L, Req, Res, E> {
    make: Box<dyn Fn() -> L + Send + Sync>,
    exchange: Scenario<Req, Res, E>,
    checks: Vec<Check>,
    inner_calls: usize,
    in_flight: Box<dyn Fn(&L) -> usize + Send + Sync>,
    patience: Duration,
    refill: Option<Duration>,
}

impl<L, Req, Res, E> Contract<L, Req, Res, E> {
    /// All that tower asks of the layers that `make` makes.
    pub fn new(
        exchange: Scenario<Req, Res, E>,
        make: impl Fn() -> L + Send + Sync + 'static,
    ) -> Self {
        Self {
            make: Box::new(make),
            exchange,
            checks: Check::CONTRACT.to_vec(),
            inner_calls: 1,
            in_flight: Box::new(|_| 0),
            patience: PATIENCE,
            refill: None,
        }
    }

    /// And this.
    pub fn with(mut self, checks: impl IntoIterator<Item = Check>) -> Self {
        self.checks.extend(checks);
        self
    }

    /// But not this: the layer does otherwise on purpose.
    pub fn without(mut self, check: Check) -> Self {
        self.checks.retain(|other| *other != check);
        self
    }

    /// How many inner calls one call may make; one, by default.
    pub fn inner_calls(mut self, most: usize) -> Self {
        self.inner_calls = most;
        self
    }

    /// The calls in flight by the layer's own count, which has to come back to zero.
    pub fn in_flight(mut self, count: impl Fn(&L) -> usize + Send + Sync + 'static) -> Self {
        self.in_flight = Box::new(count);
        self
    }

    /// How long a call may take before it counts as hanging; ten seconds of tokio's time, by default.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// A call spends what only time gives back, as those of a rate limit or a quota do: a token, a
    /// place in a window. All of it is there again after `refill` without a call; at least that of one
    /// call is there at first. The checks wait so long between calls that need it, by tokio's clock.
    ///
    /// ```
    /// use seawall::testing::{Broken, Contract, Scenario};
    /// use std::time::Duration;
    /// use tower::limit::RateLimitLayer;
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
    /// #     .block_on(async {
    /// let second = Duration::from_secs(1);
    /// let limit = move || RateLimitLayer::new(5, second);
    /// Contract::new(Scenario::echo(|| Broken), limit).spends(second).check_uncloned().await?;
    /// # Ok::<(), seawall::testing::Violations>(()) }).unwrap();
    /// ```
    pub fn spends(mut self, refill: Duration) -> Self {
        self.refill = Some(refill);
        self
    }

    /// Runs the checks.
    ///
    /// # Errors
    ///
    /// All that was found. A panic of the layer is a finding of the check that met it.
    pub async fn check<S>(&self) -> Result<(), Violations>
    where
        L: Layer<MockService<Req, Res, E>, Service = S>,
        S: Service<Req> + Clone,
    {
        self.run(Some(S::clone)).await
    }

    /// Runs the checks that need no clone of the service.
    ///
    /// # Errors
    ///
    /// As in [`check`](Self::check).
    pub async fn check_uncloned<S>(&self) -> Result<(), Violations>
    where
        L: Layer<MockService<Req, Res, E>, Service = S>,
        S: Service<Req>,
    {
        self.run(None).await
    }

    async fn run<S>(&self, clone: Option<fn(&S) -> S>) -> Result<(), Violations>
    where
        L: Layer<MockService<Req, Res, E>, Service = S>,
        S: Service<Req>,
    {
        let mut found = Found::default();
        for &check in &self.checks {
            let bench = Bench::new(self, clone);
            let run = AssertUnwindSafe(unconstrained(bench.run(check))).catch_unwind().await;
            let run = run.unwrap_or_else(|panic| Err(format!("it panicked: {}", said(&*panic))));
            if let Err(what) = run {
                found.add(check, what);
            }
            for (breach, how) in bench.breaches() {
                let breached = match breach {
                    // It makes such a call itself, and says what it made of it.
                    Breach::CalledUnready if check == Check::DrivesReadiness => continue,
                    Breach::CalledUnready => Check::OnlyReadyIsCalled,
                    Breach::PolledAfterReady => Check::NotPolledAfterReady,
                };
                if self.checks.contains(&breached) {
                    let seen = if breached == check {
                        String::new()
                    } else {
                        format!(" (seen in {check:?})")
                    };
                    found.add(breached, format!("{how}{seen}"));
                }
            }
        }
        if found.0.is_empty() { Ok(()) } else { Err(Violations(found.0)) }
    }
}

/// The first finding of each check.
#[derive(Default)]
struct Found(Vec<Violation>);

impl Found {
    fn add(&mut self, check: Check, what: String) {
        if self.0.iter().all(|found| found.check != check) {
            self.0.push(Violation { check, what });
        }
    }
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let owned = || panic.downcast_ref::<String>().map(String::as_str);
    panic.downcast_ref::<&str>().copied().or_else(owned).unwrap_or("without a word")
}

impl<L, Req, Res, E> fmt::Debug for Contract<L, Req, Res, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contract")
            .field("checks", &self.checks)
            .field("inner_calls", &self.inner_calls)
            .field("patience", &self.patience)
            .field("refill", &self.refill)
            .finish_non_exhaustive()
    }
}
