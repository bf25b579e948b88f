//! The ready-made layers around services of any body: each documented option over axum, hyper,
//! tower-http and reqwest, with a request that is really made. tonic is in `tests/grpc`.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use seawall::bulkhead::BulkheadLayer;
use seawall::http::body_timeout::BodyTimeoutLayer;
use seawall::http::{
    GuardedBody, HandleErrorLayer, HeadKnows, OnBodyEnd, OnFirstByte, OnTrailers,
    RejectionResponseLayer, server, status_of,
};
use seawall::{Error, Reason};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_http::compression::CompressionLayer;

type Boxed = BoxBody<Bytes, BoxError>;
type Fail = Error<Infallible>;

fn hello(_: Request<Empty<Bytes>>) -> std::future::Ready<Result<Response<Boxed>, Infallible>> {
    let body = Full::new(Bytes::from_static(b"hello")).map_err(|never| match never {});
    std::future::ready(Ok(Response::new(body.boxed())))
}

/// Asks once, and reads the answer.
async fn ask<S, B>(service: S) -> (StatusCode, Bytes)
where
    S: Service<Request<Empty<Bytes>>, Response = Response<B>, Error = Infallible>,
    B: Body<Data = Bytes, Error: std::fmt::Debug>,
{
    let answer = service.oneshot(Request::new(Empty::new())).await.unwrap();
    (answer.status(), answer.into_body().collect().await.unwrap().to_bytes())
}

const WELL: (StatusCode, Bytes) = (StatusCode::OK, Bytes::from_static(b"hello"));

/// As hyper serves it: the answer of every layer has a body that a server takes.
async fn serve_once<S, B>(service: S)
where
    S: Service<Request<hyper::body::Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let service = hyper_util::service::TowerToHyperService::new(service);
        let io = hyper_util::rt::TokioIo::new(socket);
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
    });
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new());
    let request = Request::get(format!("http://{address}/")).body(Empty::<Bytes>::new()).unwrap();
    let answer = client.build_http().request(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
}

// field S2
#[tokio::test]
async fn a_server_over_a_boxed_body_of_hyper_with_each_option() {
    macro_rules! over {
        ($($builder:expr),* $(,)?) => {
            $({
                let layer = $builder.build().unwrap();
                let stack = ServiceBuilder::new().layer(layer).map_err(Error::Inner);
                assert_eq!(ask(stack.service(service_fn(hello))).await, WELL);
            })*
        };
    }
    let words = |_: Option<&Fail>| Response::new("come back later");
    let boxed = |_: Option<&Fail>| Response::new(Boxed::default());
    over![
        server("x"),
        server("x").completion(OnBodyEnd),
        server("x").completion(OnFirstByte),
        server("x").completion(OnTrailers::new(HeadKnows)),
        server("x").respond(RejectionResponseLayer::new().retry_after(None)),
        server("x").respond(RejectionResponseLayer::render(words)).completion(OnBodyEnd),
        server("x").respond(RejectionResponseLayer::with(boxed)),
        server("x").retry_after(Duration::from_secs(3)).close_when_draining(false),
        server("x").status(Reason::Full, StatusCode::TOO_MANY_REQUESTS).unwrap(),
    ];
    let stack = server("x").completion(OnBodyEnd).build().unwrap();
    let stack = ServiceBuilder::new().layer(stack).map_err(Error::Inner);
    serve_once(stack.service(service_fn(|_: Request<hyper::body::Incoming>| {
        hello(Request::new(Empty::new()))
    })))
    .await;
}

// field S2
#[tokio::test]
async fn a_server_over_compression_and_with_limits_on_bodies_inside() {
    let inside = || {
        ServiceBuilder::new()
            .layer(CompressionLayer::new())
            .layer(BodyTimeoutLayer::new("x"))
            .service(service_fn(hello))
    };
    for completion in [false, true] {
        let stack = ServiceBuilder::new();
        let answered = if completion {
            let layer = server("x").completion(OnBodyEnd).build().unwrap();
            ask(stack.layer(layer).map_err(Error::Inner).service(inside())).await
        } else {
            let layer = server("x").build().unwrap();
            ask(stack.layer(layer).map_err(Error::Inner).service(inside())).await
        };
        assert_eq!(answered, WELL);
    }
    // And the other way round: everything of tower-http takes what we answer with.
    let stack = ServiceBuilder::new()
        .layer(CompressionLayer::new())
        .layer(BodyTimeoutLayer::new("x"))
        .layer(server("x").completion(OnBodyEnd).build().unwrap())
        .map_err(Error::Inner)
        .service(service_fn(hello));
    assert_eq!(ask(stack).await, WELL);
}

