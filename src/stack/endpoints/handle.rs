//! Seeing and steering a client of many endpoints from outside.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use super::super::client_layer::StackLayer;
use super::super::config::ClientConfig;
use super::super::handle::FrameHandle;
use super::member::{MemberHandle, Stacks};
use crate::core::config::{ConfigErrors, Written};
use crate::core::origin::Origin;
use crate::endpoints::EndpointsHandle;
use crate::retry::{Budget, RetryHandle};
use crate::shell::live::Live;

/// Inspects and controls a client of many endpoints: the endpoints, the policies of each, and those of whole calls. Cheap to
/// clone.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::http;
/// use seawall::stack::EndpointsClientHandle;
/// use tower::service_fn;
///
/// let client = service_fn(|_: ::http::Request<String>| async {
///     Ok::<_, std::io::Error>(::http::Response::new(()))
/// });
/// let web = http::endpoints("web").members(["10.0.0.1:80", "10.0.0.2:80"]).build_on(client)?;
///
/// let handle: &EndpointsClientHandle = web.handle();
/// handle.endpoints().adopt(["10.0.0.2:80", "10.0.0.3:80"])?;
/// assert_eq!(handle.endpoints().endpoints().len(), 2);
///
/// let mut config = handle.config();
/// config.breaker.break_duration = std::time::Duration::from_secs(1);
/// handle.reload(config)?; // of all endpoints, those that are to come too
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct EndpointsClientHandle {
    pub(super) frame: FrameHandle,
    pub(super) written: Arc<Live<ClientConfig>>,
    pub(super) endpoints: EndpointsHandle,
    pub(super) stacks: Arc<Stacks>,
    pub(super) whole: Arc<dyn Drain>,
}

/// What is around the set, to be drained.
pub(super) trait Drain: Send + Sync {
    fn drain(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

impl<D, C, R, K> Drain for StackLayer<(), D, C, R, K>
where
    D: Send + Sync,
    C: Send + Sync,
    R: Send + Sync,
    K: Send + Sync,
{
    fn drain(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.drain())
    }
}

impl EndpointsClientHandle {
    /// What it is called in errors about its settings: `client` and its name.
    pub const fn origin(&self) -> &Origin {
        &self.frame.origin
    }

    /// Inspects and controls the set: shows the endpoints, adopts others.
    pub const fn endpoints(&self) -> &EndpointsHandle {
        &self.endpoints
    }

    /// Inspects and controls the policies of the endpoint of this name; `None` if there is none, or it is not in the
    /// [subset](super::super::ClientBuilder::subset).
    pub fn member(&self, name: &str) -> Option<MemberHandle> {
        self.stacks.of(name)
    }

    /// Inspects and controls the retry, which is one for all endpoints.
    pub const fn retry(&self) -> &RetryHandle {
        &self.frame.retry
    }

    /// The budget that retries draw on, one for all endpoints; `None` if they draw on none.
    pub fn budget(&self) -> Option<&Budget> {
        self.frame.retry.budget()
    }

    /// The calls that are in flight.
    pub fn in_flight(&self) -> usize {
        self.frame.whole.in_flight()
    }

    /// The settings in force, as they were written; of an endpoint's policies those of all, and not what was reloaded of
    /// one alone.
    pub fn config(&self) -> ClientConfig {
        let written = self.written.get();
        self.frame.config(&written, written.breaker.clone(), written.bulkhead.clone())
    }

    /// Reloads all settings together, those of all endpoints and of those to come too. No call in flight fails for it: each
    /// goes on under the limits it began with, and an open circuit stays open.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings; then the old ones all stay in force.
    pub fn reload(&self, config: ClientConfig) -> Result<(), ConfigErrors> {
        let in_force = |config: &ClientConfig| config.in_force(&Written::default());
        in_force(&config).map_err(|wrong| wrong.of_policy(self.origin()))?;
        self.written.set(config);
        loop {
            let latest = self.written.get();
            let force = in_force(&latest)?;
            self.frame.put_in_force(&force)?;
            for stack in self.stacks.replace(&force) {
                stack.put_in_force(&force)?;
            }
            // Of two who reload at once the last one to write wins everything.
            if Arc::ptr_eq(&latest, &self.written.get()) {
                return Ok(());
            }
        }
    }

    /// Takes no further calls, ends all waits that have no attempt in flight, and returns when the attempts in flight
    /// are over, at all endpoints: no call makes another. There is no way back.
    ///
    /// An attempt that waits in the line of its endpoint's bulkhead counts as in flight, and is over with the head of its
    /// response: bodies that are still being read are not waited for.
    pub async fn drain(&self) {
        self.whole.drain().await;
        self.endpoints.drain().await;
    }
}

impl fmt::Debug for EndpointsClientHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointsClientHandle")
            .field("origin", self.origin())
            .field("endpoints", &self.endpoints)
            .finish_non_exhaustive()
    }
}
