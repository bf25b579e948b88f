//! A policy for each key, as one policy.

#![allow(private_bounds, reason = "what makes a policy one of many is no business of users")]

use std::fmt;
use std::sync::Arc;
use std::task::Context;

use tokio::time::Instant;

use super::call_end::CallEnd;
use super::end::End;
use super::layer::GateLayer;
use super::policy::{Admission, Admit, Complete, Due, Judged, Lost, Now, Policy, Stage, settle};
use super::queued::Resume;
use super::service::Entry;
use crate::core::classify::{Classification, Classify};
use crate::core::context::ClassifyContext;
use crate::core::error::{CallError, Rejected};
use crate::core::outcome::Outcome;
use crate::core::request::{CallContext, ExtractKey, NoPropagation};
use crate::shell::caller::Caller;
use crate::shell::keyed::{Keyed, KeyedHandle, Steered};
use crate::shell::member::Member;

/// A policy `M` for each key that an `X` finds in requests, in a [bounded table](Keyed).
///
/// A permit holds the cell of its key, so that a key in use is not forgotten. Which key a call has is
/// not known before its request is, so the service is always ready, and a call that passes waits for a
/// clone of the inner service. What all calls are counted by, and drained, is the gate they share.
pub struct ByKey<M: Member, X> {
    table: Arc<Keyed<M>>,
    key: Arc<X>,
}

/// What is held of the policy of a key, with its cell.
#[allow(missing_debug_implementations, reason = "a permit need not be `Debug`")]
pub struct OfKey<M, T> {
    cell: Arc<M>,
    held: T,
}

impl<M: Member, X> ByKey<M, X> {
    pub(crate) fn new(table: Keyed<M>, key: Arc<X>) -> Self {
        Self { table: Arc::new(table), key }
    }

    /// The policy of a key, if it has one.
    #[cfg(feature = "leader")]
    pub(crate) fn find(&self, key: &str) -> Option<Arc<M>> {
        self.table.find(key)
    }

    pub(crate) fn handle(&self) -> KeyedHandle<M::Handle, M::Config>
    where
        M: Steered,
    {
        KeyedHandle::new(Arc::clone(&self.table))
    }
}

/// The permit of a key's policy is there until the call is over.
type KeyPermit<M> = OfKey<M, Option<<M as Policy>::Permit>>;

/// The answer of a key's policy is the answer of all.
fn of_key<M, X>(cell: Arc<M>, admission: Admission<M>) -> Admission<ByKey<M, X>>
where
    M: Member + Policy,
    X: Send + Sync + 'static,
{
    match admission {
        Admission::Pass(permit) => Admission::Pass(OfKey { cell, held: Some(permit) }),
        Admission::Wait(held) => Admission::Wait(OfKey { cell, held }),
        Admission::Reject(rejected) => Admission::Reject(rejected),
    }
}

impl<M, X> Policy for ByKey<M, X>
where
    M: Member + Policy,
    X: Send + Sync + 'static,
{
    type Permit = KeyPermit<M>;
    type Wait = OfKey<M, M::Wait>;
    type WakerSlot = ();
    const PARTS: u8 = M::PARTS;
    const RESUMES: bool = M::RESUMES;
    const AT_END: Outcome = M::AT_END;
    const WRITES: bool = M::WRITES;
    const OVERRULES: bool = M::OVERRULES;
    const ENDS_BY_CLOCK: bool = M::ENDS_BY_CLOCK;

    fn is_open(&self) -> bool {
        false
    }

    fn admit_plain(&self) -> Admission<Self> {
        self.admit_key("")
    }

    fn admit_key(&self, key: &str) -> Admission<Self> {
        let cell = self.table.enter(key);
        let admission = cell.admit_plain();
        of_key(cell, admission)
    }

    fn watches(permit: &Self::Permit) -> bool {
        permit.held.as_ref().is_some_and(M::watches)
    }

    fn overrule(&self, permit: &mut Self::Permit, told: &CallEnd<'_>) -> Option<Rejected> {
        permit.cell.overrule(permit.held.as_mut()?, told)
    }

    fn excuses(&self, permit: &Self::Permit) -> bool {
        permit.held.as_ref().is_some_and(|held| permit.cell.excuses(held))
    }

    fn is_ended_by(&self, permit: &Self::Permit) -> Option<u8> {
        permit.cell.is_ended_by(permit.held.as_ref()?)
    }

    #[inline]
    fn settle(&self, permit: &mut Self::Permit, end: &Judged) {
        settle(&*permit.cell, &mut permit.held, end);
    }

    fn lose(&self, permit: Self::Permit, why: Lost) {
        if let Some(held) = permit.held {
            permit.cell.lose(held, why);
        }
    }

    fn give_back(&self, permit: Self::Permit) {
        if let Some(held) = permit.held {
            permit.cell.give_back(held);
        }
    }

    fn expire(&self, permit: Self::Permit, by: u8, told: Option<&CallEnd<'_>>) -> Rejected {
        match permit.held {
            Some(held) => permit.cell.expire(held, by, told),
            None => unreachable!("it is there until the call is answered"),
        }
    }

    fn draining(&self) -> Rejected {
        M::drained(&self.table.common)
    }

    fn pending(&self, permit: &mut Self::Permit, stage: Stage, now: &Now) -> Option<Instant> {
        permit.cell.pending(permit.held.as_mut()?, stage, now)
    }

    fn due(&self, permit: &mut Self::Permit, stage: Stage, now: &Now) -> Due {
        match &mut permit.held {
            Some(held) => permit.cell.due(held, stage, now),
            None => Due::Later(None),
        }
    }

    fn poll_wait(&self, wait: Self::Wait, cx: &mut Context<'_>, now: &Now) -> Admission<Self> {
        let OfKey { cell, held } = wait;
        let admission = cell.poll_wait(held, cx, now);
        of_key(cell, admission)
    }

    fn until(&self, wait: &Self::Wait) -> Option<Instant> {
        wait.cell.until(&wait.held)
    }

    fn expire_wait(&self, wait: Self::Wait) -> Rejected {
        wait.cell.expire_wait(wait.held)
    }

    fn wake_waiting(&self) {
        self.table.each(M::wake_waiting);
    }

    fn leave(&self, wait: Self::Wait, dropped: bool) {
        wait.cell.leave(wait.held, dropped);
    }
}

