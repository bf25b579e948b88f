//! One request on its way to the upstream and back.

use std::convert::Infallible;
use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Either;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::http::uri::{Authority, Parts, PathAndQuery, Scheme};
use hyper::{Method, Request, Response, StatusCode, Uri, Version, header};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::body;
use crate::client::is_grpc;
use crate::headers;
use crate::reply::{self, Body};
use crate::server;
use crate::stack::Stack;
use crate::workers::Workers;

/// Whoever listens takes a connection in less than this.
const CONNECT: Duration = Duration::from_secs(1);

/// Forwards requests to one upstream, through a stack.
#[derive(Debug, Clone)]
pub(crate) struct Proxy<S> {
    stack: S,
    upstream: Arc<Upstream>,
    patience: Duration,
    explains: bool,
}

impl<S: Stack> Proxy<S> {
    /// `patience` is how long a body may take that has to be here before its request is forwarded.
    pub(crate) fn new(stack: S, upstream: Upstream, patience: Duration) -> Self {
        Self { stack, upstream: Arc::new(upstream), patience, explains: false }
    }

    /// Tells callers what is known of why they get no answer.
    pub(crate) fn explaining(self, explains: bool) -> Self {
        Self { explains, ..self }
    }

    /// Serves callers until `stop`; says whether all of them got their answers.
    pub(crate) async fn serve(self, front: TcpListener, stop: impl Future<Output = ()>) -> bool {
        let forward = move |request, peer| {
            let response = self.clone().forward(request, peer);
            async { Ok::<_, Infallible>(response.await) }
        };
        server::serve(front, Workers::start(), forward, stop).await
    }

    /// Asks the upstream, and gives its answer or says why there is none. Bodies and trailers are
    /// streamed in both directions, except small ones of requests that may be repeated.
    async fn forward(mut self, mut request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        if let Err(problem) = self.readdress(&mut request, peer) {
            return reply::line(StatusCode::BAD_REQUEST, problem);
        }
        let request = body::record(request);
        if let Some(body) = body::to_wait_for(&request)
            && let Err((status, problem)) = body::wait(body, self.patience).await
        {
            return reply::line(status, problem);
        }
        let is_grpc = is_grpc(request.headers());
        let answer = match poll_fn(|cx| self.stack.poll_ready(cx)).await {
            Ok(()) => self.stack.call(request).await,
            Err(failure) => Err(failure),
        };
        match answer {
            Ok(mut response) => {
                headers::strip(response.headers_mut());
                *response.version_mut() = Version::HTTP_11; // or what the caller's connection speaks
                response.map(Either::Left)
            }
            Err(failure) if is_grpc => reply::to_failure_of_grpc(&failure, self.explains),
            Err(failure) => reply::to_failure(&failure, self.explains),
        }
    }

    /// Turns a request to us into one to the upstream.
    fn readdress(
        &self,
        request: &mut Request<Incoming>,
        peer: SocketAddr,
    ) -> Result<(), &'static str> {
        if request.method() == Method::CONNECT {
            return Err("CONNECT is for forward proxies");
        }
        let hosts = request.headers().get_all(header::HOST).iter().count();
        if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
            return Err("a request has one Host"); // RFC 9112 §3.2
        }
        let there = self.upstream.join(request.uri()).ok_or("that path cannot be forwarded")?;
        let here = std::mem::replace(request.uri_mut(), there);
        *request.version_mut() = Version::HTTP_11; // or what the client's connection speaks
        headers::strip(request.headers_mut());
        headers::gather_cookies(request.headers_mut());
        headers::forward(request.headers_mut(), here.authority().map(Authority::as_str), peer);
        Ok(())
    }
}

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

    /// The place of `uri` there. Its host, if it has one, is ours and of no interest.
    pub(crate) fn join(&self, uri: &Uri) -> Option<Uri> {
        let path = uri.path_and_query();
        if self.prefix.is_empty() && let Some(path) = path {
            return self.at(path.clone());
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
