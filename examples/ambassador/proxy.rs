//! One request on its way to the upstream and back.

use std::convert::Infallible;
use std::fmt;
use std::future::{poll_fn, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use futures::future::BoxFuture;
use http_body_util::Either;
use hyper::body::{Body as _, Incoming};
use hyper::header::HeaderValue;
use hyper::http::uri::{Authority, Parts, PathAndQuery, Scheme};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Uri, Version, header};
use pin_project::pin_project;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::body::{self, Gathered, Place, Streamed};
use crate::client::is_grpc;
use crate::headers::{self, Origins, Pseudonym, Teller};
use crate::hops;
use crate::peer::Peer;
use crate::reply::{self, Body};
use crate::server;
use crate::stack::{Answer, Failure, Stack};
use crate::tunnel::Tunnel;
use crate::wire::Switched;
use crate::workers::Workers;

/// Whoever listens takes a connection in less than this.
const CONNECT: Duration = Duration::from_secs(1);

/// How many upgraded connections there may be at a time. They hold no place of the stack's, for they may
/// last for days.
const UPGRADED: usize = 4096;
/// How long an upgraded connection may be silent, unless told otherwise.
const UPGRADE_IDLE: Duration = Duration::from_secs(300);

/// Forwards requests to one upstream, through a stack.
#[derive(Debug, Clone)]
pub(crate) struct Proxy<S> {
    stack: S,
    rules: Arc<Rules>,
}

/// What does not differ from call to call.
#[derive(Debug, Clone)]
struct Rules {
    upstream: Upstream,
    patience: Duration,
    explains: bool,
    teller: Teller,
    upgrade_idle: Duration,
    upgraded: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
    /// How long an upload waits for a place.
    upload_wait: Duration,
}

impl<S: Stack> Proxy<S> {
    /// `patience` is how long nothing may come of a body that has to be here before its request is
    /// forwarded.
    pub(crate) fn new(stack: S, upstream: Upstream, patience: Duration) -> Self {
        let pseudonym = Pseudonym::unique();
        let teller = Teller { origins: Origins::default(), trust: false, pseudonym };
        let rules = Rules {
            upstream,
            patience,
            explains: false,
            teller,
            upgrade_idle: UPGRADE_IDLE,
            upgraded: Arc::new(Semaphore::new(UPGRADED)),
            uploads: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            upload_wait: Duration::ZERO,
        };
        Self { stack, rules: Arc::new(rules) }
    }

    /// Tells callers what is known of why they get no answer.
    pub(crate) fn explaining(mut self, explains: bool) -> Self {
        Arc::make_mut(&mut self.rules).explains = explains;
        self
    }

    /// What the upstream is told of where calls come from, and whether callers may say so themselves.
    pub(crate) fn telling(mut self, origins: Origins, trust: bool) -> Self {
        let teller = &mut Arc::make_mut(&mut self.rules).teller;
        (teller.origins, teller.trust) = (origins, trust);
        self
    }

    /// How long an upgraded connection may be silent.
    pub(crate) fn ending_upgraded_after(mut self, idle: Duration) -> Self {
        Arc::make_mut(&mut self.rules).upgrade_idle = idle;
        self
    }

    /// How many requests may be in flight at a time whose body is still to come, and how long others wait
    /// for one of these places.
    pub(crate) fn uploading(mut self, places: usize, wait: Duration) -> Self {
        let rules = Arc::make_mut(&mut self.rules);
        (rules.uploads, rules.upload_wait) = (Arc::new(Semaphore::new(places)), wait);
        self
    }

    /// Serves callers until `stop`; says whether all of them got their answers.
    pub(crate) async fn serve(
        mut self,
        front: TcpListener,
        stop: impl Future<Output = ()>,
    ) -> bool {
        let forward = move |request, peer| self.forward(request, peer);
        server::serve(front, Workers::start(), forward, stop).await
    }

