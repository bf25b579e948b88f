//! A listener, its connections, and a graceful end.

use std::error::Error as StdError;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::reply::Body;

/// How long calls may go on after the end was called for.
const GRACE: Duration = Duration::from_secs(10);
/// `accept` fails when there are no file descriptors left; connections that end give some back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Serves HTTP/1.1 until `stop`, then lets the calls under way finish. Says whether they all did.
///
/// An error of the handler cuts the connection without an answer. Everything belongs to this future:
/// dropping it cuts them all.
pub(crate) async fn serve<H, F, E>(
    listener: TcpListener,
    handler: H,
    stop: impl Future<Output = ()>,
) -> bool
where
    H: Fn(Request<Incoming>, SocketAddr) -> F + Clone + Send + 'static,
    F: Future<Output = Result<Response<Body>, E>> + Send + 'static,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()); // ends those who never finish the head of their request
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let _ = stream.set_nodelay(true); // or answers wait for acknowledgements
                    let handler = handler.clone();
                    let answer = service_fn(move |request| handler(request, peer));
                    let connection = http.serve_connection(TokioIo::new(stream), answer);
                    // How a connection ended is of no interest to anybody.
                    connections.spawn(graceful.watch(connection));
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
