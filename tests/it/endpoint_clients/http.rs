//! What becomes of a request: where it goes, and what goes with it.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::uri::Scheme;
use http::{Request, Response, Version};
use seawall::propagate::{CallContext, Propagate};
use seawall::{Deadline, Error, http as wing, stack};
use tower::{Service, ServiceExt, service_fn};

use super::{Body, get};

/// Answers with the URI and the `Host` that it got.
fn mirror()
-> impl Service<Request<Body>, Response = Response<String>, Error = Infallible, Future: Send + 'static>
+ Clone
+ Send
+ Sync
+ 'static {
    service_fn(|request: Request<Body>| async move {
        let host = request.headers().get("host").map_or("-", |host| host.to_str().unwrap());
        Ok::<_, Infallible>(Response::new(format!("{} {host}", request.uri())))
    })
}

fn from(uri: &str, host: Option<&str>) -> Request<Body> {
    let mut request = get(uri);
    if let Some(host) = host {
        request.headers_mut().insert("host", host.parse().unwrap());
    }
    request
}

#[tokio::test]
async fn a_request_gets_the_scheme_and_the_authority_of_its_endpoint() {
    for (address, uri, host, expected) in [
        ("10.0.0.1:80", "/q?x=1", None, "http://10.0.0.1:80/q?x=1 -"),
        ("10.0.0.1:80", "http://web.internal/q", None, "http://10.0.0.1:80/q -"),
        // A secret must not go out in the clear because an address does not say how.
        ("10.0.0.1:443", "https://web.internal/q", None, "https://10.0.0.1:443/q -"),
        ("https://one.internal", "/q", None, "https://one.internal/q -"),
        ("https://one.internal:8443/", "http://x/q", None, "https://one.internal:8443/q -"),
        ("http://one.internal", "https://x/q", None, "http://one.internal/q -"),
        ("[::1]:80", "/", Some("web.example"), "http://[::1]:80/ web.example"),
        ("one.internal", "http://x", None, "http://one.internal/ -"),
    ] {
        let web = wing::endpoints("web").members([address]).build_on(mirror()).unwrap();
        let answer = web.oneshot(from(uri, host)).await.unwrap();
        assert_eq!(answer.into_body(), expected, "{uri} at {address}");
    }
}

#[tokio::test]
async fn a_scheme_is_that_of_the_settings_where_an_address_has_none() {
    let web = wing::endpoints("web").scheme(Scheme::HTTPS);
    let web = web.members(["a.internal:443", "http://b.internal"]).seed(1);
    let mut web = web.build_on(mirror()).unwrap();
    let mut all = Vec::new();
    for _ in 0..40 {
        all.push(web.ready().await.unwrap().call(get("http://x/")).await.unwrap().into_body());
    }
    all.sort();
    all.dedup();
    assert_eq!(all, ["http://b.internal/ -", "https://a.internal:443/ -"]);
}

#[tokio::test]
async fn the_host_of_a_request_may_stay() {
    let web = || wing::endpoints("web").preserve_host(true).members(["10.0.0.1:80"]);
    for (uri, host, expected) in [
        ("http://user:secret@web.internal:81/q", None, "http://10.0.0.1:80/q web.internal:81"),
        ("http://web.internal/q", Some("own.example"), "http://10.0.0.1:80/q own.example"),
        ("/q", None, "http://10.0.0.1:80/q -"),
    ] {
        let answer = web().build_on(mirror()).unwrap().oneshot(from(uri, host)).await.unwrap();
        assert_eq!(answer.into_body(), expected);
    }
    let mut second = from("http://web.internal/q", None);
    *second.version_mut() = Version::HTTP_2; // `:authority` is the URI's, and must not be contradicted
    let answer = web().build_on(mirror()).unwrap().oneshot(second).await.unwrap();
    assert_eq!(answer.into_body(), "http://10.0.0.1:80/q -");
}

// What goes with a call gets through retry and set to the client of each endpoint.
#[tokio::test(start_paused = true)]
async fn the_context_of_a_call_gets_to_the_endpoint() {
    let seen = Arc::<Mutex<Vec<(String, CallContext)>>>::default();
    let notes = Arc::clone(&seen);
    let web = wing::endpoints("web").members(["a:1", "b:1"]).over(move |endpoint| {
        let (notes, name) = (Arc::clone(&notes), endpoint.name().to_owned());
        Ok(service_fn(move |request: Request<Body>| {
            let call = wing::InExtensions.extract(&request);
            let mut notes = notes.lock().unwrap();
            notes.push((name.clone(), call));
            let fails = notes.len() < 2;
            async move {
                if fails {
                    Err(Error::Inner(io::Error::other("reset")))
                } else {
                    Ok(Response::new(()))
                }
            }
        }))
    });
    let mut request = get("/");
    let mut call = CallContext::default();
    call.deadline = Some(Deadline::after(Duration::from_millis(700)));
    request.extensions_mut().insert(call);
    web.unwrap().oneshot(request).await.unwrap();
    let seen = seen.lock().unwrap();
    let attempts: Vec<_> = seen.iter().map(|(_, call)| call.attempt).collect();
    assert_eq!(attempts, [1, 2]);
    assert_ne!(seen[0].0, seen[1].0);
    for (_, call) in &*seen {
        assert!(call.deadline.unwrap().remaining() <= Duration::from_millis(700));
    }
}

// Requests that carry nothing at all are numbered too.
#[tokio::test(start_paused = true)]
async fn plain_requests_are_not_sent_to_the_same_endpoint_twice() {
    let seen = Arc::<Mutex<Vec<u64>>>::default();
    let notes = Arc::clone(&seen);
    let mut search = stack::endpoints("search")
        .members(["bad", "good", "fine"])
        .cloned()
        .over(move |endpoint| {
            let (notes, is_bad) = (Arc::clone(&notes), endpoint.name() == "bad");
            Ok(service_fn(move |query: u64| {
                let notes = Arc::clone(&notes);
                async move {
                    if is_bad {
                        notes.lock().unwrap().push(query);
                        return Err(Error::Inner(io::Error::other("down")));
                    }
                    Ok(query)
                }
            }))
        })
        .unwrap();
    for query in 0..200 {
        assert_eq!(search.ready().await.unwrap().call(query).await.unwrap(), query);
    }
    let seen = seen.lock().unwrap();
    assert!(!seen.is_empty());
    assert!(seen.windows(2).all(|pair| pair[0] != pair[1]), "{seen:?}");
}
