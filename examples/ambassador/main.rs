//! The ambassador: a small reverse proxy for HTTP/1.1, HTTP/2 and gRPC that stands in front of one
//! upstream and is the one place that does retries, circuit breaking, timeouts and counting for it.
//!
//! ```text
//! cargo run --example ambassador
//! cargo run --example ambassador -- --listen 127.0.0.1:8080 --upstream http://127.0.0.1:3000
//! ```
//!
//! Without arguments it shows what it is good for: an upstream that turns flaky, slow, failing,
//! hanging and dead, and the same load on it twice, straight and through an ambassador. With
//! `--listen` and `--upstream` it is a proxy in front of anything, until ctrl-c.
//!
//! | file | holds |
//! | --- | --- |
//! | `stack.rs` | **the layers**, and what is worth seeing of them: start reading here |
//! | `check.rs` | the health check of the upstream, and its hand on the breaker's switch |
//! | `proxy.rs` | one request on its way to the upstream and back |
//! | `client.rs` | the HTTP client, and which version it speaks to the upstream |
//! | `pool.rs` | connections to the upstream over HTTP/1.1, kept for the next call |
//! | `wire/` | how HTTP/1.1 is spoken on them |
//! | `outbound.rs` | a request as the layers see it, cheap to copy |
//! | `body.rs` | bodies that are recorded so that their requests can be repeated |
//! | `headers.rs` | which header fields end here, and what is added |
//! | `hops.rs` | requests that are to end at a proxy |
//! | `peer.rs` | who is at the other end of a caller's connection |
//! | `tunnel.rs` | connections that speak another protocol from some moment on |
//! | `reply.rs` | what a caller is told when the upstream gave no answer |
//! | `server.rs` | a listener, its connections, and a graceful end |
//! | `workers.rs` | threads that serve, one for each core |
//! | `clock.rs` | what time it is |
//! | `admin.rs` | `/metrics` and `/healthz`, on a port of their own: the proxy's paths are the upstream's |
//! | `signals.rs` | ctrl-c |
//! | `args.rs` | the command line |
//! | `demo/` | the show: script, upstream, load, live table, summary |

mod admin;
mod args;
mod body;
mod check;
mod client;
mod clock;
mod demo;
mod headers;
mod hops;
mod outbound;
mod peer;
mod pool;
mod proxy;
mod reply;
mod server;
mod signals;
mod stack;
mod tunnel;
mod wire;
mod workers;

use std::process::ExitCode;

use mimalloc::MiMalloc;
use seawall::{Event, EventKind};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use self::args::{Command, Stand, USAGE};
use self::check::Check;
use self::proxy::Proxy;
use self::signals::Stops;
use self::stack::Settings;

/// A call through a proxy is two dozen small allocations, and these cost a third with this one.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The arguments make no sense.
const BAD_ARGUMENTS: u8 = 2;
/// It could not do what it was asked to.
const FAILED: u8 = 1;
/// Stopped by a second ctrl-c, as a shell reports it: 128 and the number of SIGINT.
const INTERRUPTED: u8 = 130;

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Command::parse(std::env::args().skip(1)) {
        Ok(Command::Help) => {
            print!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        Ok(Command::Demo { seconds, limit }) => {
            demo::run(seconds, limit).await.map(|()| ExitCode::SUCCESS)
        }
        Ok(Command::Stand(stand)) => stand_in_front(*stand).await,
        Err(problem) => {
            eprintln!("ambassador: {problem}\nambassador: --help tells what there is");
            return ExitCode::from(BAD_ARGUMENTS);
        }
    };
    done.unwrap_or_else(|problem| {
        eprintln!("ambassador: {problem}");
        ExitCode::from(FAILED)
    })
}

/// Stands in front of an upstream until it is told to stop.
async fn stand_in_front(stand: Stand) -> Result<ExitCode, String> {
    let mut stops = Stops::listen()?;
    let recorder = admin::record()?;
    let front = listen(&stand.listen, "--listen").await?;
    let back = listen(&stand.admin, "--admin").await?;
    let settings = Settings {
        name: stand.upstream.authority().to_owned(),
        deadline: stand.deadline,
        timeout: stand.timeout,
        limit: stand.limit,
        check: Check {
            upstream: stand.upstream.clone(),
            target: stand.check,
            http2: stand.manners.http2,
            every: stand.check_every,
            timeout: stand.timeout,
        },
        manners: stand.manners.clone(),
    };
    let (stack, gauges) =
        stack::build(settings, report, || {}).map_err(|problem| problem.to_string())?;

    println!("ambassador of {} on http://{}", stand.upstream, address(&front)?);
    println!("metrics on http://{}/metrics", address(&back)?);
    println!("health on http://{}/healthz", address(&back)?);
    if let Err(why) = stand.upstream.connect().await {
        // No reason to give up: whoever starts first should not matter.
        let upstream = &stand.upstream;
        eprintln!("warning: no answer from {upstream} ({why}); callers get none until it is there");
    }

    let mut admin = JoinSet::new(); // ends with this function
    admin.spawn(admin::serve(back, recorder, gauges.registry()));
    let (leave, left) = oneshot::channel();
    let stop = async {
        let _ = left.await;
    };
    let stopped_twice = async {
        stops.next().await;
        eprintln!("stopping: no new calls, waiting for those in flight (ctrl-c again: at once)");
        let _ = leave.send(());
        stops.next().await;
    };
    let proxy = Proxy::new(stack, stand.upstream, stand.deadline)
        .explaining(stand.explain)
        .telling(stand.origins, stand.manners.trust)
        .uploading(stand.limit.div_ceil(2) as usize, stand.timeout / 4)
        .ending_upgraded_after(stand.upgrade_idle);
    tokio::select! {
        finished = proxy.serve(front, stop) => {
            eprintln!("{}", if finished { "stopped" } else { "stopped; some calls took too long" });
            Ok(ExitCode::SUCCESS)
        }
        () = stopped_twice => Ok(ExitCode::from(INTERRUPTED)),
    }
}

/// Tells the log of every change of state.
fn report(event: &Event) {
    let (source, at) = (&event.origin, event.at.as_secs_f64());
    if let EventKind::Changed { from, to, cause, .. } = event.kind {
        eprintln!("{at:9.3} s  {source}: {from} → {to} ({cause})");
    }
}

async fn listen(address: &str, option: &str) -> Result<TcpListener, String> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|why| format!("cannot listen on {address}: {why}; choose another {option}"))
}

fn address(listener: &TcpListener) -> Result<std::net::SocketAddr, String> {
    listener.local_addr().map_err(|why| format!("a socket without an address: {why}"))
}