// field S2
#[tokio::test]
async fn a_server_on_axum_with_each_option() {
    async fn on_axum<L>(layer: L)
    where
        L: Layer<axum::routing::Route> + Clone + Send + Sync + 'static,
        L::Service: Service<
                Request<axum::body::Body>,
                Response: axum::response::IntoResponse,
                Error: Into<Infallible>,
                Future: Send,
            > + Clone
            + Send
            + Sync
            + 'static,
    {
        let app = Router::new().route("/", get(|| async { "hello" })).layer(layer);
        let answer = app.oneshot(Request::new(axum::body::Body::empty())).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
    }
    macro_rules! stack {
        ($($layer:expr),+) => {
            ServiceBuilder::new()$(.layer($layer))+.map_err(Error::<Infallible>::Inner)
        };
    }
    let uploads = || BodyTimeoutLayer::new("x").requests();
    on_axum(stack!(server("x").build().unwrap())).await;
    on_axum(stack!(server("x").completion(OnBodyEnd).build().unwrap())).await;
    on_axum(stack!(
        server("x").completion(OnFirstByte).build().unwrap(),
        BodyTimeoutLayer::new("x")
    ))
    .await;
    on_axum(stack!(
        uploads(),
        server("x").completion(OnBodyEnd).build().unwrap(),
        CompressionLayer::new()
    ))
    .await;
    on_axum(stack!(
        RejectionResponseLayer::new(),
        BulkheadLayer::builder("x").completion(OnBodyEnd).build().unwrap()
    ))
    .await;
    let words = |_: Option<&Fail>| Response::new("come back later");
    on_axum(stack!(RejectionResponseLayer::render(words), BulkheadLayer::new("x"))).await;
}

// field S2
#[tokio::test]
async fn rejections_of_a_client_have_a_body_whatever_the_client() {
    let bulkhead = BulkheadLayer::builder("x").completion(OnBodyEnd).build().unwrap();
    let client = ServiceBuilder::new()
        .layer(HandleErrorLayer::new())
        .layer(bulkhead.clone())
        .map_err(Error::Inner)
        .service(service_fn(hello));
    let answer = client.clone().oneshot(Request::new(Empty::new())).await.unwrap();
    let _: &GuardedBody<Boxed> = answer.body().inner().unwrap();
    drop(answer); // or the drain would wait for its body
    bulkhead.drain().await;
    let answer = client.oneshot(Request::new(Empty::new())).await.unwrap();
    assert_eq!(answer.status(), status_of(Reason::Draining));
    assert!(answer.into_body().collect().await.unwrap().to_bytes().starts_with(b"{"));
}

// field S2
#[cfg(feature = "reqwest")]
#[tokio::test]
async fn answers_of_reqwest_can_be_finished_and_timed() {
    use axum::http::header::CONTENT_LENGTH;
    use seawall::Rejected;

    let hangs = || async {
        let (mut sender, body) = http_body_util::channel::Channel::<Bytes, Infallible>::new(2);
        sender.send_data(Bytes::from_static(b"hello")).await.unwrap();
        tokio::spawn(async move {
            let _sender = sender;
            std::future::pending::<()>().await;
        });
        axum::body::Body::new(body)
    };
    let app = Router::new().route("/", get(|| async { "hello" })).route("/hangs", get(hangs));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app).await });
    let plain = reqwest::Client::builder().retry(reqwest::retry::never()).build().unwrap();

    macro_rules! with {
        ($($completion:expr),*) => {
            $({
                let layer = seawall::reqwest::client("x").completion($completion).permit_completion($completion).build().unwrap();
                let api = ServiceBuilder::new()
                    .layer(layer.clone())
                    .layer(BodyTimeoutLayer::builder("x").idle(Duration::from_millis(50)).build().unwrap())
                    .map_err(Error::Inner)
                    .service(plain.clone());
                let url = format!("http://{address}/");
                let request = plain.get(&url).build().unwrap();
                let answer = api.clone().oneshot(request).await.unwrap();
                assert_eq!((answer.url().as_str(), answer.status()), (&*url, StatusCode::OK));
                assert_eq!(answer.content_length(), Some(5));
                assert_eq!(answer.headers()[CONTENT_LENGTH], "5");
                assert!(answer.remote_addr().is_some());
                assert_eq!(answer.text().await.unwrap(), "hello");
                assert_eq!(layer.bulkhead().in_flight(), 0);

                let request = plain.get(format!("{url}hangs")).build().unwrap();
                let answer = api.oneshot(request).await.unwrap();
                let error = answer.bytes().await.unwrap_err();
                assert_eq!(Rejected::find(&error).map(Rejected::reason), Some(Reason::TimedOut));
                assert_eq!(layer.bulkhead().in_flight(), 0);
            })*
        };
    }
    with!(OnBodyEnd, OnFirstByte, OnTrailers::new(HeadKnows));
}
