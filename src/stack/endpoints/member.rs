//! One endpoint: its client, and the policies of each attempt there.

use std::borrow::Borrow;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use tower::{Layer, Service};

use super::super::build::AttemptBuilders;
use super::super::client_layer::ForAll;
use super::super::config::ClientConfig;
use super::numbered::{Numbered, OfNumbered};
use crate::bulkhead::BulkheadHandle;
use crate::circuit_breaker::CircuitBreakerHandle;
use crate::core::config::{ConfigError, ConfigErrors};
use crate::core::event::Observers;
use crate::endpoints::Endpoint;
use crate::shell::gate::{Core, Gate, GateLayer, Part};
use crate::shell::in_flight::InFlight;
use crate::shell::locked::Locked;
use crate::timeout::{self, TimeoutHandle};

/// How requests are told where they go.
pub trait Direct: Clone + Send + Sync + 'static {
    /// What directs those to one endpoint.
    type To: Send + 'static;

    /// Those to this endpoint.
    ///
    /// # Errors
    ///
    /// Its address is none.
    fn to(&self, endpoint: &Endpoint) -> Result<Self::To, ConfigError>;
}

/// Changes a request so that it goes to an endpoint.
pub trait Directs<Req> {
    /// Changes this request.
    fn direct(&self, request: &mut Req);
}

/// The client of each endpoint knows where it sends.
#[derive(Debug, Clone, Copy, Default)]
pub struct AsIs;

impl Direct for AsIs {
    type To = Self;

    fn to(&self, _: &Endpoint) -> Result<Self, ConfigError> {
        Ok(Self)
    }
}

impl<Req> Directs<Req> for AsIs {
    #[inline]
    fn direct(&self, _: &mut Req) {}
}

/// The client of an endpoint.
#[derive(Debug, Clone)]
pub struct Member<S, T> {
    client: S,
    to: T,
}

impl<S, T, Req> Service<Numbered<Req>> for Member<S, T>
where
    S: Service<Req>,
    T: Directs<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.client.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, Numbered { mut request, .. }: Numbered<Req>) -> S::Future {
        self.to.direct(&mut request);
        self.client.call(request)
    }
}

/// The policies of each attempt at one endpoint, around its client.
pub(super) type Guarded<S, T, C, K, F, H> =
    Gate<Member<S, T>, ForAll<Arc<F>, Arc<H>>, C, OfNumbered<K>>;

/// Makes the stack of each endpoint.
pub(super) struct Recipe<C, K, F, H> {
    pub(super) name: Arc<str>,
    pub(super) classify: C,
    pub(super) propagate: OfNumbered<K>,
    pub(super) completion: Arc<F>,
    pub(super) permit_completion: Arc<H>,
    pub(super) observers: Observers,
    pub(super) stacks: Arc<Stacks>,
}

impl<C, K, F, H> Recipe<C, K, F, H>
where
    C: Clone + Send + Sync + 'static,
    K: Clone,
    F: Send + Sync + 'static,
    H: Send + Sync + 'static,
{
    pub(super) fn stack<S, T>(
        &self,
        endpoint: &Endpoint,
        client: S,
        to: T,
    ) -> Result<Guarded<S, T, C, K, F, H>, ConfigErrors> {
        loop {
            let (epoch, config) = self.stacks.config();
            let builders = AttemptBuilders {
                name: format!("{} {}", self.name, endpoint.name()).into(),
                observers: &self.observers,
                propagate: self.propagate.clone(),
            };
            let completion = Arc::clone(&self.completion);
            let breaker =
                builders.breaker(config.breaker.clone(), self.classify.clone(), completion);
            let (breaker, ..) = breaker.parts()?;
            let completion = Arc::clone(&self.permit_completion);
            let (bulkhead, _) = builders.bulkhead(config.bulkhead.clone(), completion).parts()?;
            let (attempt, _) = builders.attempt(config.attempt_timeout).parts();
            let policies = (breaker, (bulkhead, attempt));
            let layer = GateLayer::make(policies, self.classify.clone(), self.propagate.clone());
            let gate = Arc::downgrade(layer.gate()) as Weak<dyn Steered>;
            // If somebody has reloaded the settings meanwhile: again.
            if self.stacks.add(epoch, Arc::from(endpoint.name()), gate) {
                return Ok(layer.layer(Member { client, to }));
            }
        }
    }
}

