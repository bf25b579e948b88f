//! Load balancing over the endpoints of a service, with outlier ejection.
//!
//! # Example
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! use seawall::Error;
//! use seawall::circuit_breaker::CircuitBreakerLayer;
//! use seawall::endpoints::Endpoints;
//! use seawall::propagate::{FromWithContext, WithContext};
//! use seawall::retry::RetryLayer;
//! use seawall::timeout::TimeoutLayer;
//! use std::{io, time::Duration};
//! use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
//!
//! let endpoints = Endpoints::builder("search")
//!     .members(["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"])
//!     .propagate(FromWithContext)
//!     .over(|endpoint| {
//!         let address = endpoint.address().to_owned(); // connect to it here
//!         let client = service_fn(move |_query: WithContext<u64>| {
//!             let address = address.clone();
//!             async move { Ok::<_, io::Error>(address) }
//!         });
//!         Ok(ServiceBuilder::new()
//!             .layer(CircuitBreakerLayer::builder(endpoint.name()).build()?)
//!             .layer(TimeoutLayer::new(endpoint.name(), Duration::from_secs(1)))
//!             .map_err(Error::Inner)
//!             .service(client))
//!     })?;
//! // Around the set: a further attempt goes to another endpoint.
//! let retry = RetryLayer::builder("search").cloned().propagate(FromWithContext).build()?;
//!
//! let answer = retry.layer(endpoints).oneshot(7.into()).await?;
//! assert!(answer.starts_with("10.0.0."));
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! [`stack::endpoints`](crate::stack::endpoints()) has all of this ready made, with a budget, a bulkhead and a deadline besides;
//! `http::endpoints`, `grpc::endpoints` and `reqwest::endpoints` also send requests to the addresses.
//!
//! # When, and when not
//!
//! Where several addresses serve the same: any of them will do. Not where each key has one home (that is
//! [`shards`](crate::shards), if it is switched on), and not behind a balancer that does this already: there is one
//! address then.
//!
//! It cannot help when all endpoints are bad; breakers and limits of the whole do. It knows what this client sees: a
//! few calls a minute find nothing out, and each client finds out for itself. It chooses for each call, so behind it
//! should be what multiplexes or pools connections to one address. And it sends a call once: to send it again, to
//! another endpoint, is a [retry](crate::retry) around it. An endpoint that has just failed looks slow, so that the next
//! attempt rarely goes there; where requests [propagate](Builder::propagate) which attempt they are, it goes
//! to one that did not fail for a second, or if there is none, to the one that failed the longest ago.
//!
//! # How it decides
//!
//! **Choice.** By [default](Balance::PeakEwma) of two endpoints that are drawn by their weights, the one with less load:
//! calls in flight, times latency. Latency is a peak EWMA (Finagle): a slow answer counts at once, fast ones
//! lower it by a tenth of the difference each, and without answers it falls by a quarter each 250 ms. A failure counts
//! as an answer of four times the latency, of 10 ms at least, so that an endpoint that fails fast does not look fast.
//! Latency begins when a call is first pending: a call that is answered at once takes none, and reads no clock.
//! [Fewest calls in flight](Balance::LeastLoad) and [one after the other](Balance::RoundRobin) are the other ways.
//!
//! **Passed over** is who is not ready, and who has rejected a call (an open circuit) or has pushed back, for as long as
//! they asked, up to 5 s, or 250 ms. Who is full (a bulkhead) or not ready is passed over until a call to it ends,
//! 250 ms at most. A call asks all endpoints before it waits, but for those that were just found to be full; then it
//! waits for the first of up to 16.
//!
//! **A rejection** by the stack of one endpoint is no answer of the service: nothing was sent. Where another endpoint
//! would take the call, a [retry](crate::retry) around the set sends it again at once, whatever it does
//! [on rejections](crate::retry::OnRejection): that costs a token of its budget, and counts among the attempts that were
//! [not sent](crate::propagate::CallContext::unsent).
//!
//! **Outlier ejection.** Members are compared at most each 250 ms, and when one fails several times in a row. An
//! endpoint is ejected for
//!
//! | cause | when |
//! | --- | --- |
//! | `consecutive_failures` | five failures in a row, unless its peers fail too (10 %) |
//! | `failure_rate` | half of its calls of late fail, of 20 at least, which must not be chance beside its peers (3 σ) |
//! | `outlier_failure_rate` | a tenth fail, and three times the share of its peers, which must not be chance (3 σ) |
//! | `latency` | average latency is three times that of its peers in the same zone, and a millisecond more |
//! | `still_bad` | its time is over, and the last call that was let through to it failed, or is as slow |
//!
//! "Its peers" is the median of the others: with two to five members, one bad one moves a mean and a standard
//! deviation as far as it is away itself. Where half of the calls to the peers fail, it is the dependency, and nobody is
//! an outlier. Latency is an average of about 60 answers, to which one answer of a long tail adds an eighth at most;
//! of fewer answers more than three times is asked for, up to six times with ten. It is compared within a zone, for a
//! remote zone is slower by nature; who is alone in its zone has no peers there. A call that is given up counts as slow for
//! as long as it has taken, if that is longer than answers take.
//!
//! The first ejection lasts a second, the second two, and so on up to 30 s, and up to a tenth more by chance; a good
//! second makes up for one. No more than half are ejected (rounded down). Meanwhile one call in 250 ms, which doubles with
//! each ejection in a row, and no more than one in 250 calls, but twice before its time is over, is let through when the one before is over. Who returns, or is new, gets its share over five seconds.
//!
//! **Panic.** When less than half are left, because the others went off the list, or you allow more ejections, all are used
//! (Envoy's panic threshold). When all that are in use fail, whoever is ejected and answered its last probe returns at
//! once; where nobody did, all are used.
//!
//! **Zones.** With a [zone](Builder::zone), endpoints there get all calls while 72 % of them are up (Envoy's
//! over-provisioning of 1.4), and below that their share of it.
//!
//! **Subsets.** A client of a large fleet uses [some](Builder::subset) of the endpoints.
//!
//! **Lists** come from [you](EndpointsHandle::adopt), from [DNS, a file or a function](EndpointsHandle::follow), or from tower's
//! [`Discover`](EndpointsHandle::follow_discover). One that is empty, invalid or lacks more than half is rejected.
//!
//! # Defaults
//!
//! | setting | default |
//! | --- | --- |
//! | `balance` | peak EWMA of two |
//! | `consecutive_failures` | 5 |
//! | `failure_rate` | 0.5 |
//! | `outlier_failure_rate` | 0.1 |
//! | `outlier_factor` | 3 |
//! | `latency_factor` | 3 |
//! | `min_requests` | 20; half as many for latency |
//! | `ejection_time` | 1 s |
//! | `max_ejection_time` | 30 s |
//! | `max_ejected` | 0.5 |
//! | `panic_threshold` | 0.5 |
//! | `probe_interval` | 250 ms |
//! | `slow_start` | 5 s |
//!
//! # Rejections
//!
//! [`Draining`](crate::Reason::Draining) after [`drain`](EndpointsHandle::drain). Everything else that a call
//! can fail of is its endpoint's.
//!
//! # Events and metrics
//!
//! [`Changed`](crate::EventKind::Changed) between `active` and `ejected`, with the cause and the endpoint's name as
//! [`key`](crate::Event::key), and between `normal` and `panic` without a key;
//! [`EndpointsAdopted`](crate::EventKind::EndpointsAdopted), with the number of the list as [`seq`](crate::Event::seq);
//! [`SourceFailed`](crate::EventKind::SourceFailed), with what was wrong as key. Metrics: `seawall_endpoints_members`,
//! `seawall_endpoints_ejected`, `seawall_endpoints_panic`, `seawall_endpoints_source_age_seconds`,
//! `seawall_ejections_total`, `seawall_rejections_total`. Names of endpoints are no labels. The layers of each endpoint
//! have theirs, under the names you give them.
//!
//! # Order
//!
//! Breakers, limits and attempt timeouts belong to the endpoints, in the closure. Retries, and what is about the whole
//! call, its deadline above all, go around: so a further attempt goes to another endpoint.
//! [`stack::endpoints`](crate::stack::endpoints()) puts them there.
//!
//! # Cancellation
//!
//! Dropping the future drops the call in flight. It is no failure of the endpoint; where it had been pending for longer
//! than calls take there, it counts for its latency.

mod builder;
mod common;
mod config;
mod draw;
mod endpoint;
mod error;
mod ewma;
mod handle;
mod in_use;
mod learning;
mod load;
mod machine;
mod meter;
mod pick;
mod roster;
mod service;
mod source;
mod subset;
#[cfg(test)]
mod tests;

pub use builder::Builder;
pub use config::{Balance, Config};
pub use endpoint::Endpoint;
pub use error::AdoptError;
pub use handle::{EndpointsHandle, Snapshot, State};
pub use service::Endpoints;
#[doc(hidden)]
pub use service::ResponseFuture;
pub use source::{Resolve, Source};
