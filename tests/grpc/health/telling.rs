//! tonic's client asks our server.

use bytes::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use seawall::grpc::HealthService;
use seawall::health::{Criticality, HealthLayer, HealthRegistry, HealthUpdate, Probe, Status};
use seawall::http::HealthEndpoint;
use tokio::net::TcpListener;
use tokio_stream::StreamExt;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Streaming};
use tonic_health::ServingStatus::{self, NotServing, Serving};
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::{Spoken, in_time};
use crate::{Raw, serve};

fn about(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.into() }
}

/// Mounted in tonic, as the guide has it.
async fn tonic(health: HealthService) -> Channel {
    let router = axum::Router::new().route_service(HealthService::ROUTE, health);
    serve(Routes::from(router).prepare()).await
}

async fn check(channel: &Channel, service: &str) -> Result<i32, Code> {
    let answer = HealthClient::new(channel.clone()).check(about(service)).await;
    answer.map(|answer| answer.into_inner().status).map_err(|status| status.code())
}

async fn watch(channel: &Channel, service: &str) -> Streaming<HealthCheckResponse> {
    HealthClient::new(channel.clone()).watch(about(service)).await.unwrap().into_inner()
}

/// The next word of a stream: a status, or how it ended.
async fn next(stream: &mut Streaming<HealthCheckResponse>) -> Option<Result<i32, Code>> {
    let next = in_time(stream.next()).await?;
    Some(next.map(|told| told.status).map_err(|status| status.code()))
}

const UNKNOWN_SERVICE: i32 = 3;

fn is(status: ServingStatus) -> i32 {
    match status {
        ServingStatus::Unknown => 0,
        Serving => 1,
        NotServing => 2,
    }
}

#[tokio::test]
async fn a_check_tells_of_the_whole_of_names_and_of_single_checks() {
    let (database, cache) = (Spoken::new("database").await, Spoken::new("cache").await);
    let registry = HealthRegistry::new("orders");
    registry.add(Probe::Readiness, Criticality::Critical, &database.layer.handle());
    registry.add(Probe::Readiness, Criticality::Degrading, &cache.layer.handle());
    let channel = tonic(HealthService::new(registry).also("shop.Orders")).await;

    for name in ["", "shop.Orders", "database", "cache"] {
        assert_eq!(check(&channel, name).await, Ok(is(Serving)), "{name}");
    }
    assert_eq!(check(&channel, "shop.Other").await, Err(Code::NotFound));

    cache.say(HealthUpdate::Down("full".into()), Status::Down).await;
    assert_eq!(check(&channel, "cache").await, Ok(is(NotServing)));
    assert_eq!(check(&channel, "").await, Ok(is(Serving)), "it is only degraded");
    database.say(HealthUpdate::Down("gone".into()), Status::Down).await;
    for (name, status) in [("", NotServing), ("shop.Orders", NotServing), ("database", NotServing)]
    {
        assert_eq!(check(&channel, name).await, Ok(is(status)), "{name}");
    }
}

#[tokio::test]
async fn a_watch_tells_of_every_change_and_of_what_is_added_later() {
    let database = Spoken::new("database").await;
    let registry = HealthRegistry::new("orders");
    let channel = tonic(HealthService::new(registry.clone())).await;
    let (mut whole, mut single) = (watch(&channel, "").await, watch(&channel, "database").await);
    assert_eq!(next(&mut whole).await, Some(Ok(is(Serving))));
    assert_eq!(next(&mut single).await, Some(Ok(UNKNOWN_SERVICE)));

    registry.add(Probe::Readiness, Criticality::Critical, &database.layer.handle());
    assert_eq!(next(&mut single).await, Some(Ok(is(Serving))));
    database.say(HealthUpdate::Down("gone".into()), Status::Down).await;
    assert_eq!(next(&mut single).await, Some(Ok(is(NotServing))));
    assert_eq!(next(&mut whole).await, Some(Ok(is(NotServing))), "and nothing in between");
    database.say(HealthUpdate::Up, Status::Up).await;
    assert_eq!(next(&mut single).await, Some(Ok(is(Serving))));
    assert_eq!(next(&mut whole).await, Some(Ok(is(Serving))));
}

