//! A call that goes where a hint says, if its first owner refuses it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project::pin_project;
use tower::Service;

use super::key::Key;
use super::owners::Owners;
use crate::core::error::{CallError, Measurement, Reason};
use crate::core::event::EventKind;
use crate::core::hint::Stay;
use crate::core::hint::{Hint, Redirect};
use crate::core::request::{CloneRequest, Never};
use crate::shell::reporter::EventContext;
use crate::shell::set::{self, Shared};

/// How often a call goes on to somebody else.
const MOST_HOPS: u8 = 2;

/// How hints are read, and how requests are copied that may have to follow one.
pub(super) struct Follow<R, C> {
    pub(super) redirect: R,
    pub(super) copy: C,
}

/// The future of a call to one member.
pub type OneCall<S, Req, K> = set::ResponseFuture<Owners<K>, S, Req>;

/// The future of a call to the owner of its key, and on to whom that hints at.
///
/// Dropping it drops the call in flight. While it waits for the owner's service to be ready, a new map sends
/// it to the owner that its key has then.
#[pin_project]
pub struct ResponseFuture<S: Service<Req>, Req, K, R = Stay, C = Never> {
    #[pin]
    call: OneCall<S, Req, K>,
    /// What may still be sent to somebody else, and who is to be told that the map is old.
    spare: Option<Spare<S, Req, K, R, C>>,
}

pub(super) struct Spare<S, Req, K, R, C> {
    /// None, if it could not be copied.
    pub(super) request: Option<Req>,
    pub(super) shared: Arc<Shared<Owners<K>, S>>,
    pub(super) follow: Arc<Follow<R, C>>,
    pub(super) hops: u8,
}

/// What becomes of a call that was answered.
enum Next<Req, E> {
    /// The answer stands.
    Over,
    Fails(E),
    /// It goes to this member.
    To(Arc<str>, Req),
}

impl<S: Service<Req>, Req, K, R, C> ResponseFuture<S, Req, K, R, C> {
    #[inline]
    pub(super) const fn new(
        call: OneCall<S, Req, K>,
        spare: Option<Spare<S, Req, K, R, C>>,
    ) -> Self {
        Self { call, spare }
    }
}

impl<R, C> Follow<R, C> {
    /// A copy to send on. Whoever refused the request has not executed it, so one that must not be repeated will do.
    #[inline]
    pub(super) fn copy<Req>(&self, request: &Req) -> Option<Req>
    where
        C: CloneRequest<Req>,
    {
        self.copy.clone_request(request).or_else(|| self.copy.clone_unsent(request))
    }
}

impl<S, Req, K, R, C> Spare<S, Req, K, R, C>
where
    K: for<'r> Fn(&'r Req) -> Key<'r>,
    C: CloneRequest<Req>,
{
    /// Somebody else should be asked.
    #[cold]
    fn to<E: CallError>(this: &mut Option<Self>, hint: &Hint) -> Next<Req, E> {
        let Some(spare) = this else { return Next::Over };
        let table = spare.shared.table();
        let (owners, epoch) = (&table.plan, table.plan.map.epoch());
        // Whether or not it is followed.
        if hint.epoch() > epoch {
            owners.wanted.hear(hint.epoch());
        }
        let Some(request) = &spare.request else {
            *this = None;
            return Next::Over;
        };
        let members = owners.map.members();
        let key = (owners.key)(request);
        // Nor does it lead out of a resident region, or to a member that would share nothing else with the key.
        let place = hint
            .to()
            .and_then(|to| members.iter().position(|one| one.name() == to))
            .filter(|place| owners.map.allows(&key, *place));
        if let (Some(place), true) = (place, hint.is_lasting() && hint.epoch() > epoch) {
            let place = u16::try_from(place).unwrap_or_default();
            if let Some(epoch) = owners.exceptions.learn(&key, place, hint.epoch()) {
                let forgotten = EventKind::HintForgotten { epoch };
                spare.shared.reporter.tell_now(EventContext::default(), forgotten);
            }
        }
        if spare.hops == MOST_HOPS {
            let rejected = spare.shared.reporter.reject(Reason::NotOwner, Measurement::Nothing);
            *this = None;
            return Next::Fails(rejected.hinting(hint.clone(), Some(epoch)).into());
        }
        // Who goes by an older map has yet to hear of the one that sent the call there; who is unknown, of the next.
        let place = place.filter(|_| hint.epoch() >= epoch);
        let (Some(place), Some(request)) = (place, spare.request.take()) else {
            *this = None;
            return Next::Over;
        };
        let followed = EventKind::Redirected { epoch: hint.epoch() };
        spare.shared.reporter.tell_now(EventContext::default(), followed);
        spare.shared.reporter.meter(|handles| handles.own.redirected());
        spare.hops += 1;
        spare.request = spare.follow.copy(&request);
        Next::To(Arc::clone(members[place].shared_name()), request)
    }
}

impl<S, Req, K, R, C> Future for ResponseFuture<S, Req, K, R, C>
where
    S: Service<Req> + Clone,
    S::Error: CallError,
    K: for<'r> Fn(&'r Req) -> Key<'r>,
    R: Redirect<S::Response, S::Error>,
    C: CloneRequest<Req>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let result = ready!(this.call.as_mut().poll(cx));
            let Some(spare) = &*this.spare else { return Poll::Ready(result) };
            let Some(hint) = spare.follow.redirect.redirect(result.as_ref()) else {
                *this.spare = None;
                return Poll::Ready(result);
            };
            let shared = Arc::clone(&spare.shared);
            match Spare::to(this.spare, &hint) {
                Next::Over => return Poll::Ready(result),
                Next::Fails(error) => return Poll::Ready(Err(error)),
                Next::To(to, request) => {
                    this.call.set(set::ResponseFuture::to_hinted(shared, request, to));
                }
            }
        }
    }
}

impl<S: Service<Req>, Req, K, R, C> fmt::Debug for ResponseFuture<S, Req, K, R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.call.fmt(f)
    }
}

impl<R, C> fmt::Debug for Follow<R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Follow").finish_non_exhaustive()
    }
}
