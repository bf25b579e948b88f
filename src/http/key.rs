//! Keys of requests, for keyed layers.

use std::borrow::Cow;

use http::header::HOST;
use http::{Request, Uri};

use crate::core::request::ExtractKey;
use crate::stack::{ClientBuilder, PerKey, Spelling, Undivided};

/// The key of requests that name no host; see [`PerHost`].
pub const NO_HOST: &str = "(none)";
/// The longest host that a URI may have (RFC 3986 §3.2.2 leaves it to DNS), a colon and a port.
const LONGEST: usize = 255 + 6;

/// The authority a request goes to (`example.com:8080`): of its URI, or else its `Host` header;
/// empty if it has neither. In lower case, without what a URI may say of the user, and with no port where
/// it is that of the scheme.
///
/// ```
/// use seawall::circuit_breaker::CircuitBreakerLayer;
/// use seawall::http::authority;
///
/// let request = http::Request::get("http://Example.com:8080/orders").body(String::new())?;
/// assert_eq!(authority(&request), "example.com:8080");
///
/// // One breaker per host, for no more than a hundred hosts.
/// let layer = CircuitBreakerLayer::builder("upstreams")
///     .keyed(authority::<String>)
///     .max_keys(100)
///     .build()?;
/// # drop(layer);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn authority<B>(request: &Request<B>) -> Cow<'_, str> {
    let Some((host, port)) = destination(request) else { return Cow::Borrowed("") };
    match port.filter(|port| Some(*port) != default_port(request.uri())) {
        Some(port) => Cow::Owned(format!("{}:{port}", lowercase(host))),
        None => lowercase(host),
    }
}

/// The path of a request, which for gRPC is its method (`/payments.Payments/Charge`).
///
/// Paths of plain HTTP often hold identifiers, which make a key each: for those give
/// [`keyed`](crate::circuit_breaker::Builder::keyed) the route instead.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use http::{Request, Response};
/// use seawall::circuit_breaker::{CircuitBreakerLayer, Trip};
/// use seawall::{Error, http::path};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// // One breaker per method of a gRPC service: a broken report keeps nobody from paying.
/// let breakers = CircuitBreakerLayer::builder("payments")
///     .trip(Trip::consecutive(1))
///     .keyed(path::<()>)
///     .build()?;
/// let handle = breakers.handle();
/// let payments = ServiceBuilder::new().layer(breakers).map_err(Error::Inner).service(service_fn(
///     |_: Request<()>| async { Ok::<_, std::io::Error>(Response::new("paid")) },
/// ));
///
/// payments.oneshot(Request::post("http://pay:50051/payments.Payments/Charge").body(())?).await?;
/// assert_eq!(&*handle.keys()[0], "/payments.Payments/Charge");
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub fn path<B>(request: &Request<B>) -> Cow<'_, str> {
    Cow::Borrowed(request.uri().path())
}

/// The key of a request is where it goes: host and port, as in `example.com:443`.
///
/// The host is in lower case, and of the URI or else of the `Host` header. The port is that of the scheme
/// where none is named, so `http://example.com` is `example.com:80` and another key than
/// `https://example.com`; where the URI has no scheme either, it stays open (`example.com`). A request
/// that names no host at all has the key `(none)`. Nothing is allocated to tell.
///
/// For requests of `http` and of `reqwest`. Where a client follows redirects by itself, the key is that of
/// the first hop.
///
/// ```
/// use seawall::keyed::ExtractKey;
/// use seawall::http::PerHost;
///
/// let key = |uri: &str| {
///     let request = http::Request::get(uri).body(()).unwrap();
///     PerHost.with_key(&request, str::to_owned)
/// };
/// assert_eq!(key("https://Example.com/orders"), "example.com:443");
/// assert_eq!(key("http://user@example.com:8080/"), "example.com:8080");
/// assert_eq!(key("/orders"), "(none)");
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct PerHost;

impl<B> ExtractKey<Request<B>> for PerHost {
    fn with_key<T>(&self, request: &Request<B>, read: impl FnOnce(&str) -> T) -> T {
        match destination(request) {
            Some((host, port)) => spell(host, port.or(default_port(request.uri())), read),
            None => read(NO_HOST),
        }
    }
}

impl<C, R, K, F, H, A> ClientBuilder<C, R, K, F, H, A, Undivided> {
    /// One circuit breaker and one bulkhead for each host that is called, where there is one for all
    /// otherwise: a host that is down does not close the way to the others, and one that hangs does not
    /// take their places. What a host is says [`PerHost`].
    ///
    /// At most 10,000 hosts have one of their own
    /// ([`max_keys`](Self::max_keys)); when there is no room for another, one that is at rest makes room,
    /// and if none is, the new ones share one of each.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use seawall::circuit_breaker::Overrides;
    /// use seawall::{Error, http, stack::KeyOverrides};
    /// use std::time::Duration;
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    /// # async fn send(_: ::http::Request<String>) -> Result<::http::Response<String>, std::io::Error> { Ok(Default::default()) }
    ///
    /// // The reports are slow to come back.
    /// let reports = Overrides { break_duration: Some(Duration::from_secs(10)), ..Overrides::default() };
    /// let layer = http::client("web")
    ///     .per_host()
    ///     .overrides([("reports.example:443", KeyOverrides { breaker: reports, ..KeyOverrides::default() })])
    ///     .build()?;
    /// let hosts = layer.handle();
    /// let web = ServiceBuilder::new().layer(layer).map_err(Error::Inner).service(service_fn(send));
    ///
    /// web.oneshot(::http::Request::get("https://Reports.example/q3").body(String::new())?).await?;
    /// let reports = hosts.breakers().key("reports.example:443").unwrap();
    /// assert_eq!(reports.config().break_duration, Duration::from_secs(10));
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn per_host(self) -> ClientBuilder<C, R, K, F, H, A, PerKey<PerHost>> {
        self.divided(PerKey::spelt(PerHost, HOSTS))
    }
}

