//! Settings, sources, what is seen from outside.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Response;
use metrics_exporter_prometheus::PrometheusBuilder;
use seawall::circuit_breaker::{self, Trip};
use seawall::endpoints::{self, AdoptError, Endpoint, Source};
use seawall::retry::BudgetConfig;
use seawall::stack::ClientConfig;
use seawall::{Event, http as wing};
use tower::{BoxError, Service, ServiceExt, service_fn};

use super::{Body, get};

/// Answers everything.
fn all_well() -> impl Service<
    http::Request<Body>,
    Response = Response<()>,
    Error = std::io::Error,
    Future: Send + 'static,
> + Clone
+ Send
+ Sync
+ 'static {
    service_fn(|_: http::Request<Body>| async { Ok(Response::new(())) })
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let mut config = ClientConfig { deadline: Duration::ZERO, ..ClientConfig::default() };
    config.breaker.probes = 0;
    let outliers = endpoints::Config { outlier_factor: 0.5, ..endpoints::Config::default() };
    let wrong = wing::endpoints("web")
        .config(config)
        .endpoints_config(outliers)
        .subset(0, "me")
        .members([
            Endpoint::new("10.0.0.1:80"),
            Endpoint::new("10.0.0.1:80"),
            Endpoint::named("b", "http://b/path"),
            Endpoint::named("c", "user@c:80").weight(0),
            Endpoint::named("d", "d:99999"),
            Endpoint::named("e", ""),
            Endpoint::named("f", "tcp://f:1"),
        ])
        .build_on(all_well())
        .unwrap_err();
    let AdoptError::Invalid(wrong) = wrong else { panic!("{wrong}") };
    assert_eq!(wrong.origin().unwrap().to_string(), "client `web`");
    let told: Vec<_> = wrong.iter().map(|it| format!("{} = {}", it.path(), it.value)).collect();
    assert_eq!(
        told,
        [
            "deadline = 0ns",
            "breaker.probes = 0",
            "endpoints.outlier_factor = 0.5",
            "subset.size = 0",
            r#"members = "10.0.0.1:80""#,
            "weight = 0",
            r#"address = """#,
            r#"address = "http://b/path""#,
            r#"address = "user@c:80""#,
            r#"address = "d:99999""#,
            r#"address = "tcp://f:1""#,
        ],
        "{wrong}"
    );
    let none = wing::endpoints("web").build_on(all_well()).unwrap_err();
    assert_eq!(
        none.to_string(),
        "invalid configuration of client `web`: members = 0: 1 to 16384 members"
    );
}

// A list that comes later is no less strict, and leaves the one before in force.
#[tokio::test]
async fn an_address_that_is_none_is_rejected_later_too() {
    let web = wing::endpoints("web").members(["a:1", "b:1"]).build_on(all_well()).unwrap();
    let wrong = web.handle().endpoints().adopt(["a:1", "b:1/path"]).unwrap_err();
    assert!(matches!(&wrong, AdoptError::Member { name, .. } if &**name == "b:1/path"), "{wrong}");
    assert!(wrong.to_string().contains("`host:port`"), "{wrong}");
    assert_eq!(web.handle().endpoints().endpoints()[1].endpoint.name(), "b:1");
}

#[tokio::test]
async fn a_reload_reaches_all_endpoints_and_those_to_come() {
    let web = wing::endpoints("web").members(["a:1", "b:1"]).build_on(all_well()).unwrap();
    let handle = web.handle();
    let breaker = circuit_breaker::Config { trip: Trip::consecutive(3), ..Default::default() };
    let mut config = ClientConfig { breaker: breaker.clone(), ..handle.config() };
    config.deadline = Duration::from_secs(9);
    config.attempt_timeout = Duration::from_secs(2);
    config.budget = Some(BudgetConfig { cap: 7.0, ..BudgetConfig::default() });
    handle.reload(config.clone()).unwrap();
    assert_eq!(handle.config(), config);
    assert_eq!(handle.budget().unwrap().config().cap.to_bits(), 7_f64.to_bits());
    handle.endpoints().adopt(["a:1", "c:1"]).unwrap();
    for name in ["a:1", "c:1"] {
        assert_eq!(handle.member(name).unwrap().breaker().config(), breaker, "{name}");
    }
    assert!(handle.member("b:1").is_none());

    let mut wrong = config.clone();
    wrong.bulkhead.limit = 0;
    let told = handle.reload(wrong).unwrap_err().to_string();
    assert!(told.starts_with("invalid configuration of client `web`: bulkhead.limit"), "{told}");
    assert_eq!(handle.config(), config);
}

