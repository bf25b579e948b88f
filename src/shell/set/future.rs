//! The future of a call to a member of a set.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project::pin_project;
use tower::Service;

use super::shared::{Calls, Shared};
use super::table::Table;
use super::{Choose, Named, Passed, Plan};
use crate::core::error::CallError;
use crate::shell::in_flight::{Hold, Parked, Stripe};

/// The future of a call to a member of a set.
///
/// Dropping it drops the call in flight. While it waits for a member's service to be ready, another table sends
/// it to the member that is chosen then.
#[pin_project]
pub struct ResponseFuture<P: Plan, S: Service<Req>, Req> {
    #[pin]
    stage: Stage<P, S, Req>,
    /// After the stage, so that the call is dropped first: its table is not settled before.
    call: InCall<P, S>,
}

#[pin_project(project = StageProj)]
enum Stage<P: Plan, S: Service<Req>, Req> {
    Called(#[pin] S::Future),
    Waiting(Box<Waiting<P, S, Req>>),
    Failed(Option<S::Error>),
    Over,
}

/// A call that is in flight until this is dropped; also if the service panics when it is called.
pub(super) struct InCall<P: Plan, S> {
    hold: Hold<Table<P, S>>,
    call: P::Call,
    /// Which member; it is known after the call too.
    #[cfg(feature = "split")]
    place: Option<u32>,
}

/// A call that was made and what it keeps, or why it was not.
type Made<F, P, S, E> = Result<(F, InCall<P, S>), E>;

/// A call to which no member is ready.
struct Waiting<P: Plan, S, Req> {
    shared: Arc<Shared<P, S>>,
    request: Option<Req>,
    /// The only one it is for.
    to: Option<To>,
    round: Option<Round<P, S>>,
}

/// A member that a call goes to, whomever the plan would choose.
struct To {
    name: Arc<str>,
    /// A hint said so. A table by which it may not have the request chooses anew.
    is_hint: bool,
}

/// Those it waits for, by one table.
struct Round<P: Plan, S> {
    calls: Calls<P, S>,
    stripe: Arc<Stripe<Table<P, S>>>,
    members: Vec<(usize, S)>,
    parked: Parked,
}

impl<P: Plan, S: Service<Req>, Req> ResponseFuture<P, S, Req> {
    #[inline]
    pub(super) const fn called(future: S::Future, call: InCall<P, S>) -> Self {
        Self { stage: Stage::Called(future), call }
    }

    pub(super) fn failed(error: S::Error) -> Self {
        Self { stage: Stage::Failed(Some(error)), call: InCall::none() }
    }

    pub(super) fn waiting(shared: Arc<Shared<P, S>>, request: Req) -> Self {
        let waiting = Waiting { shared, request: Some(request), to: None, round: None };
        Self { stage: Stage::Waiting(Box::new(waiting)), call: InCall::none() }
    }

    /// A call to the member of this name, whomever the plan would choose.
    #[cfg(feature = "shards")]
    pub(crate) fn to_member(shared: Arc<Shared<P, S>>, request: Req, name: Arc<str>) -> Self {
        Self::to(shared, request, To { name, is_hint: false })
    }

    /// The same because somebody hinted at it.
    #[cfg(feature = "shards")]
    pub(crate) fn to_hinted(shared: Arc<Shared<P, S>>, request: Req, name: Arc<str>) -> Self {
        Self::to(shared, request, To { name, is_hint: true })
    }

    /// The member that the call was made to, if it was made.
    #[cfg(feature = "split")]
    #[inline]
    pub(crate) const fn place(&self) -> Option<u32> {
        self.call.place
    }

    #[cfg(feature = "shards")]
    fn to(shared: Arc<Shared<P, S>>, request: Req, to: To) -> Self {
        let waiting = Waiting { shared, request: Some(request), to: Some(to), round: None };
        Self { stage: Stage::Waiting(Box::new(waiting)), call: InCall::none() }
    }
}

impl<P: Plan, S> InCall<P, S> {
    fn none() -> Self {
        Self {
            hold: Hold::over(),
            call: P::Call::default(),
            #[cfg(feature = "split")]
            place: None,
        }
    }

    /// The call is made now, unless another table came in between. With its request, if the plan chose the member.
    #[inline]
    pub(super) fn begin<Req, Res, Err>(
        stripe: Arc<Stripe<Table<P, S>>>,
        place: usize,
        request: Option<&Req>,
    ) -> Option<Self>
    where
        P: Choose<Req, Res, Err>,
    {
        let mut hold = Hold::new(stripe);
        if !hold.begin(|| false) {
            return None;
        }
        let call = hold.get().map_or_else(P::Call::default, |stripe| {
            if let Some(request) = request {
                stripe.plan.sends(request, place);
            }
            stripe.plan.begin(place)
        });
        Some(Self {
            hold,
            call,
            #[cfg(feature = "split")]
            place: u32::try_from(place).ok(),
        })
    }

    #[inline]
    fn waits<Req, Res, Err>(&mut self)
    where
        P: Choose<Req, Res, Err>,
    {
        if let Some(stripe) = self.hold.get() {
            stripe.plan.waits(&mut self.call);
        }
    }

