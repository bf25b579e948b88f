#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
//! Composable tower layers.

mod classify;
mod config;
mod error;
mod event;
mod finish;
mod machine;
mod outcome;
mod parts;
mod request;
mod rng;
mod shell;
mod source;
mod time;

pub mod bulkhead;
pub mod circuit_breaker;
#[cfg(feature = "grpc")]
#[cfg_attr(docsrs, doc(cfg(feature = "grpc")))]
pub mod grpc;
pub mod health;
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub mod http;
pub mod retry;
pub mod timeout;

pub use classify::{Classifier, Classify, Verdict};
pub use config::{ConfigError, ConfigErrors};
pub use error::{CallError, Error, Measured, Reason, Rejected, check};
pub use event::{Cause, Change, Event, EventKind, Observe, State, Status, Stop};
pub use finish::{AtHead, Finish, Settle};
pub use outcome::{Again, Health, Outcome, Sent};
pub use request::{
    Call, Carried, Carry, CloneRequest, Cloned, Deadline, InCarried, Measure, Never, NoCarry,
};
pub use source::Source;
