//! Which header fields end at a proxy, and what it says of itself: `Via` (RFC 9110 §7.6.3), `Forwarded`
//! (RFC 7239), and the `X-Forwarded-*` that came before it.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

use bytes::Bytes;
use hyper::header::{self, Entry, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Version};

use crate::peer::Peer;

/// Fields that are about one connection only (RFC 9110 §7.6.1).
static HOP_BY_HOP: [HeaderName; 8] = [
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

/// The most that an element of ours is long, without its host.
const ELEMENT: usize = 128;

/// What is done with what callers say of where a call comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Origins {
    /// Lists are continued. Each proxy vouches for the entry that it adds, and for no other.
    #[default]
    Append,
    /// Lists begin here: what callers say is taken out.
    Replace,
    /// None are sent on.
    Off,
}

// ===== looking =====

/// More fields than this are looked up by their hash.
const FEW: usize = 24;

/// The first field of a name. Most messages have few fields, and to look at them is cheaper than to make
/// a hash of the name.
pub(crate) fn get<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    if headers.len() > FEW || headers.keys().any(|one| one == name) {
        return headers.get(name);
    }
    None
}

/// How many fields of a name there are.
pub(crate) fn count(headers: &HeaderMap, name: &HeaderName) -> usize {
    headers.iter().filter(|(one, _)| *one == name).count()
}

// ===== hop by hop =====

/// Takes out what is about the connection it came on, and what that connection names as such. Says
/// whether the other side would like trailers: what it says of that is for the next hop only.
pub(crate) fn strip(headers: &mut HeaderMap) -> bool {
    let is_ours = |name: &&HeaderName| may_be_hop_by_hop(name) && HOP_BY_HOP.contains(name);
    let mut ours = headers.keys().filter(is_ours);
    let Some(first) = ours.next().cloned() else { return false };
    // Most have but this one, and it names none.
    let is_only = ours.next().is_none();
    if is_only && first == header::CONNECTION && is_about_keeping(headers) {
        headers.remove(first);
        return false;
    }
    let trailers = HeaderValue::from_static("trailers");
    let wants_trailers = headers.get(header::TE).is_some_and(|te| lists(te, &trailers));
    let named: Vec<HeaderName> =
        members(headers, &header::CONNECTION).filter_map(|name| name.parse().ok()).collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
    wants_trailers && named.contains(&header::TE)
}

/// Whether one of the `HOP_BY_HOP` is as long as this.
fn may_be_hop_by_hop(name: &HeaderName) -> bool {
    matches!(name.as_str().len(), 2 | 7 | 10 | 16..=19)
}

/// Whether `Connection` says no more than whether it is kept.
fn is_about_keeping(headers: &HeaderMap) -> bool {
    let mut lines = headers.get_all(header::CONNECTION).iter().map(HeaderValue::as_bytes);
    let is = |line: &[u8]| {
        line.eq_ignore_ascii_case(b"keep-alive") || line.eq_ignore_ascii_case(b"close")
    };
    lines.next().is_some_and(is) && lines.next().is_none()
}

/// Asks the next hop for trailers, in HTTP/1.1.
pub(crate) fn ask_for_trailers(headers: &mut HeaderMap) {
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("te"));
}

/// The other protocol that one side of a connection asks to speak, or agrees to: but none of HTTP's own,
/// for what comes after it would pass unseen.
pub(crate) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let protocol = get(headers, &header::UPGRADE)?;
    let named =
        members(headers, &header::CONNECTION).any(|name| name.eq_ignore_ascii_case("upgrade"));
    let mut protocols = members(headers, &header::UPGRADE).peekable();
    let is_ours = |name: &str| {
        let name = name.to_ascii_lowercase();
        name.starts_with("h2") || name.starts_with("http") || name.starts_with("tls")
    };
    (named && protocols.peek().is_some() && !protocols.any(is_ours)).then(|| protocol.clone())
}

/// Asks the next hop to speak another protocol, or agrees to it.
pub(crate) fn agree(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol);
}

