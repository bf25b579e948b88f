//! Keys of requests, for keyed layers.

use std::borrow::Cow;

use reqwest::Request;

use crate::core::request::ExtractKey;
use crate::http::{NO_HOST, PerHost, spell};

/// The host a request goes to, with its port if that is not the usual one (`example.com:8080`).
///
/// ```
/// use seawall::circuit_breaker::CircuitBreakerLayer;
/// use seawall::reqwest::authority;
///
/// let request = reqwest::Request::new(reqwest::Method::GET, "http://Example.com:8080/".parse()?);
/// assert_eq!(authority(&request), "example.com:8080");
///
/// // One breaker per host, for no more than a hundred hosts.
/// let layer = CircuitBreakerLayer::builder("upstreams").keyed(authority).max_keys(100).build()?;
/// # drop(layer);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn authority(request: &Request) -> Cow<'_, str> {
    let url = request.url();
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => Cow::Owned(format!("{host}:{port}")),
        None => Cow::Borrowed(host),
    }
}

impl ExtractKey<Request> for PerHost {
    fn with_key<T>(&self, request: &Request, read: impl FnOnce(&str) -> T) -> T {
        let url = request.url();
        match url.host_str() {
            Some(host) => spell(host, url.port_or_known_default(), read),
            None => read(NO_HOST),
        }
    }
}
