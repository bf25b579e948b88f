//! We ask tonic's server.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use seawall::grpc::HealthService;
use seawall::health::{self, HealthLayer, HealthRegistry, Status};
use tokio::runtime::{Builder, Runtime};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint, Server};
use tonic_health::ServingStatus;
use tower::service_fn;

use super::{Asked, asking, becomes, in_time};
use crate::port::Port;
use crate::serve;

fn often(name: &str) -> health::Builder {
    HealthLayer::builder(name).interval(Duration::from_millis(5)).timeout(Duration::from_secs(10))
}

/// Watches now, so that no change is missed.
fn up_to(layer: &HealthLayer) -> health::Watch {
    layer.handle().watch()
}

#[tokio::test]
async fn a_check_follows_what_tonic_says() {
    let (reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("shop.Orders", ServingStatus::NotServing).await;
    let layer =
        often("orders").check_grpc(asking(serve(service).await), "shop.Orders").build().unwrap();
    let mut watch = up_to(&layer);
    becomes(&mut watch, Status::Down).await;
    assert_eq!(layer.handle().last_error().as_deref(), Some("says NOT_SERVING"));
    reporter.set_service_status("shop.Orders", ServingStatus::Serving).await;
    becomes(&mut watch, Status::Up).await;
    reporter.set_service_status("shop.Orders", ServingStatus::Unknown).await;
    becomes(&mut watch, Status::Down).await;
    assert_eq!(layer.handle().last_error().as_deref(), Some("says UNKNOWN"));
}

#[tokio::test]
async fn a_service_or_a_server_that_is_not_there_is_down_and_the_cause_is_told() {
    let (_, service) = tonic_health::server::health_reporter();
    let layer = often("orders").check_grpc(asking(serve(service).await), "shop.Other");
    let layer = layer.build().unwrap();
    becomes(&mut up_to(&layer), Status::Down).await;
    let error = layer.handle().last_error().unwrap();
    assert!(error.starts_with("answered with grpc-status 5: "), "{error}");

    let nobody = Port::hold();
    let channel = Endpoint::from_shared(nobody.url()).unwrap().connect_lazy();
    let layer = often("nobody").check_grpc(asking(channel), "").build().unwrap();
    becomes(&mut up_to(&layer), Status::Down).await;
    let error = layer.handle().last_error().unwrap().to_lowercase();
    assert!(error.contains("refused"), "{error}");
}

/// What a check finds wrong with a server that rejects it with this message, over a socket.
async fn rejected_with(message: &'static str, watches: bool) -> String {
    let reject =
        move || async move { tonic::Status::unavailable(message).into_http::<tonic::body::Body>() };
    let router = axum::Router::new().route(HealthService::ROUTE, axum::routing::any(reject));
    let client = asking(serve(Routes::from(router).prepare()).await);
    let builder = often("orders").fall(1);
    let builder =
        if watches { builder.watch_grpc(client, "") } else { builder.check_grpc(client, "") };
    let layer = builder.build().unwrap();
    becomes(&mut up_to(&layer), Status::Down).await;
    layer.handle().last_error().unwrap().to_string()
}

// field S4
#[tokio::test]
async fn the_message_of_a_rejection_is_told_as_its_server_wrote_it() {
    for watches in [false, true] {
        for message in ["the größe is 100 % full, see \u{2192} runbook", "plain", "100%25"] {
            let told = rejected_with(message, watches).await;
            assert_eq!(told, format!("answered with grpc-status 14: {message}"));
        }
        // What would look like a line of its own in a log does not, and a long one is cut.
        let told = rejected_with("one\r\ntwo\u{1b}[31m", watches).await;
        assert_eq!(told, "answered with grpc-status 14: one  two [31m");
        let told = rejected_with(Box::leak("→".repeat(300).into_boxed_str()), watches).await;
        assert_eq!(told, format!("answered with grpc-status 14: {}", "→".repeat(200)));
    }
}

// field S4: what is no such encoding stands for itself.
#[tokio::test]
async fn a_message_that_is_not_encoded_is_told_all_the_same() {
    let raw: [(&[u8], &str); 6] = [
        (b"100%", "100%"),
        (b"100%2", "100%2"),
        (b"100%zz", "100%zz"),
        (b"%41%4a%4A", "AJJ"),
        (b"%C3", "\u{fffd}"),
        ("größe".as_bytes(), "größe"),
    ];
    for (sent, told) in raw {
        let client = service_fn(move |_: Asked| {
            let message = http::HeaderValue::from_bytes(sent).unwrap();
            let answer = http::Response::builder().header("grpc-status", "14");
            let answer = answer.header("grpc-message", message);
            let answer = answer.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
            async { Ok::<_, Infallible>(answer) }
        });
        let layer = often("x").fall(1).check_grpc(client, "").build().unwrap();
        becomes(&mut up_to(&layer), Status::Down).await;
        let error = layer.handle().last_error().unwrap();
        assert_eq!(&*error, format!("answered with grpc-status 14: {told}"));
    }
}

#[tokio::test]
async fn a_server_without_the_method_is_healthy() {
    for watches in [false, true] {
        let client = asking(serve(Routes::default().prepare()).await);
        let builder = often("old").initial(Status::Down);
        let builder = if watches {
            builder.watch_grpc(client, "shop.Orders")
        } else {
            builder.check_grpc(client, "shop.Orders")
        };
        let layer = builder.build().unwrap();
        becomes(&mut up_to(&layer), Status::Up).await;
        assert_eq!(layer.handle().last_error(), None);
    }
}

/// One check or one failed stream would not be enough for either change.
fn watching(channel: Channel) -> HealthLayer {
    let builder = HealthLayer::builder("orders").rise(1_000).fall(1_000);
    builder.watch_grpc(asking(channel), "shop.Orders").build().unwrap()
}

#[tokio::test]
async fn a_watch_believes_every_word_at_once() {
    let (mut reporter, service) = tonic_health::server::health_reporter();
    reporter.set_service_status("shop.Orders", ServingStatus::Serving).await;
    let layer = watching(serve(service).await);
    let mut watch = up_to(&layer);
    for _ in 0..3 {
        reporter.set_service_status("shop.Orders", ServingStatus::NotServing).await;
        becomes(&mut watch, Status::Down).await;
        assert_eq!(layer.handle().last_error().as_deref(), Some("says NOT_SERVING"));
        reporter.set_service_status("shop.Orders", ServingStatus::Serving).await;
        becomes(&mut watch, Status::Up).await;
    }
    // It ends the stream, which is not the same as being down.
    reporter.clear_service_status("shop.Orders").await;
    in_time(async {
        while layer.handle().last_error().is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(watch.status(), Status::Up);
}

/// A server of ours at a port, which goes with all its connections when its runtime does.
fn at(port: &Port) -> Runtime {
    let service = HealthService::new(HealthRegistry::new("orders"));
    let router = axum::Router::new().route_service(HealthService::ROUTE, service);
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let incoming = {
        let _inside = runtime.enter();
        TcpListenerStream::new(port.listen())
    };
    runtime.spawn(async move {
        Server::builder().add_routes(Routes::from(router)).serve_with_incoming(incoming).await
    });
    runtime
}

#[tokio::test]
async fn a_watch_that_is_cut_is_begun_again() {
    let port = Port::hold(); // nobody else may get it while the server is gone
    let server = at(&port);
    let channel = Endpoint::from_shared(port.url()).unwrap().connect_lazy();
    let layer = HealthLayer::builder("orders")
        .initial(Status::Down)
        .interval(Duration::from_millis(5))
        .fall(1)
        .watch_grpc(asking(channel), "")
        .build()
        .unwrap();
    let mut watch = up_to(&layer);
    becomes(&mut watch, Status::Up).await;
    server.shutdown_background();
    becomes(&mut watch, Status::Down).await;
    let server = at(&port);
    becomes(&mut watch, Status::Up).await;
    server.shutdown_background();
}

// pitfall B24: the stream goes with the last handle.
#[tokio::test]
async fn a_watch_ends_with_its_last_handle() {
    let service = HealthService::new(HealthRegistry::new("orders")).also("shop.Orders").watchers(1);
    let router = axum::Router::new().route_service(HealthService::ROUTE, service.clone());
    let channel = serve(Routes::from(router).prepare()).await;
    let taken = |service: &HealthService| format!("{service:?}").contains("places: 0");
    let layer = HealthLayer::builder("orders").initial(Status::Down);
    let layer = layer.watch_grpc(asking(channel), "").build().unwrap();
    // Once it is up the first word has been heard, and the server has no more to say.
    becomes(&mut up_to(&layer), Status::Up).await;
    assert!(taken(&service));
    drop(layer);
    in_time(async {
        while taken(&service) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

// A server that knows no Watch is asked again, but not in a loop.
#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_at_once_is_begun_less_and_less_often() {
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let client = service_fn(move |_: Asked| {
        count.fetch_add(1, Ordering::Relaxed);
        let answer = http::Response::builder().header("grpc-status", "12");
        let answer = answer.body(http_body_util::Empty::<bytes::Bytes>::new()).unwrap();
        async { Ok::<_, Infallible>(answer) }
    });
    let layer = HealthLayer::builder("old").watch_grpc(client, "").build().unwrap();
    tokio::time::sleep(Duration::from_secs(500)).await;
    let asked = asked.load(Ordering::Relaxed);
    // Once in 2.5 to 5.5 seconds, and half a dozen in the first few.
    assert!((90..=210).contains(&asked), "{asked} times");
    assert_eq!(layer.handle().status(), Status::Up);
}
