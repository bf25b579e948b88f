//! Circuit breaker: stops calling a failing dependency and probes gradually for recovery.
//!
//! # Example
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! use seawall::circuit_breaker::{CircuitBreakerLayer, Trip};
//! use seawall::{Error, Outcome, Reason};
//! use std::time::Duration;
//! use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[derive(Debug, thiserror::Error)] #[error("no route")] struct NoRoute;
//! let breaker = CircuitBreakerLayer::builder("payments")
//!     .trip(Trip::default().or(Trip::consecutive(5)))
//!     .break_duration(Duration::from_secs(1))
//!     .max_break_duration(Duration::from_secs(30))
//!     .build()?;
//! let handle = breaker.handle();
//!
//! let mut payments = ServiceBuilder::new()
//!     .layer(breaker)
//!     .map_err(Error::Inner)
//!     .service(service_fn(|_amount: u32| async { Err::<(), _>(NoRoute) }));
//!
//! for _ in 0..5 {
//!     let _ = payments.ready().await?.call(100).await;
//! }
//! let rejected = payments.ready().await?.call(100).await;
//! assert!(matches!(rejected, Err(Error::Rejected(why)) if why.reason() == Reason::CircuitOpen));
//! println!("{:?}", handle.snapshot());
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! # When, and when not
//!
//! Use it around calls to a dependency that can be down while your service is up: calls fail fast, and the
//! dependency is spared while it recovers. Use one breaker for each thing that fails as a whole: a service, or
//! each of its hosts ([`Builder::keyed`]). It does not help where every call must be tried (use a
//! queue). It does not limit load either: around a dependency that is only slow use a
//! [bulkhead](crate::bulkhead).
//!
//! # How it decides
//!
//! ```text
//!              evidence                  the break is over
//!  ┌────────┐ ──────────▶ ┌──────┐ ────────────────────────▶ ┌───────────┐
//!  │ Closed │             │ Open │                           │ Half open │
//!  └────────┘             └──────┘ ◀──────────────────────── └───────────┘
//!       ▲                           the first probe fails,         │
//!       │                           or failures lead by 3,         │
//!       │                           or 3 probes get no response    │
//!       └──────────────────────────────────────────────────────────┘
//!         successes lead by 7, or no failure for half a break
//! ```
//!
//! **It opens on evidence of failure.** The default rule, [`Trip::evidence`], is a CUSUM (Page 1954). Each
//! failure adds `ln(p1/p0)`. Each success subtracts `ln((1−p0)/(1−p1))`, never below zero. The circuit opens at
//! `ln(N)`. `p0` is the failure rate you tolerate (0.3), `p1` the rate of a broken dependency (0.7), and `N`
//! (a million) bounds false trips. The rule needs no minimum volume and no window. 17 consecutive failures open
//! the circuit, at the start or after a healthy year. A dependency that always fails 30 % of its calls opens
//! it once in millions of calls. The classic rules exist too: [`Trip::failure_rate`], [`Trip::consecutive`],
//! [`Trip::failures_within`], [`Trip::slow_rate`]; [`Trip::or`] joins rules.
//!
//! Blind spots: with one call a minute, 17 failures take 17 minutes; add `.or(Trip::consecutive(5))`.
//! Evidence expires when there was no call for [`Config::evidence_ttl`].
//!
//! **It closes on evidence of recovery** (Wald 1947), not after a fixed time. The break is short: 50 ms, doubling
//! with each failed probe up to 250 ms, with jitter in the upper half, so that many instances do not probe at the
//! same moment. Then one probe is admitted, and each success doubles the number of concurrent probes. If the
//! first probe fails, the circuit opens again. If it succeeds, it is the first of seven successes that close the
//! circuit ([`Config::close_threshold`]). Each failure subtracts one, and a lead of three failures opens the
//! circuit again ([`Config::reopen_threshold`]). A dependency with 10 % errors closes the circuit nine
//! times in ten, one with 70 % errors almost never. A probe without a response after a whole break blocks no
//! other: another probe is admitted.
//!
//! **Recovery is bounded by time too.** With few calls, seven successes take long. So the circuit also closes when
//! no probe failed for half of [`Config::break_duration`] (at most a second) after a success, as soon as every probe
//! that was in flight by then has ended. The first call after a quiet time notices this, and the ramp
//! counts from when that time began.
//!
//! **After closing, load returns step by step.** The concurrency limit keeps doubling for at most a second
//! ([`Config::ramp`]). With [`Config::slow_start`] only a share of the calls is admitted at first. A circuit that is
//! closed by hand (a reset, or the release of a forced open circuit) gets the same ramp. A circuit that was forced
//! *closed* had its calls all the time, and gets what is left of a ramp. An evicted key returns as a new one,
//! without a ramp.
//!
//! With many instances, set the break to seconds: each instance probes once per break.
//!
//! **A response counts only in its own epoch.** Every state transition begins a new epoch. A response to a call
//! from an earlier epoch is counted as late and changes nothing.
//!
//! **A dropped call** (its future was dropped) is neither success nor failure, see [`Abandonment`]. The caller may
//! be impatient; only if *no* call gets a response does that speak against the dependency. So by default
//! dropped calls count only until the next response, which clears them all. How much a dropped call counts depends on how
//! long it had waited:
//!
//! - At least twice the usual response time: a failure. The usual response time is measured from successes while
//!   anything is wrong; a healthy breaker reads no clock, once it has measured one response.
//! - Less: 1/32 of a failure, once there was no response for two usual response times. If nine in ten callers leave too
//!   early, this does not open the circuit; a dependency that answers no call still opens it within half a second.
//! - If no response was ever measured: a failure after 1 s; 9/32 of a failure after 20 ms, once there was no
//!   response for three times as long as the call waited.
//! - Calls that were in flight when the responses stopped count once per millisecond, because one broken
//!   connection may have ended them all. A call that began later counts for itself: of 64 concurrent calls that all
//!   hang, the second wave opens the circuit.
//!
//! While half open, dropped calls count only until the first probe of this period gets a response: three that waited
//! at least 50 ms open the circuit again. A probe that was dropped too early for a response doubles the number of
//! concurrent probes, so that recovery does not depend on patient callers.
//!
//! A panic in the call is a failure. An error of the inner service in `poll_ready` is a failure too. It counts once,
//! in every state and for every kind of breaker, also if the caller gets the error from `poll_ready` and never
//! calls.
//!
//! **Rejections by inner layers** are ignored, and return a probe's slot.
//!
//! # Defaults
//!
//! | setting | default | what it does |
//! | --- | --- | --- |
//! | [`trip`](Config::trip) | evidence, 0.3 → 0.7, 10⁶ | when the circuit opens |
//! | [`evidence_ttl`](Config::evidence_ttl) | 5 min | older evidence is dropped, if no call was seen in between |
//! | [`abandonment`](Config::abandonment) | `Silence` | how a dropped call counts |
//! | [`break_duration`](Config::break_duration) | 50 ms | how long the first break is |
//! | [`max_break_duration`](Config::max_break_duration) | 250 ms | the longest break, after failed probes |
//! | [`max_retry_after`](Config::max_retry_after) | 30 s | how much a server's `Retry-After` may add |
//! | [`probes`](Config::probes) | 64 | concurrent probes, reached by doubling from 1 |
//! | [`probe_deadline`](Config::probe_deadline) | 1 s | how long a probe waits for readiness |
//! | [`close_threshold`](Config::close_threshold) | 7 | successes minus failures that close the circuit |
//! | [`reopen_threshold`](Config::reopen_threshold) | 3 | failures minus successes that open it again |
//! | [`ramp`](Config::ramp) | 1 s | how long concurrency is limited after closing |
//! | [`slow_start`](Config::slow_start) | off | how long the admitted share grows after closing |
//! | [`shadow`](Config::shadow) | off | report what would be rejected, and reject nothing |
//! | [`max_keys`](crate::keyed::KeyedConfig::max_keys) | 10,000 | keys with a breaker of their own |
//!
//! The settings of a [keyed](Builder::keyed) breaker apply to all keys. Single keys may have [overrides](Overrides).
//! All of it is one [`KeyedConfig`].
//!
//! # Rejections
//!
//! [`CircuitOpen`](crate::Reason::CircuitOpen), with the cause and the time until the next probe;
//! [`Recovering`](crate::Reason::Recovering) while load returns after closing, with the progress;
//! [`Draining`](crate::Reason::Draining) after [`CircuitBreakerLayer::drain`].
//!
//! # Events and metrics
//!
//! [`Changed`](crate::EventKind::Changed) in the order of the transitions;
//! [`Rejected`](crate::EventKind::Rejected), [`ShadowRejected`](crate::EventKind::ShadowRejected),
//! [`Late`](crate::EventKind::Late), [`Abandoned`](crate::EventKind::Abandoned) and
//! [`KeyOverflow`](crate::EventKind::KeyOverflow). Metrics: `seawall_calls_total`,
//! `seawall_rejections_total`, `seawall_call_duration_seconds`, `seawall_late_answers_total`,
//! `seawall_circuit_breaker_state`, `seawall_circuit_breaker_transitions_total`,
//! `seawall_circuit_breaker_shadow_rejections_total`, and for keyed ones `seawall_keys` and
//! `seawall_key_overflow_total`.
//!
//! For alerts use [`Builder::on_open`] and [`Builder::on_close`]: each is called once for each [`Outage`], when it
//! begins and when it ends.
//!
//! # Order
//!
//! Inside retry, so that every attempt counts and an open circuit ends the retries. Outside timeout, so that an
//! attempt that timed out is a failure.
//!
//! # Cancellation
//!
//! Dropping a call's future ends the call at any point. The call is abandoned if the inner service was called, and does not count
//! otherwise. A probe's slot is returned at once. A service that is dropped after `poll_ready` releases what the inner
//! service reserved for it.

mod backpressure;
mod config;
mod engine;
mod handle;
mod keyed;
mod layer;
mod machine;
mod outage;
mod overrides;
mod params;
mod policy;
mod rules;
#[cfg(test)]
mod tests;
mod transition;

#[doc(hidden)]
pub use backpressure::{Backpressure, BackpressureLayer};
pub use config::{Abandonment, Config, Span, Trip, TripRule};
pub use handle::{CircuitBreakerHandle, LastTrip, Position, Snapshot, Switch, Watch};
#[doc(hidden)]
pub use keyed::{KeyedBuilder, KeyedCircuitBreaker};
pub use keyed::{KeyedCircuitBreakerHandle, KeyedCircuitBreakerLayer};
pub use layer::{Builder, CircuitBreakerLayer};
#[doc(hidden)]
pub use layer::{CircuitBreaker, ResponseFuture};
pub use outage::Outage;
#[doc(hidden)]
pub use overrides::KeyedConfig;
pub use overrides::Overrides;
pub(crate) use policy::BreakerPolicy;
pub use transition::{State, Transition, TransitionCause};
