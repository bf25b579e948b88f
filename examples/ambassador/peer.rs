//! Who is at the other end of a caller's connection, and what becomes of that.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use hyper::Version;
use hyper::header::HeaderValue;

use crate::headers::Added;
use crate::tunnel::Tunnel;

#[derive(Debug)]
pub(crate) struct Peer {
    /// In the words of `X-Forwarded-For`.
    pub(crate) address: HeaderValue,
    /// As a node of RFC 7239 §6.
    pub(crate) node: String,
    /// What calls to this host, in this version, are given on their way: seldom more than one a connection.
    added: Mutex<Option<(Option<HeaderValue>, Version, Added)>>,
    asked: AtomicU32,
    is_http2: AtomicBool,
    tunnel: Mutex<Option<Tunnel>>,
}

impl Peer {
    pub(crate) fn new(peer: SocketAddr) -> Self {
        // Where one socket serves both, callers over IPv4 have addresses of IPv6 (RFC 4291 §2.5.5.2).
        let address = peer.ip().to_canonical();
        let node = if address.is_ipv6() { format!("\"[{address}]\"") } else { address.to_string() };
        let address = HeaderValue::try_from(address.to_string());
        let address = address.unwrap_or(HeaderValue::from_static("unknown"));
        let (asked, is_http2) = (AtomicU32::new(0), AtomicBool::new(false));
        Self { address, node, added: Mutex::default(), asked, is_http2, tunnel: Mutex::default() }
    }

    /// What was added to the call before, if it asked for the same, or what is to be added.
    pub(crate) fn added(
        &self,
        host: Option<&HeaderValue>,
        version: Version,
        add: impl FnOnce() -> Added,
    ) -> Added {
        let mut last = self.added.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((to, by, added)) if *by == version && to.as_ref() == host => added.clone(),
            _ => {
                let added = add();
                *last = Some((host.cloned(), version, added.clone()));
                added
            }
        }
    }

    /// It asks once more.
    pub(crate) fn asks(&self, version: Version) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.is_http2.store(version == Version::HTTP_2, Ordering::Relaxed);
    }

    /// How often it has asked.
    pub(crate) fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }

    /// Whether it was heard to speak HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        self.is_http2.load(Ordering::Relaxed)
    }

    /// What its connection becomes when the answer in flight has been sent.
    pub(crate) fn becomes(&self, tunnel: Tunnel) {
        *self.tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some(tunnel);
    }

    pub(crate) fn take_tunnel(&self) -> Option<Tunnel> {
        self.tunnel.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
