//! Servers: the ready-made stack, and the layers and answers for servers only.

mod config;
mod handle_error;
mod health_endpoint;
mod health_response;
mod read_deadline;
pub(crate) mod rejection_settings;
mod render;
mod respond;
mod untrusted_config;
mod untrusted_headers;

use std::borrow::Borrow;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tower::Layer;

pub use config::{ServerConfig, ServerHandle};
pub use handle_error::HandleErrorLayer;
#[doc(hidden)]
pub use handle_error::{HandleError, HandleErrorFuture};
pub use health_endpoint::HealthEndpoint;
pub use health_response::health_response;
#[doc(hidden)]
pub use read_deadline::ReadDeadline;
pub use read_deadline::ReadDeadlineLayer;
pub use rejection_settings::Asked;
#[doc(hidden)]
pub use rejection_settings::RenderRejection;
pub use render::{ProblemDetails, Render, rejection_response, status_of};
#[doc(hidden)]
pub use render::{RenderBy, RenderBytes};
pub use respond::RejectionResponseLayer;
#[doc(hidden)]
pub use respond::{Respond, ResponseFuture};
pub use untrusted_config::UntrustedHeadersConfig;
#[doc(hidden)]
pub use untrusted_headers::UntrustedHeaders;
pub use untrusted_headers::UntrustedHeadersLayer;

use super::{InExtensions, TimeoutHeader};
use crate::bulkhead::{self, Bounded, BulkheadHandle, BulkheadLayer, One};
use crate::core::completion::OnResponse;
use crate::core::config::{ConfigError, ConfigErrors, Written};
use crate::core::error::Reason;
use crate::core::event::{Event, Observe, Observers};
use crate::core::origin::Origin;
use crate::health::HealthRegistry;
use crate::shell::gate::{Gate, GateLayer, Part, Unclassified};
use crate::shell::live::Live;
use crate::timeout::{Fixed, Limited, TimeoutHandle, TimeoutLayer};

/// Starts to build the stack of an HTTP server: a limit on concurrent requests, a timeout for each, and rejections
/// as responses. The name labels its layers.
///
/// Outermost first: [`RejectionResponseLayer`], so that no error leaves the server; an [`UntrustedHeadersLayer`], so
/// that no caller is trusted unless you switch that on; a [timeout](crate::timeout) for the whole request; a
/// [bulkhead](crate::bulkhead).
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use axum::{Router, body::Body, extract::Request, routing::get};
/// use seawall::{Error, http};
/// use std::time::Duration;
/// use tower::{ServiceBuilder, ServiceExt};
///
/// let server = http::server("orders").deadline(Duration::from_secs(5)).limit(200).build()?;
/// let stack = ServiceBuilder::new().layer(server.clone()).map_err(Error::Inner);
/// let app: Router = Router::new().route("/", get(|| async { "hello" })).layer(stack);
/// assert_eq!(app.clone().oneshot(Request::new(Body::empty())).await?.status(), 200);
///
/// server.drain().await; // when you shut down: takes no more, and waits for those in flight
/// assert_eq!(app.oneshot(Request::new(Body::empty())).await?.status(), 503);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub fn server(name: impl Into<Arc<str>>) -> ServerBuilder {
    ServerBuilder::new(name.into(), RejectionResponseLayer::new())
}

/// Builds a [`ServerLayer`]; see [`server`].
#[must_use = "call `build`"]
#[derive(Debug, Clone)]
pub struct ServerBuilder<R = ProblemDetails, F = OnResponse> {
    name: Arc<str>,
    respond: RejectionResponseLayer<R>,
    edge: UntrustedHeadersLayer,
    believed: Option<TimeoutHeader>,
    config: ServerConfig,
    written: Written,
    completion: F,
    registry: Option<HealthRegistry>,
    observers: Observers,
}

