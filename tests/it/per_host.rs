//! Ready-made stacks with a circuit breaker for each host. // field S3

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn as answering;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use metrics::with_local_recorder;
use seawall::circuit_breaker::{self, Overrides, State, Trip};
use seawall::http::{self as ready, NO_HOST};
use seawall::stack::{ClientConfig, KeyOverrides, KeyedClientConfig, KeyedClientHandle};
use seawall::{Error, EventKind, Reason, bulkhead};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

use crate::exposition::{Exposition, recorder};
use crate::port::Port;
use crate::scene::{Log, fields, reason};

/// One failure opens it, for as long as a test lasts.
fn touchy() -> circuit_breaker::Config {
    let break_duration = Duration::from_secs(600);
    circuit_breaker::Config {
        trip: Trip::consecutive(1),
        break_duration,
        max_break_duration: break_duration,
        ..Default::default()
    }
}

fn trips_at(failures: u32) -> KeyOverrides {
    let breaker = Overrides { trip: Some(Trip::consecutive(failures)), ..Overrides::default() };
    KeyOverrides { breaker, ..KeyOverrides::default() }
}

/// Answers every request with this status. Returns its authority.
async fn server(status: u16) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let service = answering(move |_: Request<Incoming>| async move {
                let answer = Response::builder().status(status);
                Ok::<_, Infallible>(answer.body(Full::new(Bytes::from("well"))).unwrap())
            });
            let http1 = hyper::server::conn::http1::Builder::new();
            tokio::spawn(http1.serve_connection(TokioIo::new(socket), service));
        }
    });
    authority
}

fn get(url: impl AsRef<str>) -> Request<Full<Bytes>> {
    Request::get(url.as_ref()).body(Full::default()).unwrap()
}

fn hyper() -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new()).build_http()
}

fn state(web: &KeyedClientHandle, host: &str) -> Option<State> {
    web.breakers().key(host).map(|breaker| breaker.state())
}

fn keys(web: &KeyedClientHandle) -> Vec<String> {
    let mut keys: Vec<_> = web.breakers().keys().iter().map(ToString::to_string).collect();
    keys.sort();
    keys
}

// field S3
#[tokio::test]
async fn a_host_that_is_down_leaves_the_others_alone() {
    let (well, failing, nobody) = (server(200).await, server(500).await, Port::hold());
    let closed = nobody.address().to_string();
    let layer = ready::client("web").per_host().breaker(touchy()).no_budget().build().unwrap();
    let hosts = layer.handle();
    let web = ServiceBuilder::new().layer(layer).map_err(Error::Inner).service(hyper());
    let ask = async |host: &str| web.clone().oneshot(get(format!("http://{host}/"))).await;

    for down in [&failing, &closed] {
        let _ = ask(down).await;
        assert_eq!(state(&hosts, down), Some(State::Open), "{down}");
        let rejected = ask(down).await;
        assert_eq!(reason(&rejected), Some(Reason::CircuitOpen), "{down}");
        assert_eq!(ask(&well).await.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(state(&hosts, &well), Some(State::Closed));
    assert_eq!(hosts.breakers().len(), 3);

    // One host can be held open by hand, and closed again.
    hosts.breakers().key(&well).unwrap().force_open();
    assert_eq!(reason(&ask(&well).await), Some(Reason::CircuitOpen));
    hosts.breakers().key(&well).unwrap().release();
    assert_eq!(ask(&well).await.unwrap().status(), StatusCode::OK);
    let tripped = hosts.breakers().key(&failing).unwrap().snapshot();
    assert!(tripped.last_trip.is_some() && tripped.next_probe_in.is_some());
}

/// Takes requests and answers none. Returns its authority, and who rings for each request.
async fn hung() -> (String, mpsc::UnboundedReceiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = listener.local_addr().unwrap().to_string();
    let (ring, task) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let ring = ring.clone();
            let service = answering(move |_: Request<Incoming>| {
                let _ = ring.send(());
                pending::<Result<Response<Full<Bytes>>, Infallible>>()
            });
            let http1 = hyper::server::conn::http1::Builder::new();
            tokio::spawn(http1.serve_connection(TokioIo::new(socket), service));
        }
    });
    (authority, task)
}

