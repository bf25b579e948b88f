//! Owners and routers over HTTP and gRPC: what an owner refuses says whose it is, and a router goes there.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use seawall::Error;
use seawall::http::{OwnerHint, RejectionResponseLayer};
use seawall::retry::Cloned;
use seawall::shards::{Key, Map, OwnsLayer, Redirect, Shards};
use tokio::net::TcpListener;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use super::hashed;

/// A server of one member, on a socket of its own.
async fn owner(name: &str, map: Map, asked: Arc<AtomicUsize>) -> SocketAddr {
    let answer = name.to_owned();
    let work = service_fn(move |_: Request<Incoming>| {
        asked.fetch_add(1, Ordering::Relaxed);
        let answer = answer.clone();
        async move { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(answer))) }
    });
    let owns = OwnsLayer::builder("orders", name)
        .key(|request: &Request<Incoming>| Key::from(request.uri().path()))
        .map(map)
        .build()
        .unwrap();
    let server = ServiceBuilder::new()
        .layer(RejectionResponseLayer::new())
        .layer(owns)
        .map_err(Error::Inner)
        .service(work);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(server.clone()));
            tokio::spawn(connection);
        }
    });
    address
}

#[tokio::test]
async fn a_router_with_an_old_map_reaches_the_owner_over_http() {
    let (old, new) = (hashed(1, 2), hashed(2, 3));
    let asked: Arc<AtomicUsize> = Arc::default();
    let mut addresses = Vec::new();
    for member in new.members() {
        addresses.push((
            member.name().to_owned(),
            owner(member.name(), new.clone(), Arc::clone(&asked)).await,
        ));
    }
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let map = Map::hashed(1, ["shard-0", "shard-1", "shard-2"]).unwrap();
    let moves = (0..10_000)
        .map(|nth| format!("/{nth}"))
        .find(|key| old.owner(key).name() != new.owner(key).name());
    let moves = moves.unwrap();
    // The router takes the third for a member of the map of two.
    let wrong =
        Map::directory(1, map.members().to_vec(), [(&moves, old.owner(&moves).name())]).unwrap();
    let router = Shards::builder("orders")
        .key(|request: &Request<Full<Bytes>>| Key::from(request.uri().path()))
        .map(wrong)
        .redirect(OwnerHint)
        .copy_with(Cloned)
        .over(move |member| {
            let address = addresses.iter().find(|(name, _)| name == member.name());
            let address = address.ok_or("unknown")?.1;
            let client = client.clone();
            Ok(ServiceBuilder::new()
                .map_err(Error::Inner)
                .map_request(move |mut request: Request<Full<Bytes>>| {
                    let uri = format!("http://{address}{}", request.uri().path());
                    *request.uri_mut() = uri.parse().unwrap();
                    request
                })
                .service(client))
        })
        .unwrap();
    let request = Request::post(&*moves).body(Full::default()).unwrap();
    let answer = router.oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, new.owner(&moves).name());
    assert_eq!(asked.load(Ordering::Relaxed), 1, "one has done it");
}

/// What an owner that refuses answers.
async fn refused(name: &'static str, grpc: bool) -> Response<Bytes> {
    let map = Map::directory(8, ["a", name], [("/k", name)]).unwrap();
    let owns = OwnsLayer::builder("orders", "a")
        .key(|request: &Request<()>| Key::from(request.uri().path()))
        .map(map)
        .build()
        .unwrap();
    let work = service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let inner = owns.layer(ServiceBuilder::new().map_err(Error::Inner).service(work));
    let request = Request::get("/k").body(()).unwrap();
    let (head, body) = if grpc {
        let answer = ServiceBuilder::new().layer(seawall::grpc::respond()).service(inner);
        answer.oneshot(request).await.unwrap().into_parts()
    } else {
        let mut server = RejectionResponseLayer::new().layer(inner);
        server.ready().await.unwrap().call(request).await.unwrap().into_parts()
    };
    Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}

#[tokio::test]
async fn a_refusal_is_421_or_failed_precondition_with_the_owner() {
    let answer = refused("b", false).await;
    assert_eq!(answer.status(), StatusCode::MISDIRECTED_REQUEST);
    assert_eq!(answer.headers()["seawall-owner"], "b; epoch=8");
    let answer = refused("b", true).await;
    assert_eq!(answer.headers()["grpc-status"], "9");
    assert_eq!(answer.headers()["seawall-owner"], "b; epoch=8");
    let hint = OwnerHint.redirect(Ok::<_, &Infallible>(&answer)).unwrap();
    assert_eq!((hint.to(), hint.epoch().get()), (Some("b"), 8));
    // A name that has no place in a header is not told.
    let answer = refused("b\r\nset-cookie: x", false).await;
    assert_eq!(answer.headers()["seawall-owner"], "epoch=8");
}

/// What a peer may send in the header.
#[test]
fn hints_that_make_no_sense_are_none() {
    let read = |values: &[&str]| {
        let mut answer = Response::builder().status(421);
        for value in values {
            answer = answer.header("seawall-owner", *value);
        }
        OwnerHint.redirect(Ok::<_, &Infallible>(&answer.body(()).unwrap()))
    };
    let hint = read(&["b; epoch=8; once"]).unwrap();
    assert!(!hint.is_lasting() && hint.to() == Some("b"));
    let hint = read(&["epoch=18446744073709551615"]).unwrap();
    assert_eq!((hint.to(), hint.epoch().get(), hint.is_lasting()), (None, u64::MAX, false));
    let long = format!("{}; epoch=8", "n".repeat(201));
    for wrong in [
        "",
        "b",
        "b;",
        "b; epoch=",
        "b; epoch=-1",
        "b; epoch=+1",
        "b; epoch=18446744073709551616",
        "; epoch=8",
        "b c; epoch=8",
        "b; epoch=8; twice",
        "b; epoch=8; once; once",
        "epoch=8; once",
        &long,
    ] {
        assert_eq!(read(&[wrong]), None, "{wrong:?}");
    }
    assert_eq!(read(&["b; epoch=8", "c; epoch=9"]), None, "two of them");
    assert_eq!(read(&[]), None);
    let told = "b; epoch=x".parse::<seawall::shards::Hint>().unwrap_err().to_string();
    assert!(told.contains(r#"hint = "b; epoch=x": `name; epoch=8`"#), "{told}");
}
