//! What reqwest is told, and what it says, over loopback.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::{Body, Client, ClientBuilder, Request, Response};
use seawall::bulkhead::BulkheadLayer;
use seawall::circuit_breaker::State;
use seawall::http::{HttpClassifier, Replay};
use seawall::reqwest::{self as web, InTimeout, WithoutRedirects};
use seawall::retry::{Backoff, Budget, RetryLayer, StopReason};
use seawall::timeout::TimeoutLayer;
use seawall::{Classify, Error, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};

use super::{Stops, stops_into};
use crate::scene::ms;

type Failure = Error<reqwest::Error>;
type Told = Arc<Mutex<Vec<Option<Duration>>>>;

const SILENCE: &[(&str, Duration)] = &[("", Duration::from_secs(3600))];

fn builder() -> ClientBuilder {
    Client::builder().retry(reqwest::retry::never()).no_proxy()
}

fn client() -> Client {
    builder().build().unwrap()
}

/// Serves each connection with what it says, after it has read something, piece by piece.
async fn server(pieces: &'static [(&'static str, Duration)]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = socket.read(&mut [0; 4096]).await;
                for (piece, pause) in pieces {
                    socket.write_all(piece.as_bytes()).await?;
                    tokio::time::sleep(*pause).await;
                }
                socket.shutdown().await
            });
        }
    });
    address
}

/// An address where nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// A client that answers at once, and what each request said of its time.
fn noting()
-> (impl Service<Request, Response = Response, Error = Failure, Future: Send> + Clone, Told) {
    let told = Told::default();
    let books = Arc::clone(&told);
    let service = service_fn(move |request: Request| {
        books.lock().unwrap().push(request.timeout().copied());
        let busy = http::Response::builder().status(503).body("").unwrap();
        async { Ok(Response::from(busy)) }
    });
    (service, told)
}

// field F2: only the deadline of the call goes to reqwest's timer, which runs to the end of the body.
#[tokio::test(start_paused = true)]
async fn the_limit_of_an_attempt_is_no_timeout_of_reqwest() {
    let (service, told) = noting();
    let request = || client().get("http://x/");
    let take = || std::mem::take(&mut *told.lock().unwrap());
    let layers = web::client("x").attempt_timeout(ms(100)).deadline(ms(5000)).build().unwrap();
    let ready = ServiceBuilder::new().layer(layers).service(service.clone());
    let _ = ready.clone().oneshot(request().build().unwrap()).await;
    let seen = take();
    assert!(seen.len() > 1);
    assert!(seen.iter().all(|left| left.is_some_and(|left| left > ms(3000))), "{seen:?}");
    let _ = ready.oneshot(request().timeout(ms(1000)).build().unwrap()).await;
    assert_eq!(take()[0], Some(ms(1000)));

    let retry = RetryLayer::builder("x").attempts(2).backoff(Backoff::none());
    let retry = retry.classify(HttpClassifier).copy_with(Replay::default()).propagate(InTimeout);
    let attempt = TimeoutLayer::builder("x").limit(ms(100)).propagate(InTimeout).build().unwrap();
    let by_hand =
        ServiceBuilder::new().layer(retry.build().unwrap()).layer(attempt).service(service);
    let _ = by_hand.clone().oneshot(request().build().unwrap()).await;
    assert_eq!(take(), [None, None]);
    let _ = by_hand.oneshot(request().timeout(ms(1000)).build().unwrap()).await;
    assert_eq!(take(), [Some(ms(1000)), Some(ms(1000))]);
}

// field F2
#[tokio::test]
async fn a_body_that_takes_longer_than_an_attempt_may_is_whole() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\n";
    let pieces: &[_] = &[(head, ms(0)), ("half", ms(700)), ("half", ms(0))];
    let server = server(Box::leak(pieces.into())).await;
    let layers = web::client("x").attempt_timeout(ms(600)).deadline(Duration::from_secs(60));
    let api = ServiceBuilder::new()
        .layer(layers.build().unwrap())
        .map_err(Error::Inner)
        .service(client());
    let request = client().get(format!("http://{server}/")).build().unwrap();
    assert_eq!(api.oneshot(request).await.unwrap().text().await.unwrap(), "halfhalf");
}

