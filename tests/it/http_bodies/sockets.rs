//! A real client and a real server, on loopback.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::channel::Channel;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioIo};
use seawall::http::drain::DrainLayer;
use seawall::http::{HttpClassifier, RecordBodyLayer, Replay};
use seawall::retry::{Backoff, Builder, RetryLayer, StopReason};
use seawall::{Error, Event, EventKind};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};

/// Who call at the same time, and what the pool keeps.
const TASKS: usize = 4;

type Body = BoxBody<Bytes, BoxError>;

/// Connections to a server: how many there were, are, and were at most at a time.
#[derive(Debug, Default)]
struct Connections {
    accepted: AtomicUsize,
    open: AtomicUsize,
    most: AtomicUsize,
}

struct Upstream {
    address: SocketAddr,
    connections: Arc<Connections>,
    _tasks: JoinSet<()>,
}

impl Upstream {
    async fn answering<H, F>(handler: H) -> Self
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::<Connections>::default();
        let books = Arc::clone(&connections);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap(); // or each late chunk waits for a delayed ACK
                books.accepted.fetch_add(1, Ordering::SeqCst);
                let now = books.open.fetch_add(1, Ordering::SeqCst) + 1;
                books.most.fetch_max(now, Ordering::SeqCst);
                let (handler, books) = (handler.clone(), Arc::clone(&books));
                let answer = service_fn(move |request| {
                    let response = handler(request);
                    async { Ok::<_, Infallible>(response.await) }
                });
                open.spawn(async move {
                    let io = TokioIo::new(stream);
                    drop(http1::Builder::new().serve_connection(io, answer).await);
                    books.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, connections, _tasks: tasks }
    }

    fn put(&self, body: Body) -> Request<Body> {
        Request::put(format!("http://{}/", self.address)).body(body).unwrap()
    }
}

fn retry() -> Builder<HttpClassifier> {
    RetryLayer::builder("x").classify(HttpClassifier).backoff(Backoff::none()).no_budget()
}

fn client(
    cap: usize,
    retry: Builder<HttpClassifier>,
) -> impl Service<Request<Body>, Response = Response<Incoming>, Error = Error<ClientError>, Future: Send>
+ Clone {
    ServiceBuilder::new()
        .layer(RecordBodyLayer::new(cap))
        .layer(retry.copy_with(Replay::default()).build().unwrap())
        .map_err(Error::Inner)
        .service(Client::builder(TokioExecutor::new()).build_http())
}

fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// A body that comes in so many chunks of 1 KiB, each of another letter, and does not tell how many.
fn streamed(chunks: u8, pause: bool) -> Body {
    let (mut sender, body) = Channel::<Bytes, Infallible>::new(1);
    tokio::spawn(async move {
        for nth in 0..chunks {
            if sender.send_data(chunk(nth)).await.is_err() {
                return;
            }
            if pause {
                tokio::task::yield_now().await;
            }
        }
    });
    body.map_err(|never| match never {}).boxed()
}

fn chunk(nth: u8) -> Bytes {
    Bytes::from(vec![b'a' + nth % 26; 1024])
}

fn chunks(count: u8) -> Bytes {
    (0..count).flat_map(chunk).collect()
}

fn status(status: StatusCode) -> Response<Body> {
    Response::builder().status(status).body(full("")).unwrap()
}

