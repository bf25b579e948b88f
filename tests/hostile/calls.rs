//! A call through a client under the stack, and what came of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use seawall::circuit_breaker::{self, Trip};
use seawall::http::drain::{Drain, DrainLayer, Retried};
use seawall::http::{HttpClassifier, InExtensions, OnBodyEnd, Replay};
use seawall::reqwest::InTimeout;
use seawall::retry::{self, Backoff, Chosen, StopReason};
use seawall::stack::{self, ClientBuilder};
use seawall::{Error, Event, EventKind, Measurement, Reason};
use tower::{Layer, Service, ServiceExt};

use crate::clock::given_up;
use crate::server::Server;

pub(crate) const ATTEMPTS: u32 = 3;

/// How long an attempt may take: what hangs on purpose is given up after [`SHORT`], by a clock that
/// stands until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    Short,
    Long,
}

/// What a caller gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Status(u16, Rest),
    /// A `grpc-status`, in the headers or the trailers.
    Code(u16, Rest),
    /// The client's own error.
    Failed,
    /// One of our layers ended the call.
    Rejected(Reason),
}

/// What becomes of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    Whole(usize),
    Broken,
    /// More than anybody wants.
    NeverEnds,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) answer: Answer,
    /// The waits before the attempts that followed the first.
    pub(crate) waits: Vec<Duration>,
    pub(crate) stop: Option<StopReason>,
    /// Failures that the breaker has counted since the last success.
    pub(crate) bad: u32,
    /// Attempts that were given up.
    pub(crate) timed_out: usize,
}

/// Everything that the layers of a stack tell.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told(Arc<Mutex<Vec<EventKind>>>);

impl Told {
    pub(crate) fn seen(&self, answer: Answer, breaker: Measurement) -> Seen {
        let events = self.0.lock().unwrap();
        let waits = events.iter().filter_map(|event| match event {
            EventKind::Retrying { wait, .. } => Some(*wait),
            _ => None,
        });
        let stop = events.iter().find_map(StopReason::of);
        let ended = |event: &&EventKind| matches!(event, EventKind::Rejected { reason } if *reason == Reason::TimedOut);
        let timed_out = events.iter().filter(ended).count();
        let bad = match breaker {
            Measurement::Count { observed, .. } => observed,
            other => panic!("the breaker counts failures in a row, not {other:?}"),
        };
        Seen { answer, waits: waits.collect(), stop, bad, timed_out }
    }
}

/// The stack that all clients have: three attempts without waits of our own, and a breaker that
/// counts what fails, and trips never.
pub(crate) fn layers<C>(
    classify: C,
    replay: Replay,
    patience: Patience,
) -> (ClientBuilder<C, Chosen<Replay>>, Told) {
    let told = Told::default();
    let events = Arc::clone(&told.0);
    let retry = retry::Config {
        attempts: ATTEMPTS,
        backoff: Backoff::none(),
        max_retry_after: MAX_RETRY_AFTER,
        ..retry::Config::default()
    };
    let breaker = circuit_breaker::Config {
        trip: Trip::consecutive(1000),
        ..circuit_breaker::Config::default()
    };
    let (attempt, whole) = match patience {
        Patience::Short => (SHORT, Duration::from_secs(20)),
        Patience::Long => (Duration::from_secs(60), Duration::from_secs(120)),
    };
    let layers = stack::client("upstream")
        .deadline(whole)
        .attempt_timeout(attempt)
        .retry(retry)
        .breaker(breaker)
        .classify(classify)
        .copy_with(replay)
        .observe(move |event: &Event| events.lock().unwrap().push(event.kind));
    (layers, told)
}

/// What hangs on purpose may take so long.
pub(crate) const SHORT: Duration = Duration::from_millis(150);

/// A `Retry-After` of the server counts for no more than this here.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_millis(20);

