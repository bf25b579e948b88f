//! The one shell of every layer that may attempt a call more than once.
//!
//! A layer of this kind is a [`Repeat`]: it decides whether an attempt that failed is followed by another,
//! and when. Beside it there may be a [`Policy`](crate::shell::gated::Policy) of the whole call, and one
//! of each attempt, so that a whole stack is one service, one future, one timer and one reference.

mod asking;
mod attempts;
mod future;
mod guard;
mod repeat;
mod run;
mod service;
mod timing;
mod travels;

pub(crate) use future::ResponseFuture;
pub(crate) use repeat::{Attempts, Begin, Failure, Next, Payer, Repeat, Time};
pub(crate) use run::run_with;
pub(crate) use service::{Core, Retried};
pub(crate) use travels::Kit;
