//! A client of many endpoints of gRPC, ready made.

use std::sync::Arc;

use tower::{BoxError, Layer};

use super::client::Sender;
use super::stacks::client;
use super::{AsAnswers, GrpcClassifier, StatusInTrailers};
use crate::core::completion::OnResponse;
use crate::endpoints::{AdoptError, Endpoint, Resolve, Source};
use crate::http::{InTimeoutHeader, OnTrailers, RecordBody, RecordBodyLayer, Replay, ReplayBody};
use crate::retry::{Chosen, CopyIsChosen};
use crate::stack::{self, AsIs, ClientBuilder, PerEndpoint, Spread, Tell};

/// The completion of the breaker of each endpoint.
type AtTrailers = OnTrailers<StatusInTrailers>;

/// Starts to build a client of many endpoints of gRPC that all serve the same: the [stack](stack::endpoints()) of
/// [`client`], with a circuit breaker, a bulkhead and an attempt timeout for each endpoint, and retries that go to
/// another one. [`over_channels`](ClientBuilder::over_channels) puts it on a channel for each.
///
/// What is [retried](super::client()) is the same too: by itself, what was certainly never sent.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use seawall::grpc;
/// use tonic::{body::Body, transport::Channel};
/// # pub struct OrdersClient<T>(T);
/// # impl<T> OrdersClient<T> { pub fn new(inner: T) -> Self { Self(inner) } }
///
/// let channels = grpc::endpoints("orders")
///     .members(["10.0.0.1:50051", "10.0.0.2:50051", "10.0.0.3:50051"])
///     .over_channels(
///         |endpoint| Ok(Channel::from_shared(format!("http://{}", endpoint.address()))?.connect_lazy()),
///         Body::new,
///     )?;
/// let orders = OrdersClient::new(channels); // generated
/// # drop(orders);
/// # Ok::<(), seawall::endpoints::AdoptError>(()) }).unwrap();
/// ```
pub fn endpoints(
    name: impl Into<Arc<str>>,
) -> ClientBuilder<
    GrpcClassifier,
    Chosen<Replay>,
    InTimeoutHeader,
    AtTrailers,
    OnResponse,
    AsAnswers,
    PerEndpoint<AsIs>,
> {
    client(name).per_endpoint(AsIs)
}

/// The client that [`endpoints`] makes of channels `S`, which send bodies `B`.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use seawall::grpc;
/// use tonic::{body::Body, transport::Channel};
/// # pub struct OrdersClient<T>(T);
///
/// struct Shop {
///     orders: OrdersClient<grpc::EndpointsClient<Channel, Body>>, // `OrdersClient` is generated
/// }
/// # fn client() -> Result<Shop, Box<dyn std::error::Error>> {
/// # let channels = grpc::endpoints("orders").members(["10.0.0.1:1"]).over_channels(
/// #     |endpoint| Ok(Channel::from_shared(format!("http://{}", endpoint.address()))?.connect_lazy()), Body::new)?;
/// # Ok(Shop { orders: OrdersClient(channels) }) }
/// # drop(client().unwrap().orders.0);
/// # });
/// ```
pub type EndpointsClient<S, B, C = GrpcClassifier, R = Replay, H = OnResponse> =
    stack::EndpointsClient<OnChannels<S, B, C, R, H>>;

/// A stack on channels, whose rejections are answers, and whose messages are recorded.
pub type OnChannels<S, B, C, R, H> = RecordBody<
    <AsAnswers as Tell<Spread<Sender<S, B>, AsIs, C, R, InTimeoutHeader, AtTrailers, H>>>::Service,
>;

impl<C, R, H> ClientBuilder<C, R, InTimeoutHeader, AtTrailers, H, AsAnswers, PerEndpoint<AsIs>>
where
    C: Clone + Send + Sync + 'static,
    R: CopyIsChosen<Strategy: Clone + Send + Sync + 'static>,
    H: Send + Sync + 'static,
{
    /// Builds the stack over a channel for each endpoint, for generated clients: messages are recorded, rejections are
    /// answers, and the error is that of the channel. `make` makes the channel of an endpoint when that is first in a
    /// list, and should not wait for a connection; `body` makes a body for it of one that is recorded, as for
    /// [`build_on`](ClientBuilder::build_on): `tonic::body::Body::new` for one of tonic.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings and the list; or a channel could not be made.
    pub fn over_channels<S, B>(
        self,
        make: impl Fn(&Endpoint) -> Result<S, BoxError> + Send + Sync + 'static,
        body: impl Fn(ReplayBody<B>) -> B + Send + Sync + 'static,
    ) -> Result<EndpointsClient<S, B, C, R::Strategy, H>, AdoptError>
    where
        S: Send + 'static,
        B: 'static,
    {
        let client = self.over(senders(make, body))?;
        Ok(client.within(|stack| RecordBodyLayer::default().layer(stack)))
    }
}

impl<C, R, H, M>
    ClientBuilder<C, R, InTimeoutHeader, AtTrailers, H, AsAnswers, PerEndpoint<AsIs, Source<M>>>
where
    C: Clone + Send + Sync + 'static,
    R: CopyIsChosen<Strategy: Clone + Send + Sync + 'static>,
    H: Send + Sync + 'static,
    M: Resolve,
{
    /// Asks the source, and builds the stack over a channel for each endpoint, as for a list.
    ///
    /// # Errors
    ///
    /// That of the source; everything that is wrong with the settings and the list; or a channel could not be made.
    pub async fn over_channels<S, B>(
        self,
        make: impl Fn(&Endpoint) -> Result<S, BoxError> + Send + Sync + 'static,
        body: impl Fn(ReplayBody<B>) -> B + Send + Sync + 'static,
    ) -> Result<EndpointsClient<S, B, C, R::Strategy, H>, AdoptError>
    where
        S: Send + 'static,
        B: 'static,
    {
        let client = self.over(senders(make, body)).await?;
        Ok(client.within(|stack| RecordBodyLayer::default().layer(stack)))
    }
}

fn senders<S, B: 'static>(
    make: impl Fn(&Endpoint) -> Result<S, BoxError> + Send + Sync + 'static,
    body: impl Fn(ReplayBody<B>) -> B + Send + Sync + 'static,
) -> impl Fn(&Endpoint) -> Result<Sender<S, B>, BoxError> + Send + Sync + 'static {
    let body: Arc<dyn Fn(ReplayBody<B>) -> B + Send + Sync> = Arc::new(body);
    move |endpoint| Ok(Sender::new(make(endpoint)?, Arc::clone(&body)))
}