const HOSTS: Spelling = Spelling {
    is_right: |key| {
        let uri = key.parse::<Uri>().ok();
        let authority = uri.as_ref().and_then(Uri::authority);
        let spelt = |authority: &http::uri::Authority| {
            spell(authority.host(), authority.port_u16(), |spelt| spelt == key)
        };
        key == NO_HOST || authority.is_some_and(spelt)
    },
    accepted: "a host in lower case, with the port that requests name or imply, as in \"example.com:443\"",
};

/// Host and port, as the request says them.
fn destination<B>(request: &Request<B>) -> Option<(&str, Option<u16>)> {
    if let Some(authority) = request.uri().authority() {
        return Some((authority.host(), authority.port_u16()));
    }
    let host = request.headers().get(HOST)?.to_str().ok()?;
    let told = match host.rsplit_once(':') {
        // In an address of IPv6 there are colons too, and brackets around it.
        Some((name, port)) if !port.ends_with(']') => (name, port.parse().ok()),
        _ => (host, None),
    };
    (!told.0.is_empty()).then_some(told)
}

/// The port that a scheme goes to where none is named.
fn default_port(uri: &Uri) -> Option<u16> {
    match uri.scheme_str()? {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

/// Hands the key of a host to `read`.
pub(crate) fn spell<T>(host: &str, port: Option<u16>, read: impl FnOnce(&str) -> T) -> T {
    let mut buffer = [0; LONGEST];
    let Some(name) = buffer.get_mut(..host.len()) else {
        return read(host); // which is nobody's own key: keyed layers have none so long
    };
    name.copy_from_slice(host.as_bytes());
    name.make_ascii_lowercase();
    let mut end = host.len();
    if let Some(port) = port {
        let mut digits = [0; 5];
        let mut first = digits.len();
        let mut left = port;
        loop {
            first -= 1;
            digits[first] = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                break;
            }
        }
        let digits = &digits[first..];
        let Some(told) = buffer.get_mut(end..=end + digits.len()) else { return read(host) };
        told[0] = b':';
        told[1..].copy_from_slice(digits);
        end += told.len();
    }
    read(std::str::from_utf8(&buffer[..end]).unwrap_or(host))
}

/// Hosts are the same in any case (RFC 9110 §4.2.3), so they share one key.
fn lowercase(host: &str) -> Cow<'_, str> {
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, host: &str) -> Request<()> {
        let request = Request::builder().uri(uri);
        let request = if host.is_empty() { request } else { request.header(HOST, host) };
        request.body(()).expect("a request")
    }

    #[test]
    fn the_authority_is_of_the_uri_or_else_the_host() {
        let of = |uri: &str, host: &str| authority(&request(uri, host)).into_owned();
        assert_eq!(of("http://Example.com:81/x", "other"), "example.com:81");
        assert_eq!(of("/x", "Example.com"), "example.com");
        assert_eq!(of("/x", ""), "");
        assert_eq!(of("http://user:word@example.com/", ""), "example.com", "no password is a key");
        assert_eq!(of("http://example.com:80/", ""), of("http://example.com/", ""));
        assert_eq!(of("https://example.com:80/", ""), "example.com:80");
    }

    #[test]
    fn a_host_is_spelt_in_one_way() {
        let of = |uri: &str, host: &str| PerHost.with_key(&request(uri, host), str::to_owned);
        for (uri, host, key) in [
            ("http://Example.com/x", "other", "example.com:80"),
            ("http://example.com:80", "", "example.com:80"),
            ("http://example.com:0080", "", "example.com:80"),
            ("https://EXAMPLE.com", "", "example.com:443"),
            ("wss://example.com", "", "example.com:443"),
            ("https://u:p@example.com:8443", "", "example.com:8443"),
            ("ftp://example.com", "", "example.com"),
            ("http://[::1]:8080/", "", "[::1]:8080"),
            ("http://[2001:DB8::1]/", "", "[2001:db8::1]:80"),
            ("/x", "Example.com:8080", "example.com:8080"),
            ("/x", "example.com", "example.com"),
            ("/x", "[::1]", "[::1]"),
            ("/x", "[::1]:81", "[::1]:81"),
            ("example.com:443", "", "example.com:443"),
            ("/x", "", NO_HOST),
            ("*", "", NO_HOST),
            ("http://example.com:65535", "", "example.com:65535"),
            ("http://example.com:0", "", "example.com:0"),
        ] {
            assert_eq!(of(uri, host), key, "{uri}, {host}");
        }
        let long = "a".repeat(300);
        assert_eq!(of(&format!("http://{long}/"), ""), long);
        let edge = "a".repeat(255);
        assert_eq!(of(&format!("http://{edge}:65535/"), ""), format!("{edge}:65535"));
        assert_eq!(of(&format!("http://{edge}aaaaaa:65535/"), "").len(), 261);
    }

    #[test]
    fn only_keys_that_a_request_may_have_are_accepted() {
        for right in ["example.com:443", "example.com", "[::1]:80", "127.0.0.1:8080", NO_HOST] {
            assert!((HOSTS.is_right)(right), "{right}");
        }
        for wrong in [
            "Example.com:443",
            "Example.com",
            "https://example.com:443",
            "",
            "a:443/x",
            "a:b",
            "u@a:1",
        ] {
            assert!(!(HOSTS.is_right)(wrong), "{wrong}");
        }
    }
}