/// The members of a field that is a list of words.
fn members<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let found = get(headers, name).map(|_| headers.get_all(name).into_iter());
    let values = found.into_iter().flatten().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|word| !word.is_empty())
}

fn lists(value: &HeaderValue, word: &HeaderValue) -> bool {
    let words = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    words.into_iter().any(|one| one.eq_ignore_ascii_case(word.as_bytes()))
}

/// Makes one field of the crumbs that a cookie may come in over HTTP/2 (RFC 9113 §8.2.3).
pub(crate) fn gather_cookies(headers: &mut HeaderMap) {
    if get(headers, &header::COOKIE).is_none() {
        return;
    }
    let crumbs: Vec<_> =
        headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, cookie);
    }
}

// ===== impl Pseudonym =====

/// The name under which an ambassador speaks of itself to others: it is not its address, and nobody else
/// has the same, so that a request that comes back is known.
#[derive(Debug, Clone)]
pub(crate) struct Pseudonym {
    name: String,
    via: [HeaderValue; 3],
}

impl Pseudonym {
    /// One that no other has, but by chance.
    pub(crate) fn unique() -> Self {
        let name = format!("ambassador-{:016x}", RandomState::new().hash_one(std::process::id()));
        let via = ["1.0", "1.1", "2"].map(|version| {
            HeaderValue::try_from(format!("{version} {name}"))
                .unwrap_or(HeaderValue::from_static("1.1 ambassador"))
        });
        Self { name, via }
    }

    /// Whether a request was here before.
    pub(crate) fn is_in(&self, headers: &HeaderMap) -> bool {
        // A member is a protocol, the name of who received it, and perhaps a comment.
        let names = members(headers, &header::VIA).filter_map(|one| one.split_whitespace().nth(1));
        names.into_iter().any(|name| name == self.name)
    }

    /// Says that a message came this way, and in which version it was received.
    pub(crate) fn sign(&self, headers: &mut HeaderMap, version: Version) {
        let via = match version {
            Version::HTTP_09 | Version::HTTP_10 => &self.via[0],
            Version::HTTP_2 => &self.via[2],
            _ => &self.via[1],
        };
        continue_list(headers, &header::VIA, via.clone());
    }
}

// ===== impl Added =====

/// The fields by which a message tells its way.
static WAY: [HeaderName; 5] =
    [header::FORWARDED, FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO, header::VIA];

/// Fields that a request gets on its way, in its extensions: ready to be written, and the same for one call
/// after another.
#[derive(Debug, Clone)]
pub(crate) struct Added(Arc<(HeaderMap, Bytes)>);

impl Added {
    fn new(fields: HeaderMap) -> Self {
        let mut lines = Vec::new();
        for (name, value) in &fields {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                lines.extend_from_slice(part);
            }
        }
        Self(Arc::new((fields, lines.into())))
    }

    pub(crate) fn fields(&self) -> &HeaderMap {
        &self.0.0
    }

    /// As HTTP/1.1 has them.
    pub(crate) fn lines(&self) -> &[u8] {
        &self.0.1
    }
}

// ===== impl Teller =====

/// What a proxy tells the upstream of where its calls come from.
#[derive(Debug, Clone)]
pub(crate) struct Teller {
    pub(crate) origins: Origins,
    /// Whether callers are proxies of ours, that know better which host and scheme were asked for.
    pub(crate) trust: bool,
    pub(crate) pseudonym: Pseudonym,
}

