//! Keys of calls, for keyed layers.

use http::Request;

use crate::core::request::ExtractKey;
use crate::stack::{ClientBuilder, PerKey, Spelling, Undivided};

/// The key of a call is its method, as it stands in the path: `/shop.Orders/Count`.
///
/// ```
/// use seawall::keyed::ExtractKey;
/// use seawall::grpc::PerMethod;
///
/// let call = http::Request::post("http://shop:50051/shop.Orders/Count").body(())?;
/// assert_eq!(PerMethod.with_key(&call, str::to_owned), "/shop.Orders/Count");
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct PerMethod;

impl<B> ExtractKey<Request<B>> for PerMethod {
    fn with_key<T>(&self, request: &Request<B>, read: impl FnOnce(&str) -> T) -> T {
        read(request.uri().path())
    }
}

const METHODS: Spelling = Spelling {
    is_right: |key| {
        let parts = key.strip_prefix('/').and_then(|path| path.split_once('/'));
        parts.is_some_and(|(service, method)| !service.is_empty() && !method.is_empty())
    },
    accepted: "a method as in \"/shop.Orders/Count\"",
};

impl<C, R, K, F, H, A> ClientBuilder<C, R, K, F, H, A, Undivided> {
    /// One circuit breaker and one bulkhead for each method of gRPC, where there is one for all otherwise: a
    /// report that fails, or hangs, keeps nobody from paying. What a method is says [`PerMethod`].
    ///
    /// At most 10,000 methods have one of their own
    /// ([`max_keys`](Self::max_keys)).
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use seawall::{circuit_breaker::{Overrides, Trip}, grpc, stack::KeyOverrides};
    /// use tonic::{body::Body, transport::Channel};
    ///
    /// let touchy = Overrides { trip: Some(Trip::consecutive(3)), ..Overrides::default() };
    /// let channel = Channel::from_static("http://127.0.0.1:1").connect_lazy();
    /// let orders = grpc::client("orders")
    ///     .per_method()
    ///     .overrides([("/shop.Orders/Report", KeyOverrides { breaker: touchy, ..KeyOverrides::default() })])
    ///     .build_on(channel, Body::new)?; // and then: `OrdersClient::new(orders)`
    /// # drop(orders);
    /// # Ok::<(), seawall::ConfigErrors>(()) }).unwrap();
    /// ```
    pub fn per_method(self) -> ClientBuilder<C, R, K, F, H, A, PerKey<PerMethod>> {
        self.divided(PerKey::spelt(PerMethod, METHODS))
    }
}
