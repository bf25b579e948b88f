//! The stack around a client of many endpoints: retries around a set, and in it policies for each endpoint.

mod build;
mod client;
mod handle;
mod member;
mod numbered;

use std::sync::Arc;

pub use client::{EndpointsClient, Spread};
pub use handle::EndpointsClientHandle;
pub use member::{AsIs, Direct, Directs, Member, MemberHandle};

use super::client::{ClientBuilder, client};
use super::tell::AsErrors;
use crate::core::classify::Classifier;
use crate::core::completion::OnResponse;
use crate::core::request::NoPropagation;
use crate::endpoints::{self, Balance, Endpoint, Endpoints, Resolve, Source};
use crate::retry::Unsaid;

/// Starts to build the stack around a client of many endpoints that all serve the same.
///
/// Around the [set](crate::endpoints) are the deadline and the retry with its budget, so that a further attempt goes to another
/// endpoint. In it, each endpoint has a circuit breaker, a bulkhead and an attempt timeout of its own, whose events
/// and metrics have the name of the client, a space, and that of the endpoint. All settings are those of
/// [`stack::client`](super::client()), and how endpoints are chosen and ejected is an
/// [`endpoints::Config`](ClientBuilder::endpoints_config).
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::{Error, stack};
/// use std::io;
/// use tower::{Service, ServiceExt, service_fn};
///
/// let mut search = stack::endpoints("search")
///     .members(["bad", "good"])
///     .cloned() // requests are idempotent and may be cloned for retries
///     .over(|endpoint| {
///         let is_bad = endpoint.name() == "bad"; // connect to `endpoint.address()` here
///         Ok(service_fn(move |query: u64| async move {
///             if is_bad { Err(Error::Inner(io::Error::other("down"))) } else { Ok(query) }
///         }))
///     })?;
/// for query in 0..100 {
///     assert_eq!(search.ready().await?.call(query).await?, query);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub fn endpoints(
    name: impl Into<Arc<str>>,
) -> ClientBuilder<
    Classifier,
    Unsaid,
    NoPropagation,
    OnResponse,
    OnResponse,
    AsErrors,
    PerEndpoint<AsIs>,
> {
    client(name).per_endpoint(AsIs)
}

/// One circuit breaker, one bulkhead and one attempt timeout for each endpoint of a set. `T` tells requests where they go,
/// and `M` is where the endpoints come from.
#[derive(Debug, Clone)]
pub struct PerEndpoint<T, M = Listed> {
    direct: T,
    set: endpoints::Builder,
    from: M,
}

/// Endpoints come from a list.
#[derive(Debug, Clone, Copy)]
pub struct Listed;

impl<C, R, K, F, H, A, Q> ClientBuilder<C, R, K, F, H, A, Q> {
    /// The same over many endpoints.
    pub(crate) fn per_endpoint<T>(
        self,
        direct: T,
    ) -> ClientBuilder<C, R, K, F, H, A, PerEndpoint<T>> {
        let set = Endpoints::builder(Arc::clone(&self.name));
        self.divided(PerEndpoint { direct, set, from: Listed })
    }
}

impl<C, R, K, F, H, A, T> ClientBuilder<C, R, K, F, H, A, PerEndpoint<T>> {
    /// The endpoints, at first. [`EndpointsHandle::adopt`](crate::endpoints::EndpointsHandle::adopt) puts others in their place.
    pub fn members<E: Into<Endpoint>>(self, members: impl IntoIterator<Item = E>) -> Self {
        self.set(|set| set.members(members))
    }

    /// The endpoints are the addresses of a name, `host:port`, looked up by the resolver of the system every 30 s.
    ///
    /// Addresses are numbers, so this is not for TLS, where the certificate names the host; and each address names series of its
    /// own in [metrics](crate::guide::metrics). It takes the place of a list that was given before.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use seawall::http;
    /// use tower::service_fn;
    ///
    /// # let client = service_fn(|_: ::http::Request<String>| async {
    /// #     Ok::<_, std::io::Error>(::http::Response::new(()))
    /// # });
    /// let web = http::endpoints("web").dns("localhost:8080").build_on(client).await?;
    /// assert!(!web.handle().endpoints().endpoints().is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn dns(
        self,
        host: impl Into<String>,
    ) -> ClientBuilder<C, R, K, F, H, A, PerEndpoint<T, Source>> {
        self.source(Source::dns(host))
    }

    /// The endpoints come from a [`Source`] that is asked again and again: DNS, a file, a closure. It is asked first by
    /// [`build_on`](Self::build_on) or [`over`](Self::over), which wait for it.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use seawall::{endpoints::Source, http};
    /// use tower::service_fn;
    ///
    /// # let client = service_fn(|_: ::http::Request<String>| async {
    /// #     Ok::<_, std::io::Error>(::http::Response::new(()))
    /// # });
    /// # let path = std::env::temp_dir().join("seawall-doc-stack-endpoints");
    /// # std::fs::write(&path, "10.0.0.1:80\n10.0.0.2:80\n")?;
    /// let web = http::endpoints("web").source(Source::file(path)).build_on(client).await?;
    /// assert_eq!(web.handle().endpoints().endpoints().len(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn source<S: Resolve>(
        self,
        source: Source<S>,
    ) -> ClientBuilder<C, R, K, F, H, A, PerEndpoint<T, Source<S>>> {
        self.redivided(|PerEndpoint { direct, set, .. }| PerEndpoint { direct, set, from: source })
    }
}

impl<C, R, K, F, H, A, T, M> ClientBuilder<C, R, K, F, H, A, PerEndpoint<T, M>> {
    /// How endpoints are chosen, and when they are ejected.
    pub fn endpoints_config(self, config: endpoints::Config) -> Self {
        self.set(|set| set.config(config))
    }

    /// How an endpoint is chosen.
    pub fn balance(self, balance: Balance) -> Self {
        self.set(|set| set.balance(balance))
    }

    /// Where the client is: endpoints in the same zone are preferred, as
    /// [`endpoints::Builder::zone`] says.
    pub fn zone(self, zone: impl Into<Arc<str>>) -> Self {
        self.set(|set| set.zone(zone))
    }

    /// Uses so many endpoints of the list and no more, as [`endpoints::Builder::subset`] says.
    pub fn subset(self, size: usize, id: impl Into<Arc<str>>) -> Self {
        self.set(|set| set.subset(size, id))
    }

    /// Makes choices repeatable, for tests.
    pub fn seed(self, seed: u64) -> Self {
        self.set(|set| set.seed(seed))
    }

    /// Changes how requests are told where they go.
    #[cfg(feature = "http")]
    pub(crate) fn direct(mut self, change: impl FnOnce(&mut T)) -> Self {
        change(&mut self.division.direct);
        self
    }

    fn set(self, change: impl FnOnce(endpoints::Builder) -> endpoints::Builder) -> Self {
        self.redivided(|division| PerEndpoint { set: change(division.set), ..division })
    }
}
