//! Which header fields end at a proxy, and which it adds.

use std::net::SocketAddr;

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Fields that are about one connection only (RFC 9110 §7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Takes out what is about the connection it came on, and what that connection names as such.
pub(crate) fn strip(headers: &mut HeaderMap) {
    // Most have none, and looking at the few that there are is cheaper than asking for each of eight.
    if !headers.keys().any(|name| HOP_BY_HOP.contains(name)) {
        return;
    }
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// Tells the upstream who asked whom. The client writes a `Host` of its own: the upstream's. In HTTP/2
/// the caller's stands in `authority`.
pub(crate) fn forward(headers: &mut HeaderMap, authority: Option<&str>, peer: SocketAddr) {
    let host = headers.remove(header::HOST);
    let authority = authority.and_then(|authority| HeaderValue::try_from(authority).ok());
    if let Some(host) = authority.or(host) {
        headers.insert(FORWARDED_HOST, host);
    }
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    // Each proxy adds whom it heard from, so only the last entry is ours to vouch for.
    let before = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let mut way: Vec<String> = before.map(str::to_owned).collect();
    way.push(peer.ip().to_string());
    if let Ok(way) = HeaderValue::try_from(way.join(", ")) {
        headers.insert(FORWARDED_FOR, way);
    }
}

/// Makes one field of the crumbs that a cookie may come in over HTTP/2 (RFC 9113 §8.2.3).
pub(crate) fn gather_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<_> =
        headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, cookie);
    }
}
