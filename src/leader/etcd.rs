//! A store of leases in etcd, over its JSON gateway.

use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use serde_json::{Value, json};
use tower::{BoxError, Service, ServiceExt};

use super::etcd_error::EtcdError;
use super::store::{Answer, Ask};
use crate::core::config::{ConfigError, ConfigErrors};
use crate::core::epoch::Epoch;
use crate::core::origin::Origin;

/// The most that is read of an answer, in bytes.
const MOST: usize = 64 * 1024;
/// The longest lease that etcd gives, in seconds.
const MOST_SECONDS: u64 = 9_000_000_000;
/// The most of an answer that is no etcd's that goes into an error, in characters.
const MOST_TEXT: usize = 200;
/// What the gateway says where a lease is not found: a code of gRPC.
const NOT_FOUND: u64 = 5;
/// What it says where a lease is there already.
const FAILED_PRECONDITION: u64 = 9;

/// A store of leases in [etcd](https://etcd.io) 3.4 or later, over any HTTP client.
///
/// It speaks the [JSON gateway](https://etcd.io/docs/v3.5/dev-guide/api_grpc_gateway/) of etcd's own port: no gRPC, no
/// generated code. The lease `report` is the key `report`; its epoch is the revision in which the key was made, which
/// etcd counts back only if it is restored from a backup. etcd counts in whole seconds, and gives at least two.
///
/// The client is yours: [`http::client`](crate::http::client) around it brings a timeout and a circuit breaker. Where etcd
/// asks for a password, let a layer set the `authorization` header. A question takes up to three requests, within the
/// candidate's [`ask_timeout`](super::Config::ask_timeout).
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use hyper_util::client::legacy::Client;
/// use hyper_util::rt::TokioExecutor;
/// use seawall::leader::{Candidate, EtcdStore};
///
/// let client = Client::builder(TokioExecutor::new()).build_http();
/// let store = EtcdStore::new("http://127.0.0.1:2379", client)?;
/// let mut candidate = Candidate::builder("report", store).holder("pod-7").build()?;
/// candidate.lead(|term| async move { println!("leads in term {}", term.epoch()) }).await;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct EtcdStore<S> {
    client: S,
    endpoint: Arc<str>,
}

impl<S> EtcdStore<S> {
    /// The etcd at this address: a scheme, a host and a port.
    ///
    /// # Errors
    ///
    /// The address is none.
    pub fn new(endpoint: impl AsRef<str>, client: S) -> Result<Self, ConfigErrors> {
        let endpoint = endpoint.as_ref();
        let is_address = endpoint.parse::<Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty())
                && matches!(uri.path(), "" | "/")
                && uri.query().is_none()
        });
        if !is_address {
            let accepted = "an address such as `http://127.0.0.1:2379`, without a path";
            let wrong = ConfigErrors::of(vec![ConfigError::new("endpoint", endpoint, accepted)]);
            return Err(wrong.of_policy(&Origin::new("leader_store", "etcd")));
        }
        Ok(Self { client, endpoint: endpoint.trim_end_matches('/').into() })
    }
}

impl<S, B> Service<Ask> for EtcdStore<S>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + 'static,
    B: http_body::Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Answer;
    type Error = EtcdError;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, EtcdError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), EtcdError>> {
        Poll::Ready(Ok(())) // each request makes a clone of the client ready
    }

    fn call(&mut self, ask: Ask) -> Self::Future {
        let mut store = self.clone();
        Box::pin(async move {
            match ask {
                Ask::Acquire { lease, holder, ttl } => store.acquire(&lease, &holder, ttl).await,
                Ask::Renew { lease, holder, .. } => store.renew(&lease, &holder).await,
                Ask::Release { lease, holder } => store.release(&lease, &holder).await,
                Ask::Look { lease } => store.look(&lease).await,
            }
        })
    }
}

/// The key of a lease, as etcd has it.
struct Found {
    holder: String,
    /// The revision in which the key was made.
    made: u64,
    /// The lease that holds it there; zero where somebody wrote it by hand.
    lease: u64,
}

