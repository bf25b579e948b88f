//! The one shell of every layer that decides whether a call may pass.
//!
//! A layer of this kind is a [`Policy`]: it admits a call, lets it wait or refuses it, and hears how it
//! ended. The rest is the same for all and is here: the [service](service), the [future](future), the
//! [guard](guard) that ends each call exactly once, the queue's timer, draining, `run`.

pub(crate) mod future;
pub(crate) mod guard;
pub(crate) mod layer;
pub(crate) mod policy;
pub(crate) mod service;
pub(crate) mod unjudged;

pub use future::ResponseFuture;
pub(crate) use layer::Entrance;
pub use layer::GateLayer;
pub(crate) use policy::{Admission, Admit, Due, Lost, Now, Policy, Stage};
pub use service::Gated;
pub(crate) use unjudged::Unjudged;