// field F2: whoever matches on it finds it.
#[tokio::test]
async fn an_attempt_that_hangs_is_told_as_timed_out() {
    let server = server(SILENCE).await;
    let layers = web::client("x").attempt_timeout(ms(50)).deadline(Duration::from_secs(60));
    let api = ServiceBuilder::new()
        .layer(layers.build().unwrap())
        .map_err(Error::Inner)
        .service(client());
    let request = client().get(format!("http://{server}/")).build().unwrap();
    let error = api.oneshot(request).await.unwrap_err();
    assert!(
        matches!(&error, Error::Rejected(why) if why.reason() == Reason::TimedOut),
        "{error:?}"
    );
}

// field F2: and the budget takes it for what it is, of which nobody knows whether it was acted on.
#[tokio::test]
async fn an_attempt_that_hangs_costs_the_price_of_a_timeout() {
    let server = server(SILENCE).await;
    let budget = Budget::builder().cap(12.0).per_second(0.0).price(1.0).timeout_price(5.0);
    let budget = budget.build().unwrap();
    let retry = seawall::retry::Config { attempts: 2, ..Default::default() };
    let layers = web::client("x").attempt_timeout(ms(50)).deadline(Duration::from_secs(60));
    let layers = layers.retry(retry).budget(budget.clone()).build().unwrap();
    let api = ServiceBuilder::new().layer(layers).map_err(Error::Inner).service(client());
    let request = client().get(format!("http://{server}/")).build().unwrap();
    api.oneshot(request).await.unwrap_err();
    assert!((budget.balance() - 7.0).abs() < 0.01, "{}", budget.balance());
}

// field F3
#[tokio::test]
async fn callers_in_a_hurry_do_not_open_the_circuit_for_others() {
    let server = server(SILENCE).await;
    let layers = web::client("x").attempt_timeout(Duration::from_secs(50));
    let layers = layers.deadline(Duration::from_secs(60)).build().unwrap();
    let breaker = layers.breaker();
    let api = ServiceBuilder::new().layer(layers).map_err(Error::Inner).service(client());
    for _ in 0..30 {
        let request = client().get(format!("http://{server}/")).timeout(ms(5)).build().unwrap();
        let error = api.clone().oneshot(request).await.unwrap_err();
        let told = matches!(&error, Error::Rejected(it) if it.reason() == Reason::DeadlineExceeded);
        assert!(told, "{error:?}");
    }
    assert_eq!(breaker.state(), State::Closed);
    // Alone, without a timeout of ours inside it, the breaker knows as much.
    let breaker = seawall::circuit_breaker::CircuitBreakerLayer::builder("x")
        .classify(HttpClassifier)
        .propagate(InTimeout)
        .trip(super::trip())
        .build()
        .unwrap();
    let alone =
        ServiceBuilder::new().layer(breaker.clone()).map_err(Error::Inner).service(client());
    for _ in 0..5 {
        let request = client().get(format!("http://{server}/")).timeout(ms(5)).build().unwrap();
        let error: Failure = alone.clone().oneshot(request).await.unwrap_err();
        assert!(matches!(&error, Error::Inner(error) if error.is_timeout()), "{error:?}");
    }
    assert_eq!(super::gathered(&breaker.handle()), 0);
}

// field F5: a bulkhead around the connections of reqwest.
#[tokio::test]
async fn a_connection_that_a_layer_rejected_is_no_evidence() {
    let full = BulkheadLayer::builder("connections").limit(1).queue(0).build().unwrap();
    let _held = full.run(std::future::pending::<Result<(), BoxError>>);
    let client = builder().connector_layer(full).build().unwrap();
    let stops = Stops::default();
    let layers = web::client("x").observe(stops_into(&stops)).build().unwrap();
    let breaker = layers.breaker();
    let api = ServiceBuilder::new().layer(layers).map_err(Error::Inner).service(client.clone());
    for _ in 0..30 {
        let request = client.get("http://127.0.0.1:9/").build().unwrap();
        assert!(matches!(api.clone().oneshot(request).await, Err(Error::Inner(_))));
    }
    assert_eq!(breaker.state(), State::Closed);
    assert_eq!(*stops.lock().unwrap(), [(1, StopReason::Rejected); 30]);
    // A closure of one's own never hears of it.
    let breaker = seawall::circuit_breaker::CircuitBreakerLayer::builder("x")
        .classify_error(|error: &reqwest::Error| panic!("{error} is no word of the server"))
        .trip(super::trip())
        .build()
        .unwrap();
    let api = ServiceBuilder::new().layer(breaker.clone()).map_err(Error::Inner).service(client);
    for _ in 0..3 {
        let request = Request::new(http::Method::GET, "http://127.0.0.1:9/".parse().unwrap());
        assert!(api.clone().oneshot(request).await.is_err());
    }
    assert_eq!(super::gathered(&breaker.handle()), 0);
}

