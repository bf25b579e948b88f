//! A client of many endpoints over reqwest's client, ready made.

use std::sync::Arc;

use http::HeaderValue;
use http::header::HOST;
use http::uri::Scheme;
use reqwest::Request;

use super::{InTimeout, authority, client};
use crate::core::completion::OnResponse;
use crate::core::config::ConfigError;
use crate::endpoints::Endpoint;
use crate::http::{HttpClassifier, Replay, destination};
use crate::retry::Chosen;
use crate::stack::{self, AsErrors, ClientBuilder, Direct, Directs, Innermost, PerEndpoint};

/// Starts to build a client of many endpoints that all serve the same, over reqwest: the [stack](stack::endpoints()) of
/// [`client`], with a circuit breaker, a bulkhead and an attempt timeout for each endpoint, and retries that go to
/// another one.
///
/// Requests go to host and port of their endpoint, whatever host they name: `http://search/?q=7` will do. An address is
/// `host:port`, or with a scheme, `https://host:port`. Without one it is the scheme of the request. A certificate is checked
/// against the address: for TLS, name hosts and not numbers. A redirect that reqwest follows goes where it says.
///
/// ```
/// # async fn client() -> Result<(), Box<dyn std::error::Error>> {
/// use tower::{Service, ServiceExt};
///
/// // reqwest's own retries are switched off, or they would multiply with these.
/// let client = reqwest::Client::builder().retry(reqwest::retry::never()).build()?;
/// let mut search = seawall::reqwest::endpoints("search")
///     .members(["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080"])
///     .build_on(client.clone())?;
/// let found = search.ready().await?.call(client.get("http://search/?q=7").build()?).await?;
/// # drop(found);
/// # Ok(()) }
/// # drop(client());
/// ```
pub fn endpoints(
    name: impl Into<Arc<str>>,
) -> ClientBuilder<
    HttpClassifier,
    Chosen<Replay>,
    InTimeout,
    OnResponse,
    OnResponse,
    AsErrors,
    PerEndpoint<ToHost>,
> {
    client(name).per_endpoint(ToHost::default())
}

/// The client that [`endpoints`] makes of reqwest's.
///
/// ```
/// use seawall::endpoints::AdoptError;
///
/// struct Search {
///     client: seawall::reqwest::EndpointsClient,
/// }
///
/// fn search(addresses: Vec<String>) -> Result<Search, AdoptError> {
///     let client = reqwest::Client::new();
///     Ok(Search { client: seawall::reqwest::endpoints("search").members(addresses).build_on(client)? })
/// }
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// assert!(search(vec!["10.0.0.1:8080/path".into()]).is_err());
/// # });
/// ```
pub type EndpointsClient<S = reqwest::Client, R = Replay> = stack::EndpointsClient<
    stack::Spread<Innermost<S>, AtHost, HttpClassifier, R, InTimeout, OnResponse, OnResponse>,
>;

/// Requests get the host and the port of their endpoint.
#[derive(Debug, Clone, Copy, Default)]
pub struct ToHost {
    preserve_host: bool,
}

impl<C, R, K, F, H, A, M> ClientBuilder<C, R, K, F, H, A, PerEndpoint<ToHost, M>> {
    /// Whether the host of a request's URL stays, as its `Host` (Envoy's and Apache's default for proxies), where it has no
    /// `Host`. By default it is that of the endpoint. Not for HTTP/2, in which both would be sent.
    pub fn preserve_host(self, preserve: bool) -> Self {
        self.direct(|direct| direct.preserve_host = preserve)
    }
}

/// Where requests to one endpoint go.
#[derive(Debug, Clone)]
pub struct AtHost {
    scheme: Option<Scheme>,
    host: Arc<str>,
    port: Option<u16>,
    preserve_host: bool,
}

impl Direct for ToHost {
    type To = AtHost;

    fn to(&self, endpoint: &Endpoint) -> Result<AtHost, ConfigError> {
        let (scheme, authority) = destination(endpoint)?;
        let (host, port) = (authority.host().into(), authority.port_u16());
        if ::reqwest::Url::parse(&format!("http://{authority}")).is_err() {
            return Err(ConfigError::new(
                "address",
                endpoint.address(),
                "a host of a URL, or a number",
            ));
        }
        Ok(AtHost { scheme, host, port, preserve_host: self.preserve_host })
    }
}

impl Directs<Request> for AtHost {
    fn direct(&self, request: &mut Request) {
        if self.preserve_host && !request.headers().contains_key(HOST) {
            let host = HeaderValue::from_str(&authority(request)).ok();
            if let Some(host) = host.filter(|host| !host.is_empty()) {
                request.headers_mut().insert(HOST, host);
            }
        }
        // A URL of reqwest is one of HTTP and has a host, so that each of these can be.
        let url = request.url_mut();
        if let Some(scheme) = &self.scheme {
            let _ = url.set_scheme(scheme.as_str());
        }
        let _ = url.set_host(Some(&self.host));
        let _ = url.set_port(self.port);
    }
}
