//! A reqwest client under our layers, over loopback.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn as answering;
use hyper_util::rt::TokioIo;
use reqwest::{Body, Client, Request, Response};
use seawall::http::{HttpClassifier, Replay};
use seawall::reqwest::{InTimeout, authority, of_error};
use seawall::retry::{Backoff, CloneRequest, RetryLayer};
use seawall::{Error, Outcome, stack};
use tokio::net::TcpListener;
use tokio::time::sleep;
use tower::{ServiceBuilder, ServiceExt, service_fn};

use crate::port::Port;
use crate::scene::ms;

fn client() -> Client {
    Client::builder().retry(reqwest::retry::never()).no_proxy().build().unwrap()
}

/// Answers 503 to the first so many requests; writes down the bodies. Returns its address.
async fn server(busy: u32) -> (String, Arc<Mutex<Vec<Bytes>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (bodies, count) = (Arc::<Mutex<Vec<Bytes>>>::default(), Arc::new(AtomicU32::new(0)));
    let seen = Arc::clone(&bodies);
    let nobody = Arc::new(Port::hold());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (seen, count, nobody) =
                (Arc::clone(&seen), Arc::clone(&count), Arc::clone(&nobody));
            let service = answering(move |request: http::Request<hyper::body::Incoming>| {
                let (seen, count, nobody) =
                    (Arc::clone(&seen), Arc::clone(&count), Arc::clone(&nobody));
                async move {
                    if request.uri().path() == "/hang" {
                        std::future::pending::<()>().await;
                    }
                    if request.uri().path() == "/circle" {
                        let answer =
                            http::Response::builder().status(302).header("location", "/circle");
                        return Ok(answer.body(Full::default()).unwrap());
                    }
                    let away = request.uri().path() == "/away";
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    seen.lock().unwrap().push(body);
                    if away {
                        let answer = http::Response::builder().status(303);
                        let answer = answer.header("location", nobody.url());
                        return Ok(answer.body(Full::default()).unwrap());
                    }
                    let fails = count.fetch_add(1, Ordering::Relaxed) < busy;
                    let status = if fails { 503 } else { 200 };
                    let answer = http::Response::builder().status(status);
                    Ok::<_, Infallible>(answer.body(Full::new(Bytes::from("well"))).unwrap())
                }
            });
            let http1 = hyper::server::conn::http1::Builder::new();
            tokio::spawn(http1.serve_connection(TokioIo::new(socket), service));
        }
    });
    (url, bodies)
}

async fn send(request: Request) -> Result<Response, Error<reqwest::Error>> {
    let layers = stack::client("api")
        .deadline(Duration::from_secs(120)) // a busy machine is no fault of anybody
        .attempt_timeout(Duration::from_secs(60))
        .classify(HttpClassifier)
        .propagate(InTimeout)
        .copy_with(Replay::default())
        .build()
        .unwrap();
    ServiceBuilder::new()
        .layer(layers)
        .map_err(Error::Inner)
        .service(client())
        .oneshot(request)
        .await
}

// pitfall B15: each attempt brings the whole body.
#[tokio::test]
async fn a_request_is_repeated_with_its_body_until_it_is_answered() {
    let (url, bodies) = server(2).await;
    let answer = send(client().put(&url).body("the whole of it").build().unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.text().await.unwrap(), "well");
    assert_eq!(*bodies.lock().unwrap(), ["the whole of it"; 3]);
}

// pitfall B29
#[tokio::test]
async fn a_post_or_a_stream_is_sent_once() {
    let stream = Body::wrap(Full::new(Bytes::from("streamed")));
    let post = |url: &str| client().post(url).body("once");
    let streamed = |url: &str| client().put(url).body(stream);
    let (first, second) = (server(1).await, server(1).await);
    for (request, bodies) in [(post(&first.0), first.1), (streamed(&second.0), second.1)] {
        let status = send(request.build().unwrap()).await.unwrap().status();
        assert_eq!((status, bodies.lock().unwrap().len()), (StatusCode::SERVICE_UNAVAILABLE, 1));
    }
}

