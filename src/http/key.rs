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
