//! A client over five servers, of which one turns bad, one dies and one joins, and no request fails.
//!
//! ```sh
//! cargo run --example endpoints --features endpoints
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::StatusCode;
use axum::{Router, routing::get};
use seawall::endpoints::{Endpoint, Endpoints, State};
use seawall::retry::{Never, RetryLayer};
use seawall::{Error, stack};
use tokio::{net::TcpListener, task::JoinHandle};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};

/// A server on a port of its own, which can be made to fail.
async fn server(
    name: &'static str,
) -> Result<(Endpoint, Arc<AtomicBool>, JoinHandle<()>), BoxError> {
    let (listener, bad) = (TcpListener::bind("127.0.0.1:0").await?, Arc::<AtomicBool>::default());
    let (address, turned) = (listener.local_addr()?.to_string(), Arc::clone(&bad));
    let answer = move || async move {
        let is_bad = turned.load(Ordering::Relaxed);
        if is_bad { Err(StatusCode::INTERNAL_SERVER_ERROR) } else { Ok(name) }
    };
    let app = Router::new().route("/", get(answer));
    let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap_or_default() });
    Ok((Endpoint::named(name, address), bad, task))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (one, ..) = server("a").await?;
    let (two, turns_bad, _) = server("b").await?;
    let (three, _, dies) = server("c").await?;
    let (four, ..) = server("d").await?;
    let http = reqwest::Client::new();
    let endpoints = Endpoints::builder("search")
        .members([&one, &two, &three, &four].map(Clone::clone))
        .over(move |endpoint| {
            let (http, url) = (http.clone(), format!("http://{}/", endpoint.address()));
            let get = service_fn(move |(): ()| {
                let request = http.get(&url).timeout(Duration::from_secs(1));
                async move { request.send().await?.error_for_status()?.text().await }
            });
            let policies = stack::client(endpoint.name()).copy_with(Never).build()?;
            Ok(ServiceBuilder::new().layer(policies).map_err(Error::Inner).service(get))
        })?;
    let handle = endpoints.handle();
    // Around the set, so that a second attempt goes to another endpoint.
    let mut search = RetryLayer::builder("search").cloned().build()?.layer(endpoints);
    let mut ask = async |count: usize| -> Result<Vec<String>, BoxError> {
        let mut answers = Vec::new();
        for _ in 0..count {
            answers.push(search.ready().await?.call(()).await?);
        }
        Ok(answers)
    };

    assert_eq!(ask(100).await?.len(), 100);
    turns_bad.store(true, Ordering::Relaxed); // one turns bad,
    dies.abort(); // and one dies
    assert!(ask(200).await?[100..].iter().all(|name| name == "a" || name == "d"));
    let out: Vec<_> =
        handle.endpoints().into_iter().filter(|one| one.state != State::Active).collect();
    println!("left out: {:?}", out.iter().map(|one| one.endpoint.name()).collect::<Vec<_>>());

    let (five, ..) = server("e").await?; // one joins, in place of the dead one
    handle.adopt([one, two, four, five])?;
    while !ask(20).await?.contains(&"e".to_owned()) {} // slowly, at first
    println!("the new one answers");
    Ok(())
}

#[test]
fn it_works() -> Result<(), BoxError> {
    main()
}
