//! Over real sockets: servers that turn bad, die, hang and join.

use std::time::Duration;

use http_body_util::BodyExt;
use seawall::circuit_breaker::{self, State, Trip};
use seawall::endpoints::Endpoint;
use seawall::{CallError, Reason, http};
use tokio::time::timeout;
use tower::{Service, ServiceExt};

use super::{Hyper, Server, endpoints, get, hyper, servers};

type Client = http::EndpointsClient<Hyper>;

/// A busy machine is no fault of anybody.
const MINUTE: Duration = Duration::from_secs(60);

fn client(servers: &[Server]) -> Client {
    http::endpoints("web")
        .members(endpoints(servers))
        .deadline(2 * MINUTE)
        .attempt_timeout(MINUTE)
        .build_on(hyper())
        .unwrap()
}

/// Who answered, if the answer was a good one.
async fn ask(client: &mut Client, path: &str) -> Option<String> {
    let answer = client.ready().await.unwrap().call(get(path)).await.ok()?;
    let is_good = answer.status().is_success();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    is_good.then(|| String::from_utf8(body.to_vec()).unwrap())
}

// pitfall B22: the whole of it, over sockets.
#[tokio::test]
async fn no_request_fails_while_one_turns_bad_one_dies_and_one_joins() {
    let mut servers = servers(["a", "b", "c", "d"]).await;
    let mut web = client(&servers);
    for nth in 0..40 {
        assert!(ask(&mut web, &format!("/{nth}")).await.is_some());
    }
    assert!(servers.iter().all(|server| server.count() > 0));

    servers[1].turns_bad();
    servers[2].dies();
    let mut good = 0;
    for nth in 40..240 {
        let answered = ask(&mut web, &format!("/{nth}")).await;
        good += usize::from(answered.is_some_and(|by| by == "a" || by == "d"));
    }
    assert_eq!(good, 200);

    servers.push(Server::start("e").await);
    servers.remove(2);
    web.handle().endpoints().adopt(endpoints(&servers)).unwrap();
    while ask(&mut web, "/joined").await.as_deref() != Some("e") {} // slowly, at first
    assert!(web.handle().member("e").is_some());
}

// Where there is another endpoint, no request is sent to the same one twice.
#[tokio::test]
async fn a_further_attempt_goes_to_another_endpoint() {
    let servers = servers(["bad", "good"]).await;
    servers[0].turns_bad();
    let mut web = client(&servers);
    for nth in 0..60 {
        let path = format!("/{nth}");
        assert_eq!(ask(&mut web, &path).await.as_deref(), Some("good"));
        assert!(servers[0].asked_for(&path) <= 1, "{path} went to the bad one twice");
        assert_eq!(servers[1].asked_for(&path), 1);
    }
    assert!(servers[0].count() > 0);
}

#[tokio::test]
async fn an_attempt_that_hangs_ends_and_another_endpoint_answers() {
    let servers = servers(["hangs", "good"]).await;
    servers[0].hangs();
    let mut web = http::endpoints("web")
        .members(endpoints(&servers))
        .deadline(MINUTE)
        .attempt_timeout(Duration::from_millis(50))
        .build_on(hyper())
        .unwrap();
    while servers[0].count() == 0 {
        assert_eq!(ask(&mut web, "/").await.as_deref(), Some("good"));
    }
}