impl Teller {
    /// Tells the upstream who asked whom, and in which version. The client writes a `Host` of its own: the
    /// upstream's. In HTTP/2 the caller's stands in `authority`.
    pub(crate) fn tell<B>(
        &self,
        request: &mut Request<B>,
        authority: Option<&str>,
        version: Version,
        peer: &Peer,
    ) {
        let headers = request.headers_mut();
        let host = authority.and_then(|authority| HeaderValue::try_from(authority).ok());
        let host = host.or_else(|| get(headers, &header::HOST).cloned());
        if self.origins == Origins::Append && !headers.keys().any(|name| WAY.contains(name)) {
            // Nothing is to be continued, so that it is the same for each call of this caller.
            let added = peer.added(host.as_ref(), version, || {
                let mut fields = HeaderMap::new();
                self.add(&mut fields, host.clone(), peer);
                self.pseudonym.sign(&mut fields, version);
                Added::new(fields)
            });
            request.extensions_mut().insert(added);
            return;
        }
        self.add(headers, host, peer);
        self.pseudonym.sign(headers, version);
    }

    fn add(&self, headers: &mut HeaderMap, host: Option<HeaderValue>, peer: &Peer) {
        if self.origins != Origins::Append {
            for name in [header::FORWARDED, FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO] {
                headers.remove(name);
            }
        }
        if self.origins == Origins::Off {
            return;
        }
        continue_list(headers, &header::FORWARDED, self.forwarded(host.as_ref(), peer));
        continue_list(headers, &FORWARDED_FOR, peer.address.clone());
        let keeps = |name| self.trust && headers.contains_key(name);
        let (keeps_host, keeps_proto) = (keeps(FORWARDED_HOST), keeps(FORWARDED_PROTO));
        if let Some(host) = host.filter(|_| !keeps_host) {
            headers.insert(FORWARDED_HOST, host);
        }
        if !keeps_proto {
            headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
        }
    }

    /// The element that is ours (RFC 7239 §4). The name that it was received `by` is an obfuscated one
    /// (§6.3).
    fn forwarded(&self, host: Option<&HeaderValue>, peer: &Peer) -> HeaderValue {
        let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
        let mut element = Vec::with_capacity(ELEMENT + host.len());
        for part in ["for=", &peer.node, ";by=_", &self.pseudonym.name] {
            element.extend_from_slice(part.as_bytes());
        }
        if !host.is_empty() {
            element.extend_from_slice(b";host=");
            quote(&mut element, host);
        }
        element.extend_from_slice(b";proto=http");
        let element = HeaderValue::from_maybe_shared(Bytes::from(element));
        element.unwrap_or(HeaderValue::from_static("for=unknown;proto=http"))
    }
}

/// As a token if it is one, or in quotes (RFC 9110 §5.6): a colon is not part of a token.
fn quote(element: &mut Vec<u8>, text: &str) {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.bytes().all(is_token) {
        element.extend_from_slice(text.as_bytes());
        return;
    }
    element.push(b'"');
    for byte in text.bytes() {
        if matches!(byte, b'"' | b'\\') {
            element.push(b'\\');
        }
        element.push(byte);
    }
    element.push(b'"');
}

/// Adds a member to a list, which is one line then. A list that leaves a quote or a comment open would
/// swallow what is added to it, and is no list.
fn continue_list(headers: &mut HeaderMap, name: &HeaderName, member: HeaderValue) {
    let mut lines = match headers.entry(name) {
        Entry::Vacant(none) => {
            none.insert(member);
            return;
        }
        Entry::Occupied(lines) => lines,
    };
    let mut whole = Vec::new();
    for line in lines.iter().map(HeaderValue::as_bytes).map(<[u8]>::trim_ascii) {
        if !line.is_empty() {
            whole.extend_from_slice(line);
            whole.extend_from_slice(b", ");
        }
    }
    if !is_closed(&whole) {
        whole.clear();
    }
    whole.extend_from_slice(member.as_bytes());
    lines.insert(HeaderValue::from_maybe_shared(Bytes::from(whole)).unwrap_or(member));
}

fn is_closed(list: &[u8]) -> bool {
    let (mut quoted, mut depth, mut bytes) = (false, 0_usize, list.iter());
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if quoted || depth > 0 => drop(bytes.next()),
            b'"' if depth == 0 => quoted = !quoted,
            b'(' if !quoted => depth += 1,
            b')' if !quoted && depth > 0 => depth -= 1,
            _ => {}
        }
    }
    !quoted && depth == 0
}