// field S3: a host that hangs takes nobody else's place.
#[tokio::test]
async fn a_host_that_hangs_takes_only_its_own_places() {
    let (well, (hung, mut task)) = (server(200).await, hung().await);
    let two = bulkhead::Config { limit: 2, queue: 0, ..bulkhead::Config::default() };
    let layer = ready::client("web")
        .per_host()
        .bulkhead(two)
        .attempt_timeout(Duration::MAX)
        .deadline(Duration::MAX)
        .build()
        .unwrap();
    let hosts = layer.handle();
    let web = ServiceBuilder::new().layer(layer).map_err(Error::Inner).service(hyper());
    let ask = |host: &str| web.clone().oneshot(get(format!("http://{host}/")));

    let mut waiting = Vec::new();
    for _ in 0..2 {
        waiting.push(tokio::spawn(ask(&hung)));
        task.recv().await.unwrap();
    }
    assert_eq!(reason(&ask(&hung).await), Some(Reason::Full));
    for _ in 0..10 {
        assert_eq!(ask(&well).await.unwrap().status(), StatusCode::OK);
    }
    let inside = |host: &str| hosts.bulkheads().key(host).unwrap().in_flight();
    assert_eq!((inside(&hung), inside(&well), hosts.in_flight()), (2, 0, 2));

    // Its places can be turned by themselves, while the calls are flying.
    let mut config = hosts.config();
    let three = bulkhead::Overrides { limit: Some(3), ..bulkhead::Overrides::default() };
    let own = KeyOverrides { bulkhead: three, ..KeyOverrides::default() };
    config.overrides.insert(hung.clone(), own);
    hosts.reload(config.clone()).unwrap();
    assert_eq!(hosts.config(), config);
    waiting.push(tokio::spawn(ask(&hung)));
    task.recv().await.unwrap();
    assert_eq!(reason(&ask(&hung).await), Some(Reason::Full));
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}

// field S3
#[cfg(feature = "reqwest")]
#[tokio::test]
async fn the_same_over_reqwest() {
    let (well, nobody) = (server(200).await, Port::hold());
    let client = reqwest::Client::builder().retry(reqwest::retry::never()).no_proxy();
    let layer = seawall::reqwest::client("web").per_host().breaker(touchy()).build().unwrap();
    let hosts = layer.handle();
    let web =
        ServiceBuilder::new().layer(layer).map_err(Error::Inner).service(client.build().unwrap());
    let ask = async |url: String| {
        let request = reqwest::Request::new(reqwest::Method::GET, url.parse().unwrap());
        web.clone().oneshot(request).await
    };
    assert!(ask(nobody.url()).await.is_err());
    assert_eq!(reason(&ask(nobody.url()).await), Some(Reason::CircuitOpen));
    assert_eq!(ask(format!("http://{well}/")).await.unwrap().status(), StatusCode::OK);
    assert_eq!(state(&hosts, &well), Some(State::Closed));

    let key = |url: &str| {
        use seawall::keyed::ExtractKey;
        let request = reqwest::Request::new(reqwest::Method::GET, url.parse().unwrap());
        ready::PerHost.with_key(&request, str::to_owned)
    };
    for (url, host) in [
        ("http://Example.com/x", "example.com:80"),
        ("http://example.com:80", "example.com:80"),
        ("https://u:p@example.com", "example.com:443"),
        ("https://example.com:8443", "example.com:8443"),
        ("http://[::1]/", "[::1]:80"),
        ("data:text/plain,x", NO_HOST),
    ] {
        assert_eq!(key(url), host, "{url}");
    }
}

type Web = tower::util::BoxCloneSyncService<
    Request<Full<Bytes>>,
    Response<Full<Bytes>>,
    Error<std::io::Error>,
>;

/// Hosts whose name begins with `down` answer 500.
fn web(build: impl FnOnce(Builder) -> Builder) -> (Web, KeyedClientHandle) {
    let layer = build(ready::client("web").per_host()).build().unwrap();
    let hosts = layer.handle();
    let inner = service_fn(|request: Request<Full<Bytes>>| async move {
        let host = request.uri().host().unwrap_or_default();
        let status = if host.starts_with("down") { 500 } else { 200 };
        Ok(Response::builder().status(status).body(Full::default()).unwrap())
    });
    let stack = ServiceBuilder::new().layer(layer).map_err(Error::Inner).service(inner);
    (Web::new(stack), hosts)
}

