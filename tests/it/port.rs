//! A port that nobody else gets, whether anybody listens on it or not.
#![allow(dead_code)] // each of the binaries with it uses a part

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// Bound for as long as this lives. Connections to it are rejected, but for while somebody [listens].
///
/// To close a listener and bind its port again is a race with everybody who asks for any port.
///
/// [listens]: Self::listen
#[derive(Debug)]
pub(crate) struct Port {
    held: TcpSocket,
}

impl Port {
    /// One of the system's choice.
    pub(crate) fn hold() -> Self {
        Self { held: bound("127.0.0.1:0".parse().unwrap()) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.held.local_addr().unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address())
    }

    /// May be dropped and asked for again, as often as is liked.
    pub(crate) fn listen(&self) -> TcpListener {
        bound(self.address()).listen(1024).unwrap()
    }
}

fn bound(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    #[cfg(unix)] // the one that listens beside the one that holds
    socket.set_reuseport(true).unwrap();
    socket.bind(address).unwrap();
    socket
}
