//! Keys of requests, for keyed layers.

use std::borrow::Cow;

use http::Request;
use http::header::HOST;

/// The authority a request goes to (`example.com:8080`): of its URI, or else its `Host` header;
/// empty if it has neither.
///
/// ```
/// use seawall::circuit_breaker::CircuitBreakerLayer;
/// use seawall::http::authority;
///
/// // One breaker per host, for no more than a hundred hosts.
/// let layer = CircuitBreakerLayer::builder("upstreams")
///     .keyed(authority::<String>)
///     .max_keys(100)
///     .build()?;
/// # let _ = layer;
/// # Ok::<(), seawall::ConfigErrors>(())
/// ```
pub fn authority<B>(request: &Request<B>) -> Cow<'_, str> {
    if let Some(authority) = request.uri().authority() {
        return lowercase(authority.as_str());
    }
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    lowercase(host.unwrap_or_default())
}

/// The path of a request, which for gRPC is its method (`/payments.Payments/Charge`).
///
/// Paths of plain HTTP often hold identifiers, which make a key each: for those give
/// [`keyed`](crate::circuit_breaker::Builder::keyed) the route instead.
pub fn path<B>(request: &Request<B>) -> Cow<'_, str> {
    Cow::Borrowed(request.uri().path())
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

    #[test]
    fn the_authority_is_of_the_uri_or_else_the_host() {
        let of = |uri: &str, host: &str| {
            let request = Request::get(uri).header(HOST, host).body(()).expect("a request");
            authority(&request).into_owned()
        };
        assert_eq!(of("http://Example.com:81/x", "other"), "example.com:81");
        assert_eq!(of("/x", "Example.com"), "example.com");
        assert_eq!(authority(&Request::new(())), "");
    }
}
