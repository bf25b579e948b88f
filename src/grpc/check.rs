//! Checking health by grpc.health.v1.

use bytes::Bytes;
use futures::stream::{self, Stream};
use http::header::{CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::Body;
use http_body_util::Full;
use tower::{BoxError, Service, ServiceExt};

use super::classify::Code;
use super::messages::{Messages, told};
use super::proto::{self, Serving};
use crate::health::{Builder, HealthUpdate};

/// So much of a peer's message is kept.
const MESSAGE: usize = 200;

impl<C> Builder<C> {
    /// Checks with a call of `grpc.health.v1.Health/Check`, asking for this service; the empty name
    /// stands for the server as a whole.
    ///
    /// `SERVING` is good, and so is a server that knows no such method (`UNIMPLEMENTED`): it is there,
    /// and says nothing against itself. Everything else is bad. `client` is whatever takes gRPC
    /// requests; a tonic channel has a body of its own:
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use bytes::Bytes;
    /// use http::Request;
    /// use http_body_util::Full;
    /// use seawall::health::{HealthLayer, Status};
    /// use tonic::{body::Body, transport::Channel};
    /// use tower::ServiceExt;
    ///
    /// # let channel = Channel::from_static("http://127.0.0.1:1").connect_lazy();
    /// let client = channel.map_request(|request: Request<Full<Bytes>>| request.map(Body::new));
    /// let health = HealthLayer::builder("orders").check_grpc(client, "shop.Orders").build()?;
    /// assert_eq!(health.handle().status(), Status::Up); // until three checks in a row were bad
    /// # Ok::<(), seawall::ConfigErrors>(()) }).unwrap();
    /// ```
    pub fn check_grpc<S, B>(self, client: S, service: &str) -> Self
    where
        S: Service<
                Request<Full<Bytes>>,
                Response = Response<B>,
                Error: Into<BoxError>,
                Future: Send,
            > + Clone
            + Send
            + Sync
            + 'static,
        B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        let message = proto::request(service);
        self.check(move || {
            let call = client.clone().oneshot(request("/grpc.health.v1.Health/Check", &message));
            async move {
                let mut answers = Answers::of(call.await.map_err(told)?);
                match answers.next().await? {
                    Said::Serving => answers.finish().await,
                    Said::Unimplemented => Ok(()),
                    Said::Not(why) => Err(why),
                }
            }
        })
    }

    /// Listens to `grpc.health.v1.Health/Watch`, so that a change is known as soon as the server tells
    /// of it, and without asking again and again.
    ///
    /// What a status means is as with [`check_grpc`](Self::check_grpc); a stream that ends is begun
    /// again as [`subscribe`](Self::subscribe) describes, so a server without this method is taken for
    /// healthy and asked again once an interval. A connection that died in silence is for the
    /// transport to find out: switch its keepalive on (`http2_keep_alive_interval` of a tonic
    /// endpoint).
    pub fn watch_grpc<S, B>(self, client: S, service: &str) -> Self
    where
        S: Service<
                Request<Full<Bytes>>,
                Response = Response<B>,
                Error: Into<BoxError>,
                Future: Send,
            > + Clone
            + Send
            + Sync
            + 'static,
        B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        let message = proto::request(service);
        self.subscribe(move || {
            let call = client.clone().oneshot(request("/grpc.health.v1.Health/Watch", &message));
            words(async { call.await.map_err(told) })
        })
    }
}

/// What a watch tells, from the call that begins it to its end.
fn words<B>(
    call: impl Future<Output = Result<Response<B>, String>> + Send,
) -> impl Stream<Item = HealthUpdate> + Send
where
    B: Body<Data: Send, Error: Into<BoxError>> + Send,
{
    let open = stream::once(async { call.await.map(Answers::of) });
    let words = |answers: Result<Answers<B>, String>| {
        stream::unfold(Some(answers), |answers| async {
            let mut answers = match answers? {
                Ok(answers) => answers,
                Err(why) => return Some((HealthUpdate::Lost(why), None)),
            };
            Some(match answers.next().await {
                Ok(Said::Serving) => (HealthUpdate::Up, Some(Ok(answers))),
                Ok(Said::Unimplemented) => (HealthUpdate::Up, None),
                Ok(Said::Not(why)) => (HealthUpdate::Down(why), Some(Ok(answers))),
                Err(why) => (HealthUpdate::Lost(why), None),
            })
        })
    };
    futures::StreamExt::flat_map(open, words)
}