    /// The call is over. Whether it was rejected, and another member may take it.
    #[inline]
    fn settle<Req, Res, Err>(&mut self, result: Result<&Res, &Err>) -> bool
    where
        P: Choose<Req, Res, Err>,
        Err: CallError,
    {
        let Some(over) = self.hold.lose() else { return false };
        let rejected = result.err().and_then(CallError::rejected);
        let elsewhere = rejected.is_some_and(|why| over.plan.elsewhere(&self.call, why));
        over.plan.settle(mem::take(&mut self.call), result);
        elsewhere
    }
}

impl<P: Plan, S> Drop for InCall<P, S> {
    #[inline]
    fn drop(&mut self) {
        if let Some(over) = self.hold.lose() {
            over.plan.abandon(mem::take(&mut self.call));
        }
    }
}

impl<P, S, Req> Waiting<P, S, Req>
where
    P: Choose<Req, S::Response, S::Error>,
    S: Service<Req> + Clone,
    S::Error: CallError,
{
    /// Waits until a member is ready, whoever is chosen by then, and makes the call.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Made<S::Future, P, S, S::Error>> {
        loop {
            if self.request.is_none() {
                return Poll::Pending; // polled again after a panic
            }
            let Some(round) = &mut self.round else {
                match self.gather() {
                    Ok(round) => self.round = round,
                    Err(error) => return Poll::Ready(Err(error)),
                }
                continue;
            };
            if round.calls.is_closed() {
                self.round = None; // what its members would say is of no interest any more
                continue;
            }
            match round.poll_ready(cx) {
                Poll::Ready(Ok((place, mut service))) => {
                    let chosen = self.request.as_ref().filter(|_| self.to.is_none());
                    let Some(call) = InCall::begin(Arc::clone(&round.stripe), place, chosen) else {
                        self.round = None; // another table came
                        continue;
                    };
                    self.round = None; // the others go on
                    let Some(request) = self.request.take() else { return Poll::Pending };
                    return Poll::Ready(Ok((service.call(request), call)));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if round.calls.park(&mut round.parked, cx.waker()) => {
                    return Poll::Pending;
                }
                Poll::Pending => self.round = None,
            }
        }
    }

    /// The members to wait for by the table in force; `None`, if another one comes in between.
    fn gather(&self) -> Result<Option<Round<P, S>>, S::Error> {
        let (calls, Some(request)) = (self.shared.table(), &self.request) else { return Ok(None) };
        let Some(stripe) = calls.enter() else {
            let is_drained = self.shared.is_drained();
            return if is_drained { Err(self.shared.draining().into()) } else { Ok(None) };
        };
        let (mut members, mut passed) = (Vec::new(), Passed::waiting());
        if let Some(to) = &self.to {
            let all = stripe.plan.members();
            let Some(place) = all.iter().position(|member| *member.name() == to.name) else {
                return Err(self.shared.gone().into());
            };
            if !to.is_hint || stripe.plan.may_take(request, place) {
                let Some(service) = stripe.make(place) else { return Ok(None) };
                members.push((place, service));
                return Ok(Some(Round { calls, stripe, members, parked: Parked::new() }));
            }
        }
        while members.len() < P::WAIT_FOR
            && let Some(place) = stripe.plan.choose(request, &passed)
        {
            let Some(service) = stripe.make(place) else { return Ok(None) };
            members.push((place, service));
            passed.add(place);
        }
        if members.is_empty()
            && let Some(rejected) = stripe.plan.nobody(request)
        {
            return Err(rejected.into());
        }
        Ok(Some(Round { calls, stripe, members, parked: Parked::new() }))
    }
}

impl<P: Plan, S> Round<P, S> {
    /// The first member that is ready; an error, if none of them can become so.
    fn poll_ready<Req>(&mut self, cx: &mut Context<'_>) -> Poll<Result<(usize, S), S::Error>>
    where
        P: Choose<Req, S::Response, S::Error>,
        S: Service<Req>,
    {
        let mut nth = 0;
        while let Some((place, service)) = self.members.get_mut(nth) {
            match service.poll_ready(cx) {
                Poll::Ready(Ok(())) => return Poll::Ready(Ok(self.members.swap_remove(nth))),
                Poll::Ready(Err(error)) => {
                    let may_go_on = self.stripe.plan.unready(*place, &error);
                    drop(self.members.swap_remove(nth));
                    if !may_go_on || self.members.is_empty() {
                        return Poll::Ready(Err(error));
                    }
                }
                Poll::Pending => nth += 1,
            }
        }
        Poll::Pending
    }
}

impl<P, S, Req> Future for ResponseFuture<P, S, Req>
where
    P: Choose<Req, S::Response, S::Error>,
    S: Service<Req> + Clone,
    S::Error: CallError,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let result = match this.stage.as_mut().project() {
                StageProj::Called(future) => match future.poll(cx) {
                    Poll::Ready(result) => result,
                    Poll::Pending => {
                        this.call.waits();
                        return Poll::Pending;
                    }
                },
                StageProj::Waiting(waiting) => match ready!(waiting.poll(cx)) {
                    Ok((future, call)) => {
                        *this.call = call;
                        this.stage.set(Stage::Called(future));
                        continue;
                    }
                    Err(error) => Err(error),
                },
                StageProj::Failed(error) => match error.take() {
                    Some(error) => Err(error),
                    None => return Poll::Pending,
                },
                StageProj::Over => return Poll::Pending, // polled after it was ready
            };
            this.stage.set(Stage::Over); // nothing of the call goes on
            if this.call.settle(result.as_ref()) {
                return Poll::Ready(result.map_err(|error| match error.rejected() {
                    Some(rejected) => rejected.clone().elsewhere().into(),
                    None => error,
                }));
            }
            return Poll::Ready(result);
        }
    }
}

impl<P: Plan, S: Service<Req>, Req> fmt::Debug for ResponseFuture<P, S, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.stage {
            Stage::Called(_) => "ResponseFuture(in flight)",
            Stage::Waiting(_) => "ResponseFuture(waiting)",
            Stage::Failed(_) => "ResponseFuture(failed)",
            Stage::Over => "ResponseFuture(over)",
        })
    }
}
