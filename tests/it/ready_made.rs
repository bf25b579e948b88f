//! The ready-made stacks of HTTP, as a user makes them.

use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderName, Method, Request, Response, StatusCode};
use seawall::http::{
    self as ready, ReadDeadlineLayer, Replay, TimeoutHeader, UntrustedHeadersLayer,
};
use seawall::{Error, bulkhead};
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::scene::now;

type Seen = Arc<Mutex<Vec<Request<String>>>>;

fn ask(method: Method, headers: &[(&'static str, &str)]) -> Request<String> {
    let request = Request::builder().method(method).uri("http://x/");
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body("body".to_owned()).unwrap()
}

/// How often a client is called that fails in this way, and then answers.
async fn attempts(method: Method, first: Result<StatusCode, ErrorKind>) -> usize {
    let seen = Seen::default();
    let books = Arc::clone(&seen);
    let client = service_fn(move |request: Request<String>| {
        books.lock().unwrap().push(request);
        let first = if books.lock().unwrap().len() == 1 { first } else { Ok(StatusCode::OK) };
        let answer = first.map(|status| Response::builder().status(status).body(()).unwrap());
        async move { answer.map_err(io::Error::from) }
    });
    let stack = ServiceBuilder::new()
        .layer(ready::client("x").build().unwrap())
        .map_err(Error::Inner)
        .service(client);
    let _ = stack.oneshot(ask(method, &[])).await;
    let seen = seen.lock().unwrap();
    assert!(seen.iter().all(|request| request.body() == "body"));
    seen.len()
}

// pitfall B29: what may have been acted on is not repeated; what nobody can have seen is.
#[tokio::test(start_paused = true)]
async fn a_post_is_repeated_only_where_nothing_of_it_was_sent() {
    let cases = [
        (Ok(StatusCode::SERVICE_UNAVAILABLE), 2, 1),
        (Ok(StatusCode::NOT_FOUND), 1, 1),
        (Err(ErrorKind::ConnectionReset), 2, 1),
        (Err(ErrorKind::BrokenPipe), 2, 1),
        (Err(ErrorKind::ConnectionRefused), 2, 2),
        (Err(ErrorKind::HostUnreachable), 2, 1),
    ];
    for (first, get, post) in cases {
        let counted = (attempts(Method::GET, first).await, attempts(Method::POST, first).await);
        assert_eq!(counted, (get, post), "{first:?}");
    }
}

async fn hang(_: Request<String>) -> Result<Response<String>, Infallible> {
    std::future::pending().await
}

#[tokio::test(start_paused = true)]
async fn a_server_answers_for_what_it_does_not_take_and_for_what_takes_too_long() {
    let header = HeaderName::from_static("x-timeout-ms");
    let layer = ready::server("x")
        .deadline(Duration::from_secs(2))
        .deadline_from(TimeoutHeader::Millis(header))
        .limit(1)
        .build()
        .unwrap();
    let server =
        ServiceBuilder::new().layer(layer.clone()).map_err(Error::Inner).service(service_fn(hang));
    let began = now();
    let first = tokio::spawn(server.clone().oneshot(ask(Method::GET, &[])));
    tokio::task::yield_now().await;
    assert_eq!(layer.in_flight(), 1);

    let full = server.clone().oneshot(ask(Method::GET, &[])).await.unwrap();
    assert_eq!(full.status(), StatusCode::SERVICE_UNAVAILABLE);
    let late = server.clone().oneshot(ask(Method::GET, &[("x-timeout-ms", "0")])).await.unwrap();
    assert_eq!(late.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(began.elapsed(), Duration::ZERO);

    let first = first.await.unwrap().unwrap();
    assert_eq!(first.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(began.elapsed(), Duration::from_secs(2));
    let asked = ask(Method::GET, &[("x-timeout-ms", "300")]);
    assert_eq!(server.clone().oneshot(asked).await.unwrap().status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(began.elapsed(), Duration::from_millis(2300));

    layer.drain().await;
    let drained = server.oneshot(ask(Method::GET, &[])).await.unwrap();
    assert_eq!(drained.status(), StatusCode::SERVICE_UNAVAILABLE);
}

// pitfall B30: what a caller says of its call is not believed unless it was switched on.
#[tokio::test(start_paused = true)]
async fn a_server_believes_nobody_unless_told_to() {
    let said = [("idempotency-key", "k"), ("priority", "u=0"), ("grpc-timeout", "1n"), ("a", "b")];
    let believing = UntrustedHeadersLayer::new().key(Replay::IDEMPOTENCY_KEY);
    for (edge, passed) in [(None, 4), (Some(UntrustedHeadersLayer::new()), 1), (Some(believing), 2)]
    {
        let layer = ready::server("x");
        let layer = match edge {
            Some(edge) => layer.edge(edge).build().unwrap(),
            None => layer.build().unwrap(), // field F21: for the handler, and for nobody else
        };
        let server = ServiceBuilder::new().layer(layer).map_err(Error::Inner).service(service_fn(
            |request: Request<String>| async move {
                let call = request.extensions().get::<seawall::propagate::CallContext>();
                assert!(call.is_some_and(|call| call.deadline.is_some()), "of the server itself");
                Ok::<_, Infallible>(Response::new(request.headers().len().to_string()))
            },
        ));
        let answer = server.oneshot(ask(Method::GET, &said)).await.unwrap();
        assert_eq!(answer.body().inner(), Some(&passed.to_string()));
    }
}

#[test]
fn what_is_wrong_with_a_server_is_told_all_at_once() {
    let wrong = ready::server("x").limit(0).queue(u32::MAX, Duration::ZERO).build().unwrap_err();
    let fields: Vec<_> = wrong.iter().map(|problem| problem.field).collect();
    assert_eq!(fields, ["limit", "queue", "max_wait"]);

    let late = ready::server("x").deadline(Duration::from_secs(1)).queue(5, Duration::from_secs(1));
    assert_eq!(late.build().unwrap_err().iter().next().unwrap().field, "max_wait");
    let config = bulkhead::Config {
        max_wait: Duration::MAX, // of a line that is not there
        ..bulkhead::Config::default()
    };
    assert!(ready::server("x").bulkhead(config).build().is_ok());

    let header = |name| TimeoutHeader::Millis(HeaderName::from_static(name));
    let edge = UntrustedHeadersLayer::new().deadline(ReadDeadlineLayer::new(header("x-a")));
    let twofold = ready::server("x").edge(edge).deadline_from(header("x-b")).build().unwrap_err();
    assert_eq!(twofold.iter().next().unwrap().field, "deadline_from");
}

#[cfg(feature = "grpc")]
#[tokio::test(start_paused = true)]
async fn a_server_of_grpc_rejects_so_that_every_client_understands() {
    let layer = seawall::grpc::server("x").deadline_from(TimeoutHeader::Grpc).build().unwrap();
    let server = ServiceBuilder::new().layer(layer).map_err(Error::Inner).service(service_fn(hang));
    let began = now();
    let answer = server.oneshot(ask(Method::POST, &[("grpc-timeout", "100m")])).await.unwrap();
    assert_eq!(
        (answer.status(), &answer.headers()["grpc-status"]),
        (StatusCode::OK, &"4".parse().unwrap())
    );
    assert_eq!(began.elapsed(), Duration::from_millis(100));
}
