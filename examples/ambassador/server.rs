//! A listener, its connections, and a graceful end.

use std::cell::RefCell;
use std::error::Error as StdError;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use pin_project::pin_project;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep, timeout};

use crate::clock::now;
use crate::peer::Peer;
use crate::reply::Body;
use crate::workers::Workers;

/// How long calls may go on after the end was called for.
const GRACE: Duration = Duration::from_secs(10);
/// `accept` fails when there are no file descriptors left; connections that end give some back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// How long the head of a request may be, in bytes.
const HEAD: u32 = 64 * 1024;
/// Whoever has sent no head after this time will not. On a connection that is kept it may take twice as
/// long to find that out.
const NEXT_HEAD: Duration = Duration::from_secs(30);
/// A caller who is gone without a word is found out by asking it whether it is there.
const STILL_THERE: Duration = Duration::from_secs(30);

/// Serves HTTP/1.1, and HTTP/2 to those who begin with it, until `stop`; then lets the calls in flight
/// finish, and ends what became of upgraded connections. Says whether all did.
///
/// Each connection has a clone of the handler. An error of it cuts the connection, or resets the stream,
/// without an answer. All connections belong to this future: dropping it cuts them.
pub(crate) async fn serve<H, F, E>(
    listener: TcpListener,
    workers: Workers,
    handler: H,
    stop: impl Future<Output = ()>,
) -> bool
where
    H: FnMut(Request<Incoming>, Arc<Peer>) -> F + Clone + Send + 'static,
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
    H: FnMut(Request<Incoming>, Arc<Peer>) -> F + Send + 'static,
    F: Future<Output = Result<Response<Body>, E>> + Send + 'static,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    let mut http = auto::Builder::new(TokioExecutor::new());
    // Without a timer: hyper would set it anew for each head.
    http.http1().max_buf_size(HEAD as usize);
    http.http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD)
        .keep_alive_interval(STILL_THERE);
    let answer = {
        let peer = Arc::clone(&peer);
        let handler = RefCell::new(handler);
        service_fn(move |request: Request<Incoming>| {
            peer.asks(request.version());
            let mut handler = handler.borrow_mut(); // it does not call itself
            handler(request, Arc::clone(&peer))
        })
    };
    let mut connection = pin!(http.serve_connection_with_upgrades(TokioIo::new(stream), answer));
    let mut silence = pin!(Silence::new(&peer));
    let mut is_stopping = false;
    {
        let look = stopped.clone();
        let mut stop = pin!(stopped.changed());
        let mut is_heard = false;
        poll_fn(|cx| {
            // Its task is always the same, so that it says only once whom to wake.
            if !is_stopping && (!is_heard || look.has_changed().unwrap_or(true)) {
                is_heard = true;
                if stop.as_mut().poll(cx).is_ready() {
                    is_stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
            if connection.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            silence.as_mut().poll(cx)
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

/// Ends when a caller has sent no head for too long, and nothing is in flight for it. Callers of HTTP/2 are
/// asked whether they are there, instead.
#[pin_project]
struct Silence<'a> {
    peer: &'a Arc<Peer>,
    /// How many hold it while it asks for nothing: us, and the service.
    idle: usize,
    /// How often it had asked when the time began, unless a call was in flight.
    seen: Option<u32>,
    #[pin]
    timer: Sleep,
    is_set: bool,
}

impl<'a> Silence<'a> {
    fn new(peer: &'a Arc<Peer>) -> Self {
        let idle = Arc::strong_count(peer);
        Self { peer, idle, seen: Some(0), timer: sleep(NEXT_HEAD), is_set: false }
    }
}

impl Future for Silence<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        // Its task is always the same, so that one that is set need not be told again whom to wake.
        while !*this.is_set || this.timer.is_elapsed() {
            if this.timer.as_mut().poll(cx).is_pending() {
                *this.is_set = true;
                break;
            }
            let (asked, idles) = (this.peer.asked(), Arc::strong_count(this.peer) <= *this.idle);
            if idles && *this.seen == Some(asked) && !this.peer.is_http2() {
                return Poll::Ready(());
            }
            *this.seen = idles.then_some(asked);
            this.timer.as_mut().reset(now() + NEXT_HEAD);
            *this.is_set = false;
        }
        Poll::Pending
    }
}