// An open circuit is one endpoint's affair: calls go to the others at once.
#[tokio::test]
async fn the_breaker_of_one_endpoint_shuts_no_other() {
    let servers = servers(["bad", "one", "two"]).await;
    servers[0].turns_bad();
    let breaker = circuit_breaker::Config {
        trip: Trip::consecutive(1),
        break_duration: 10 * MINUTE,
        max_break_duration: 10 * MINUTE,
        ..Default::default()
    };
    let mut web = http::endpoints("web")
        .members(endpoints(&servers))
        .deadline(2 * MINUTE)
        .attempt_timeout(MINUTE)
        .breaker(breaker)
        .build_on(hyper())
        .unwrap();
    for _ in 0..60 {
        assert!(ask(&mut web, "/").await.is_some());
    }
    let state = |name: &str| web.handle().member(name).unwrap().breaker().state();
    assert_eq!(
        [state("bad"), state("one"), state("two")],
        [State::Open, State::Closed, State::Closed]
    );
    assert_eq!(servers[0].count(), 1);

    // And where all are open, the caller is told so.
    for server in &servers {
        web.handle().member(server.name()).unwrap().breaker().force_open();
    }
    let error = web.ready().await.unwrap().call(get("/")).await.unwrap_err();
    assert_eq!(error.rejected().unwrap().reason(), Reason::CircuitOpen);
}

#[tokio::test]
async fn an_endpoint_is_removed_while_a_call_to_it_runs() {
    let servers = servers(["a", "b"]).await;
    let mut web = client(&servers[..1]);
    let held = tokio::spawn(web.ready().await.unwrap().call(get("/held")));
    while servers[0].count() == 0 {
        tokio::task::yield_now().await;
    }
    web.handle().endpoints().adopt_anyway(endpoints(&servers[1..])).unwrap();
    for _ in 0..20 {
        assert_eq!(ask(&mut web, "/").await.as_deref(), Some("b"));
    }
    assert_eq!(web.handle().in_flight(), 1);
    servers[0].lets_go();
    assert_eq!(held.await.unwrap().unwrap().status(), 200);
    web.handle().endpoints().settled().await;
    assert_eq!(servers[0].count(), 1);
    assert!(web.handle().member("a").is_none(), "what was known of it is gone");
}

#[tokio::test]
async fn a_drain_waits_for_the_calls_at_all_endpoints_and_rejects_the_others() {
    let servers = servers(["a", "b"]).await;
    let mut web = client(&servers);
    let mut held = Vec::new();
    while servers.iter().any(|server| server.asked_for("/held") == 0) {
        held.push(tokio::spawn(web.ready().await.unwrap().call(get("/held"))));
        let arrived = || servers.iter().map(Server::count).sum::<usize>();
        while arrived() < held.len() {
            tokio::task::yield_now().await;
        }
    }
    let handle = web.handle().clone();
    let mut drained = tokio::spawn(async move { handle.drain().await });
    while web.handle().in_flight() > 0 {
        assert!(timeout(Duration::ZERO, &mut drained).await.is_err(), "calls are in flight");
        match web.ready().await.unwrap().call(get("/")).await {
            Err(error) => assert_eq!(error.rejected().unwrap().reason(), Reason::Draining),
            Ok(_) => continue, // the task has not begun to drain
        }
        for server in &servers {
            (0..held.len()).for_each(|_| server.lets_go());
        }
        for call in held.drain(..) {
            assert_eq!(call.await.unwrap().unwrap().status(), 200);
        }
    }
    drained.await.unwrap();
    let error = web.ready().await.unwrap().call(get("/")).await.unwrap_err();
    assert_eq!(error.rejected().unwrap().reason(), Reason::Draining);
}

/// Requests are `POST`s that were never sent, where nobody listens: those may go elsewhere, whatever they ask for.
#[tokio::test]
async fn what_was_never_sent_goes_to_another_endpoint_whatever_its_method() {
    let servers = servers(["good"]).await;
    let nobody = crate::port::Port::hold();
    let dead = Endpoint::named("dead", nobody.address().to_string());
    let mut members = endpoints(&servers);
    members.push(dead);
    let mut web = http::endpoints("web").members(members).build_on(hyper()).unwrap();
    for _ in 0..20 {
        let mut post = get("/");
        *post.method_mut() = ::http::Method::POST;
        let answer = web.ready().await.unwrap().call(post).await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    assert_eq!(servers[0].count(), 20);
}