/// What a server says of a service.
enum Said {
    Serving,
    /// Nothing: it has no such method.
    Unimplemented,
    Not(String),
}

/// The answers of a server, and what came of the call.
struct Answers<B> {
    /// What the head said already.
    head: Option<Result<Code, String>>,
    headers: HeaderMap,
    messages: Messages<B>,
}

impl<B: Body<Error: Into<BoxError>>> Answers<B> {
    fn of(response: Response<B>) -> Self {
        let (head, body) = response.into_parts();
        let said = if head.status == StatusCode::OK {
            Code::of(&head.headers).map(Ok)
        } else {
            Some(Err(format!("answered {}", head.status)))
        };
        Self { head: said, headers: head.headers, messages: Messages::of(body) }
    }

    /// The next answer; an error once there is none.
    async fn next(&mut self) -> Result<Said, String> {
        let (code, headers) = match self.head.take() {
            Some(Ok(code)) => (code, &self.headers),
            Some(Err(why)) => return Err(why),
            None => match self.messages.next().await? {
                Some(message) => return said(&message),
                None => self.end()?,
            },
        };
        match code {
            Code::UNIMPLEMENTED => Ok(Said::Unimplemented),
            Code::OK => Err("ended without an answer".to_owned()),
            code => Err(rejection(code, headers)),
        }
    }

    /// Waits for the end of a call that has its one answer, which counts only if the end is good.
    async fn finish(mut self) -> Result<(), String> {
        if self.messages.next().await?.is_some() {
            return Err("answered twice".to_owned());
        }
        match self.end()? {
            (Code::OK, _) => Ok(()),
            (code, trailers) => Err(rejection(code, trailers)),
        }
    }

    /// The trailers.
    fn end(&self) -> Result<(Code, &HeaderMap), String> {
        let trailers = self.messages.trailers();
        let code = trailers.and_then(|trailers| Some((Code::of(trailers)?, trailers)));
        code.ok_or_else(|| "ended without a grpc-status".to_owned())
    }
}

fn said(message: &[u8]) -> Result<Said, String> {
    match proto::read_reply(message) {
        Ok(Serving::SERVING) => Ok(Said::Serving),
        Ok(other) => Ok(Said::Not(format!("says {other}"))),
        Err(_) => Err("sent no health".to_owned()),
    }
}

/// The code, and what the server has to say to it.
fn rejection(code: Code, headers: &HeaderMap) -> String {
    let message = headers.get("grpc-message").map(|message| decoded(message.as_bytes()));
    let message = message.unwrap_or_default();
    if message.is_empty() {
        format!("answered with grpc-status {code}")
    } else {
        format!("answered with grpc-status {code}: {message}")
    }
}

/// The beginning of a `grpc-message`, which is percent-encoded UTF-8. What is no such encoding stands for
/// itself (gRPC over HTTP/2, "Status-Message"). Nothing in it may look like a line of ours in a log.
fn decoded(message: &[u8]) -> String {
    let mut bytes = Vec::new();
    let mut rest = message;
    // A character takes up to four bytes.
    while let Some((&first, after)) = rest.split_first()
        && bytes.len() < 4 * MESSAGE
    {
        let hex = |at: usize| after.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high << 4 | low) as u8);
                rest = &after[2..];
            }
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    let message = String::from_utf8_lossy(&bytes);
    message.chars().take(MESSAGE).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn request(path: &'static str, message: &Bytes) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(message.clone()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = http::Uri::from_static(path);
    *request.version_mut() = Version::HTTP_2;
    request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    request
}
