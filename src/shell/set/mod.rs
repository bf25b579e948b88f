//! A set: a service over several members, each with a service of its own.
//!
//! What all sets have in common is here: how a call gets to the service of its member, what happens when that
//! is not ready, how other members come into force under traffic, and how calls are counted. What they differ
//! in is a [`Plan`]: the members, and [which of them](Choose) a request is for. A set is a value that is built
//! once and cloned, and no `Layer`: what its members know would be inert if it were made for each connection.
//!
//! # How to make one
//!
//! ```text
//! struct Plan { … }                 // the members in force, and the rule: a value that never changes
//! impl set::Plan for Plan           // its members, its version, what a call keeps, its levels
//! impl set::Choose<…> for Plan      // choose, begin, waits, settle
//! struct Fan<S> { set: Set<Plan, S> } // forwards `poll_ready`, `call`; its future is `set::ResponseFuture`
//! ```
//!
//! # What happens to a call
//!
//! 1. `poll_ready` is always ready, so a member that is not holds up nobody else's calls.
//! 2. `call` enters the table in force (a [`Plan`] and the services of its members; each has a gate of its own,
//!    see [`epochs`](crate::shell::epochs)) and asks the plan to [`choose`](Choose::choose). An instance of the
//!    member's service is asked if it is ready, with a waker that wakes nobody.
//! 3. Ready: the call is in flight, [`begin`](Choose::begin) says what it keeps, [`sends`](Choose::sends) sees the request, and the
//!    service is called.
//! 4. Not ready: the instance is dropped (it may stand in a queue), the member is [`Passed`] over, and the plan
//!    chooses another, up to [`Choose::ASK`] of them. If there is none, fresh instances of up to [`Choose::WAIT_FOR`] members wait inside the
//!    future, and the first that is ready gets the call. Another table sends it to choose anew.
//! 5. A member whose readiness is an error is passed over if [`unready`](Choose::unready) says so.
//! 6. The answer: [`settle`](Choose::settle), once. Or the future is dropped: [`abandon`](Plan::abandon), once. Then
//!    the call is not in flight any more, which is what [`Shared::settled`] and [`Shared::drain`] wait for.
//!
//! A plan that learns keeps what it knows behind an `Arc` in its members, so that it stays when another plan with
//! the same member follows. None of these methods may lock, call the user's code under a lock, or block.

#![cfg_attr(not(feature = "shards"), allow(dead_code, reason = "some sets do not change"))]
#![cfg_attr(
    not(any(feature = "endpoints", feature = "failover", feature = "shards")),
    allow(unreachable_pub, reason = "a split shows nothing of its sets")
)]
#![allow(private_bounds, reason = "what a set measures is no business of users")]

#[cfg(feature = "endpoints")]
mod check;
mod future;
mod instances;
mod service;
mod shared;
mod table;

use std::sync::Arc;

use crate::core::epoch::Epoch;
use crate::core::error::Rejected;
use crate::shell::meter::Instruments;

#[cfg(feature = "endpoints")]
pub(crate) use check::check;
pub(crate) use future::ResponseFuture;
pub(crate) use service::Set;
pub(crate) use shared::Shared;
pub(crate) use table::Refused;

/// One of several.
pub trait Named {
    /// No other member of the plan has this name.
    fn name(&self) -> &Arc<str>;

    /// Whether the service of the one will do for the other, who has the same name.
    fn is_like(&self, other: &Self) -> bool {
        let _ = other;
        true
    }
}

/// The members, and the rule by which one is chosen. Another plan takes its place as a whole.
pub trait Plan: Sized {
    type Member: Named;
    /// What a call keeps of how it was chosen, until it is over: plain data. The default is that of no call.
    type Call: Default;
    type Meter: Instruments;

    fn members(&self) -> &[Self::Member];

    /// Grows from plan to plan.
    fn version(&self) -> Epoch;

    /// Sets what is a level, and not a count.
    fn set_levels(&self, meter: &Self::Meter);

    /// A call that had begun was dropped.
    fn abandon(&self, call: Self::Call) {
        let _ = call;
    }
}

/// Which member a request is for, and what is learnt from its answer.
pub trait Choose<Req, Res, Err>: Plan {
    /// How many members a call asks at once whether they are ready, before it waits.
    const ASK: usize = 4;
    /// How many members a call waits for, where none is ready.
    const WAIT_FOR: usize = 1;

    /// The place of a member, none of those that were passed over; `None` if there is no other.
    fn choose(&self, request: &Req, passed: &Passed) -> Option<usize>;

    /// The service of this member is called next.
    fn begin(&self, place: usize) -> Self::Call;

    /// A call that the plan chose this member for is made: once, however often it had to choose.
    #[inline]
    fn sends(&self, request: &Req, place: usize) {
        let _ = (request, place);
    }

    /// Whether this member may have a request that somebody else hinted at it for.
    fn may_take(&self, request: &Req, place: usize) -> bool {
        let _ = (request, place);
        true
    }

    /// The call is pending, for the first time.
    #[inline]
    fn waits(&self, call: &mut Self::Call) {
        let _ = call;
    }

    /// The call is over.
    fn settle(&self, call: Self::Call, result: Result<&Res, &Err>);

    /// This member is not ready now.
    fn busy(&self, place: usize) {
        let _ = place;
    }

    /// A layer of the member's stack rejected the call. Whether another member may take it, if the request is sent
    /// again: the rejection says so then.
    fn elsewhere(&self, call: &Self::Call, rejected: &Rejected) -> bool {
        let _ = (call, rejected);
        false
    }

    /// There is no member that a call could wait for. Why it is rejected, if it does not wait for another table.
    fn nobody(&self, request: &Req) -> Option<Rejected> {
        let _ = request;
        None
    }

    /// A member's readiness is an error. Whether another may be asked; otherwise the error is the answer.
    fn unready(&self, place: usize, error: &Err) -> bool {
        let _ = (place, error);
        false
    }
}

/// Members that a call was not made to, because they were not ready.
#[derive(Debug, Default)]
pub struct Passed {
    places: [u16; Self::MOST],
    count: u16,
    /// By the bit, those that there is no room for above.
    more: Vec<u64>,
    is_waiting: bool,
}

impl Passed {
    /// So many take no memory.
    pub const MOST: usize = 16;
    /// None was.
    pub const NONE: Self =
        Self { places: [0; Self::MOST], count: 0, more: Vec::new(), is_waiting: false };

    /// Those that a call waits for already.
    fn waiting() -> Self {
        Self { is_waiting: true, ..Self::NONE }
    }

    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    #[inline]
    pub(super) fn has(&self, most: usize) -> bool {
        self.count() >= most
    }

    pub const fn count(&self) -> usize {
        self.count as usize
    }

    /// Whether the call does not ask further members, but chooses those that it waits for.
    pub const fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    pub fn contains(&self, place: usize) -> bool {
        let few = &self.places[..self.count().min(Self::MOST)];
        few.iter().any(|passed| usize::from(*passed) == place)
            || self.more.get(place / 64).is_some_and(|bits| bits >> (place % 64) & 1 == 1)
    }

    #[allow(clippy::cast_possible_truncation)] // no set has so many members
    fn add(&mut self, place: usize) {
        match self.places.get_mut(usize::from(self.count)) {
            Some(free) => *free = place as u16,
            None => {
                let least = place / 64 + 1;
                self.more.resize(self.more.len().max(least), 0);
                self.more[place / 64] |= 1 << (place % 64);
            }
        }
        self.count += 1;
    }
}
