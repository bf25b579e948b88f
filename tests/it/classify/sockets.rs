//! What hyper's client can prove not to have sent, on real sockets.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use seawall::circuit_breaker::State;
use seawall::retry::{self, Backoff, StopReason};
use seawall::{Classification, Classify, Error, Sent, http as web};
use tokio::net::{TcpListener, TcpStream};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

use super::{Stops, stops_into};

type Asking = Request<Full<Bytes>>;

fn post(uri: &str) -> Asking {
    Request::builder().method(Method::POST).uri(uri).body(Full::from("once")).unwrap()
}

async fn stop_of<S, R>(client: S, request: Asking) -> (u32, StopReason)
where
    S: Service<Asking, Response = Response<R>> + Clone,
    S::Error: std::error::Error + 'static,
{
    let stops = Stops::default();
    let config = retry::Config { backoff: Backoff::none(), ..retry::Config::default() };
    let layers = web::client("x").retry(config).observe(stops_into(&stops)).build().unwrap();
    let api = ServiceBuilder::new().layer(layers).map_err(Error::Inner).service(client);
    assert!(api.oneshot(request).await.is_err());
    let stops = stops.lock().unwrap();
    stops[0]
}

// field F18: name, connection, handshake.
#[tokio::test]
async fn a_post_for_which_no_connection_came_about_is_repeated() {
    let exhausted = (3, StopReason::Exhausted);
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let plain = Client::builder(TokioExecutor::new()).build_http();
    assert_eq!(stop_of(plain, post(&format!("http://{gone}/"))).await, exhausted);

    let nowhere = service_fn(|_: Name| async {
        Err::<std::vec::IntoIter<std::net::SocketAddr>, _>(io::Error::other("no such name"))
    });
    let lost =
        Client::builder(TokioExecutor::new()).build(HttpConnector::new_with_resolver(nowhere));
    assert_eq!(stop_of(lost, post("http://orders.example/")).await, exhausted);

    let untrusted = service_fn(|_: http::Uri| {
        let error = io::Error::other("the certificate is not to be trusted");
        std::future::ready(Err::<TokioIo<TcpStream>, _>(error))
    });
    let wary = Client::builder(TokioExecutor::new()).build(untrusted);
    assert_eq!(stop_of(wary, post("http://orders.example/")).await, exhausted);
}

// field F18: what was up may have brought it.
#[tokio::test]
async fn a_post_on_a_connection_that_ends_is_sent_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut waste = [0; 4096];
            let _ = tokio::io::AsyncReadExt::read(&mut socket, &mut waste).await;
        }
    });
    let client = Client::builder(TokioExecutor::new()).build_http();
    let stopped = stop_of(client, post(&format!("http://{address}/"))).await;
    assert_eq!(stopped, (1, StopReason::NoCopy));
}

// field F18: what broke the body of a request off is no word of the server's, whatever it says.
#[tokio::test]
async fn a_post_whose_body_broke_off_was_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move { tokio::io::copy(&mut socket, &mut tokio::io::sink()).await });
        }
    });
    for kind in [io::ErrorKind::ConnectionRefused, io::ErrorKind::AddrNotAvailable] {
        let frames = futures::stream::iter([
            Ok(http_body::Frame::data(Bytes::from_static(b"half"))),
            Err(io::Error::from(kind)), // of the caller of a proxy, say
        ]);
        let body = http_body_util::StreamBody::new(frames);
        let request = Request::post(format!("http://{address}/")).body(body).unwrap();
        let client = Client::builder(TokioExecutor::new()).build_http();
        let ended = client.request(request).await.map_err(Error::Inner);
        let verdict = web::HttpClassifier.classify(ended.as_ref());
        let Classification::Now(outcome) = verdict else { panic!("told at once") };
        assert_eq!(outcome.sent, Sent::Unknown, "{ended:?}");
    }
}

/// A server of HTTP/2 that allows five streams at a time, and rejects the rest.
async fn narrow() -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut builder = h2::server::Builder::new();
                let narrow = builder.max_concurrent_streams(5).handshake::<_, Bytes>(socket);
                let mut connection = narrow.await?;
                while let Some(stream) = connection.accept().await {
                    let (_, mut respond) = stream?;
                    tokio::spawn(async move {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                        respond.send_response(Response::new(()), true)
                    });
                }
                Ok::<_, h2::Error>(())
            });
        }
    });
    address
}

// field F19: a crowd on a cold connection. What the server rejected it promises not to have touched.
#[tokio::test]
async fn a_burst_on_a_cold_connection_of_http2_gets_through() {
    for method in [Method::GET, Method::POST] {
        let address = narrow().await;
        let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
        let layers = web::client("x")
            .deadline(Duration::from_secs(60))
            .attempt_timeout(Duration::from_secs(30))
            .build()
            .unwrap();
        let breaker = layers.breaker();
        let api = ServiceBuilder::new().layer(layers).map_err(Error::Inner).service(client);
        let calls = (0..50).map(|_| {
            let mut request = post(&format!("http://{address}/"));
            *request.method_mut() = method.clone();
            api.clone().oneshot(request)
        });
        let answers = futures::future::join_all(calls).await;
        let failed: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
        assert!(failed.is_empty(), "{method}: {} of 50: {:?}", failed.len(), failed[0]);
        assert_eq!(breaker.state(), State::Closed);
    }
}
