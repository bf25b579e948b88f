//! What the services of one breaker share.

use std::sync::Arc;

use tower::Service;

use super::engine::common::{Common, StateMeter};
use super::engine::flight::{Berth, Flight, Site};
use super::engine::shared::{Admission, Shared};
use super::engine::step::{Pass, PassKind};
use super::future::ResponseFuture;
use crate::context::CallContext;
use crate::error::{Measured, Reason, Rejected};
use crate::request::Carry;
use crate::shell::member::{Member, Stamp};
use crate::shell::oneshot::Oneshot;
use crate::shell::reporter::Reporter;
use crate::upload::Upload;

/// One breaker under traffic, and the user's code that goes with it.
pub struct Policy<C, F> {
    pub(super) shared: Arc<Shared>,
    pub(super) hooks: Arc<Hooks<C, F>>,
}

/// The types that a user fixes when the layer is built.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hooks<C, F> {
    pub(super) classify: C,
    pub(super) finish: F,
}

impl<C, F> Policy<C, F> {
    pub(super) fn new(common: Arc<Common>, hooks: Arc<Hooks<C, F>>, key: Option<Arc<str>>) -> Self {
        Self { shared: Arc::new(Shared::new(common, key)), hooks }
    }
}

impl<C, F> std::fmt::Debug for Policy<C, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.shared.fmt(f)
    }
}

impl<C, F> Site for Policy<C, F>
where
    C: Send + Sync + 'static,
    F: Send + Sync + 'static,
{
    #[inline]
    fn shared(&self) -> &Shared {
        &self.shared
    }
}

impl<C, F> Member for Policy<C, F>
where
    C: Send + Sync + 'static,
    F: Send + Sync + 'static,
{
    type Common = Common;
    type Meter = StateMeter;

    fn reporter(common: &Common) -> &Reporter<StateMeter> {
        &common.reporter
    }

    fn key(&self) -> Option<&Arc<str>> {
        self.shared.key()
    }

    fn is_watched(&self) -> bool {
        Arc::strong_count(&self.shared) > 1
    }

    fn at_rest(&self) -> Option<Stamp> {
        let shared = &self.shared;
        let (at_rest, stamp) =
            shared.inspect(|breaker, law, now| (breaker.is_at_rest(law, now), shared.stamp()));
        at_rest.then_some(stamp)
    }

    fn stamp(&self) -> Stamp {
        self.shared.stamp()
    }
}

/// How a call gets at an inner service that may or may not have been readied for it.
pub(super) struct Instance<'a, S> {
    pub(super) inner: &'a mut S,
    pub(super) readied: bool,
}

impl<S: Clone> Instance<'_, S> {
    /// The call itself: decided once, here. `enter` gives what the call holds of the policy; it is
    /// asked only if the call may fly.
    #[inline]
    pub(super) fn call<Req, B, K>(
        self,
        shared: &Shared,
        enter: impl FnOnce() -> Option<Arc<B>>,
        carry: &K,
        request: Req,
    ) -> ResponseFuture<S, Req, B>
    where
        S: Service<Req>,
        B: Berth,
        K: Carry<Req>,
    {
        let Some(era) = shared.quiet_era() else {
            return self.call_by_law(shared, enter, carry, request);
        };
        let berth = enter();
        let pass = Pass::new(era, PassKind::Free);
        match berth {
            Some(berth) => self.fly(Flight::new(berth, pass), carry, request),
            None => self.refuse(drained(shared, pass)),
        }
    }

    #[inline(never)]
    fn call_by_law<Req, B, K>(
        self,
        shared: &Shared,
        enter: impl FnOnce() -> Option<Arc<B>>,
        carry: &K,
        request: Req,
    ) -> ResponseFuture<S, Req, B>
    where
        S: Service<Req>,
        B: Berth,
        K: Carry<Req>,
    {
        match shared.admit_by_law() {
            Admission::Pass(pass) => match enter() {
                Some(berth) => self.fly(Flight::new(berth, pass), carry, request),
                None => self.refuse(drained(shared, pass)),
            },
            Admission::Refused(refusal) => self.refuse(shared.reject(refusal)),
        }
    }

    #[inline]
    fn fly<Req, B, K>(
        self,
        mut flight: Flight<B>,
        carry: &K,
        request: Req,
    ) -> ResponseFuture<S, Req, B>
    where
        S: Service<Req>,
        B: Berth,
        K: Carry<Req>,
    {
        let told = Told::of(carry, &request);
        // Each branch makes its own: a future that is chosen first and put in its place later is
        // copied on the way, and it holds all futures further in.
        if self.readied {
            flight.enter();
            let future = self.inner.call(request);
            flight.leave();
            ResponseFuture::flying(flight, Oneshot::called(future), told)
        } else {
            let attempt = Oneshot::waiting(self.inner.clone(), request);
            ResponseFuture::flying(flight, attempt, told)
        }
    }

    fn refuse<Req, B>(self, rejected: Rejected) -> ResponseFuture<S, Req, B>
    where
        S: Service<Req>,
        B: Berth,
    {
        if self.readied {
            // The call that it was reserved for will not come: give the reservation back.
            *self.inner = self.inner.clone();
        }
        ResponseFuture::refused(rejected)
    }
}

/// What a request says of its call.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) context: CallContext,
    /// Its body, if that is still on its way.
    pub(super) uploading: Option<Upload>,
}

impl Told {
    /// If anything was to be read.
    #[inline]
    pub(super) fn of<Req, K: Carry<Req>>(carry: &K, request: &Req) -> Self {
        if !carry.carries() {
            return Self::default();
        }
        let mut call = carry.read(request);
        let uploading = call.upload.take().filter(Upload::flows);
        Self { context: CallContext::of(&call), uploading }
    }
}

/// The call would have been let through, but takes place no more.
fn drained(shared: &Shared, pass: Pass) -> Rejected {
    shared.give_back(pass);
    shared.common.reporter.reject(Reason::Draining, Measured::Nothing)
}
