//! A listener, its connections, and a graceful end.

use std::error::Error as StdError;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::peer::Peer;
use crate::reply::Body;
use crate::workers::Workers;

/// How long calls may go on after the end was called for.
const GRACE: Duration = Duration::from_secs(10);
/// `accept` fails when there are no file descriptors left; connections that end give some back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// How long the head of a request may be, in bytes.
const HEAD: u32 = 64 * 1024;
/// Whoever has sent no head after this time will not.
const FIRST_HEAD: Duration = Duration::from_secs(30);
/// A caller who is gone without a word is found out by asking it whether it is there.
const STILL_THERE: Duration = Duration::from_secs(30);

/// Serves HTTP/1.1, and HTTP/2 to those who begin with it, until `stop`; then lets the calls under way
/// finish, and ends what became of upgraded connections. Says whether all did.
///
/// An error of the handler cuts the connection, or resets the stream, without an answer. All
/// connections belong to this future: dropping it cuts them.
pub(crate) async fn serve<H, F, E>(
    listener: TcpListener,
    workers: Workers,
    handler: H,
    stop: impl Future<Output = ()>,
) -> bool
where
    H: Fn(Request<Incoming>, Arc<Peer>) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<Body>, E>> + Send + 'static,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    // Each connection holds a receiver as long as it lives.
    let (stopping, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted.and_then(to_be_moved) {
                Ok((stream, peer)) => {
                    let (runtime, seat) = workers.next();
                    let (handler, stopped) = (handler.clone(), stopped.clone());
                    let connection = async move {
                        let Ok(stream) = TcpStream::from_std(stream) else { return };
                        let _ = stream.set_nodelay(true); // or answers wait for acknowledgements
                        let peer = Arc::new(Peer::new(peer));
                        serve_one(stream, peer, handler, stopped).await;
                        drop(seat);
                    };
                    connections.spawn_on(connection, &runtime);
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
            () = &mut stop => break,
        }
    }
    drop((listener, stopped));
    let _ = stopping.send(()); // there may be no connection
    timeout(GRACE, stopping.closed()).await.is_ok()
}

/// It is served on another runtime than it was accepted on.
fn to_be_moved(
    (stream, peer): (TcpStream, SocketAddr),
) -> io::Result<(std::net::TcpStream, SocketAddr)> {
    Ok((stream.into_std()?, peer))
}

/// Serves one connection to its end, whatever that is: it is of no interest to anybody.
async fn serve_one<H, F, E>(
    stream: TcpStream,
    peer: Arc<Peer>,
    handler: H,
    mut stopped: watch::Receiver<()>,
) where
    H: Fn(Request<Incoming>, Arc<Peer>) -> F + Send + 'static,
    F: Future<Output = Result<Response<Body>, E>> + Send + 'static,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    let mut http = auto::Builder::new(TokioExecutor::new());
    // With a timer, those are ended who never finish the head of their next request.
    http.http1().timer(TokioTimer::new()).max_buf_size(HEAD as usize);
    http.http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD)
        .keep_alive_interval(STILL_THERE);
    let answer = {
        let peer = Arc::clone(&peer);
        service_fn(move |request| {
            peer.asks();
            handler(request, Arc::clone(&peer))
        })
    };
    let mut connection = pin!(http.serve_connection_with_upgrades(TokioIo::new(stream), answer));
    // Before it is known which version a caller speaks, no timer of hyper's runs.
    let mut silent = pin!(sleep(FIRST_HEAD));
    let mut is_stopping = false;
    {
        let mut stop = pin!(stopped.changed());
        poll_fn(|cx| {
            if !is_stopping && stop.as_mut().poll(cx).is_ready() {
                is_stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            if connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            if peer.has_asked() { Poll::Pending } else { silent.as_mut().poll(cx) }
        })
        .await;
    }
    if let Some(tunnel) = peer.take_tunnel().filter(|_| !is_stopping) {
        tokio::select! {
            () = tunnel.run() => {}
            _ = stopped.changed() => {} // nobody knows how to end it in its own language
        }
    }
}
