//! The one shell of every layer that decides whether a call may pass.
//!
//! A layer of this kind is a [`Policy`]: it admits a call, lets it wait or rejects it, and hears how it
//! ended. The rest is the same for all and is here: the [service](service), the [future](future), the
//! [guard](guard) that ends each call exactly once, the queue's timer, draining, `run`.

pub(crate) mod backpressure;
pub(crate) mod both;
pub(crate) mod call_end;
pub(crate) mod end;
pub(crate) mod entrance;
pub(crate) mod future;
pub(crate) mod guard;
pub(crate) mod keyed;
pub(crate) mod layer;
pub(crate) mod none;
pub(crate) mod pair;
pub(crate) mod policy;
pub(crate) mod queued;
pub(crate) mod service;
pub(crate) mod shared;
pub(crate) mod unclassified;

pub(crate) use backpressure::Reserve;
pub use backpressure::{Backpressure, BackpressureLayer};
pub(crate) use call_end::CallEnd;
pub(crate) use end::{Deferred, End, finish_with};
pub(crate) use entrance::{Entrance, Part};
pub use future::ResponseFuture;
pub(crate) use guard::{classify_rejection, classify_result};
pub(crate) use keyed::ByKey;
pub use layer::{And, GateLayer};
pub(crate) use pair::{earliest, holding};
pub use policy::Policy;
pub(crate) use policy::{
    Admission, Admit, Complete, Due, Judged, Keyless, Lost, Now, OverAtHead, Stage, settle,
};
#[cfg(feature = "endpoints")]
pub(crate) use service::Core;
pub use service::Gate;
pub(crate) use unclassified::Unclassified;