// pitfall B24
#[tokio::test]
async fn watchers_are_counted_and_one_who_goes_makes_room() {
    let health = HealthService::new(HealthRegistry::new("orders")).watchers(1);
    let channel = tonic(health).await;
    let mut first = watch(&channel, "").await;
    assert_eq!(next(&mut first).await, Some(Ok(is(Serving))));
    let rejected = HealthClient::new(channel.clone()).watch(about("")).await.unwrap_err();
    assert_eq!(rejected.code(), Code::ResourceExhausted);
    drop(first);
    in_time(async {
        while HealthClient::new(channel.clone()).watch(about("")).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_drain_sends_watchers_away_so_that_bare_hyper_can_shut_down() {
    let health = HealthService::new(HealthRegistry::new("orders"));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = TowerToHyperService::new(health.clone());
    let server = tokio::spawn(async move {
        let graceful = GracefulShutdown::new();
        let socket = TokioIo::new(listener.accept().await.unwrap().0);
        let http2 = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        let connection = http2.serve_connection(socket, service);
        tokio::spawn(graceful.watch(connection));
        graceful
    });
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await;
    let channel = channel.unwrap();
    let mut watcher = watch(&channel, "").await;
    assert_eq!(next(&mut watcher).await, Some(Ok(is(Serving))));

    let drained = tokio::spawn(async move { health.drain().await });
    assert_eq!(next(&mut watcher).await, Some(Ok(is(NotServing))));
    assert_eq!(next(&mut watcher).await, Some(Err(Code::Unavailable)));
    in_time(drained).await.unwrap();
    assert_eq!(check(&channel, "").await, Ok(is(NotServing)));
    let mut late = watch(&channel, "").await;
    assert_eq!(next(&mut late).await, Some(Ok(is(NotServing))));
    assert_eq!(next(&mut late).await, Some(Err(Code::Unavailable)));
    in_time(server.await.unwrap().shutdown()).await;
}

/// A health that nobody has heard of yet.
fn unheard(name: &str) -> HealthLayer {
    HealthLayer::builder(name).subscribe(futures::stream::pending).build().unwrap()
}

// field: readiness
#[tokio::test]
async fn nothing_is_serving_before_the_first_word_nor_while_the_registry_drains() {
    let (database, cache) = (Spoken::new("database").await, unheard("cache"));
    let registry = HealthRegistry::new("orders");
    registry.add(Probe::Readiness, Criticality::Critical, &database.layer.handle());
    let channel = tonic(HealthService::new(registry.clone()).also("shop.Orders")).await;
    let (mut whole, mut single) = (watch(&channel, "").await, watch(&channel, "database").await);
    for stream in [&mut whole, &mut single] {
        assert_eq!(next(stream).await, Some(Ok(is(Serving))));
    }
    registry.add(Probe::Readiness, Criticality::Critical, &cache.handle());
    for name in ["", "shop.Orders", "cache"] {
        assert_eq!(check(&channel, name).await, Ok(is(NotServing)), "{name}");
    }
    assert_eq!(next(&mut whole).await, Some(Ok(is(NotServing))));
    assert_eq!(registry.remove("cache"), 1);
    assert_eq!(next(&mut whole).await, Some(Ok(is(Serving))));

    // One call, and everything that the registry answers for says so: also single checks, and who
    // watches is sent away.
    registry.drain();
    for name in ["", "shop.Orders", "database"] {
        assert_eq!(check(&channel, name).await, Ok(is(NotServing)), "{name}");
    }
    for stream in [&mut whole, &mut single] {
        assert_eq!(next(stream).await, Some(Ok(is(NotServing))));
        assert_eq!(next(stream).await, Some(Err(Code::Unavailable)));
    }
    let readyz = |path: &str| {
        let request = http::Request::get(path).body(()).unwrap();
        tower::ServiceExt::oneshot(HealthEndpoint::new(registry.clone()), request)
    };
    assert_eq!(readyz("/readyz").await.unwrap().status(), 503);
    assert_eq!(readyz("/livez").await.unwrap().status(), 200);
}

// field: readiness. A watcher of what is down already is woken by the drain too.
#[tokio::test]
async fn watchers_of_what_is_down_are_sent_away_by_a_drain() {
    let registry = HealthRegistry::new("orders");
    registry.add(Probe::Readiness, Criticality::Critical, &unheard("cache").handle());
    let channel = tonic(HealthService::new(registry.clone())).await;
    let (mut whole, mut single) = (watch(&channel, "").await, watch(&channel, "cache").await);
    for stream in [&mut whole, &mut single] {
        assert_eq!(next(stream).await, Some(Ok(is(NotServing))));
    }
    registry.drain();
    for stream in [&mut whole, &mut single] {
        assert_eq!(next(stream).await, Some(Err(Code::Unavailable)));
    }
}

#[tokio::test]
async fn a_list_names_everything_and_other_methods_are_unimplemented() {
    let database = Spoken::new("database").await;
    let registry = HealthRegistry::new("orders");
    registry.add(Probe::Readiness, Criticality::Critical, &database.layer.handle());
    database.say(HealthUpdate::Down("gone".into()), Status::Down).await;
    let channel = tonic(HealthService::new(registry)).await;
    let call = |path| {
        let channel = channel.clone();
        async move {
            let mut client = ::tonic::client::Grpc::new(channel);
            client.ready().await.unwrap();
            let path = http::uri::PathAndQuery::from_static(path);
            client.unary(crate::say(""), path, Raw).await.map(::tonic::Response::into_inner)
        }
    };
    // map<string, HealthCheckResponse>: {"": NOT_SERVING, "database": NOT_SERVING}
    let expected = b"\x0a\x06\x0a\x00\x12\x02\x08\x02\x0a\x0e\x0a\x08database\x12\x02\x08\x02";
    assert_eq!(call("/grpc.health.v1.Health/List").await.unwrap(), Bytes::from_static(expected));
    let unknown = call("/grpc.health.v1.Health/Guess").await.unwrap_err();
    assert_eq!(unknown.code(), Code::Unimplemented);
}
