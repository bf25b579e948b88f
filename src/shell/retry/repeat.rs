//! What a retry has to say to the shell.

use std::fmt;
use std::sync::Arc;
use std::task::Context;

use crate::core::error::{Measurement, Reason, Rejected};
use crate::core::outcome::Outcome;
use crate::core::request::CallContext;
use crate::shell::gate::{Admission, Admit, Judged, Now, Policy};

/// Decides whether a call is attempted again, and when. `U` is what pays for its retries.
pub trait Repeat<U>: Send + Sync + 'static {
    /// The attempts of one call.
    type Attempts: Attempts;
    /// What one of them was paid with.
    type Price: fmt::Debug;

    /// Whether a first attempt may be followed by a second, so that a copy is needed.
    fn copies(&self) -> bool;

    /// An attempt was answered well, which ends the call. `took` says how long that took, if it is known.
    fn answered(&self, purse: &U, end: &Judged, took: impl FnOnce() -> Option<u64>);

    /// An attempt failed. `time` says what there is for others.
    fn failed(
        &self,
        attempts: &mut Self::Attempts,
        failure: Failure<'_>,
        time: impl Time,
        purse: &U,
    ) -> Next<Self::Price>;

    /// The wait before an attempt is over. `None` if there is no time left for it; otherwise what it
    /// needs to know.
    fn begins(&self, attempts: &Self::Attempts, time: impl Time) -> Option<Begin>;

    /// What was paid comes back: the attempt was answered well, or never began.
    fn give_back(&self, price: Option<Self::Price>, purse: &U);

    /// The call ends before another attempt could begin.
    fn gave_up(&self, attempts: &Self::Attempts, why: BrokenOff, purse: &U);

    /// The call ends with the error of an attempt, for another could not begin.
    fn ended_badly(&self, took: Option<u64>);

    /// Nobody will hear how the call ended.
    fn lost(&self);

    /// How long a call may begin attempts for, in nanoseconds; `u64::MAX` is no limit.
    fn max_elapsed(&self) -> u64;

    /// The retry ends a call itself.
    fn reject(&self, reason: Reason, measurement: Measurement) -> Rejected;
}

/// The attempts of one call, the one in flight included.
pub trait Attempts: Copy + fmt::Debug {
    /// The first is in flight.
    const FIRST: Self;

    /// The one in flight, counted from 1.
    fn number(&self) -> u32;

    /// Those before it of which nothing was ever sent.
    fn unsent(&self) -> u32;
}

/// Finds what pays for the retries of a call.
pub trait Payer<Req> {
    /// What the call holds of it.
    #[doc(hidden)]
    type Purse;

    #[doc(hidden)]
    fn purse(&self, request: &Req) -> Self::Purse;
}

/// What a call holds of whose it is: how its attempts ask their policy.
pub trait Asks<Req, A: Policy> {
    /// An attempt [passes](Admit::pass), if there is nothing to consider.
    #[inline]
    fn pass(&self, policy: &A, request: &Req) -> Option<A::Permit> {
        let _ = (policy, request);
        None
    }

    /// The same of one with which something is propagated.
    #[inline]
    fn pass_with(&self, policy: &A, request: &Req, call: &mut CallContext) -> Option<A::Permit> {
        let _ = (policy, request, call);
        None
    }

    /// An attempt [asks](Admit::admit).
    fn admit(&self, policy: &A, request: &Req, call: Option<&mut CallContext>) -> Admission<A>;

    /// One that waits [asks again](Admit::resume).
    fn resume(
        &self,
        policy: &A,
        request: &Req,
        call: Option<&mut CallContext>,
        wait: A::Wait,
        cx: &mut Context<'_>,
        now: &Now,
    ) -> Admission<A>;
}

/// A call whose request says all there is to know.
pub trait ByItself {}

impl<Req, A: Admit<Req>, U: ByItself> Asks<Req, A> for U {
    #[allow(clippy::inline_always, reason = "it is on the way of every call")]
    #[inline(always)]
    fn pass(&self, policy: &A, request: &Req) -> Option<A::Permit> {
        policy.pass(request)
    }

    #[inline]
    fn pass_with(&self, policy: &A, request: &Req, call: &mut CallContext) -> Option<A::Permit> {
        policy.pass_with(request, call)
    }

    #[inline]
    fn admit(&self, policy: &A, request: &Req, call: Option<&mut CallContext>) -> Admission<A> {
        policy.admit(request, call)
    }

    #[inline]
    fn resume(
        &self,
        policy: &A,
        request: &Req,
        call: Option<&mut CallContext>,
        wait: A::Wait,
        cx: &mut Context<'_>,
        now: &Now,
    ) -> Admission<A> {
        policy.resume(request, call, wait, cx, now)
    }
}

/// A call that has no request, but is in the name of a key. One budget pays for it.
#[derive(Debug, Clone)]
pub(crate) struct Named(pub(crate) Arc<str>);

impl<Req, A: Policy> Asks<Req, A> for Named {
    fn admit(&self, policy: &A, _: &Req, _: Option<&mut CallContext>) -> Admission<A> {
        policy.admit_key(&self.0)
    }

    fn resume(
        &self,
        policy: &A,
        _: &Req,
        _: Option<&mut CallContext>,
        wait: A::Wait,
        cx: &mut Context<'_>,
        now: &Now,
    ) -> Admission<A> {
        policy.poll_wait(wait, cx, now)
    }
}

impl<Req> Payer<Req> for Named {
    type Purse = Self;

    fn purse(&self, _: &Req) -> Self {
        self.clone()
    }
}

/// The time that a call has.
pub trait Time {
    /// Nanoseconds left for further attempts of one that may last `max_elapsed` in all, if there is a limit.
    fn left(&mut self, max_elapsed: u64) -> Option<u64>;

    /// Nanoseconds since it was first found pending.
    fn took(&self) -> Option<u64>;
}

/// How an attempt failed.
#[derive(Debug)]
pub struct Failure<'a> {
    pub(crate) outcome: Outcome,
    /// What one of our own layers said, if it was that.
    pub(crate) rejection: Option<&'a Rejected>,
    /// A copy of the request is at hand.
    pub(crate) copied: bool,
    /// The request is a retry by its caller.
    pub(crate) repeated: bool,
    /// The retry is being drained.
    pub(crate) draining: bool,
}

/// What follows an attempt that failed.
#[derive(Debug)]
pub enum Next<Price> {
    /// Another one, after so many nanoseconds, and what was paid for it.
    Again(u64, Option<Price>),
    /// Nothing.
    Stop,
}

/// Why an attempt that was to come does not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrokenOff {
    /// There is no time left for it.
    Deadline,
    /// The retry is drained.
    Draining,
}

/// What an attempt needs to know that is about to begin.
#[derive(Debug, Clone, Copy)]
pub struct Begin {
    /// For how many nanoseconds it may wait until the service is ready.
    pub(crate) patience: Option<u64>,
    /// No further attempt can follow, so that no copy is needed.
    pub(crate) is_last: bool,
}

impl<T: Time> Time for &mut T {
    fn left(&mut self, max_elapsed: u64) -> Option<u64> {
        (**self).left(max_elapsed)
    }

    fn took(&self) -> Option<u64> {
        (**self).took()
    }
}
