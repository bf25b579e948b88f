//! Telling others how we are, by grpc.health.v1.

use std::convert::Infallible;
use std::fmt;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::future::{BoxFuture, Either, select};
use futures::stream::{self, Stream};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower::{BoxError, Service};

use super::classify::Code;
use super::messages::Messages;
use super::proto::{self, Serving};
use super::respond::answer;
use crate::health::Status;
use crate::health::{CheckWatch, HealthRegistry, Probe, Watch};

/// Default of [`HealthService::watchers`].
pub(crate) const WATCHERS: usize = 1_000;

/// Answers `grpc.health.v1.Health` (`Check`, `Watch` and `List`) from a [`HealthRegistry`]: a tower
/// service for tonic and for bare hyper alike.
///
/// The empty name stands for the whole: its readiness. So do the [names](Self::also) of your
/// services; any other name is that of a check in the registry. What is up or degraded is `SERVING`,
/// what is down or not known yet `NOT_SERVING`, and so is everything while the registry
/// [drains](HealthRegistry::drain); a name that nobody knows is `NOT_FOUND` to `Check`, and
/// `SERVICE_UNKNOWN` to `Watch` until it is added.
///
/// In tonic it goes beside the generated services:
///
/// ```
/// use axum::Router;
/// use seawall::grpc::HealthService;
/// use seawall::health::HealthRegistry;
/// use tonic::service::Routes;
///
/// let health = HealthService::new(HealthRegistry::new("orders")).also("shop.Orders");
/// let health = Router::new().route_service(HealthService::ROUTE, health);
/// let routes = Routes::from(health); // .add_service(OrdersServer::new(…))
/// # let _ = routes;
/// ```
#[derive(Clone)]
pub struct HealthService {
    registry: HealthRegistry,
    names: Arc<Vec<Arc<str>>>,
    places: Arc<Semaphore>,
    draining: Arc<watch::Sender<bool>>,
}

impl HealthService {
    /// The full name of the gRPC service.
    pub const NAME: &'static str = "grpc.health.v1.Health";
    /// Where it is found, as axum writes routes.
    pub const ROUTE: &'static str = "/grpc.health.v1.Health/{method}";

    /// Answers for this registry.
    pub fn new(registry: HealthRegistry) -> Self {
        Self {
            registry,
            names: Arc::default(),
            places: Arc::new(Semaphore::new(WATCHERS)),
            draining: Arc::new(watch::Sender::new(false)),
        }
    }

    /// Answers with the whole for this name too. Clients ask for the full name of the service they
    /// call.
    #[must_use]
    pub fn also(mut self, name: impl Into<Arc<str>>) -> Self {
        Arc::make_mut(&mut self.names).push(name.into());
        self
    }

    /// How many may watch at a time; one more is told `RESOURCE_EXHAUSTED`.
    #[must_use]
    pub fn watchers(mut self, most: usize) -> Self {
        self.places = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        self
    }

    /// From now on nothing is serving: who watches is told so and sent away, which would otherwise
    /// keep a server from shutting down. Returns when all watchers are gone; one that reads nothing
    /// stays until its connection ends, so bound the wait. There is no way back.
    /// [`HealthRegistry::drain`] does the same, and everything else that the registry answers for.
    pub async fn drain(&self) {
        self.draining.send_replace(true);
        self.draining.closed().await;
    }

    fn serving(&self, name: &str) -> Option<Serving> {
        let status = if self.is_whole(name) {
            self.registry.status(Probe::Readiness)
        } else {
            self.registry.check(name)?
        };
        let well = matches!(status, Status::Up | Status::Degraded) && !self.is_draining();
        Some(if well { Serving::SERVING } else { Serving::NOT_SERVING })
    }

    fn is_draining(&self) -> bool {
        *self.draining.borrow() || self.registry.is_draining()
    }

    fn is_whole(&self, name: &str) -> bool {
        name.is_empty() || self.names.iter().any(|known| **known == *name)
    }

    fn check(&self, name: &str) -> Response<HealthBody> {
        match self.serving(name) {
            Some(serving) => unary(proto::reply(serving)),
            None => answer(Code::NOT_FOUND, "unknown service"),
        }
    }

    fn list(&self) -> Response<HealthBody> {
        let reports = [Probe::Readiness, Probe::Liveness].map(|probe| self.registry.report(probe));
        let checks = reports.iter().flat_map(|report| &report.checks).map(|check| &*check.name);
        let names = self.names.iter().map(|name| &**name);
        let all = std::iter::once("").chain(names).chain(checks);
        unary(proto::list(all.filter_map(|name| Some((name, self.serving(name)?)))))
    }