type Builder = seawall::stack::ClientBuilder<
    ready::HttpClassifier,
    seawall::retry::Chosen<ready::Replay>,
    ready::InExtensions,
    seawall::OnResponse,
    seawall::OnResponse,
    seawall::stack::AsErrors,
    seawall::stack::PerKey<ready::PerHost>,
>;

// field S3: one host is one key, however it is written.
#[tokio::test(start_paused = true)]
async fn a_host_has_one_breaker_however_it_is_written() {
    let (mut web, hosts) = web(|web| web);
    let mut ask = async |request| web.ready().await.unwrap().call(request).await.unwrap();
    for url in ["http://a.example/x", "http://A.example:80/y?z", "http://u:p@a.EXAMPLE/"] {
        ask(get(url)).await;
    }
    assert_eq!(keys(&hosts), ["a.example:80"]);
    ask(get("https://a.example/")).await;
    let mut origin_form = get("/x");
    ask(origin_form.clone()).await;
    origin_form.headers_mut().insert("host", "B.example:81".parse().unwrap());
    ask(origin_form).await;
    assert_eq!(keys(&hosts), [NO_HOST, "a.example:443", "a.example:80", "b.example:81"]);
}

// field S3: bounded
#[tokio::test(start_paused = true)]
async fn ten_thousand_hosts_stay_bounded_and_one_in_trouble_is_remembered() {
    let log = Log::default();
    let (mut web, hosts) =
        web(|web| web.max_keys(100).breaker(touchy()).no_budget().observe(log.observer()));
    let mut ask =
        async |host: String| web.ready().await.unwrap().call(get(format!("http://{host}/"))).await;
    ask("down.example".into()).await.unwrap_err();
    for nth in 0..10_000 {
        ask(format!("h{nth}.example")).await.unwrap();
        assert!(hosts.breakers().len() <= 100 && hosts.bulkheads().len() <= 100);
    }
    assert_eq!(state(&hosts, "down.example:80"), Some(State::Open));
    assert_eq!(reason(&ask("down.example".into()).await), Some(Reason::CircuitOpen));
    assert!(!log.all().contains(&EventKind::KeyOverflow), "those at rest made room");

    // Where none is at rest the newcomers share one, and are not unprotected.
    for nth in 0..200 {
        let _ = ask(format!("down{nth}.example")).await;
    }
    assert_eq!(hosts.breakers().len(), 100);
    assert!(log.all().contains(&EventKind::KeyOverflow));
    assert_eq!(hosts.config().max_keys, 100);
    assert_eq!(ready::client("x").per_host().build().unwrap().handle().config().max_keys, 10_000);
}

// field S3: in metrics as a keyed breaker
#[test]
fn a_recorder_sees_keys_by_state() {
    let recorder = recorder();
    with_local_recorder(&recorder, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (mut web, _) = web(|web| web.breaker(touchy()));
            for host in ["a", "b", "down"] {
                let request = get(format!("http://{host}.example/"));
                let _ = web.ready().await.unwrap().call(request).await;
            }
            let told = Exposition::of(&recorder);
            let own = ("layer", "circuit_breaker");
            assert_eq!(told.value("seawall_keys", &[own, ("name", "web")]), 3.0);
            let own = ("layer", "bulkhead");
            assert_eq!(told.value("seawall_keys", &[own, ("name", "web")]), 2.0 + 1.0);
            let states = |state| {
                told.value("seawall_circuit_breaker_state", &[("name", "web"), ("state", state)])
            };
            // Two, and the one that waits for keys without a place.
            assert_eq!((states("closed"), states("open")), (2.0 + 1.0, 1.0));
        });
    });
}

// ===== settings =====

