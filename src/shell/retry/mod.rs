//! The one shell of every layer that may attempt a call more than once.
//!
//! A layer of this kind is a [`Repeat`]: it decides whether an attempt that failed is followed by another,
//! and when. Beside it there may be a [`Policy`](crate::shell::gate::Policy) of the whole call, and one
//! of each attempt, so that a whole stack is one service, one future, one timer and one reference.

mod asking;
mod attempt_context;
mod attempts;
mod first;
mod future;
mod guard;
mod repeat;
mod run;
mod service;
mod timing;

pub(crate) use attempt_context::RequestTools;
pub(crate) use future::ResponseFuture;
pub(crate) use repeat::{
    Attempts, Begin, BrokenOff, ByItself, Failure, Named, Next, Payer, Repeat, Time,
};
pub(crate) use run::run_with;
pub(crate) use service::{Core, Retried};
