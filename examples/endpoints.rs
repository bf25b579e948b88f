//! A client over five servers, of which one turns bad, one dies and one joins, and no request fails.
//!
//! ```sh
//! cargo run --example endpoints --features endpoints,reqwest
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::StatusCode;
use axum::{Router, routing::get};
use seawall::endpoints::{Endpoint, State};
use tokio::{net::TcpListener, task::JoinHandle};
use tower::{BoxError, Service, ServiceExt};

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

    // Retries go to another server; each has a circuit breaker, a bulkhead and an attempt timeout of its own.
    let http = reqwest::Client::builder().retry(reqwest::retry::never()).no_proxy().build()?;
    let mut search = seawall::reqwest::endpoints("search")
        .members([&one, &two, &three, &four].map(Clone::clone))
        .build_on(http.clone())?;
    let handle = search.handle().clone();
    let mut ask = async || -> Result<String, BoxError> {
        let request = http.get("http://search/").build()?; // goes to the address of a server
        let answer = search.ready().await?.call(request).await?;
        Ok(answer.error_for_status()?.text().await?)
    };

    turns_bad.store(true, Ordering::Relaxed); // one turns bad,
    dies.abort(); // and one dies
    for _ in 0..200 {
        assert!(["a", "d"].contains(&ask().await?.as_str()));
    }
    for out in handle.endpoints().endpoints().iter().filter(|one| one.state == State::Ejected) {
        println!("left out: {}", out.endpoint.name());
    }

    let (five, ..) = server("e").await?; // one joins, in place of the dead one
    handle.endpoints().adopt([one, two, four, five])?;
    while ask().await? != "e" {} // slowly, at first
    println!("the new one answers");
    Ok(())
}

#[test]
fn it_works() -> Result<(), BoxError> {
    main()
}
