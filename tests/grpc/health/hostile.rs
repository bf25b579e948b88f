//! Peers that send what they should not.

use std::convert::Infallible;

use bytes::Bytes;
use futures::stream;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use proptest::prelude::*;
use seawall::grpc::HealthService;
use seawall::health::{HealthLayer, HealthRegistry, Status};
use tower::{ServiceExt, service_fn};

use super::{Asked, becomes};

type Frames = StreamBody<stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

/// A body of these chunks, and perhaps a good end.
fn body(chunks: Vec<Bytes>, ends_well: bool) -> Frames {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    let end = ends_well.then(|| Frame::trailers(trailers));
    let frames = chunks.into_iter().map(Frame::data).chain(end).map(Ok);
    StreamBody::new(stream::iter(frames.collect::<Vec<_>>()))
}

/// How a check that is answered so ends, and what it found wrong.
fn checked(answer: &[Bytes], ends_well: bool, watches: bool) -> (Status, String) {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let answer = answer.to_vec();
        let client = service_fn(move |_: Asked| {
            let response = Response::new(body(answer.clone(), ends_well));
            async { Ok::<_, Infallible>(response) }
        });
        // As it is not yet: what it says is what the first answer said.
        let initial = |status| HealthLayer::builder("x").initial(status).rise(1).fall(1);
        let build = |status| {
            let client = client.clone();
            let builder = initial(status);
            let builder = if watches {
                builder.watch_grpc(client, "x")
            } else {
                builder.check_grpc(client, "x")
            };
            builder.build().unwrap()
        };
        let (up, down) = (build(Status::Up), build(Status::Down));
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        let error = up.handle().last_error().map(|error| error.to_string());
        let statuses = [up.handle().status(), down.handle().status()];
        assert_eq!(statuses[0], statuses[1], "decided");
        (statuses[0], error.unwrap_or_default())
    })
}

const SERVING: &[u8] = b"\0\0\0\0\x02\x08\x01";

#[test]
fn a_good_answer_is_good_however_it_is_cut_up_and_others_are_not() {
    let whole = [Bytes::from_static(SERVING)];
    let crumbs: Vec<_> = SERVING.iter().map(|byte| Bytes::copy_from_slice(&[*byte])).collect();
    for answer in [&whole[..], &crumbs] {
        assert_eq!(checked(answer, true, false), (Status::Up, String::new()));
    }
    let told = |answer: &'static [u8], well| checked(&[Bytes::from_static(answer)], well, false);
    let down = |why: &str| (Status::Down, why.to_owned());
    assert_eq!(told(SERVING, false), down("ended without a grpc-status"));
    assert_eq!(told(b"", true), down("ended without an answer"));
    assert_eq!(told(b"\0\0\0", true), down("ended within a message"));
    assert_eq!(told(b"\0\xff\xff\xff\xff\x08\x01", true), down("sent no message"));
    assert_eq!(told(b"\x01\0\0\0\x02\x08\x01", true), down("sent no message"));
    assert_eq!(told(b"\0\0\0\0\x02\x08\x09", true), down("says a status unknown here (9)"));
    assert_eq!(told(b"\0\0\0\0\x02\x0a\x09", true), down("sent no health"));
    let twice = [SERVING, SERVING].concat();
    assert_eq!(checked(&[twice.into()], true, false), down("answered twice"));
}

// pitfall B30: an endless message is rejected by its length, not collected.
#[test]
fn a_message_that_never_ends_is_rejected_at_its_length() {
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let client = service_fn(|_: Asked| async {
            let first = Bytes::from_static(b"\0\0\x10\0\0");
            let more = Bytes::from_static(&[0; 1024]);
            let endless = stream::iter(std::iter::once(first).chain(std::iter::repeat(more)));
            let endless =
                futures::StreamExt::map(endless, |data| Ok::<_, Infallible>(Frame::data(data)));
            Ok::<_, Infallible>(Response::new(StreamBody::new(endless)))
        });
        let layer = HealthLayer::builder("x").fall(1).check_grpc(client, "").build().unwrap();
        becomes(&mut layer.handle().watch(), Status::Down).await;
        assert_eq!(layer.handle().last_error().as_deref(), Some("sent no message"));
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    // pitfall B30
    #[test]
    fn no_answer_but_a_good_one_is_taken_for_health(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 0..4),
        ends_well in any::<bool>(), watches in any::<bool>(),
    ) {
        let chunks: Vec<_> = chunks.into_iter().map(Bytes::from).collect();
        let (status, error) = checked(&chunks, ends_well, watches);
        prop_assert_eq!(status == Status::Up, error.is_empty(), "{}", error);
        if status == Status::Up {
            let sent = chunks.concat();
            // Flag, length, and a field 1 with the value 1 in it somewhere.
            prop_assert!(sent[0] == 0 && sent.windows(2).any(|pair| pair == [8, 1]), "{:?}", sent);
        }
    }

    // pitfall B30
    #[test]
    fn whatever_is_asked_is_answered_with_a_code(
        path in "/(grpc\\.health\\.v1\\.Health/)?(Check|Watch|List|[a-zA-Z]{0,9})",
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..12), 0..4),
    ) {
        let chunks: Vec<_> = chunks.into_iter().map(Bytes::from).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (head, first) = runtime.block_on(async {
            let service = HealthService::new(HealthRegistry::new("orders"));
            let request = Request::post(path).header("content-type", "application/grpc");
            let request = request.body(body(chunks, true)).unwrap();
            let (head, mut body) = service.oneshot(request).await.unwrap().into_parts();
            (head, body.frame().await.map(Result::unwrap))
        });
        prop_assert_eq!(head.status, 200);
        let code = head.headers.get("grpc-status").map(|code| code.to_str().unwrap().to_owned());
        match (code.as_deref(), first) {
            (Some("3" | "5" | "12"), None) => {}
            (None, Some(frame)) => prop_assert!(frame.is_data()),
            other => prop_assert!(false, "{:?}", other),
        }
    }
}