impl<R> ServerBuilder<R> {
    pub(crate) fn new(name: Arc<str>, respond: RejectionResponseLayer<R>) -> Self {
        Self {
            name,
            respond,
            edge: UntrustedHeadersLayer::pass_through(),
            believed: None,
            config: ServerConfig::default(),
            written: Written::default(),
            completion: OnResponse,
            registry: None,
            observers: Observers::default(),
        }
    }
}

impl<R, F> ServerBuilder<R, F> {
    /// How long a request may take until its response head, time in the queue included; 10 s by
    /// default. For bodies see
    /// [`BodyTimeoutLayer`](crate::http::body_timeout::BodyTimeoutLayer). A caller's [deadline](Self::deadline_from) can make it
    /// shorter.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.config.deadline = deadline;
        self.written.add("deadline");
        self
    }

    /// Reads the caller's deadline from this header. A request whose deadline has passed is rejected, on arrival or in
    /// the queue. The caller's deadline is cut to [`deadline`](Self::deadline).
    pub fn deadline_from(mut self, header: TimeoutHeader) -> Self {
        self.believed = Some(header);
        self
    }

    /// Concurrent requests; 64 by default.
    pub fn limit(mut self, limit: u32) -> Self {
        self.config.bulkhead.limit = limit;
        self
    }

    /// Requests that may wait for a permit, and for how long at most; none by default.
    pub fn queue(mut self, queue: u32, max_wait: Duration) -> Self {
        self.config.bulkhead.queue = queue;
        self.config.bulkhead.max_wait = max_wait;
        self.written.add("max_wait");
        self
    }

    /// Sets the settings of the bulkhead.
    pub fn bulkhead(mut self, config: bulkhead::Config) -> Self {
        self.config.bulkhead = config;
        self
    }

    /// Sets all settings at once, for instance from a file.
    pub fn config(mut self, config: ServerConfig) -> Self {
        (self.config, self.written) = (config, Written::default());
        self
    }

    /// Which headers of callers are trusted, and which are removed. By default none is trusted, and all
    /// [pass to the handlers](UntrustedHeadersLayer::pass_through), which may need an idempotency key or a
    /// priority. [`UntrustedHeadersLayer::new`] removes them.
    pub fn edge(mut self, edge: UntrustedHeadersLayer) -> Self {
        self.edge = edge;
        self
    }

    /// Renders rejections with this layer, instead of as problem details.
    pub fn respond<R2>(self, respond: RejectionResponseLayer<R2>) -> ServerBuilder<R2, F> {
        self.with(|_, completion| (respond, completion))
    }

    /// How long a request holds its permit: by default until its response head; with [`OnBodyEnd`](crate::http::OnBodyEnd) until
    /// the body was sent. Then a slow reader holds a permit for as long as its connection lasts: limit connections if
    /// callers are untrusted.
    pub fn completion<F2>(self, completion: F2) -> ServerBuilder<R, F2> {
        self.with(|respond, _| (respond, completion))
    }

    /// The health registry of this server: [`ServerLayer::drain`] [drains](HealthRegistry::drain) it too, so that
    /// readiness, over HTTP or gRPC, reports that the server is not ready.
    pub fn registry(mut self, registry: &HealthRegistry) -> Self {
        self.registry = Some(registry.clone());
        self
    }

    /// Reports the events of both layers to `observer`. May be called more than once.
    pub fn observe(mut self, observer: impl Observe + 'static) -> Self {
        self.observers.add(observer);
        self
    }

    fn with<R2, F2>(
        self,
        change: impl FnOnce(RejectionResponseLayer<R>, F) -> (RejectionResponseLayer<R2>, F2),
    ) -> ServerBuilder<R2, F2> {
        let (respond, completion) = change(self.respond, self.completion);
        ServerBuilder {
            name: self.name,
            respond,
            edge: self.edge,
            believed: self.believed,
            config: self.config,
            written: self.written,
            completion,
            registry: self.registry,
            observers: self.observers,
        }
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the deadline and the settings of the bulkhead; a wait in the queue that is
    /// no shorter than the deadline, so that the deadline would end it; and two headers for one
    /// deadline.
    pub fn build(self) -> Result<ServerLayer<R, F>, ConfigErrors> {
        let origin = Origin::new("server", Arc::clone(&self.name));
        self.make(&origin).map_err(|wrong| wrong.of_policy(&origin))
    }

    fn make(self, origin: &Origin) -> Result<ServerLayer<R, F>, ConfigErrors> {
        let force = self.agreed()?;
        let timeout = TimeoutLayer::builder(Arc::clone(&self.name))
            .limit(force.deadline)
            .propagate(InExtensions);
        let places = BulkheadLayer::builder(self.name)
            .config(force.bulkhead)
            .propagate(InExtensions)
            .completion(self.completion);
        let (timeout, places) = if self.observers.is_empty() {
            (timeout, places)
        } else {
            let (one, other) = (self.observers.clone(), self.observers);
            let timeout = timeout.observe(move |event: &Event| one.tell(event));
            (timeout, places.observe(move |event: &Event| other.tell(event)))
        };
        let ((timeout, propagate), (places, _)) = (timeout.parts(), places.parts()?);
        let gate = GateLayer::make((timeout, places), Unclassified, propagate);
        let edge = match self.believed {
            Some(header) => {
                // The timeout cuts it to the deadline in force, which may be turned.
                let read = ReadDeadlineLayer::new(header).bounds(Duration::ZERO, Duration::MAX)?;
                self.edge.deadline(read)
            }
            None => self.edge,
        };
        let written = Arc::new(Live::new(self.config));
        let origin = origin.clone();
        let (respond, registry) = (self.respond, self.registry);
        Ok(ServerLayer { respond, edge, gate, registry, written, origin })
    }

    fn agreed(&self) -> Result<ServerConfig, ConfigErrors> {
        let classified = self.config.in_force(&self.written);
        let Some(header) = self.believed.as_ref().filter(|_| self.edge.believes_deadlines()) else {
            return classified;
        };
        let accepted = "nothing, as the edge reads another header for the deadline";
        let mut problems = vec![ConfigError::new("deadline_from", header, accepted)];
        problems.extend(classified.err().into_iter().flat_map(ConfigErrors::into_problems));
        Err(ConfigErrors::of(problems))
    }
}