// pitfall B15
#[tokio::test]
async fn every_attempt_sends_the_whole_body() {
    let whole = chunks(40);
    for (kind, length_is_told) in [("sized", true), ("chunked", false), ("slow", false)] {
        let got = Arc::new(Mutex::new(Vec::new()));
        let books = Arc::clone(&got);
        let upstream = Upstream::answering(move |request: Request<Incoming>| {
            let books = Arc::clone(&books);
            async move {
                let told = request.headers().contains_key(header::CONTENT_LENGTH);
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let mut books = books.lock().unwrap();
                books.push((told, body));
                status(if books.len() < 3 { StatusCode::BAD_GATEWAY } else { StatusCode::OK })
            }
        })
        .await;
        let body = match kind {
            "sized" => full(whole.clone()),
            kind => streamed(40, kind == "slow"),
        };
        let response = client(64 * 1024, retry()).oneshot(upstream.put(body)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{kind}");
        let got = got.lock().unwrap();
        assert_eq!(got.len(), 3, "{kind}");
        assert_eq!(got[0].0, length_is_told, "{kind}"); // a clone may know more than its original
        for (nth, (_, body)) in got.iter().enumerate() {
            assert_eq!((body.len(), body), (whole.len(), &whole), "{kind}, attempt {nth}");
        }
    }
}

// pitfall B15
#[tokio::test]
async fn an_answer_that_came_before_the_body_was_read_can_be_retried() {
    let got = Arc::new(Mutex::new(Vec::new()));
    let books = Arc::clone(&got);
    let upstream = Upstream::answering(move |request: Request<Incoming>| {
        let books = Arc::clone(&books);
        async move {
            let first = books.lock().unwrap().is_empty();
            if first {
                books.lock().unwrap().push(Bytes::new());
                return status(StatusCode::SERVICE_UNAVAILABLE);
            }
            let body = request.into_body().collect().await.unwrap().to_bytes();
            books.lock().unwrap().push(body);
            status(StatusCode::OK)
        }
    })
    .await;
    let request = upstream.put(streamed(200, true));
    let response = client(256 * 1024, retry()).oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(got.lock().unwrap()[1..], [chunks(200)]);
}

// pitfall B15
#[tokio::test]
async fn a_body_over_the_cap_is_sent_once_and_whole_and_an_event_says_so() {
    for (body, kind) in [(full(chunks(65)), "sized"), (streamed(65, false), "chunked")] {
        let got = Arc::new(Mutex::new(Vec::new()));
        let books = Arc::clone(&got);
        let upstream = Upstream::answering(move |request: Request<Incoming>| {
            let books = Arc::clone(&books);
            async move {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                books.lock().unwrap().push(body);
                status(StatusCode::SERVICE_UNAVAILABLE)
            }
        })
        .await;
        let events = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&events);
        let retry = retry().observe(move |event: &Event| told.lock().unwrap().push(event.kind));
        let response = client(64 * 1024, retry).oneshot(upstream.put(body)).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{kind}");
        assert_eq!(*got.lock().unwrap(), [chunks(65)], "{kind}");
        let stop = EventKind::Stopped { attempts: 1, why: StopReason::NoCopy.as_str() };
        assert_eq!(*events.lock().unwrap(), [stop], "{kind}");
    }
}

/// Calls a server that rejects every first attempt with such a body.
async fn rejected(calls: usize, body: impl Fn() -> Body + Clone + Send + 'static) -> Upstream {
    let upstream = Upstream::answering(move |request: Request<Incoming>| {
        let mut response = status(StatusCode::OK);
        if request.headers()["attempt"] == "1" {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            *response.body_mut() = body();
        }
        async { response }
    })
    .await;
    let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(TASKS).build_http();
    let number = |request: &mut Request<Full<Bytes>>, nth: u32| {
        request.headers_mut().insert("attempt", nth.into());
    };
    let stack = ServiceBuilder::new()
        .layer(retry().copy_with(Replay::default()).number(number).build().unwrap())
        .layer(DrainLayer::new().wait(Duration::from_secs(60))) // nothing here is slow on purpose
        .map_err(Error::Inner)
        .service(client);
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let (stack, address) = (stack.clone(), upstream.address);
        tasks.spawn(async move {
            for _ in 0..calls / TASKS {
                let request = Request::get(format!("http://{address}/"));
                let request = request.body(Full::default()).unwrap();
                let response = stack.clone().oneshot(request).await.unwrap();
                assert_eq!(response.status(), StatusCode::OK);
                response.into_body().collect().await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    upstream
}

// pitfall B15
#[tokio::test]
async fn ten_thousand_retried_rejections_cost_next_to_no_connections() {
    let empty = rejected(3000, || full("")).await;
    let sized = rejected(3000, || full(chunks(1))).await;
    let chunked = rejected(4000, || streamed(2, true)).await;
    for upstream in [empty, sized, chunked] {
        let Connections { accepted, most, .. } = &*upstream.connections;
        let (accepted, most) = (accepted.load(Ordering::SeqCst), most.load(Ordering::SeqCst));
        // One for each call in flight, and what the pool keeps.
        assert!(most <= 2 * TASKS, "{most} at a time");
        // A client that finds its pool empty connects, and may find that it was not needed.
        assert!(accepted <= 100, "{accepted} in all");
    }
}
