//! Seeing a failover from outside.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use super::machine::FULL;
use super::plan::Spread;
use crate::core::origin::Origin;
use crate::shell::set::Shared;

/// Shows how the load is spread over the tiers, and drains. Cheap to clone.
///
/// ```
/// use seawall::failover::{Failover, FailoverHandle};
/// use seawall::Error;
/// use std::convert::Infallible;
/// use tower::service_fn;
///
/// let search = Failover::builder("search")
///     .tiers(["near", "far"])
///     .health(|tier| if tier == "near" { 0.5 } else { 1.0 }) // half of its members are down
///     .over(|_| Ok(service_fn(|_: ()| async { Ok::<_, Error<Infallible>>(()) })))?;
/// let handle: FailoverHandle = search.handle();
/// let shares: Vec<_> = handle.shares().into_iter().map(|(tier, share)| format!("{tier} {share:.1}")).collect();
/// assert_eq!(shares, ["near 0.7", "far 0.3"]);
/// # Ok::<(), seawall::ConfigErrors>(())
/// ```
#[derive(Clone)]
pub struct FailoverHandle {
    shared: Arc<dyn Steered>,
}

/// What a handle needs, whatever the tiers are.
pub(super) trait Steered: Send + Sync {
    fn origin(&self) -> &Origin;
    fn shares(&self) -> Vec<(Arc<str>, f64)>;
    fn in_flight(&self) -> usize;
    fn drain(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

impl<H, P, S> Steered for Shared<Spread<H, P>, S>
where
    H: Fn(&str) -> f64 + Send + Sync,
    P: Send + Sync,
    S: Send,
{
    fn origin(&self) -> &Origin {
        &self.reporter.origin
    }

    fn shares(&self) -> Vec<(Arc<str>, f64)> {
        let table = self.table();
        let shares =
            table.plan.shares().into_iter().map(|share| f64::from(share) / f64::from(FULL));
        table.plan.tiers.iter().map(|tier| Arc::clone(&tier.0)).zip(shares).collect()
    }

    fn in_flight(&self) -> usize {
        self.in_flight()
    }

    fn drain(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.drain())
    }
}

impl FailoverHandle {
    pub(super) fn new(shared: Arc<dyn Steered>) -> Self {
        Self { shared }
    }

    /// The kind and the name.
    pub fn origin(&self) -> &Origin {
        self.shared.origin()
    }

    /// What each tier takes of the load now, the first one first: together 1.
    pub fn shares(&self) -> Vec<(Arc<str>, f64)> {
        self.shared.shares()
    }

    /// The calls that were made and are not over.
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight()
    }

    /// Rejects all further calls, for good, and returns when no call is in flight. May be dropped and asked again; calls are
    /// rejected all the same.
    pub async fn drain(&self) {
        self.shared.drain().await;
    }
}

impl fmt::Debug for FailoverHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailoverHandle")
            .field("origin", self.origin())
            .field("shares", &self.shares())
            .finish()
    }
}