impl<R: RenderRejection, F> ServerBuilder<R, F> {
    /// The `Retry-After` of a request that was rejected because the server is full; 1 s by default. See
    /// [`RejectionResponseLayer::retry_after`].
    pub fn retry_after(mut self, delay: impl Into<Option<Duration>>) -> Self {
        self.respond = self.respond.retry_after(delay);
        self
    }

    /// Answers rejections for this reason with another status. See [`RejectionResponseLayer::status`].
    ///
    /// ```
    /// use http::StatusCode;
    /// use seawall::Reason;
    ///
    /// let server = seawall::http::server("orders").status(Reason::Full, StatusCode::TOO_MANY_REQUESTS)?.build()?;
    /// # drop(server);
    /// # Ok::<(), seawall::ConfigErrors>(())
    /// ```
    ///
    /// # Errors
    ///
    /// A status that is not of an error: 400 to 599 are accepted.
    pub fn status(mut self, reason: Reason, status: StatusCode) -> Result<Self, ConfigErrors> {
        self.respond = self.respond.status(reason, status)?;
        Ok(self)
    }

    /// Whether HTTP/1 responses to requests that are rejected while the server drains have `Connection: close`. Yes by
    /// default. See [`RejectionResponseLayer::close_when_draining`].
    pub fn close_when_draining(mut self, closes: bool) -> Self {
        self.respond = self.respond.close_when_draining(closes);
        self
    }
}