async fn attempts_of_post<C>(client: Client, url: String, classify: C) -> (u32, StopReason)
where
    C: Classify<Response, Failure> + Clone + Send + Sync + 'static,
{
    let stops = Stops::default();
    let layers = web::client("x")
        .classify(classify)
        .retry(seawall::retry::Config {
            backoff: Backoff::none(),
            ..seawall::retry::Config::default()
        })
        .observe(stops_into(&stops))
        .build()
        .unwrap();
    let api = ServiceBuilder::new().layer(layers).map_err(Error::Inner).service(client.clone());
    let request = client.post(url).body("once").build().unwrap();
    assert!(api.oneshot(request).await.is_err());
    let stops = stops.lock().unwrap();
    stops[0]
}

// field F18: what reqwest can prove not to have begun, and what it cannot.
#[tokio::test]
async fn a_post_that_could_not_connect_is_repeated() {
    let gone = nobody().await;
    let exhausted = (3, StopReason::Exhausted);
    let of = |url: String| attempts_of_post(client(), url, HttpClassifier);
    assert_eq!(of(format!("http://{gone}/")).await, exhausted);
    assert_eq!(of(format!("http://localhost:{}/x?y#z", gone.port())).await, exhausted);

    // By name nobody knows of which hop it is, but if there is only one.
    let named =
        |policy| builder().redirect(policy).resolve("orders.example", gone).build().unwrap();
    let url = || format!("http://orders.example:{}/", gone.port());
    let follows = named(reqwest::redirect::Policy::default());
    assert_eq!(attempts_of_post(follows, url(), HttpClassifier).await, (1, StopReason::NoCopy));
    let stays = named(reqwest::redirect::Policy::none());
    assert_eq!(attempts_of_post(stays, url(), WithoutRedirects).await, exhausted);
}

// field F18: the second hop of a client that follows redirects proves nothing of the first.
#[tokio::test]
async fn a_post_whose_redirect_led_nowhere_is_sent_once() {
    for status in [301, 303, 307, 308] {
        let gone = nobody().await;
        let head =
            format!("HTTP/1.1 {status} X\r\nlocation: http://{gone}/\r\ncontent-length: 0\r\n\r\n");
        let pieces: &[(&'static str, Duration)] = &[(head.leak(), ms(0))];
        let server = server(Box::leak(pieces.into())).await;
        let sent = attempts_of_post(client(), format!("http://{server}/"), HttpClassifier).await;
        assert_eq!(sent, (1, StopReason::NoCopy), "{status}");
    }
}

// A body that is a stream is not copied, whatever came of it.
#[tokio::test]
async fn a_stream_is_not_copied() {
    use seawall::retry::CloneRequest;
    let stream = Body::wrap(http_body_util::Full::new(bytes::Bytes::from("streamed")));
    let post = client().post("http://x/").body(stream).build().unwrap();
    assert!(Replay::default().clone_unsent(&post).is_none());
}

// field F3: through redirects, whose hops share one timer.
#[tokio::test]
async fn a_redirect_does_not_hide_the_callers_deadline() {
    let end = server(SILENCE).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let first = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.read(&mut [0; 1024]).await;
            let head = format!(
                "HTTP/1.1 302 Found\r\nlocation: http://{end}/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
            let _ = socket.write_all(head.as_bytes()).await;
        }
    });
    let breaker = seawall::circuit_breaker::CircuitBreakerLayer::builder("x")
        .classify(HttpClassifier)
        .propagate(InTimeout)
        .trip(super::trip())
        .build()
        .unwrap();
    let alone =
        ServiceBuilder::new().layer(breaker.clone()).map_err(Error::Inner).service(client());
    for _ in 0..3 {
        let request = client().get(format!("http://{first}/")).timeout(ms(40)).build().unwrap();
        let error: Failure = alone.clone().oneshot(request).await.unwrap_err();
        assert!(matches!(&error, Error::Inner(error) if error.is_timeout()), "{error:?}");
    }
    assert_eq!(super::gathered(&breaker.handle()), 0);
}
