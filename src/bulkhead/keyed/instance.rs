//! How a call gets into the bulkhead of its key.

use std::sync::Arc;

use tower::Service;

use super::Tenant;
use super::future::{Patience, ResponseFuture, Waiter};
use super::permit::Permit;
use crate::bulkhead::limiter::Entry;
use crate::error::Reason;
use crate::request::Carry;
use crate::shell::cell::Cell;
use crate::shell::gate::Hold;
use crate::shell::oneshot::Oneshot;

/// How a call gets at an inner service that may or may not have been readied for it.
pub(super) struct Instance<'a, S> {
    pub(super) inner: &'a mut S,
    pub(super) readied: bool,
}

impl<S: Clone> Instance<'_, S> {
    /// The call itself: inside, in line, or refused.
    #[inline]
    pub(super) fn call<Req, F, K>(
        self,
        berth: Arc<Cell<Tenant>>,
        places: u32,
        finish: &F,
        carry: &K,
        request: Req,
    ) -> ResponseFuture<S, Req, F>
    where
        S: Service<Req>,
        F: Clone,
        K: Carry<Req>,
    {
        if berth.policy.bulkhead().enter(places) {
            let permit = Permit::new(Hold::new(berth), places);
            // Each branch makes its own future, so that it is made in its place.
            return if self.readied {
                let attempt = Oneshot::called(self.inner.call(request));
                ResponseFuture::inside(permit, attempt, finish.clone())
            } else {
                let attempt = Oneshot::waiting(self.inner.clone(), request);
                ResponseFuture::inside(permit, attempt, finish.clone())
            };
        }
        // Nobody waits with a reservation of the inner service in hand.
        let service = self.release();
        let policy = berth.policy.bulkhead();
        if policy.is_too_dear(places) {
            let rejected = policy.reject(Reason::CostTooHigh, policy.dearness(places));
            return ResponseFuture::refused(rejected, finish.clone());
        }
        if !policy.may_wait() {
            let rejected = policy.reject(Reason::Full, policy.fullness());
            return ResponseFuture::refused(rejected, finish.clone());
        }
        let law = policy.law();
        let call = carry.carries().then(|| carry.read(&request));
        let patience = Patience::new(law.max_wait, call);
        match policy.ask(patience.until, places) {
            Entry::Inside => {
                let attempt = Oneshot::waiting(service.clone(), request);
                ResponseFuture::inside(
                    Permit::new(Hold::new(berth), places),
                    attempt,
                    finish.clone(),
                )
            }
            Entry::Queued(number) => {
                let waiter = Waiter::new(berth, places, number, &patience);
                ResponseFuture::queued(waiter, service.clone(), request, finish.clone())
            }
            Entry::TooDear(measured) => {
                let rejected = policy.reject(Reason::CostTooHigh, measured);
                ResponseFuture::refused(rejected, finish.clone())
            }
            Entry::Full(measured) => {
                let rejected = policy.reject(Reason::Full, measured);
                ResponseFuture::refused(rejected, finish.clone())
            }
        }
    }
}

impl<'a, S: Clone> Instance<'a, S> {
    /// Gives back what the inner service reserved for a call that does not come now.
    fn release(self) -> &'a S {
        if self.readied {
            *self.inner = self.inner.clone();
        }
        self.inner
    }
}
