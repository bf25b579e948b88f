//! Over reqwest's client.

use std::time::Duration;

use seawall::endpoints::Endpoint;
use tower::{Service, ServiceExt};

use super::{endpoints, servers};

fn client() -> reqwest::Client {
    reqwest::Client::builder().retry(reqwest::retry::never()).no_proxy().build().unwrap()
}

async fn ask(web: &mut seawall::reqwest::EndpointsClient, path: &str) -> Option<String> {
    let request = client().get(format!("http://web{path}")).build().unwrap();
    let answer = web.ready().await.unwrap().call(request).await.ok()?;
    answer.error_for_status().ok()?.text().await.ok()
}

#[tokio::test]
async fn a_bad_and_a_dead_endpoint_fail_no_request_and_see_each_once() {
    let servers = servers(["bad", "dead", "good"]).await;
    servers[0].turns_bad();
    servers[1].dies();
    let mut web = seawall::reqwest::endpoints("web")
        .members(endpoints(&servers))
        .deadline(Duration::from_secs(120))
        .attempt_timeout(Duration::from_secs(60))
        .build_on(client())
        .unwrap();
    for nth in 0..60 {
        let path = format!("/{nth}");
        assert_eq!(ask(&mut web, &path).await.as_deref(), Some("good"));
        assert!(servers[0].asked_for(&path) <= 1, "{path} went to the bad one twice");
    }
    assert!(servers[0].count() > 0);
}

// A URL with a host that is none keeps the one before: the request would go there.
#[tokio::test]
async fn an_address_that_no_url_can_have_is_refused() {
    let web = seawall::reqwest::endpoints("web").members(["10.0.0.256:80"]);
    let wrong = web.build_on(client()).unwrap_err();
    assert!(wrong.to_string().contains(r#"address = "10.0.0.256:80""#), "{wrong}");
}

#[tokio::test]
async fn a_request_goes_to_host_and_port_of_its_endpoint() {
    for (address, url, preserve, expected, host) in [
        ("10.0.0.1:81", "http://web/q?x=1", false, "http://10.0.0.1:81/q?x=1", None),
        ("10.0.0.1", "http://web:9/q", false, "http://10.0.0.1/q", None),
        ("https://a.internal:8443", "http://web/", true, "https://a.internal:8443/", Some("web")),
        ("[::1]:81", "https://web:9/", true, "https://[::1]:81/", Some("web:9")),
    ] {
        let client = tower::service_fn(|request: reqwest::Request| async move {
            let host = request.headers().get("host").map(|host| host.to_str().unwrap().to_owned());
            let answer = http::Response::builder().header("x-url", request.url().as_str());
            let answer = answer.header("x-host", host.unwrap_or_default());
            Ok::<_, reqwest::Error>(reqwest::Response::from(answer.body("").unwrap()))
        });
        let web = seawall::reqwest::endpoints("web").preserve_host(preserve);
        let web = web.members([Endpoint::named("one", address)]).build_on(client).unwrap();
        let request = reqwest::Client::new().get(url).build().unwrap();
        let answer = web.oneshot(request).await.unwrap();
        assert_eq!(answer.headers()["x-url"], expected);
        assert_eq!(answer.headers()["x-host"], host.unwrap_or_default(), "{url} at {address}");
    }
}