/// Awaits the answer, and its body as far as anybody would read.
pub(crate) async fn answer<S, Req, B, E>(stack: S, request: Req) -> Answer
where
    S: Service<Req, Error = Error<E>>,
    S::Response: Into<Response<B>>,
    B: Body<Data = Bytes> + Unpin,
{
    let response = match stack.oneshot(request).await {
        Ok(response) => response.into(),
        Err(Error::Rejected(why)) => return Answer::Rejected(why.reason()),
        Err(Error::Inner(_)) => return Answer::Failed,
    };
    let (head, mut body) = response.into_parts();
    let mut code = head.headers.get("grpc-status").cloned();
    let mut read = 0;
    let rest = loop {
        match body.frame().await {
            None => break Rest::Whole(read),
            Some(Err(_)) => break Rest::Broken,
            Some(Ok(frame)) => match frame.into_trailers() {
                Ok(trailers) => code = trailers.get("grpc-status").cloned(),
                Err(frame) => read += frame.data_ref().map_or(0, Bytes::len),
            },
        }
        if read > 1 << 20 {
            break Rest::NeverEnds;
        }
    };
    match code {
        Some(code) => Answer::Code(code.to_str().unwrap().parse().unwrap(), rest),
        None => Answer::Status(head.status.as_u16(), rest),
    }
}

/// Calls once through the layers around a client, and looks that nothing is left behind: no call under
/// way, no place taken, no connection open once the client is gone.
macro_rules! send {
    ($server:expr, ($layers:expr, $told:expr), $service:expr, $request:expr) => {
        send!($server, ($layers, $told), $service, $request, tower::layer::util::Identity::new())
    };
    ($server:expr, ($layers:expr, $told:expr), $service:expr, $request:expr, $outer:expr) => {{
        let (layers, told) = ($layers.build().unwrap(), $told);
        let stack = tower::ServiceBuilder::new()
            .layer($outer)
            .layer(layers.clone())
            .map_err(seawall::Error::Inner)
            .service($service);
        let answer = crate::calls::answer(stack, $request).await;
        let seen = told.seen(answer, layers.breaker().snapshot().gathered);
        assert_eq!((layers.in_flight(), layers.bulkhead().in_flight()), (0, 0), "{seen:?}");
        $server.until("closed", |books| books.open == 0).await;
        seen
    }};
}
pub(crate) use send;

/// Which client makes the calls.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Hyper,
    /// The same, with HTTP/2 from the first byte.
    Hyper2,
    Reqwest,
}

/// One call by a client of its own, which is gone afterwards with all its connections.
pub(crate) async fn call(kind: Kind, server: &Server, method: &Method, patience: Patience) -> Seen {
    let call = call_once(kind, server, method, patience);
    if patience == Patience::Short { given_up(server, 1, call).await } else { call.await }
}

async fn call_once(kind: Kind, server: &Server, method: &Method, patience: Patience) -> Seen {
    let (layers, told) = layers(HttpClassifier, Replay::default(), patience);
    match kind {
        Kind::Reqwest => {
            let client = reqwest::Client::builder().retry(reqwest::retry::never()).no_proxy();
            let client = client.build().unwrap();
            let request = client.request(method.clone(), server.url()).body("order");
            let request = request.build().unwrap();
            send!(server, (layers.propagate(InTimeout), told), client, request)
        }
        hyper => {
            let client = drained(pooled(matches!(hyper, Kind::Hyper2)));
            send!(server, (layers.propagate(InExtensions), told), client, request(server, method))
        }
    }
}

/// The same by hyper, where a call is over when its body is.
pub(crate) async fn call_at_end(server: &Server, method: &Method, patience: Patience) -> Seen {
    let (layers, told) = layers(HttpClassifier, Replay::default(), patience);
    let client = drained(pooled(false));
    send!(
        server,
        (layers.completion(OnBodyEnd).permit_completion(OnBodyEnd), told),
        client,
        request(server, method)
    )
}

pub(crate) type Pooled = Client<HttpConnector, Full<Bytes>>;

pub(crate) fn pooled(http2: bool) -> Pooled {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true); // or each attempt waits 40 ms for an ACK
    Client::builder(TokioExecutor::new()).http2_only(http2).build(connector)
}

fn drained(client: Pooled) -> Drain<Pooled, Retried> {
    DrainLayer::new().layer(client)
}

pub(crate) fn request(server: &Server, method: &Method) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(server.url());
    request.body(Full::from("order")).unwrap()
}
