//! What all layers share: outcomes, classifiers, errors, events, requests, time.

pub(crate) mod classify;
pub(crate) mod completion;
pub(crate) mod config;
pub(crate) mod context;
#[cfg(any(
    feature = "endpoints",
    feature = "failover",
    feature = "leader",
    feature = "log",
    feature = "shards",
    feature = "split"
))]
pub(crate) mod epoch;
pub(crate) mod error;
pub(crate) mod event;
#[cfg(test)]
pub(crate) mod explore;
#[cfg(feature = "shards")]
pub(crate) mod hint;
pub(crate) mod origin;
pub(crate) mod outcome;
#[cfg(any(feature = "log", feature = "split"))]
pub(crate) mod position;
pub(crate) mod request;
pub(crate) mod rng;
pub(crate) mod sync;
pub(crate) mod time;
pub(crate) mod upload;