// ===== impl Stacks =====

/// The stacks of the endpoints in use, and what they are made of.
pub(super) struct Stacks(Locked<Made>);

struct Made {
    /// How often the settings were reloaded.
    epoch: u64,
    config: Arc<ClientConfig>,
    stacks: Vec<(Arc<str>, Weak<dyn Steered>)>,
}

impl Stacks {
    pub(super) fn new(config: ClientConfig) -> Self {
        Self(Locked::new(Made { epoch: 0, config: Arc::new(config), stacks: Vec::new() }))
    }

    fn config(&self) -> (u64, Arc<ClientConfig>) {
        self.0.with(|made| (made.epoch, Arc::clone(&made.config)))
    }

    /// `false` if it was made of settings that are not in force any more.
    fn add(&self, epoch: u64, name: Arc<str>, stack: Weak<dyn Steered>) -> bool {
        self.0.with(|made| {
            if made.epoch != epoch {
                return false;
            }
            made.stacks.retain(|(_, stack)| stack.strong_count() > 0);
            made.stacks.push((name, stack));
            true
        })
    }

    /// Each endpoint that is made from now on has these settings; here are the others.
    pub(super) fn replace(&self, config: &ClientConfig) -> Vec<MemberHandle> {
        let config = Arc::new(config.clone());
        let stacks = self.0.with(|made| {
            made.epoch += 1;
            made.config = config;
            made.stacks.clone()
        });
        stacks.iter().filter_map(|(_, stack)| Some(stack.upgrade()?.handle())).collect()
    }

    /// The stack of the endpoint of this name.
    pub(super) fn of(&self, name: &str) -> Option<MemberHandle> {
        let stacks = self.0.with(|made| made.stacks.clone());
        let mut named = stacks.iter().rev().filter(|(of, _)| **of == *name);
        named.find_map(|(_, stack)| Some(stack.upgrade()?.handle()))
    }
}

/// What a stack shows of itself, whatever its classifier is.
trait Steered: Send + Sync {
    fn handle(self: Arc<Self>) -> MemberHandle;
}

impl<F, H, C> Steered for InFlight<Core<ForAll<F, H>, C>>
where
    F: Send + Sync + 'static,
    H: Send + Sync + 'static,
    C: Send + Sync + 'static,
{
    fn handle(self: Arc<Self>) -> MemberHandle {
        MemberHandle {
            breaker: self.policy.0.handle(),
            bulkhead: BulkheadHandle::new(Part::of(&self, |it| it.policy.1.0.borrow())),
            attempt: TimeoutHandle::new(Part::of(&self, |it| it.policy.1.1.borrow())),
        }
    }
}

/// Inspects and controls the policies of one endpoint. Cheap to clone.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::http;
/// use seawall::stack::MemberHandle;
/// use tower::{ServiceExt, service_fn};
///
/// let client = service_fn(|request: ::http::Request<String>| async move {
///     Ok::<_, std::io::Error>(::http::Response::new(request.uri().to_string()))
/// });
/// let web = http::endpoints("web").members(["10.0.0.1:80", "10.0.0.2:80"]).build_on(client)?;
/// let first: MemberHandle = web.handle().member("10.0.0.1:80").unwrap();
/// first.breaker().force_open(); // nothing goes there, until its breaker is let go
/// let answer = web.oneshot(::http::Request::get("/search").body(String::new())?).await?;
/// assert_eq!(answer.body(), "http://10.0.0.2:80/search");
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct MemberHandle {
    breaker: CircuitBreakerHandle,
    bulkhead: BulkheadHandle,
    attempt: TimeoutHandle,
}

impl MemberHandle {
    /// Inspects and controls its circuit breaker.
    pub const fn breaker(&self) -> &CircuitBreakerHandle {
        &self.breaker
    }

    /// Inspects and controls its bulkhead.
    pub const fn bulkhead(&self) -> &BulkheadHandle {
        &self.bulkhead
    }

    pub(super) fn put_in_force(&self, force: &ClientConfig) -> Result<(), ConfigErrors> {
        self.breaker.reload(force.breaker.clone())?;
        self.bulkhead.reload(force.bulkhead.clone())?;
        let limit = force.attempt_timeout;
        self.attempt.reload(timeout::Config { limit, ..self.attempt.config() })
    }
}
