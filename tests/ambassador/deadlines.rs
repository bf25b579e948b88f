//! Streams that are longer than an attempt may take until its head.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use h2::server::SendResponse;
use hyper::{HeaderMap, Request, Response};
use seawall::grpc::parse_timeout;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::support::{Ambassador, ask_over, full};

/// How many messages there are, and the pause before each.
const MESSAGES: usize = 15;
const PAUSE: Duration = Duration::from_millis(100);

/// A server of gRPC, by hand, that says its words one by one, and heeds the deadline that it is told: when
/// that has passed it says nothing more but so, as every server of gRPC does.
async fn server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream));
        }
    });
    address
}

async fn serve(stream: TcpStream) {
    // Whoever only looks whether anybody listens speaks no HTTP/2.
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, answer))) = connection.accept().await {
        let told = request.headers().get("grpc-timeout").map(|told| parse_timeout(told).unwrap());
        tokio::spawn(tell(answer, told));
    }
}

async fn tell(mut answer: SendResponse<Bytes>, told: Option<Duration>) {
    let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut words = answer.send_response(head, false).unwrap();
    let all = async {
        for _ in 0..MESSAGES {
            sleep(PAUSE).await;
            if words.send_data("word".into(), false).is_err() {
                return; // nobody listens any more
            }
        }
    };
    let is_late = timeout(told.unwrap_or(Duration::MAX), all).await.is_err();
    let status = if is_late { "4" } else { "0" };
    let trailers =
        HeaderMap::from_iter([("grpc-status".parse().unwrap(), status.parse().unwrap())]);
    let _ = words.send_trailers(trailers); // the same
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_lives_to_the_deadline_of_its_caller() {
    let upstream = server().await;
    let short = ["--timeout", "500ms", "--deadline", "20s"];
    let strict = Ambassador::of(upstream, &short);
    let trusting = Ambassador::of(upstream, &[&short[..], &["--trust"]].concat());
    let cases = [
        (&trusting, Some("15S"), true),
        (&trusting, Some("700m"), false), // it is the caller's, and it is believed
        (&trusting, None, true),
        (&strict, Some("700m"), true), // a stranger's word
        (&strict, None, true),
    ];
    // A message that is still on its way when the time begins, and a request that ends with its head.
    let cases = cases.into_iter().flat_map(|case| [(case, "\0\0\0\0\x02go"), (case, "")]);
    let calls = cases.map(|((ambassador, told, is_whole), message)| async move {
        let mut call = Request::post(ambassador.url("/Greeter/Stream"));
        call = call.header("content-type", "application/grpc").header("te", "trailers");
        if let Some(told) = told {
            call = call.header("grpc-timeout", told);
        }
        let answer = ask_over(true, call.body(full(message)).unwrap()).await;
        let status = answer.trailers.get("grpc-status").unwrap();
        assert_eq!(status, if is_whole { "0" } else { "4" }, "{told:?}: {}", answer.text);
        assert_eq!(answer.text.len() == 4 * MESSAGES, is_whole, "{told:?}: {}", answer.text);
    });
    join_all(calls).await;
}
