//! What a server of HTTP/2 promises about requests it did not answer, over real sockets.

mod peer;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::{self, Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use seawall::http::{Http2Classifier, HttpClassifier, Replay};
use seawall::retry::{Backoff, RetryLayer, StopReason};
use seawall::{Classification, Classify, Error, EventKind, Sent, Signal};
use tower::{ServiceBuilder, ServiceExt, service_fn};

use self::peer::{Does, REFUSED_STREAM, server};

type Failure = Error<legacy::Error>;
type Http = Client<HttpConnector, Full<Bytes>>;

fn client() -> Http {
    Client::builder(TokioExecutor::new())
        .http2_only(true)
        .pool_max_idle_per_host(0)
        .retry_canceled_requests(false)
        .build_http()
}

fn ask(address: SocketAddr) -> Request<Full<Bytes>> {
    let mut request = Request::get(format!("http://{address}/")).body(Full::default()).unwrap();
    *request.version_mut() = Version::HTTP_2;
    request
}

#[tokio::test]
async fn a_request_that_was_not_processed_was_never_sent() {
    let cases = [
        (Does::Resets(REFUSED_STREAM), Sent::Never),
        (Does::GoesAway { last: 0, code: 0 }, Sent::Never),
        (Does::GoesAway { last: 0, code: 11 }, Sent::Never),
        (Does::GoesAway { last: 1, code: 0 }, Sent::Unknown),
        (Does::GoesAway { last: 1, code: 2 }, Sent::Unknown),
        (Does::Resets(2), Sent::Unknown),
        (Does::Resets(8), Sent::Unknown),
        (Does::HangsUp, Sent::Unknown),
        (Does::Raves, Sent::Unknown),
    ];
    for (does, sent) in cases {
        let error: Failure =
            Error::Inner(client().request(ask(server(does).await)).await.unwrap_err());
        let result: Result<Response<Incoming>, _> = Err(error);
        let Classification::Now(outcome) =
            Http2Classifier(HttpClassifier).classify(result.as_ref())
        else {
            panic!("{does:?}: there is no body to wait for")
        };
        assert_eq!(outcome.sent, sent, "{does:?}: {result:?}");
        // field F19: no evidence either, and the classifier of HTTP knows it by itself.
        let silent = if sent == Sent::Never { Signal::Ignored } else { Signal::Failure };
        assert_eq!(outcome.signal, silent, "{does:?}");
        assert_eq!(
            HttpClassifier.classify(result.as_ref()),
            Classification::Now(outcome),
            "{does:?}"
        );
    }
}

#[cfg(feature = "grpc")]
#[tokio::test]
async fn so_it_is_with_a_channel_of_tonic() {
    for (does, sent) in
        [(Does::Resets(REFUSED_STREAM), Sent::Never), (Does::Resets(2), Sent::Unknown)]
    {
        let address = server(does).await;
        let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
        let call = http::Request::post("/").body(tonic::body::Body::empty()).unwrap();
        let answer = channel.connect_lazy().oneshot(call).await.map_err(Error::Inner);
        let verdict = Http2Classifier(seawall::grpc::GrpcClassifier).classify(answer.as_ref());
        let Classification::Now(outcome) = verdict else { panic!("{answer:?}") };
        assert_eq!(outcome.sent, sent, "{does:?}: {answer:?}");
    }
}

#[tokio::test]
async fn a_rejected_stream_is_repeated_and_does_not_count_as_an_attempt() {
    let rejecting = server(Does::Resets(REFUSED_STREAM)).await;
    let resetting = server(Does::Resets(2)).await;
    let stops = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&stops);
    let retry = RetryLayer::builder("x")
        .classify(Http2Classifier(HttpClassifier))
        .copy_with(Replay::default())
        .attempts(2)
        .backoff(Backoff::none())
        .no_budget()
        .observe(move |event: &seawall::Event| {
            if let (EventKind::Stopped { attempts, .. }, Some(stop)) =
                (event.kind, StopReason::of(&event.kind))
            {
                told.lock().unwrap().push((attempts, stop));
            }
        })
        .build()
        .unwrap();
    let first = Arc::new(Mutex::new(true));
    let http = client();
    // Rejected once, then accepted and reset: two attempts are left for the second.
    let both = service_fn(move |mut request: Request<Full<Bytes>>| {
        let rejected = std::mem::take(&mut *first.lock().unwrap());
        *request.uri_mut() = ask(if rejected { rejecting } else { resetting }).uri().clone();
        http.request(request)
    });
    let service = ServiceBuilder::new().layer(retry).map_err(Error::Inner).service(both);
    let error: Failure = service.oneshot(ask(rejecting)).await.unwrap_err();
    assert_eq!(*stops.lock().unwrap(), [(3, StopReason::Exhausted)], "{error:?}");
}