// Metrics and events say which endpoint.
#[test]
fn each_endpoint_has_metrics_and_events_of_its_own() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let names = Arc::<Mutex<Vec<String>>>::default();
    metrics::with_local_recorder(&recorder, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let notes = Arc::clone(&names);
            let mut web = wing::endpoints("web")
                .members([Endpoint::named("a", "a:1"), Endpoint::named("b", "b:1")])
                .observe(move |event: &Event| {
                    notes.lock().unwrap().push(event.origin.to_string());
                })
                .build_on(all_well())
                .unwrap();
            web.handle().member("a").unwrap().breaker().force_open();
            for _ in 0..20 {
                web.ready().await.unwrap().call(get("/")).await.unwrap();
            }
        });
    });
    let text = recorder.handle().render();
    for (layer, name) in [
        ("circuit_breaker", "web a"),
        ("circuit_breaker", "web b"),
        ("endpoints", "web"),
        ("retry", "web"),
    ] {
        let is_there = |line: &str| {
            line.contains(&format!("layer=\"{layer}\""))
                && line.contains(&format!("name=\"{name}\""))
        };
        assert!(text.lines().any(is_there), "{layer} {name}:\n{text}");
    }
    assert!(names.lock().unwrap().contains(&"circuit_breaker `web a`".to_owned()));
}

/// Says another list each time it is asked.
fn growing(asked: &Arc<AtomicUsize>) -> Source<impl seawall::endpoints::Resolve + use<>> {
    let asked = Arc::clone(asked);
    Source::new(move || -> Result<Vec<Endpoint>, BoxError> {
        let count = asked.fetch_add(1, Ordering::Relaxed) + 2;
        Ok((0..count).map(|nth| Endpoint::new(format!("host-{nth}:80"))).collect())
    })
}

#[tokio::test(start_paused = true)]
async fn a_source_is_followed_until_the_last_clone_of_the_client_is_gone() {
    let asked = Arc::<AtomicUsize>::default();
    let web = wing::endpoints("web").source(growing(&asked)).build_on(all_well()).await.unwrap();
    let handle = web.handle().clone();
    let count = || handle.endpoints().endpoints().len();
    assert_eq!((count(), asked.load(Ordering::Relaxed)), (2, 1));
    let clone = web.clone();
    drop(web);
    while count() < 5 {
        tokio::time::advance(Duration::from_secs(40)).await;
    }
    drop(clone);
    while Arc::strong_count(&asked) > 1 {
        tokio::task::yield_now().await; // the task is gone, and the source with it
    }
}

#[tokio::test]
async fn a_source_that_gives_nothing_at_first_is_an_error() {
    let none = Source::new(|| Err::<Vec<Endpoint>, BoxError>("no such service".into()));
    let error = wing::endpoints("web").source(none).build_on(all_well()).await.unwrap_err();
    assert!(matches!(error, AdoptError::Source(_)));
    assert_eq!(error.to_string(), "the source of endpoints gave no list: no such service");

    let empty = Source::new(|| Ok::<_, BoxError>(Vec::new()));
    let error = wing::endpoints("web").source(empty).build_on(all_well()).await.unwrap_err();
    assert!(matches!(error, AdoptError::Invalid(_)), "{error}");
}
