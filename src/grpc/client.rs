//! A client for generated code, ready made.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Request;
use tower::{Layer, Service};

use super::{AsAnswers, GrpcClassifier, PerMethod, StatusInTrailers};
use crate::core::completion::OnResponse;
use crate::core::config::ConfigErrors;
use crate::core::error::Error;
use crate::http::{InTimeoutHeader, OnTrailers, RecordBody, RecordBodyLayer, Replay, ReplayBody};
use crate::retry::CopyIsChosen;
use crate::stack::{
    self, ClientBuilder, ClientHandle, InnermostFuture, KeyedClientHandle, PerKey, Tell,
};

/// A channel in the [recommended stack](super::client), for generated clients: made by
/// [`build_on`](ClientBuilder::build_on).
///
/// `S` is the channel and `B` the body that it sends. Messages are recorded, up to
/// 64 KiB each, so that a call can be retried where that is allowed.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use bytes::Bytes;
/// use seawall::grpc;
/// use tonic::{Code, body::Body, transport::Channel};
/// # mod orders {
/// #     pub struct OrdersClient<T>(tonic::client::Grpc<T>);
/// #     impl<T> OrdersClient<T>
/// #     where
/// #         T: tonic::client::GrpcService<tonic::body::Body>,
/// #         T::ResponseBody: http_body::Body<Data = bytes::Bytes> + Send + 'static,
/// #         <T::ResponseBody as http_body::Body>::Error: Into<tower::BoxError> + Send,
/// #         T::Error: Into<tower::BoxError>,
/// #     {
/// #         pub fn new(inner: T) -> Self { Self(tonic::client::Grpc::new(inner)) }
/// #         pub async fn count(&mut self, _: ()) -> Result<tonic::Response<()>, tonic::Status> {
/// #             self.0.ready().await.map_err(|error| tonic::Status::from_error(error.into()))?;
/// #             let path = http::uri::PathAndQuery::from_static("/shop.Orders/Count");
/// #             self.0.unary(tonic::Request::new(()), path, Nothing).await
/// #         }
/// #     }
/// #     use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
/// #     #[derive(Clone, Copy, Default)]
/// #     struct Nothing;
/// #     impl Codec for Nothing {
/// #         type Encode = (); type Decode = (); type Encoder = Self; type Decoder = Self;
/// #         fn encoder(&mut self) -> Self { *self }
/// #         fn decoder(&mut self) -> Self { *self }
/// #     }
/// #     impl Encoder for Nothing {
/// #         type Item = (); type Error = tonic::Status;
/// #         fn encode(&mut self, (): (), _: &mut EncodeBuf<'_>) -> Result<(), tonic::Status> { Ok(()) }
/// #     }
/// #     impl Decoder for Nothing {
/// #         type Item = (); type Error = tonic::Status;
/// #         fn decode(&mut self, _: &mut DecodeBuf<'_>) -> Result<Option<()>, tonic::Status> { Ok(Some(())) }
/// #     }
/// # }
/// use orders::OrdersClient; // generated
///
/// struct Shop {
///     orders: OrdersClient<grpc::Client<Channel, Body>>,
/// }
///
/// let channel = Channel::from_static("http://127.0.0.1:1").connect_lazy();
/// let orders = grpc::client("orders").build_on(channel, Body::new)?;
/// let breaker = orders.handle().breaker().clone();
/// let mut shop = Shop { orders: OrdersClient::new(orders) };
///
/// breaker.force_open();
/// let rejected = shop.orders.count(()).await.unwrap_err();
/// assert_eq!((rejected.code(), rejected.message()), (Code::Unavailable, "circuit_open"));
/// # Ok::<(), seawall::ConfigErrors>(()) }).unwrap();
/// ```
pub type Client<S, B, C = GrpcClassifier, R = Replay, H = OnResponse> = OnChannel<
    Answering<stack::Client<Sender<S, B>, C, R, InTimeoutHeader, OnTrailers<StatusInTrailers>, H>>,
    ClientHandle,
>;

/// The same with a circuit breaker and a bulkhead for each key: for each [method](ClientBuilder::per_method), for
/// instance, or for each [host](ClientBuilder::per_host).
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use seawall::grpc;
/// use tonic::{body::Body, transport::Channel};
/// # pub struct OrdersClient<T>(T);
/// # impl<T> OrdersClient<T> { pub fn new(inner: T) -> Self { Self(inner) } }
///
/// struct Shop {
///     orders: OrdersClient<grpc::KeyedClient<Channel, Body>>, // `OrdersClient` is generated
/// }
///
/// let channel = Channel::from_static("http://127.0.0.1:1").connect_lazy();
/// let orders = grpc::client("orders").per_method().build_on(channel, Body::new)?;
/// assert!(orders.handle().breakers().is_empty()); // a method gets its breaker with its first call
/// let shop = Shop { orders: OrdersClient::new(orders) };
/// # drop(shop.orders);
/// # Ok::<(), seawall::ConfigErrors>(()) }).unwrap();
/// ```
pub type KeyedClient<S, B, X = PerMethod, C = GrpcClassifier, R = Replay, H = OnResponse> =
    OnChannel<
        Answering<
            stack::KeyedClient<
                Sender<S, B>,
                X,
                C,
                R,
                InTimeoutHeader,
                OnTrailers<StatusInTrailers>,
                H,
            >,
        >,
        KeyedClientHandle,
    >;