#[tokio::test(start_paused = true)]
async fn one_file_has_it_all_and_a_reload_is_all_or_nothing() {
    let file = r#"{
        "default": { "deadline": "2s", "budget": null, "breaker": { "break_duration": "1s" } },
        "max_keys": 50,
        "overrides": {
            "down.example:80": { "breaker": { "trip": [{ "consecutive": { "failures": 1 } }] } }
        }
    }"#;
    let config: KeyedClientConfig = serde_json::from_str(file).unwrap();
    let again = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<KeyedClientConfig>(&again).unwrap(), config);
    assert_eq!(config.overrides["down.example:80"], trips_at(1));
    let (mut web, hosts) = web(|web| web.keyed_config(config.clone()));
    assert_eq!(hosts.config(), config);

    let mut ask =
        async |host: &str| web.ready().await.unwrap().call(get(format!("http://{host}/"))).await;
    let _ = ask("down.example").await;
    let _ = ask("down2.example").await;
    assert_eq!(state(&hosts, "down.example:80"), Some(State::Open));
    assert_eq!(state(&hosts, "down2.example:80"), Some(State::Closed));
    let own = |host: &str| hosts.breakers().key(host).unwrap().config();
    assert_eq!(own("down.example:80").break_duration, Duration::from_secs(1));

    // What all have is turned, and what one has of its own stays.
    let mut new = hosts.config();
    new.default.breaker.break_duration = Duration::from_secs(3);
    new.default.deadline = Duration::from_secs(1);
    new.overrides.insert("down2.example:80".into(), trips_at(2));
    hosts.reload(new.clone()).unwrap();
    assert_eq!(hosts.config(), new);
    assert_eq!(own("down.example:80").break_duration, Duration::from_secs(3));
    assert_eq!(own("down.example:80").trip, Trip::consecutive(1));
    assert_eq!(own("down2.example:80").trip, Trip::consecutive(2));
    assert_eq!(state(&hosts, "down.example:80"), Some(State::Open), "as it was");

    let none = bulkhead::Overrides { limit: Some(0), ..bulkhead::Overrides::default() };
    let nowhere = KeyOverrides { bulkhead: none, ..KeyOverrides::default() };
    let mut wrong = new.clone();
    wrong.max_keys = 0;
    wrong.default.retry.attempts = 0;
    wrong.default.breaker.probes = 0;
    wrong.overrides = BTreeMap::from([
        ("Down.example:80".into(), trips_at(1)),
        ("Down.example".into(), trips_at(1)),
        ("x.example:443".into(), trips_at(0)),
        ("y.example:443".into(), nowhere),
    ]);
    let errors = hosts.reload(wrong).unwrap_err();
    assert_eq!(errors.origin().unwrap().to_string(), "client `web`");
    let paths: Vec<_> = errors.iter().map(seawall::ConfigError::path).collect();
    assert_eq!(
        paths,
        [
            "default.retry.attempts",
            "default.breaker.probes",
            "max_keys",
            "overrides",
            "overrides",
            "overrides[\"x.example:443\"].breaker.failures",
            "overrides[\"y.example:443\"].bulkhead.limit",
        ]
    );
    assert!(errors.to_string().contains(
        "overrides = \"Down.example\": a host in lower case, with the port that requests name or imply, as in \"example.com:443\""
    ));
    assert_eq!(hosts.config(), new);
}

#[test]
fn what_is_wrong_is_said_when_it_is_built() {
    let built = ready::client("x").per_host().max_keys(0).overrides([("X", trips_at(1))]).build();
    assert_eq!(fields(built), ["max_keys", "overrides"]);
    let config = ClientConfig { deadline: Duration::ZERO, ..ClientConfig::default() };
    assert_eq!(fields(ready::client("x").config(config).per_host().build()), ["deadline"]);
}

#[tokio::test(start_paused = true)]
async fn it_drains_as_one_and_runs_calls_without_a_service() {
    let layer = ready::client("web").per_host().build().unwrap();
    let call = || async { Ok::<_, tower::BoxError>(Response::new(())) };
    layer.run("a.example:80", call).await.unwrap();
    assert_eq!(keys(&layer.handle()), ["a.example:80"]);
    assert_eq!(layer.in_flight(), 0);
    layer.drain().await;
    let rejected = layer.run("a.example:80", call).await;
    assert_eq!(reason(&rejected), Some(Reason::Draining));
}
