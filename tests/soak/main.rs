//! A client under the whole stack for a while, before an upstream with bad weather, on real sockets:
//! every call ends, and nothing is left of it: no memory, task, socket or place.
//!
//! Some seconds in the suite; longer by
//!
//! ```text
//! SEAWALL_SOAK=120 cargo test --release --all-features --test soak -- --nocapture
//! ```
#![allow(unsafe_code)] // an allocator cannot be written without
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../hostile/server.rs"]
#[allow(dead_code)] // no scripts here
mod server;
mod weather;

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::uri::Authority;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use seawall::circuit_breaker::{CircuitBreakerLayer, State};
use seawall::http::drain::DrainLayer;
use seawall::http::{HttpClassifier, InExtensions, OnBodyEnd, RecordBodyLayer, Replay};
use seawall::stack::ClientBuilder;
use seawall::{Error, Event, EventKind, Reason, bulkhead, retry, stack};
use tokio::net::TcpSocket;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::{Service, ServiceBuilder, ServiceExt};

use server::Server;
use weather::{Sky, WHOLE_YEAR, Weather};

// ===== counting =====

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static LIVE: AtomicI64 = AtomicI64::new(0);

fn count(bytes: usize) {
    LIVE.fetch_add(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
}

fn discount(bytes: usize) {
    LIVE.fetch_sub(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
}

// SAFETY: every method hands its arguments on to the system's allocator, as they came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        discount(layout.size());
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        discount(layout.size());
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Waits until no connection and no task is left of a client that is gone. Returns the bytes that are.
async fn at_rest(server: &Server, tasks: usize) -> i64 {
    server.until("idle", |books| books.open == 0).await;
    let alive = || Handle::current().metrics().num_alive_tasks();
    for _ in 0..1000 {
        if alive() == tasks {
            break;
        }
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(alive(), tasks, "tasks that nobody owns");
    sleep(Duration::from_millis(50)).await; // until the server has noticed it, too
    LIVE.load(Ordering::Relaxed)
}

// ===== calling =====

const CALLERS: usize = 8;
/// Fewer than callers, so that some wait and some are rejected.
const PLACES: u32 = 5;
const DEADLINE: Duration = Duration::from_millis(500);
/// No call takes longer than its deadline, but for a machine that is busy with other things.
const AT_MOST: Duration = Duration::from_secs(5);

/// What may be more at the end than after the warm-up: slots of slabs and of tables. A leak of one byte
/// for ten calls would be more within two minutes.
const TOLERANCE: i64 = 32 * 1024;
/// Those in flight, those in the pool, and those that were given up and are not closed yet.
const MOST_SOCKETS: usize = 6 * CALLERS;

/// What came of the calls.
#[derive(Debug, Default)]
struct Tally {
    calls: AtomicU64,
    well: AtomicU64,
    cut: AtomicU64,
    status: AtomicU64,
    failed: AtomicU64,
    timed_out: AtomicU64,
    circuit_open: AtomicU64,
    full: AtomicU64,
    given_up: AtomicU64,
    retries: AtomicU64,
    trips: AtomicU64,
}

fn add(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

impl Tally {
    fn answers(&self) -> [u64; 8] {
        [
            &self.well,
            &self.cut,
            &self.status,
            &self.failed,
            &self.timed_out,
            &self.circuit_open,
            &self.full,
            &self.given_up,
        ]
        .map(|count| count.load(Ordering::Relaxed))
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [well, cut, status, failed, timed_out, circuit_open, full, given_up] = self.answers();
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        write!(
            f,
            "{} calls: {well} well, {cut} cut, {status} rejected by status, {failed} failed, \
             {timed_out} timed out, {circuit_open} rejected by the circuit, {full} by the bulkhead, \
             {given_up} given up; {} retries, {} trips",
            of(&self.calls),
            of(&self.retries),
            of(&self.trips),
        )
    }
}

fn layers(
    tally: &Arc<Tally>,
) -> ClientBuilder<HttpClassifier, retry::Chosen<Replay>, InExtensions, OnBodyEnd, OnBodyEnd> {
    let retry =
        retry::Config { max_retry_after: Duration::from_millis(50), ..retry::Config::default() };
    let bulkhead = bulkhead::Config { limit: PLACES, queue: 2, ..bulkhead::Config::default() };
    let tally = Arc::clone(tally);
    stack::client("upstream")
        .deadline(DEADLINE)
        .attempt_timeout(Duration::from_millis(80))
        .retry(retry)
        .bulkhead(bulkhead)
        .classify(HttpClassifier)
        .propagate(InExtensions)
        .copy_with(Replay::default())
        .completion(OnBodyEnd)
        .permit_completion(OnBodyEnd)
        .observe(move |event: &Event| match event.kind {
            EventKind::Retrying { .. } => add(&tally.retries),
            EventKind::Changed { to, .. } if to == State::Open.as_str() => add(&tally.trips),
            _ => {}
        })
}

/// One call and its body; some are given up, at any point.
async fn call<S, B, E>(service: &mut S, url: &str, tally: &Tally)
where
    S: Service<Request<Full<Bytes>>, Response = http::Response<B>, Error = Error<E>>,
    B: http_body::Body,
    E: fmt::Debug,
{
    add(&tally.calls);
    // More paths than a keyed layer has room for, and more methods than one.
    let request = Request::builder().uri(format!("{url}{}", fastrand::u16(..)));
    let request = match fastrand::u8(0..4) {
        0 => request.method("PUT").body(Full::from(vec![b'x'; usize::from(fastrand::u16(..))])),
        1 => request.method("POST").body(Full::from("order")),
        _ => request.body(Full::default()),
    };
    let call = async {
        let Ok(ready) = service.ready().await else { panic!("a rejection out of poll_ready") };
        match ready.call(request.unwrap()).await {
            Ok(response) => {
                let good = response.status().is_success();
                let whole = response.into_body().collect().await.is_ok();
                add(if !good {
                    &tally.status
                } else if whole {
                    &tally.well
                } else {
                    &tally.cut
                });
            }
            Err(Error::Inner(_)) => add(&tally.failed),
            Err(Error::Rejected(why)) => {
                match why.reason() {
                    Reason::CircuitOpen | Reason::Recovering => add(&tally.circuit_open),
                    Reason::Full | Reason::QueueTimeout => add(&tally.full),
                    Reason::TimedOut | Reason::DeadlineExceeded => add(&tally.timed_out),
                    other => panic!("no layer here says {other}"),
                }
                return true;
            }
        }
        false
    };
    if fastrand::u8(0..8) == 0 {
        let patience = Duration::from_micros(u64::from(fastrand::u16(..)));
        if timeout(patience, call).await.is_err() {
            add(&tally.given_up);
        }
    } else if timeout(AT_MOST, call).await.expect("every call ends") {
        sleep(Duration::from_millis(2)).await; // or it would be rejected a million times a second
    }
}

/// Everybody calls until the time is over, and until their last call is.
async fn all_call<S, B, E>(service: S, url: &str, tally: &Arc<Tally>, time: Duration)
where
    S: Service<Request<Full<Bytes>>, Response = http::Response<B>, Error = Error<E>>,
    S: Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data: Send, Error: Send> + Send,
    E: fmt::Debug + Send,
{
    let over = Arc::new(AtomicBool::new(false));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (mut service, url, tally) = (service.clone(), url.to_owned(), Arc::clone(tally));
        let over = Arc::clone(&over);
        callers.spawn(async move {
            while !over.load(Ordering::Relaxed) {
                call(&mut service, &url, &tally).await;
            }
        });
    }
    drop(service);
    sleep(time).await;
    over.store(true, Ordering::Relaxed);
    callers.join_all().await;
}

/// Whether the next calls, for some seconds, come to a good answer.
async fn is_answered<S, B, E>(mut service: S, url: &str) -> bool
where
    S: Service<Request<Full<Bytes>>, Response = http::Response<B>, Error = Error<E>>,
    E: fmt::Debug,
{
    for _ in 0..200 {
        let request = Request::get(url).body(Full::default()).unwrap();
        let answer = service.ready().await.unwrap().call(request).await;
        if answer.is_ok_and(|response| response.status().is_success()) {
            return true;
        }
        sleep(Duration::from_millis(20)).await;
    }
    false
}

fn seconds() -> Option<u64> {
    std::env::var("SEAWALL_SOAK").ok().map(|seconds| seconds.parse().expect("seconds"))
}

// pitfall B24
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_many_calls_in_bad_weather() {
    let sky = Sky::default();
    let seen = sky.clone();
    let server = Server::with(move |_, socket, books| seen.clone().serve(socket, books)).await;
    let url = server.url();
    // Bound, so that nobody else has it, and not listening.
    let mute = TcpSocket::new_v4().unwrap();
    mute.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let nobody: Authority = mute.local_addr().unwrap().to_string().parse().unwrap();

    let tally = Arc::new(Tally::default());
    let layers = layers(&tally).build().unwrap();
    let by_path = CircuitBreakerLayer::builder("by path").classify(HttpClassifier);
    let by_path = by_path.keyed(seawall::http::path).max_keys(64).build().unwrap();
    // The layers stay; the client with its connections is another one each time.
    let service = || {
        let (sky, nobody) = (sky.clone(), nobody.clone());
        ServiceBuilder::new()
            .layer(RecordBodyLayer::default())
            .layer(by_path.clone())
            .layer(layers.clone())
            .layer(DrainLayer::new())
            .map_err(Error::Inner)
            .map_request(move |mut request: Request<_>| {
                if sky.weather() == Weather::Rejected {
                    let mut parts = request.uri().clone().into_parts();
                    parts.authority = Some(nobody.clone());
                    *request.uri_mut() = http::Uri::from_parts(parts).unwrap();
                }
                request
            })
            .service(Client::builder(TokioExecutor::new()).build_http())
    };
    let mut turning = JoinSet::new();
    turning.spawn(sky.clone().turn());
    let tasks = Handle::current().metrics().num_alive_tasks();

    let idle = || (layers.in_flight(), layers.bulkhead().in_flight(), layers.bulkhead().queued());
    all_call(service(), &url, &tally, WHOLE_YEAR).await; // fills tables and lists
    assert_eq!(idle(), (0, 0, 0));
    let before = at_rest(&server, tasks).await;
    let time = seconds().map_or(2 * WHOLE_YEAR, Duration::from_secs);
    all_call(service(), &url, &tally, time).await;
    assert_eq!(idle(), (0, 0, 0));
    let after = at_rest(&server, tasks).await;

    let books = server.books();
    println!(
        "{time:?}: {tally}; {} requests on {} connections, {} at a time; {} KiB before, {} after",
        books.requests,
        books.accepted,
        books.most_open,
        before >> 10,
        after >> 10,
    );
    let answers = tally.answers();
    assert_eq!(answers.iter().sum::<u64>(), tally.calls.load(Ordering::Relaxed), "{answers:?}");
    let [well, .., circuit_open, _, given_up] = answers;
    assert!(well > 0 && circuit_open > 0 && given_up > 0, "bad weather was to be seen: {tally}");
    // In a short time it can happen that each call that fails is saved.
    let short = seconds().is_none_or(|seconds| seconds < 30);
    assert!(short || answers.iter().all(|count| *count > 0), "not everything happened: {tally}");
    assert!(after - before < TOLERANCE, "memory grows: {before} and {after} bytes");
    assert!(books.most_open <= MOST_SOCKETS, "{books:?}");

    // And it is well again, as soon as the upstream is.
    turning.shutdown().await;
    sky.clear();
    assert!(is_answered(service(), &url).await, "the upstream is well, and nobody is answered");
}