impl<Req, M, X> Admit<Req> for ByKey<M, X>
where
    M: Member + Admit<Req>,
    X: ExtractKey<Req> + Send + Sync + 'static,
{
    #[inline]
    fn admit(&self, request: &Req, carried: Option<&mut CallContext>) -> Admission<Self> {
        let cell = self.key.with_key(request, |key| self.table.enter(key));
        let admission = cell.admit(request, carried);
        of_key(cell, admission)
    }

    fn resume(
        &self,
        request: &Req,
        carried: Option<&mut CallContext>,
        wait: Self::Wait,
        cx: &mut Context<'_>,
        now: &Now,
    ) -> Admission<Self> {
        let OfKey { cell, held } = wait;
        let admission = cell.resume(request, carried, held, cx, now);
        of_key(cell, admission)
    }
}

impl<Res, M, X> Complete<Res> for ByKey<M, X>
where
    M: Member + Complete<Res>,
    X: Send + Sync + 'static,
{
    type Response = M::Response;

    #[inline]
    fn complete(
        &self,
        permit: &mut Option<Self::Permit>,
        response: Res,
        head: Classification,
        end: End<'_>,
    ) -> M::Response {
        let Some(OfKey { cell, held }) = permit else {
            unreachable!("it is there until the call is answered")
        };
        let response = cell.complete(held, response, head, end.of_cell(cell));
        *permit = None;
        response
    }
}

impl<M, X, C, K> GateLayer<ByKey<M, X>, C, K>
where
    M: Member + Policy,
    X: Send + Sync + 'static,
{
    /// Runs an async call through the policy of `key`, for callers without a service. Dropping the
    /// future drops the call.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use seawall::{Error, rate_limit::RateLimitLayer};
    /// use std::{borrow::Cow, convert::Infallible};
    ///
    /// let tenants = RateLimitLayer::builder("tenants")
    ///     .keyed(|tenant: &String| Cow::from(tenant))
    ///     .build()?;
    /// let answer = tenants.run("acme", || async { Ok::<_, Error<Infallible>>(7) }).await?;
    /// assert_eq!(answer, 7);
    /// assert_eq!(tenants.handle().keys(), ["acme".into()]);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn run<Op, Fut, T, E>(
        &self,
        key: &str,
        call: Op,
    ) -> impl Future<Output = Result<M::Response, E>> + use<Op, Fut, T, E, M, X, C, K>
    where
        Op: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
        E: CallError,
        M: Complete<T>,
        C: Classify<T, E> + Send + Sync + 'static,
    {
        let resume: Resume<ByKey<M, X>, Op> =
            |policy, _, _, wait, cx, now| policy.poll_wait(wait, cx, now);
        let entry = Entry { inner: &mut Caller, readied: false, gate: self.gate(), resume };
        if self.gate().is_closed() {
            return entry.reject::<NoPropagation>(self.policy().draining());
        }
        entry.enter(
            self.policy().admit_key(key),
            call,
            ClassifyContext::default(),
            &NoPropagation,
            None,
        )
    }
}

impl<M: Member, X> fmt::Debug for ByKey<M, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByKey").field("keys", &self.table.len()).finish_non_exhaustive()
    }
}
