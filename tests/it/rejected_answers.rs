//! What a server says with a rejection.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http::header::{CONNECTION, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use seawall::http::{RejectionResponseLayer, ServerBuilder, server};
use seawall::{Error, Reason};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tower::{ServiceBuilder, ServiceExt};

type Answer = Response<hyper::body::Incoming>;

/// A server of one place, and who is told when it is taken.
async fn full(
    builder: ServerBuilder,
) -> (seawall::http::ServerLayer, SocketAddr, mpsc::UnboundedReceiver<()>) {
    let layer = builder.limit(1).build().unwrap();
    let (taken, task) = mpsc::unbounded_channel();
    let hang = get(move || async move {
        taken.send(()).unwrap();
        std::future::pending::<()>().await;
    });
    let stack = ServiceBuilder::new().layer(layer.clone()).map_err(Error::<Infallible>::Inner);
    let app = Router::new().route("/", hang).layer(stack);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app).await });
    (layer, address, task)
}

fn ask(address: SocketAddr, http2: bool) -> impl Future<Output = Answer> + Send + 'static {
    let client = Client::builder(TokioExecutor::new()).http2_only(http2).build_http();
    let request = Request::get(format!("http://{address}/")).body(Empty::<Bytes>::new()).unwrap();
    async move { client.request(request).await.unwrap() }
}

/// The answer to one who finds the server full.
async fn rejected(builder: ServerBuilder) -> Answer {
    let (_layer, address, mut task) = full(builder).await;
    let holder = tokio::spawn(ask(address, false));
    task.recv().await.unwrap();
    let answer = ask(address, false).await;
    holder.abort();
    answer
}

// field S4
#[tokio::test]
async fn who_finds_no_room_is_told_when_to_come_back() {
    let answer = rejected(server("x")).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()[RETRY_AFTER], "1");
    assert!(!answer.headers().contains_key(CONNECTION));

    let answer = rejected(server("x").retry_after(Duration::from_millis(2_001))).await;
    assert_eq!(answer.headers()[RETRY_AFTER], "3", "never earlier");
    let answer = rejected(server("x").retry_after(None)).await;
    assert!(!answer.headers().contains_key(RETRY_AFTER));

    let busy = server("x").status(Reason::Full, StatusCode::TOO_MANY_REQUESTS).unwrap();
    let answer = rejected(busy).await;
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers()[RETRY_AFTER], "1");
    for wrong in [StatusCode::OK, StatusCode::CONTINUE, StatusCode::FOUND] {
        let wrong = server("x").status(Reason::Full, wrong).unwrap_err();
        assert!(wrong.to_string().contains("400 to 599"), "{wrong}");
    }
}

// field S4: where time ran out there is nothing to wait for.
#[tokio::test]
async fn a_timeout_says_nothing_of_coming_back() {
    let (_layer, address, _bell) = full(server("x").deadline(Duration::from_millis(20))).await;
    let answer = ask(address, false).await;
    assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
    assert!(!answer.headers().contains_key(RETRY_AFTER));
}

// field S4
#[tokio::test]
async fn a_server_that_drains_closes_connections_of_http1_and_not_of_http2() {
    for closes in [true, false] {
        let (layer, address, _bell) = full(server("x").close_when_draining(closes)).await;
        layer.drain().await;
        let answer = ask(address, false).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        let told = answer.headers().get(CONNECTION).is_some_and(|told| told == "close");
        assert_eq!(told, closes);
        assert_eq!(answer.headers()[RETRY_AFTER], "1");
    }
    let layer = server("x").build().unwrap();
    layer.drain().await;
    let stack =
        ServiceBuilder::new().layer(layer).map_err(Error::Inner).service(tower::service_fn(
            |_: Request<()>| async { Ok::<_, Infallible>(Response::new(String::new())) },
        ));
    let mut request = Request::new(());
    *request.version_mut() = http::Version::HTTP_2;
    let answer = stack.oneshot(request).await.unwrap();
    assert!(!answer.headers().contains_key(CONNECTION));
}

// field S4: the layer alone can be told the same.
#[tokio::test]
async fn the_layer_alone_can_be_told() {
    let respond = RejectionResponseLayer::new()
        .status(Reason::TimedOut, StatusCode::BAD_GATEWAY)
        .unwrap()
        .status(Reason::Draining, StatusCode::TOO_MANY_REQUESTS)
        .unwrap()
        .retry_after(Duration::from_secs(9));
    let bulkhead = seawall::bulkhead::BulkheadLayer::new("x");
    bulkhead.drain().await;
    let stack = ServiceBuilder::new().layer(respond).layer(bulkhead).map_err(Error::Inner).service(
        tower::service_fn(|_: Request<()>| async {
            Ok::<_, Infallible>(Response::new(String::new()))
        }),
    );
    let answer = stack.oneshot(Request::new(())).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()[RETRY_AFTER]),
        (429, &"9".parse().unwrap())
    );
}