    fn watch(&self, name: String) -> Response<HealthBody> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return answer(Code::RESOURCE_EXHAUSTED, "too many watchers");
        };
        let changes = if self.is_whole(&name) {
            Changes::Whole(self.registry.watch(Probe::Readiness))
        } else {
            Changes::Check(self.registry.watch_check(&*name))
        };
        let draining = [self.draining.subscribe(), self.registry.draining()];
        let service = self.clone();
        let watcher = Watcher { service, name, changes, draining, told: None, _place: place };
        streaming(stream::unfold(Some(watcher), |watcher| async { watcher?.next().await }))
    }

    async fn answer<B>(self, request: Request<B>) -> Response<HealthBody>
    where
        B: Body<Error: Into<BoxError>>,
    {
        let is_grpc = |kind: &HeaderValue| kind.as_bytes().starts_with(b"application/grpc");
        if !request.headers().get(CONTENT_TYPE).is_some_and(is_grpc) {
            let mut response = Response::new(HealthBody::default());
            *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return response;
        }
        let path = request.uri().path().to_owned();
        let method = path.strip_prefix('/').and_then(|path| path.strip_prefix(Self::NAME));
        let Some(method @ ("/Check" | "/Watch" | "/List")) = method else {
            return answer(Code::UNIMPLEMENTED, "unknown method");
        };
        let Ok(Some(message)) = Messages::of(request.into_body()).next().await else {
            return answer(Code::INVALID_ARGUMENT, "not one short message");
        };
        match proto::read_request(&message) {
            _ if method == "/List" => self.list(),
            Ok(name) if method == "/Watch" => self.watch(name),
            Ok(name) => self.check(&name),
            Err(_) => answer(Code::INVALID_ARGUMENT, "not a request about health"),
        }
    }
}

impl<B> Service<Request<B>> for HealthService
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<HealthBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<HealthBody>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async { Ok(service.answer(request).await) })
    }
}

impl fmt::Debug for HealthService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthService")
            .field("registry", &self.registry)
            .field("names", &self.names)
            .field("places", &self.places.available_permits())
            .finish_non_exhaustive()
    }
}

// ===== watchers =====

/// One who watches.
struct Watcher {
    service: HealthService,
    name: String,
    changes: Changes,
    /// That of the service, and that of the registry.
    draining: [watch::Receiver<bool>; 2],
    told: Option<Serving>,
    _place: OwnedSemaphorePermit,
}

enum Changes {
    Whole(Watch),
    Check(CheckWatch),
}

impl Watcher {
    /// The next frame of the stream. What changes while nobody reads is not kept: the next to be told
    /// is how it is then.
    async fn next(mut self) -> Option<(Frame<Bytes>, Option<Self>)> {
        loop {
            // Before the look, so that what changes after it is seen.
            let draining = self.draining.iter_mut().any(|draining| *draining.borrow_and_update());
            let now = self.service.serving(&self.name).unwrap_or(Serving::SERVICE_UNKNOWN);
            if self.told.replace(now) != Some(now) {
                return Some((Frame::data(proto::reply(now)), Some(self)));
            }
            if draining {
                return Some((ended(Code::UNAVAILABLE), None));
            }
            self.change().await;
        }
    }

    async fn change(&mut self) {
        let changed = match &mut self.changes {
            Changes::Whole(watch) => Either::Left(watch.changed()),
            Changes::Check(watch) => Either::Right(watch.changed()),
        };
        let [of_service, of_registry] = &mut self.draining;
        let (service, registry) = (pin!(of_service.changed()), pin!(of_registry.changed()));
        select(pin!(changed), select(service, registry)).await;
    }
}

// ===== answers =====

fn unary(message: Bytes) -> Response<HealthBody> {
    streaming(stream::iter([Frame::data(message), ended(Code::OK)]))
}

fn streaming(
    frames: impl Stream<Item = Frame<Bytes>> + Send + Sync + 'static,
) -> Response<HealthBody> {
    let mut response = Response::new(HealthBody(Some(Box::pin(frames))));
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(CONTENT_TYPE, grpc);
    response
}

fn ended(code: Code) -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(u16::from(code.number())));
    Frame::trailers(trailers)
}

/// The body of a [`HealthService`]'s answer. The default is empty.
#[derive(Default)]
pub struct HealthBody(Option<Pin<Box<dyn Stream<Item = Frame<Bytes>> + Send + Sync>>>);

impl Body for HealthBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut self.0 {
            Some(frames) => frames.as_mut().poll_next(cx).map(|frame| frame.map(Ok)),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}

impl fmt::Debug for HealthBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthBody").finish_non_exhaustive()
    }
}