/// The ready-made stack of a server; see [`server`].
///
/// All services that it and its clones make share one state, as axum and tonic apply it to each
/// connection anew.
#[derive(Debug, Clone)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct ServerLayer<R = ProblemDetails, F = OnResponse> {
    respond: RejectionResponseLayer<R>,
    edge: UntrustedHeadersLayer,
    gate: GateLayer<Guards<F>, Unclassified, InExtensions>,
    registry: Option<HealthRegistry>,
    written: Arc<Live<ServerConfig>>,
    origin: Origin,
}

/// Its policies, outermost first.
type Guards<F> = (Limited<Fixed>, Bounded<F, One>);

/// The service that a [`ServerLayer`] makes of another.
pub type Server<S, R = ProblemDetails, F = OnResponse> =
    Respond<UntrustedHeaders<Gate<S, Guards<F>, Unclassified, InExtensions>>, R>;

impl<R, F: Send + Sync + 'static> ServerLayer<R, F> {
    /// A handle of the whole stack: reads and reloads [all its settings](ServerConfig).
    pub fn handle(&self) -> ServerHandle {
        ServerHandle {
            origin: self.origin.clone(),
            written: Arc::clone(&self.written),
            timeout: TimeoutHandle::new(Part::of(self.gate.gate(), |it| it.policy.0.borrow())),
            places: self.bulkhead(),
        }
    }

    /// A handle of the bulkhead.
    pub fn bulkhead(&self) -> BulkheadHandle {
        BulkheadHandle::new(Part::of(self.gate.gate(), |it| it.policy.1.borrow()))
    }

    /// The requests that hold a permit.
    pub fn in_flight(&self) -> usize {
        self.gate.in_flight()
    }

    /// Graceful shutdown: takes no further requests, and returns when none [holds a permit](ServerBuilder::completion).
    /// Bodies may still be on their way. It cannot be undone.
    ///
    /// The [registry](ServerBuilder::registry), if there is one, is not ready from now on. A load balancer notices after
    /// a while: see [`drain_after`](Self::drain_after).
    ///
    /// Requests in the queue and later ones are rejected with [`Draining`](crate::Reason::Draining).
    pub async fn drain(&self) {
        self.be_unready();
        self.gate.drain().await;
    }

    /// The same, but requests in the queue still get their permits.
    pub async fn drain_to_completion(&self) {
        self.be_unready();
        self.gate.drain_to_completion().await;
    }

    /// Graceful shutdown behind a load balancer: reports that it is not ready, serves requests for the given time, and then
    /// [drains](Self::drain). So no request is rejected. The time is a few seconds, and longer than the load balancer
    /// takes to stop sending requests; in Kubernetes `terminationGracePeriodSeconds` must be more than this plus the
    /// longest request.
    ///
    /// If the future is dropped during the wait, the server stays unready and continues to serve.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
    /// use seawall::health::{HealthRegistry, Probe, Status};
    /// use seawall::http;
    /// use std::time::Duration;
    ///
    /// let registry = HealthRegistry::new("orders");
    /// let server = http::server("orders").registry(&registry).build()?;
    /// // … and when SIGTERM came:
    /// server.drain_after(Duration::from_secs(5)).await;
    /// assert_eq!(registry.status(Probe::Readiness), Status::Down);
    /// assert_eq!(registry.status(Probe::Liveness), Status::Up);
    /// # Ok::<(), seawall::ConfigErrors>(()) }).unwrap();
    /// ```
    pub async fn drain_after(&self, wait: Duration) {
        self.be_unready();
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        self.drain().await;
    }

    fn be_unready(&self) {
        if let Some(registry) = &self.registry {
            registry.drain();
        }
    }
}

impl<S, R: Clone, F: Send + Sync + 'static> Layer<S> for ServerLayer<R, F> {
    type Service = Server<S, R, F>;

    fn layer(&self, inner: S) -> Self::Service {
        self.respond.layer(self.edge.layer(self.gate.layer(inner)))
    }
}
