//! Who is at the other end of a caller's connection, and what becomes of that.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use hyper::header::HeaderValue;

use crate::tunnel::Tunnel;

#[derive(Debug)]
pub(crate) struct Peer {
    /// In the words of `X-Forwarded-For`.
    pub(crate) address: HeaderValue,
    /// As a node of RFC 7239 §6.
    pub(crate) node: String,
    has_asked: AtomicBool,
    tunnel: Mutex<Option<Tunnel>>,
}

impl Peer {
    pub(crate) fn new(peer: SocketAddr) -> Self {
        // Where one socket serves both, callers over IPv4 have addresses of IPv6 (RFC 4291 §2.5.5.2).
        let address = peer.ip().to_canonical();
        let node = if address.is_ipv6() { format!("\"[{address}]\"") } else { address.to_string() };
        let address = HeaderValue::try_from(address.to_string());
        let address = address.unwrap_or(HeaderValue::from_static("unknown"));
        Self { address, node, has_asked: AtomicBool::new(false), tunnel: Mutex::default() }
    }

    pub(crate) fn asks(&self) {
        self.has_asked.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_asked(&self) -> bool {
        self.has_asked.load(Ordering::Relaxed)
    }

    /// What its connection becomes when the answer under way has been sent.
    pub(crate) fn becomes(&self, tunnel: Tunnel) {
        *self.tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some(tunnel);
    }

    pub(crate) fn take_tunnel(&self) -> Option<Tunnel> {
        self.tunnel.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
