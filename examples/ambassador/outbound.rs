//! A request on its way to the upstream: what the layers from the retry inwards are about.
//!
//! It has places of its own for what layers ask of each call, and shares its head with its copies. Most are
//! never sent: one of a `http::Request` would cost each call a dozen allocations.

use std::sync::Arc;

use hyper::header::HeaderName;
use hyper::http::request::Parts;
use hyper::{Method, Request};
use seawall::http::{InExtensions, Replay};
use seawall::propagate::{CallContext, Propagate};
use seawall::retry::CloneRequest;

use crate::body::Outgoing;
use crate::client::is_grpc;

#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) head: Arc<Parts>,
    pub(crate) body: Outgoing,
    pub(crate) call: CallContext,
    pub(crate) is_grpc: bool,
    /// Whether the upstream may act on it twice.
    is_idempotent: bool,
}

/// Makes requests of those that came in.
#[derive(Debug, Clone)]
pub(crate) struct Sealer {
    http: Replay,
    grpc: Option<Replay>,
    /// A field that is written for each attempt.
    attempts: Option<HeaderName>,
}

impl Sealer {
    /// Those may be repeated whose method says so, gRPC calls if the user does, and those with an idempotency
    /// key if it got past the edge.
    pub(crate) fn new(repeat_grpc: bool, attempts: Option<HeaderName>) -> Self {
        let http = Replay::default().key_header(Replay::IDEMPOTENCY_KEY);
        let grpc = repeat_grpc.then(|| Replay::default().method(Method::POST));
        Self { http, grpc, attempts }
    }

    pub(crate) fn seal(&self, request: Request<Outgoing>) -> Outbound {
        let is_grpc = is_grpc(request.headers());
        let replay = if is_grpc { self.grpc.as_ref() } else { Some(&self.http) };
        let is_idempotent = replay.is_some_and(|replay| replay.allows(&request));
        let call = InExtensions.extract(&request);
        let (mut head, body) = request.into_parts();
        if let Some(name) = &self.attempts {
            head.headers.remove(name); // it is ours to say
        }
        Outbound { head: Arc::new(head), body, call, is_grpc, is_idempotent }
    }
}

impl Outbound {
    /// How many attempts there were before this one that the upstream may have seen, those included that the
    /// caller told of.
    pub(crate) fn attempts_before(&self) -> u32 {
        let ours = self.call.attempt.saturating_sub(1).saturating_sub(self.call.unsent);
        self.call.prior.saturating_add(ours)
    }

    fn copy(&self) -> Option<Self> {
        let (head, call) = (Arc::clone(&self.head), self.call.clone());
        let (is_grpc, is_idempotent) = (self.is_grpc, self.is_idempotent);
        Some(Self { head, body: self.body.try_clone()?, call, is_grpc, is_idempotent })
    }
}

/// Facts about a call are kept in a place of their own.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct InOutbound;

impl Propagate<Outbound> for InOutbound {
    fn extract(&self, request: &Outbound) -> CallContext {
        request.call.clone()
    }

    fn inject(&self, request: &mut Outbound, call: &CallContext) {
        request.call = call.clone();
    }
}

/// Which requests may be repeated: those on which the upstream may act twice, and all that were certainly
/// never sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Copies;

impl CloneRequest<Outbound> for Copies {
    fn clone_request(&self, request: &Outbound) -> Option<Outbound> {
        if request.is_idempotent { request.copy() } else { None }
    }

    fn clone_unsent(&self, request: &Outbound) -> Option<Outbound> {
        request.copy()
    }

    fn take_over(&self, copy: &mut Outbound) -> bool {
        copy.body.take_over()
    }
}