// pitfall B29: reqwest follows redirects by itself, and says of the second hop that nobody was there.
#[tokio::test]
async fn a_post_that_was_acted_on_is_not_repeated_because_it_led_nowhere() {
    let (url, bodies) = server(0).await;
    let post = client().post(format!("{url}away")).body("once").build().unwrap();
    assert!(matches!(send(post).await, Err(Error::Inner(error)) if error.is_connect()));
    assert_eq!(*bodies.lock().unwrap(), ["once"]);
}

#[test]
fn what_may_be_repeated_is_what_replay_says() {
    let post = client().post("http://x/").body("x").build().unwrap();
    let replay = Replay::default();
    assert!(replay.clone_request(&post).is_none(), "only where nothing of it was sent");
    assert!(replay.clone_unsent(&post).is_some());
    assert!(replay.method(http::Method::POST).clone_request(&post).is_some());
    let keyed = client().post("http://x/").header("idempotency-key", "1").build().unwrap();
    let replay = Replay::default().key_header(Replay::IDEMPOTENCY_KEY);
    let copy = replay.clone_request(&keyed).unwrap();
    assert_eq!(copy.headers(), keyed.headers());
}

#[tokio::test]
async fn errors_are_told_apart() {
    let client = client();
    let of =
        |request: reqwest::RequestBuilder| async { of_error(&request.send().await.unwrap_err()) };
    let nobody = Port::hold();
    assert_eq!(of(client.get(nobody.url())).await, Outcome::TRANSIENT.unsent());
    assert_eq!(of(client.get("no url")).await, Outcome::IGNORE.unsent());
    let (url, _) = server(1).await;
    assert_eq!(of(client.get(format!("{url}circle"))).await, Outcome::FAILURE);
    assert_eq!(of(client.get(format!("{url}hang")).timeout(ms(20))).await, Outcome::TRANSIENT);
    let busy = client.get(&url).send().await.unwrap().error_for_status().unwrap_err();
    assert_eq!(of_error(&busy), Outcome::TRANSIENT);
}

// pitfall B29: nobody can have acted on a request for which there was no connection, so the layers
// hear that through the classifier, too.
#[tokio::test]
async fn a_refused_connection_is_unsent_to_every_layer() {
    use seawall::Classify;
    let nobody = Port::hold();
    let error = client().get(nobody.url()).send().await.unwrap_err();
    let error: Error<reqwest::Error> = Error::Inner(error);
    let verdict = HttpClassifier.classify(Err::<&Response, _>(&error));
    assert_eq!(verdict, Outcome::TRANSIENT.unsent().into());
}

// pitfall B14
#[tokio::test(start_paused = true)]
async fn the_deadline_is_reqwests_own_timeout_and_only_gets_shorter() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let timeouts = Arc::clone(&seen);
    let busy = service_fn(move |request: Request| {
        timeouts.lock().unwrap().push(request.timeout().copied());
        async move {
            sleep(ms(50)).await;
            let busy = http::Response::builder().status(503).body("").unwrap();
            Ok::<_, Error<reqwest::Error>>(Response::from(busy))
        }
    });
    let retry = RetryLayer::builder("api")
        .attempts(4)
        .backoff(Backoff::fixed(ms(50)))
        .classify(HttpClassifier)
        .propagate(InTimeout)
        .copy_with(Replay::default())
        .build()
        .unwrap();
    let service = ServiceBuilder::new().layer(retry).service(busy);
    let request = client().get("http://x/").timeout(Duration::from_secs(1)).build().unwrap();
    assert_eq!(service.clone().oneshot(request).await.unwrap().status(), 503);
    let shorter = [1000, 900, 800, 700].map(|millis| Some(ms(millis)));
    assert_eq!(*seen.lock().unwrap(), shorter);
    seen.lock().unwrap().clear();
    let request = client().get("http://x/").build().unwrap();
    service.oneshot(request).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), [None; 4]);
}

#[test]
fn the_authority_is_the_host_and_an_unusual_port() {
    let of = |url| authority(&client().get(url).build().unwrap()).into_owned();
    assert_eq!(of("http://user:word@Example.com/x"), "example.com");
    assert_eq!(of("https://example.com:443/"), "example.com");
    assert_eq!(of("http://example.com:8080/"), "example.com:8080");
    assert_eq!(of("http://[::1]:8080/"), "[::1]:8080");
}