/// A stack on a channel, and what steers it: a [`Client`] or a [`KeyedClient`].
#[derive(Clone)]
pub struct OnChannel<T, D> {
    stack: T,
    handle: D,
}

/// A stack whose rejections are answers, and whose messages are recorded.
type Answering<T> = RecordBody<<AsAnswers as Tell<T>>::Service>;

impl<C, R, H> ClientBuilder<C, R, InTimeoutHeader, OnTrailers<StatusInTrailers>, H, AsAnswers>
where
    C: Clone + Send + Sync + 'static,
    R: CopyIsChosen<Strategy: Clone>,
    H: Send + Sync + 'static,
{
    /// Builds the stack on a channel, for generated clients: messages are recorded, rejections are answers,
    /// and the error is that of the channel. `body` makes a body for the channel of one that is recorded:
    /// `tonic::body::Body::new` for one of tonic.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings, as [`build`](Self::build) says it.
    pub fn build_on<S, B>(
        self,
        channel: S,
        body: impl Fn(ReplayBody<B>) -> B + Send + Sync + 'static,
    ) -> Result<Client<S, B, C, R::Strategy, H>, ConfigErrors> {
        let layer = self.build()?;
        let handle = layer.handle();
        let stack = layer.layer(Sender::new(channel, Arc::new(body)));
        Ok(OnChannel { stack: RecordBodyLayer::default().layer(stack), handle })
    }
}

impl<C, R, H, X>
    ClientBuilder<C, R, InTimeoutHeader, OnTrailers<StatusInTrailers>, H, AsAnswers, PerKey<X>>
where
    C: Clone + Send + Sync + 'static,
    R: CopyIsChosen<Strategy: Clone>,
    H: Send + Sync + 'static,
    X: Send + Sync + 'static,
{
    /// Builds the stack on a channel, for generated clients; as for a stack that is
    /// [one for all](Client).
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings, as [`build`](Self::build) says it.
    #[expect(clippy::type_complexity, reason = "a client of as many hooks")]
    pub fn build_on<S, B>(
        self,
        channel: S,
        body: impl Fn(ReplayBody<B>) -> B + Send + Sync + 'static,
    ) -> Result<KeyedClient<S, B, X, C, R::Strategy, H>, ConfigErrors> {
        let layer = self.build()?;
        let handle = layer.handle();
        let stack = layer.layer(Sender::new(channel, Arc::new(body)));
        Ok(OnChannel { stack: RecordBodyLayer::default().layer(stack), handle })
    }
}

impl<T, D> OnChannel<T, D> {
    /// Inspects and controls the stack.
    pub const fn handle(&self) -> &D {
        &self.handle
    }
}

impl<T, D, Req> Service<Req> for OnChannel<T, D>
where
    T: Service<Req>,
{
    type Response = T::Response;
    type Error = T::Error;
    type Future = T::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.stack.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        self.stack.call(request)
    }
}

impl<T, D: fmt::Debug> fmt::Debug for OnChannel<T, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnChannel").field("handle", &self.handle).finish_non_exhaustive()
    }
}

// ===== impl Sender =====

/// A channel that sends what was recorded.
pub struct Sender<S, B> {
    channel: S,
    body: Arc<dyn Fn(ReplayBody<B>) -> B + Send + Sync>,
}

impl<S, B> Sender<S, B> {
    pub(super) fn new(channel: S, body: Arc<dyn Fn(ReplayBody<B>) -> B + Send + Sync>) -> Self {
        Self { channel, body }
    }
}

impl<S, B> Service<Request<ReplayBody<B>>> for Sender<S, B>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = Error<S::Error>;
    type Future = InnermostFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.channel.poll_ready(cx).map_err(Error::Inner)
    }

    fn call(&mut self, request: Request<ReplayBody<B>>) -> Self::Future {
        InnermostFuture::new(self.channel.call(request.map(&*self.body)))
    }
}

impl<S: Clone, B> Clone for Sender<S, B> {
    fn clone(&self) -> Self {
        Self { channel: self.channel.clone(), body: Arc::clone(&self.body) }
    }
}

impl<S: fmt::Debug, B> fmt::Debug for Sender<S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("channel", &self.channel).finish_non_exhaustive()
    }
}