impl<S, B> EtcdStore<S>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + 'static,
    B: http_body::Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    async fn acquire(
        &mut self,
        name: &str,
        holder: &str,
        ttl: Duration,
    ) -> Result<Answer, EtcdError> {
        if let Some(found) = self.find(name).await? {
            return self.held(found, holder).await;
        }
        let id = id_of(name, holder);
        let ttl = self.grant(id, ttl).await?;
        let (key, value) = (BASE64_STANDARD.encode(name), BASE64_STANDARD.encode(holder));
        let put = json!({ "requestPut": { "key": key, "value": value, "lease": id.to_string() } });
        let transaction = json!({
            "compare": [{ "key": key, "target": "CREATE", "result": "EQUAL", "create_revision": "0" }],
            "success": [put],
            "failure": [{ "requestRange": { "key": key } }],
        });
        let answer = self.post("/v3/kv/txn", &transaction).await?;
        if answer["succeeded"] == true {
            let made = number(&answer["header"]["revision"]);
            let made = made.ok_or_else(|| self.unexpected("/v3/kv/txn", &answer))?;
            return Ok(Answer::Granted { token: Epoch::new(made), ttl });
        }
        let Some(found) = self.found_in(name, &answer["responses"][0]["response_range"])? else {
            return Err(self.unexpected("/v3/kv/txn", &answer));
        };
        if found.holder != holder {
            // Somebody was faster. The lease that was made for this holds nothing, and ends by itself too.
            let _ = self.revoke(id).await;
        }
        self.held(found, holder).await
    }

    async fn renew(&mut self, name: &str, holder: &str) -> Result<Answer, EtcdError> {
        let id = id_of(name, holder);
        let ttl = self.keep_alive(id).await?;
        let Some(found) = self.find(name).await? else { return Ok(Answer::Free) };
        match ttl {
            Some(ttl) if found.holder == holder && found.lease == id => {
                Ok(Answer::Granted { token: Epoch::new(found.made), ttl })
            }
            // It has just run out, and the key with it.
            _ if found.holder == holder => Ok(Answer::Free),
            _ => self.held(found, holder).await,
        }
    }

    async fn release(&mut self, name: &str, holder: &str) -> Result<Answer, EtcdError> {
        self.revoke(id_of(name, holder)).await?;
        Ok(Answer::Free)
    }

    async fn look(&mut self, name: &str) -> Result<Answer, EtcdError> {
        match self.find(name).await? {
            Some(found) => self.held(found, "").await,
            None => Ok(Answer::Free),
        }
    }

    /// Who has it, and for how long, which somebody who has it does not ask.
    async fn held(&mut self, found: Found, asks: &str) -> Result<Answer, EtcdError> {
        let mut expires_in = None;
        if found.holder != asks {
            let id = json!({ "ID": found.lease.to_string() });
            let left = self.post("/v3/lease/timetolive", &id).await?;
            // Whole seconds, rounded down; -1 when it has just ended.
            let seconds = number(&left["TTL"]).map(|seconds| seconds.saturating_add(1));
            expires_in = seconds.map(Duration::from_secs);
        }
        Ok(Answer::Held { holder: found.holder.into(), expires_in })
    }

    async fn find(&mut self, name: &str) -> Result<Option<Found>, EtcdError> {
        let key = json!({ "key": BASE64_STANDARD.encode(name) });
        let answer = self.post("/v3/kv/range", &key).await?;
        if answer["header"].is_null() {
            return Err(self.unexpected("/v3/kv/range", &answer));
        }
        self.found_in(name, &answer)
    }

    /// The key in the answer to a question for it, if there is one.
    fn found_in(&self, name: &str, answer: &Value) -> Result<Option<Found>, EtcdError> {
        let key = &answer["kvs"][0];
        if key.is_null() {
            return Ok(None);
        }
        let found = found(key).ok_or_else(|| self.unexpected("/v3/kv/range", answer))?;
        if found.lease == 0 {
            let (endpoint, key) = (Arc::clone(&self.endpoint), name.to_owned());
            return Err(EtcdError::Blocked { endpoint, key });
        }
        Ok(Some(found))
    }

    /// A lease of etcd. It is there already if the answer to a question before this one was lost.
    async fn grant(&mut self, id: u64, ttl: Duration) -> Result<Duration, EtcdError> {
        let path = "/v3/lease/grant";
        let seconds = ttl.as_secs().saturating_add(u64::from(ttl.subsec_nanos() > 0));
        let seconds = seconds.clamp(1, MOST_SECONDS);
        let lease = json!({ "ID": id.to_string(), "TTL": seconds.to_string() });
        let (status, answer) = self.ask(path, &lease).await?;
        let is_there = number(&answer["code"]) == Some(FAILED_PRECONDITION);
        if !status.is_success() && is_there {
            if let Some(ttl) = self.keep_alive(id).await? {
                return Ok(ttl);
            }
        } else if let Some(seconds) = number(&answer["TTL"]).filter(|_| status.is_success()) {
            return Ok(Duration::from_secs(seconds));
        }
        Err(self.status_or_unexpected(path, status, &answer))
    }

    /// What it has from now on; `None` if it has ended, which etcd tells by an answer without a time.
    async fn keep_alive(&mut self, id: u64) -> Result<Option<Duration>, EtcdError> {
        let answer = self.post("/v3/lease/keepalive", &json!({ "ID": id.to_string() })).await?;
        if answer["result"].is_null() {
            return Err(self.unexpected("/v3/lease/keepalive", &answer));
        }
        let seconds = number(&answer["result"]["TTL"]).filter(|seconds| *seconds > 0);
        Ok(seconds.map(Duration::from_secs))
    }

    async fn revoke(&mut self, id: u64) -> Result<(), EtcdError> {
        let path = "/v3/lease/revoke";
        let (status, answer) = self.ask(path, &json!({ "ID": id.to_string() })).await?;
        let is_gone = number(&answer["code"]) == Some(NOT_FOUND);
        if status.is_success() || is_gone {
            return Ok(());
        }
        Err(self.status_or_unexpected(path, status, &answer))
    }

    // ----- requests -----

    async fn post(&mut self, path: &'static str, what: &Value) -> Result<Value, EtcdError> {
        let (status, answer) = self.ask(path, what).await?;
        if status.is_success() {
            return Ok(answer);
        }
        Err(self.status_or_unexpected(path, status, &answer))
    }

    /// The status, and what was said: JSON, or else a text.
    async fn ask(
        &mut self,
        path: &'static str,
        what: &Value,
    ) -> Result<(StatusCode, Value), EtcdError> {
        let unreachable = |source: BoxError| {
            let endpoint = Arc::clone(&self.endpoint);
            EtcdError::Unreachable { endpoint, source }
        };
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{path}", self.endpoint))
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(what.to_string())))
            .map_err(|error| unreachable(error.into()))?;
        let answer = self.client.clone().oneshot(request).await;
        let (head, body) = answer.map_err(|error| unreachable(error.into()))?.into_parts();
        let body = Limited::new(body, MOST).collect().await.map_err(unreachable)?.to_bytes();
        let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
        Ok((head.status, serde_json::from_slice(&body).unwrap_or_else(|_| text())))
    }

    fn status_or_unexpected(
        &self,
        path: &'static str,
        status: StatusCode,
        answer: &Value,
    ) -> EtcdError {
        if status.is_success() {
            return self.unexpected(path, answer);
        }
        let text = told(answer);
        let remedy = match status.as_u16() {
            404 | 405 | 501 => ": is this etcd's client port?",
            401 | 403 => CREDENTIALS,
            400 if text.contains("user name is empty") => CREDENTIALS,
            _ => "",
        };
        let endpoint = Arc::clone(&self.endpoint);
        EtcdError::Status { endpoint, path, status, text, remedy }
    }

    fn unexpected(&self, path: &'static str, answer: &Value) -> EtcdError {
        EtcdError::Unexpected { endpoint: Arc::clone(&self.endpoint), path, text: told(answer) }
    }
}

impl<S> fmt::Debug for EtcdStore<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdStore").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

const CREDENTIALS: &str = ": let a layer of the client set the `authorization` header";

/// What an answer says, for an error: a stream's answer has it one level further in.
fn told(answer: &Value) -> String {
    let message = answer["message"].as_str().or_else(|| answer["error"]["message"].as_str());
    let text = match (message, answer.as_str()) {
        (Some(text), _) | (_, Some(text)) => text.trim().to_owned(),
        _ => answer.to_string(),
    };
    text.chars().take(MOST_TEXT).collect()
}

/// The gateway writes numbers of 64 bits as text.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn found(key: &Value) -> Option<Found> {
    let holder = BASE64_STANDARD.decode(key["value"].as_str().unwrap_or_default()).ok()?;
    let holder = String::from_utf8_lossy(&holder).into_owned();
    let made = number(&key["create_revision"])?;
    Some(Found { holder, made, lease: number(&key["lease"]).unwrap_or(0) })
}

/// The number of the lease by which a holder has a name: the same for each of its questions. The
/// holder's random bits make it different from all others.
fn id_of(name: &str, holder: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (name, holder).hash(&mut hasher);
    (hasher.finish() >> 1).max(1) // etcd's numbers have a sign
}
