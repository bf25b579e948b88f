//! A client of many endpoints of HTTP, ready made.

use std::mem;
use std::sync::Arc;

use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Uri, Version};

use super::client;
use crate::core::completion::OnResponse;
use crate::core::config::ConfigError;
use crate::endpoints::Endpoint;
use crate::http::{HttpClassifier, InExtensions, Replay};
use crate::retry::Chosen;
use crate::stack::{self, AsErrors, ClientBuilder, Direct, Directs, Innermost, PerEndpoint};

/// Starts to build a client of many endpoints of HTTP that all serve the same: the [stack](stack::endpoints()) of
/// [`client`], with a circuit breaker, a bulkhead and an attempt timeout for each endpoint, and retries that go to
/// another one.
///
/// Requests get the scheme and the authority of the endpoint they are sent to, so a path is enough:
/// `Request::get("/search")`. An address is `host:port`, or with a scheme, `https://host:port`. Without one it is the
/// scheme of the request, or [`scheme`](ClientBuilder::scheme). A certificate is checked against the address: for
/// TLS, name hosts and not numbers. A `Host` that the request has stays; the authority of
/// its URI does if you [say so](ClientBuilder::preserve_host).
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// use seawall::http;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
/// let search = http::endpoints("search")
///     .members(["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080"])
///     .build_on(client)?;
/// # let _ = seawall::check_service::<_, ::http::Request<Full<Bytes>>>(search);
/// # Ok::<(), seawall::endpoints::AdoptError>(()) }).unwrap();
/// ```
///
/// Each endpoint may have a client of its own, with layers of yours around it:
///
/// ```
/// # use bytes::Bytes;
/// # use http_body_util::Full;
/// # use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// use seawall::{Error, http, rate_limit::RateLimitLayer};
/// use std::time::Duration;
/// use tower::ServiceBuilder;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// let search = http::endpoints("search").members(["10.0.0.1:8080", "10.0.0.2:8080"]).over(|endpoint| {
///     let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
///     let quota = RateLimitLayer::new(endpoint.name(), 100, Duration::from_secs(1))?;
///     Ok(ServiceBuilder::new().layer(quota).map_err(Error::Inner).service(client))
/// })?;
/// # let _ = seawall::check_service::<_, ::http::Request<Full<Bytes>>>(search);
/// # Ok::<(), seawall::endpoints::AdoptError>(()) }).unwrap();
/// ```
pub fn endpoints(
    name: impl Into<Arc<str>>,
) -> ClientBuilder<
    HttpClassifier,
    Chosen<Replay>,
    InExtensions,
    OnResponse,
    OnResponse,
    AsErrors,
    PerEndpoint<ToAuthority>,
> {
    client(name).per_endpoint(ToAuthority::default())
}

/// The client that [`endpoints`] makes of a client `S`.
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper_util::{client::legacy::{Client, connect::HttpConnector}, rt::TokioExecutor};
/// use seawall::{endpoints::AdoptError, http};
///
/// struct Search {
///     client: http::EndpointsClient<Client<HttpConnector, Full<Bytes>>>,
/// }
///
/// fn search(addresses: &[String]) -> Result<Search, AdoptError> {
///     let client = Client::builder(TokioExecutor::new()).build_http();
///     Ok(Search { client: http::endpoints("search").members(addresses.to_vec()).build_on(client)? })
/// }
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// assert!(search(&[]).is_err()); // nobody to send to
/// # });
/// ```
pub type EndpointsClient<S, R = Replay> = stack::EndpointsClient<
    stack::Spread<
        Innermost<S>,
        ToDestination,
        HttpClassifier,
        R,
        InExtensions,
        OnResponse,
        OnResponse,
    >,
>;

/// Requests get the scheme and the authority of their endpoint.
#[derive(Debug, Clone, Default)]
pub struct ToAuthority {
    scheme: Option<Scheme>,
    preserve_host: bool,
}

impl<C, R, K, F, H, A, M> ClientBuilder<C, R, K, F, H, A, PerEndpoint<ToAuthority, M>> {
    /// The scheme of endpoints whose address has none. By default that of the request, or `http`.
    pub fn scheme(self, scheme: Scheme) -> Self {
        self.direct(|direct| direct.scheme = Some(scheme))
    }

    /// Whether the authority of a request's URI stays, as its `Host` (Envoy's and Apache's default for proxies), where it has no
    /// `Host`. By default it is that of the endpoint. Not for HTTP/2, in which both would be sent.
    pub fn preserve_host(self, preserve: bool) -> Self {
        self.direct(|direct| direct.preserve_host = preserve)
    }
}

/// Where requests to one endpoint go.
#[derive(Debug, Clone)]
pub struct ToDestination {
    /// That of the address, or of the settings.
    scheme: Option<Scheme>,
    authority: Authority,
    preserve_host: bool,
}

const ACCEPTED: &str = "`host:port`, or with a scheme `https://host:port`, and no path";

impl Direct for ToAuthority {
    type To = ToDestination;

    fn to(&self, endpoint: &Endpoint) -> Result<ToDestination, ConfigError> {
        let (scheme, authority) = destination(endpoint)?;
        let scheme = scheme.or_else(|| self.scheme.clone());
        Ok(ToDestination { scheme, authority, preserve_host: self.preserve_host })
    }
}

/// What an address says.
pub(crate) fn destination(endpoint: &Endpoint) -> Result<(Option<Scheme>, Authority), ConfigError> {
    let address = endpoint.address();
    let parsed = if address.contains("://") {
        address.parse::<Uri>().ok().and_then(|uri| {
            let parts = uri.into_parts();
            let path = parts.path_and_query.as_ref().map_or("/", PathAndQuery::as_str);
            (path == "/").then_some((parts.scheme, parts.authority?))
        })
    } else {
        address.parse().ok().map(|authority| (None, authority))
    };
    let parsed = parsed.filter(|(scheme, authority)| {
        let is_http = scheme.as_ref().is_none_or(|it| [Scheme::HTTP, Scheme::HTTPS].contains(it));
        let (host, is_plain) = (authority.host(), !authority.as_str().contains('@'));
        let port = &authority.as_str()[host.len().min(authority.as_str().len())..];
        is_http
            && is_plain
            && !host.is_empty()
            && (port.is_empty() || authority.port_u16().is_some())
    });
    parsed.ok_or_else(|| ConfigError::new("address", address, ACCEPTED))
}

impl<B> Directs<Request<B>> for ToDestination {
    fn direct(&self, request: &mut Request<B>) {
        let is_http2 = request.version() == Version::HTTP_2;
        if self.preserve_host && !is_http2 && !request.headers().contains_key(HOST) {
            let host = request.uri().authority().map(Authority::as_str);
            let host = host.map(|host| host.rsplit('@').next().unwrap_or(host));
            if let Some(host) = host.and_then(|host| HeaderValue::from_str(host).ok()) {
                request.headers_mut().insert(HOST, host);
            }
        }
        let mut parts = mem::take(request.uri_mut()).into_parts();
        parts.scheme = self.scheme.clone().or(parts.scheme).or(Some(Scheme::HTTP));
        parts.authority = Some(self.authority.clone());
        parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
        // It has all three parts, so there is nothing that could be wrong with it.
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    }
}
