//! A listener, its connections, and a graceful end.

use std::error::Error as StdError;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

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
/// finish. Says whether they all did.
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
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<Body>, E>> + Send + 'static,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted.and_then(|(s, peer)| Ok((s.into_std()?, peer))) {
                Ok((stream, peer)) => {
                    let (runtime, seat) = workers.next();
                    let (handler, watcher) = (handler.clone(), graceful.watcher());
                    let serve_one = async move {
                        let _seat = seat;
                        let Ok(stream) = TcpStream::from_std(stream) else { return };
                        let _ = stream.set_nodelay(true); // or answers wait for acknowledgements
                        serve_connection(stream, move |request| handler(request, peer), watcher).await;
                    };
                    connections.spawn_on(serve_one, &runtime);
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
            () = &mut stop => break,
        }
    }
    drop(listener);
    timeout(GRACE, graceful.shutdown()).await.is_ok()
}

/// Serves one connection to its end, whatever that is: it is of no interest to anybody.
async fn serve_connection<H, F, E>(
    stream: TcpStream,
    handler: H,
    watcher: hyper_util::server::graceful::Watcher,
) where
    H: Fn(Request<Incoming>) -> F + Send + 'static,
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
    let has_asked = Arc::new(AtomicBool::new(false));
    let asks = Arc::clone(&has_asked);
    let answer = service_fn(move |request| {
        asks.store(true, Ordering::Relaxed);
        // In a box, or all that a call holds is moved each time that one begins.
        Box::pin(handler(request))
    });
    let connection = http.serve_connection(TokioIo::new(stream), answer);
    let mut connection = pin!(watcher.watch(connection.into_owned()));
    // Before it is known which version a caller speaks, no timer of hyper's runs.
    let mut silent = pin!(sleep(FIRST_HEAD));
    poll_fn(|cx| {
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if has_asked.load(Ordering::Relaxed) { Poll::Pending } else { silent.as_mut().poll(cx) }
    })
    .await;
}
