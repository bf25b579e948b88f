//! The service that sends each request to a member.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tower::Service;

use super::future::{InCall, ResponseFuture};
use super::instances::Instances;
use super::shared::{Calls, Shared};
use super::{Choose, Passed, Plan};
use crate::core::error::{CallError, Rejected};

/// Sends each request to the member that the plan chooses. It is always ready: each call is driven by the
/// service of its member.
pub(crate) struct Set<P: Plan, S> {
    shared: Arc<Shared<P, S>>,
    /// The table that was last in force here. A later one closes it.
    calls: Calls<P, S>,
    instances: Instances<S>,
    /// Calls of this clone.
    count: u8,
}

/// A power of two: so many calls of a clone until it looks again if somebody records who has not seen the levels.
const LOOK_EVERY: u8 = 16;

impl<P: Plan, S> Set<P, S> {
    pub(crate) fn new(shared: Arc<Shared<P, S>>) -> Self {
        let calls = shared.table();
        Self { shared, calls, instances: Instances::new(), count: 0 }
    }

    pub(crate) const fn shared(&self) -> &Arc<Shared<P, S>> {
        &self.shared
    }

    /// The table was closed: takes the one in force.
    #[cold]
    fn refresh(&mut self) -> Result<(), Rejected> {
        self.instances.clear(); // they are of no use any more
        if self.shared.is_drained() {
            return Err(self.shared.draining());
        }
        self.calls = self.shared.table();
        Ok(())
    }

    /// The first member that was chosen is not ready, or another table came: asks others.
    #[cold]
    #[inline(never)]
    fn call_another<Req>(
        &mut self,
        request: Req,
        mut passed: Passed,
        mut failed: Option<S::Error>,
    ) -> ResponseFuture<P, S, Req>
    where
        P: Choose<Req, S::Response, S::Error>,
        S: Service<Req> + Clone,
        S::Error: CallError,
    {
        // Whether there is one to wait for.
        let mut waits = !passed.is_empty() && failed.is_none();
        loop {
            let Some(stripe) = self.calls.enter() else {
                if let Err(rejected) = self.refresh() {
                    return ResponseFuture::failed(rejected.into());
                }
                (passed, failed, waits) = (Passed::default(), None, false);
                continue;
            };
            let chosen = (!passed.has(P::ASK)).then(|| stripe.plan.choose(&request, &passed));
            let Some(place) = chosen.flatten() else {
                return match failed {
                    Some(error) if !waits => ResponseFuture::failed(error),
                    _ => ResponseFuture::waiting(Arc::clone(&self.shared), request),
                };
            };
            let Some(instance) = self.instances.of(place, || stripe.make(place)) else {
                continue; // the member went in between, and so will the table
            };
            match instance.poll_ready(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(())) => {
                    let Some(call) = InCall::begin(stripe, place, Some(&request)) else { continue };
                    return ResponseFuture::called(instance.call(request), call);
                }
                Poll::Ready(Err(error)) => {
                    if !stripe.plan.unready(place, &error) {
                        self.instances.forget(place);
                        return ResponseFuture::failed(error);
                    }
                    failed = Some(error);
                }
                Poll::Pending => {
                    stripe.plan.busy(place);
                    waits = true;
                }
            }
            self.instances.forget(place);
            passed.add(place);
        }
    }
}

impl<P: Plan, S> Set<P, S> {
    /// Makes the call, or gives the request back if the plan chooses nobody.
    #[cfg(feature = "split")]
    #[inline]
    pub(crate) fn try_call<Req>(&mut self, request: Req) -> Result<ResponseFuture<P, S, Req>, Req>
    where
        P: Choose<Req, S::Response, S::Error>,
        S: Service<Req> + Clone,
        S::Error: CallError,
    {
        self.call_first(request, true)
    }

    #[inline]
    fn call_first<Req>(
        &mut self,
        request: Req,
        or_back: bool,
    ) -> Result<ResponseFuture<P, S, Req>, Req>
    where
        P: Choose<Req, S::Response, S::Error>,
        S: Service<Req> + Clone,
        S::Error: CallError,
    {
        if self.count.is_multiple_of(LOOK_EVERY) {
            self.shared.called();
        }
        self.count = self.count.wrapping_add(1);
        let (mut passed, mut failed) = (Passed::NONE, None);
        if let Some(stripe) = self.calls.enter()
            && let Some(place) = match stripe.plan.choose(&request, &Passed::NONE) {
                None if or_back => return Err(request),
                chosen => chosen,
            }
            && let Some(instance) = self.instances.of(place, || stripe.make(place))
        {
            match instance.poll_ready(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(())) => {
                    // In flight from now on: what the service does with the request is its own affair.
                    if let Some(call) = InCall::begin(stripe, place, Some(&request)) {
                        return Ok(ResponseFuture::called(instance.call(request), call));
                    }
                }
                // It may wait in a queue with a waker that wakes nobody: a fresh one will wait instead.
                Poll::Pending => {
                    stripe.plan.busy(place);
                    self.instances.forget(place);
                    passed.add(place);
                }
                Poll::Ready(Err(error)) => {
                    let may_go_on = stripe.plan.unready(place, &error);
                    self.instances.forget(place);
                    if !may_go_on {
                        return Ok(ResponseFuture::failed(error));
                    }
                    passed.add(place);
                    failed = Some(error);
                }
            }
        }
        Ok(self.call_another(request, passed, failed))
    }
}

impl<P, S, Req> Service<Req> for Set<P, S>
where
    P: Choose<Req, S::Response, S::Error>,
    S: Service<Req> + Clone,
    S::Error: CallError,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<P, S, Req>;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        match self.call_first(request, false) {
            Ok(future) => future,
            Err(request) => self.call_another(request, Passed::NONE, None),
        }
    }
}

impl<P: Plan, S> Clone for Set<P, S> {
    fn clone(&self) -> Self {
        let (shared, calls) = (Arc::clone(&self.shared), Arc::clone(&self.calls));
        Self { shared, calls, instances: Instances::new(), count: 0 }
    }
}

impl<P: Plan + fmt::Debug, S> fmt::Debug for Set<P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}