    /// Asks the upstream, and gives its answer or says why there is none. Bodies and trailers are
    /// streamed in both directions, except small ones, which are waited for.
    ///
    /// In a box that holds no more than the call: what a call holds is some kilobytes, and not to be moved
    /// about.
    fn forward(&mut self, mut request: Request<Incoming>, peer: Arc<Peer>) -> Forwarded {
        let rules = Arc::clone(&self.rules);
        let upgrade = match rules.readdress(&mut request, &peer) {
            Ok(upgrade) => upgrade,
            Err(answer) => return Box::pin(ready(Ok(*answer))),
        };
        let is_grpc = is_grpc(request.headers());
        let mut asker = Asker { rules, peer, upgrade, is_grpc, place: None };
        if body::is_small(request.body()) {
            let stack = self.stack.clone();
            return Box::pin(async move {
                let (head, body) = request.into_parts();
                match Gathered::of(body, asker.rules.patience).await {
                    Ok(body) => {
                        let request = Request::from_parts(head, Either::Right(body));
                        asker.ask(stack, request).await
                    }
                    Err((status, problem)) => Ok(reply::line(status, problem)),
                }
            });
        }
        if !request.body().is_end_stream() {
            asker.place = Place::at_once(&asker.rules.uploads);
            if asker.place.is_none() {
                return Box::pin(asker.ask_with_a_place(self.stack.clone(), request));
            }
        }
        let place = asker.place.clone();
        let request = request.map(|body| Either::Left(Streamed::new(body, place)));
        // It is ready but for a moment now and then.
        match self.stack.poll_ready(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(())) => {
                Box::pin(Asked { call: self.stack.call(request), asker: Some(asker) })
            }
            Poll::Ready(Err(failure)) => Box::pin(ready(Ok(asker.answer(Err(failure))))),
            Poll::Pending => Box::pin(asker.ask(self.stack.clone(), request)),
        }
    }
}

type Forwarded = BoxFuture<'static, Result<Response<Body>, Infallible>>;

/// A caller who asks to speak another protocol, and its place.
type Upgrade = (OnUpgrade, OwnedSemaphorePermit);

/// What is known of a call while the stack has its request.
struct Asker {
    rules: Arc<Rules>,
    peer: Arc<Peer>,
    upgrade: Option<Upgrade>,
    is_grpc: bool,
    /// While the body of the request is on its way.
    place: Option<Place>,
}

impl Asker {
    async fn ask<S: Stack>(
        self,
        mut stack: S,
        request: Request<body::Asked>,
    ) -> Result<Response<Body>, Infallible> {
        let answer = match poll_fn(|cx| stack.poll_ready(cx)).await {
            Ok(()) => stack.call(request).await,
            Err(failure) => Err(failure),
        };
        Ok(self.answer(answer))
    }

    async fn ask_with_a_place<S: Stack>(
        mut self,
        stack: S,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        self.place = Place::within(self.rules.upload_wait, &self.rules.uploads).await;
        let Some(place) = self.place.clone() else { return Ok(reply::to_too_many_uploads()) };
        let request = request.map(|body| Either::Left(Streamed::new(body, Some(place))));
        self.ask(stack, request).await
    }

    fn answer(self, answer: Result<Response<Answer>, Failure>) -> Response<Body> {
        let Self { rules, peer, upgrade, is_grpc, place } = self;
        place.as_ref().map(Place::leave);
        match answer {
            Ok(response) => rules.pass_back(response, upgrade, peer),
            Err(failure) if is_grpc => reply::to_failure_of_grpc(&failure, rules.explains),
            Err(failure) => reply::to_failure(&failure, rules.explains),
        }
    }
}

/// A call in flight.
#[pin_project]
struct Asked<F> {
    #[pin]
    call: F,
    /// Until it is over.
    asker: Option<Asker>,
}

impl<F: Future<Output = Result<Response<Answer>, Failure>>> Future for Asked<F> {
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.call.poll(cx));
        match this.asker.take() {
            Some(asker) => Poll::Ready(Ok(asker.answer(answer))),
            None => Poll::Pending, // polled after it was ready
        }
    }
}

// ===== impl Rules =====

impl Rules {
    /// Turns a request to us into one to the upstream, or answers it.
    fn readdress(
        &self,
        request: &mut Request<Incoming>,
        peer: &Peer,
    ) -> Result<Option<Upgrade>, Box<Response<Body>>> {
        let bad = |problem| Box::new(reply::line(StatusCode::BAD_REQUEST, problem));
        if *request.method() == Method::CONNECT {
            // The extended one (RFC 8441) is not in our settings, and does not get here.
            return Err(bad("CONNECT is for forward proxies"));
        }
        let hosts = headers::count(request.headers(), &header::HOST);
        if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
            return Err(bad("a request has one Host")); // RFC 9112 §3.2
        }
        if self.teller.pseudonym.is_in(request.headers()) {
            return Err(Box::new(reply::to_loop()));
        }
        hops::count(request)?;
        let authority = request.uri().authority().cloned();
        if !self.upstream.is_named_by(request.uri()) {
            let there = self.upstream.join(request.uri()).ok_or_else(|| bad(UNFORWARDABLE))?;
            *request.uri_mut() = there;
        }
        let version = std::mem::replace(request.version_mut(), Version::HTTP_11);
        let protocol =
            if version == Version::HTTP_11 { headers::upgrade(request.headers()) } else { None };

