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
use seawall::propagate::{FromWithContext, WithContext};
use seawall::retry::{Never, RetryLayer};
use seawall::{Error, stack};
use tokio::{net::TcpListener, task::JoinHandle};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};

type Server = (Endpoint, Arc<AtomicBool>, JoinHandle<()>);

/// A server on a port of its own, which can be made to fail.
async fn server(name: &'static str) -> Result<Server, BoxError> {
    let (listener, bad) = (TcpListener::bind("127.0.0.1:0").await?, Arc::<AtomicBool>::default());
    let (address, turned) = (listener.local_addr()?.to_string(), Arc::clone(&bad));
    let answer = move || async move {
        if turned.load(Ordering::Relaxed) { Err(StatusCode::BAD_GATEWAY) } else { Ok(name) }
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
        .propagate(FromWithContext)
        .over(move |endpoint| {
            let (http, url) = (http.clone(), format!("http://{}/", endpoint.address()));
            let get = service_fn(move |_: WithContext<()>| {
                let request = http.get(&url).timeout(Duration::from_secs(1));
                async move { request.send().await?.error_for_status()?.text().await }
            });
            let policies = stack::client(endpoint.name()).copy_with(Never).build()?;
            Ok(ServiceBuilder::new().layer(policies).map_err(Error::Inner).service(get))
        })?;
    let handle = endpoints.handle();
    // Around the set: a further attempt is kept from endpoints that failed.
    let retry = RetryLayer::builder("search").cloned().propagate(FromWithContext).build()?;
    let mut search = retry.layer(endpoints);
    let mut ask = async || search.ready().await?.call(().into()).await;

    turns_bad.store(true, Ordering::Relaxed); // one turns bad,
    dies.abort(); // and one dies
    for _ in 0..200 {
        assert!(["a", "d"].contains(&ask().await?.as_str()));
    }
    for out in handle.endpoints().iter().filter(|one| one.state == State::Ejected) {
        println!("left out: {}", out.endpoint.name());
    }

    let (five, ..) = server("e").await?; // one joins, in place of the dead one
    handle.adopt([one, two, four, five])?;
    while ask().await? != "e" {} // slowly, at first
    println!("the new one answers");
    Ok(())
}

#[test]
fn it_works() -> Result<(), BoxError> {
    main()
}
