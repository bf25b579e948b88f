//! How a call gets into the bulkhead of its key.

use std::sync::Arc;

use tower::Service;

use super::KeyedPart;
use super::future::{Patience, ResponseFuture, Waiter};
use super::permit::Permit;
use crate::bulkhead::limiter::Entry;
use crate::core::error::Reason;
use crate::core::request::Propagate;
use crate::shell::cell::Cell;
use crate::shell::in_flight::Hold;
use crate::shell::oneshot::Oneshot;

/// How a call gets at an inner service that may or may not have been readied for it.
pub(super) struct Instance<'a, S> {
    pub(super) inner: &'a mut S,
    pub(super) readied: bool,
}

impl<S: Clone> Instance<'_, S> {
    /// The call itself: inside, in line, or rejected.
    #[inline]
    pub(super) fn call<Req, F, K>(
        self,
        berth: Arc<Cell<KeyedPart>>,
        permits: u32,
        completion: &F,
        propagate: &K,
        request: Req,
    ) -> ResponseFuture<S, Req, F>
    where
        S: Service<Req>,
        F: Clone,
        K: Propagate<Req>,
    {
        if berth.policy.bulkhead().enter(permits) {
            let permit = Permit::new(Hold::new(berth), permits);
            // Each branch makes its own future, so that it is made in its place.
            return if self.readied {
                let attempt = Oneshot::called(self.inner.call(request));
                ResponseFuture::inside(permit, attempt, completion.clone())
            } else {
                let attempt = Oneshot::waiting(self.inner.clone(), request);
                ResponseFuture::inside(permit, attempt, completion.clone())
            };
        }
        // Nobody waits with a reservation of the inner service in hand.
        let service = self.release();
        let policy = berth.policy.bulkhead();
        if policy.is_too_dear(permits) {
            let rejected = policy.reject(Reason::CostTooHigh, policy.dearness(permits));
            return ResponseFuture::rejected(rejected, completion.clone());
        }
        if !policy.may_wait() {
            let rejected = policy.reject(Reason::Full, policy.fullness());
            return ResponseFuture::rejected(rejected, completion.clone());
        }
        let params = policy.params();
        let call = propagate.propagates().then(|| propagate.extract(&request));
        let patience = Patience::new(params.max_wait, call);
        match policy.ask(patience.until, permits) {
            Entry::Inside => {
                let attempt = Oneshot::waiting(service.clone(), request);
                ResponseFuture::inside(
                    Permit::new(Hold::new(berth), permits),
                    attempt,
                    completion.clone(),
                )
            }
            Entry::Queued(number) => {
                let waiter = Waiter::new(berth, permits, number, &patience);
                ResponseFuture::queued(waiter, service.clone(), request, completion.clone())
            }
            Entry::TooDear(measurement) => {
                let rejected = policy.reject(Reason::CostTooHigh, measurement);
                ResponseFuture::rejected(rejected, completion.clone())
            }
            Entry::Full(measurement) => {
                let rejected = policy.reject(Reason::Full, measurement);
                ResponseFuture::rejected(rejected, completion.clone())
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