        let fields = request.headers_mut();
        let wants_trailers = headers::strip(fields); // first, or callers could name what we add
        headers::gather_cookies(fields);
        let authority = authority.as_ref().map(Authority::as_str);
        self.teller.tell(request, authority, version, peer);
        let fields = request.headers_mut();
        if wants_trailers {
            headers::ask_for_trailers(fields);
        }
        let Some(protocol) = protocol else { return Ok(None) };
        let Ok(place) = Arc::clone(&self.upgraded).try_acquire_owned() else {
            return Err(Box::new(reply::to_too_many_upgrades()));
        };
        headers::agree(fields, protocol);
        Ok(Some((hyper::upgrade::on(request), place)))
    }

    /// Turns an answer to us into one to the caller.
    fn pass_back(
        &self,
        mut response: Response<Answer>,
        upgrade: Option<Upgrade>,
        peer: Arc<Peer>,
    ) -> Response<Body> {
        let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let protocol = if switches { headers::upgrade(response.headers()) } else { None };
        // It is sent in the version that the caller's connection speaks.
        let version = std::mem::replace(response.version_mut(), Version::HTTP_11);
        headers::strip(response.headers_mut());
        self.teller.pseudonym.sign(response.headers_mut(), version);
        if !switches {
            return response.map(|body| Body::of_upstream(body, peer));
        }
        let upstream = response.extensions_mut().remove::<Switched>();
        let (Some((caller, place)), Some(protocol), Some(upstream)) = (upgrade, protocol, upstream)
        else {
            return reply::line(StatusCode::BAD_GATEWAY, "the upstream switches unasked");
        };
        headers::agree(response.headers_mut(), protocol);
        peer.becomes(Tunnel { caller, upstream, idle: self.upgrade_idle, place });
        response.map(|body| Body::of_upstream(body, peer))
    }
}

const UNFORWARDABLE: &str = "that path cannot be forwarded";

// ===== impl Upstream =====

/// Where the upstream is.
#[derive(Debug, Clone)]
pub(crate) struct Upstream {
    authority: Authority,
    /// What comes before the path of every request; no slash at its end.
    prefix: String,
}

impl Upstream {
    /// Host and port.
    pub(crate) fn authority(&self) -> &str {
        self.authority.as_str()
    }

    /// Its URL without a path.
    pub(crate) fn root(&self) -> Uri {
        self.at(PathAndQuery::from_static("/")).unwrap_or_default()
    }

    /// The authority as a header.
    pub(crate) fn host(&self) -> HeaderValue {
        // An authority has no character that a header may not have.
        HeaderValue::from_str(self.authority()).unwrap_or(HeaderValue::from_static(""))
    }

    /// Looks whether anybody listens there.
    pub(crate) async fn connect(&self) -> Result<(), String> {
        let authority = &self.authority;
        let port = authority.port_u16().unwrap_or(80);
        let address = (authority.host().trim_matches(['[', ']']), port);
        match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(why)) => Err(why.to_string()),
            Err(_) => Err(format!("it took more than {CONNECT:?} to connect")),
        }
    }

    /// Whether the path of `uri` is the same there, and it says no more than that.
    pub(crate) fn is_named_by(&self, uri: &Uri) -> bool {
        self.prefix.is_empty() && uri.authority().is_none() && uri.path_and_query().is_some()
    }

    /// The place of `uri` there. Its host, if it has one, is ours and of no interest.
    pub(crate) fn join(&self, uri: &Uri) -> Option<Uri> {
        let path = uri.path_and_query();
        if let Some(path) = path
            && (self.prefix.is_empty() || path == "*")
        {
            return self.at(path.clone()); // an asterisk is the whole server
        }
        let path = path.map_or("/", |path| path.as_str());
        self.at(format!("{}{path}", self.prefix).parse().ok()?)
    }

    fn at(&self, path: PathAndQuery) -> Option<Uri> {
        let mut parts = Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path);
        Uri::from_parts(parts).ok()
    }
}

impl FromStr for Upstream {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|why| format!("no URL: {why}"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err("only http://, there is no TLS in this example".to_owned()),
            _ => return Err("a URL begins with http://".to_owned()),
        }
        let authority = uri.authority().ok_or("a URL has a host")?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err("neither a user nor a query can be forwarded".to_owned());
        }
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { authority: authority.clone(), prefix })
    }
}

impl From<SocketAddr> for Upstream {
    fn from(address: SocketAddr) -> Self {
        // The address of a socket is an authority.
        let authority = Authority::from_maybe_shared(address.to_string());
        Self {
            authority: authority.unwrap_or(Authority::from_static("localhost")),
            prefix: String::new(),
        }
    }
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.prefix)
    }
}
