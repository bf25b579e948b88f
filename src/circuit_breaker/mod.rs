//! Circuit breaker: stops calling a dependency that fails, and finds out gently when it is back.
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
//! Put one around calls to something that can be down while you are up, so that you fail fast and
//! leave it alone while it recovers. Use one breaker per thing that fails as a whole: a service, or
//! each of its hosts ([`Builder::keyed`]). It does not help where every call must be tried (use a
//! queue), and it does not limit load: a dependency that is merely slow wants a bulkhead.
//!
//! # How it decides
//!
//! ```text
//!              evidence                    break_duration over
//!  ┌────────┐ ──────────▶ ┌──────┐ ─────────────────────▶ ┌───────────┐
//!  │ Closed │             │ Open │                        │ Half-open │
//!  └────────┘             └──────┘ ◀───────────────────── └───────────┘
//!       ▲                            first Failure, or net −3,       │
//!       │                            or 3 given up unanswered    │
//!       └────────────────────────────────────────────────────────┘
//!                 net +7, or half a break_duration without a bad answer
//! ```
//!
//! **It trips on evidence.** The default rule, [`Trip::evidence`], is a CUSUM (Page 1954): each
//! failure adds `ln(p1/p0)`, each success takes `ln((1−p0)/(1−p1))` away, never below zero, and the
//! circuit opens at `ln(N)`. `p0` is the failure ratio you tolerate (0.3), `p1` the one you call
//! broken (0.7), `N` (a million) bounds false trips. It needs no minimum volume and no window: 17
//! straight failures open it, cold or after a healthy year; a dependency that fails 30 % of its
//! calls for ever trips it once in millions of calls. The classic rules are here too, for those
//! who know them: [`Trip::failure_rate`], [`Trip::consecutive`], [`Trip::failures_within`],
//! [`Trip::slow_rate`], and any of them joined by [`Trip::or`].
//!
//! Blind spots: at one call a minute, 17 failures take 17 minutes; add `.or(Trip::consecutive(5))`.
//! Evidence is dropped when no call was seen for [`Config::evidence_ttl`].
//!
//! **It recovers on evidence** (Wald 1947), not on the clock. the break is short: 50 ms, doubling
//! with each failed probe up to 250 ms, jittered into the upper half so that a fleet does not probe
//! in step. Then one probe may fly, and each success doubles how many may at a time. The first
//! answer decides alone if it is bad; if it is good, it is the first of seven that close the circuit
//! ([`Config::close_threshold`]), where each failure takes one away, and a lead of three failures since then
//! opens it again ([`Config::reopen_threshold`]). A dependency that came back with 10 % errors is closed upon
//! nine times in ten, one with 70 % errors almost never. A probe that has no answer after a whole break
//! holds nobody up: another may go.
//!
//! **Recovery is bounded by time too.** Where few call, seven answers may be long in coming. So the
//! circuit also closes when no answer was bad for half of [`Config::break_duration`] (at most a second) after a
//! good one, as soon as every probe is back that was out by then: one that takes long is no good sign.
//! The first call after a quiet time notices that the time has passed, and the ramp counts from when
//! it began.
//!
//! **After closing the load comes back step by step**: the number of calls at a time still doubles
//! from there, for no longer than a second ([`Config::ramp`]), and with a [`Config::slow_start`] only a
//! share of all calls is let through at first. A circuit that a hand closes, by a reset or by letting
//! go after it was held open, gets the same ramp, for its dependency may be as cold as after an outage.
//! (One that was held *closed* had its calls all the time, and gets what is left of a ramp. A key that
//! was forgotten because nobody asked for it comes back as a new one, and a new one has none.)
//!
//! Fleets of many instances should set breaks in seconds: each instance probes once per rest.
//!
//! **An answer decides only in its own epoch.** Every change of state begins a new one; an answer to
//! a call from an earlier epoch is late, is counted as such, and changes nothing.
//!
//! **A call without an answer** (its future was dropped) is a third ending, see [`Abandonment`]. A
//! caller who leaves may just be impatient; what speaks against a dependency is that *nobody* is
//! answered. So by default such calls count only until anyone is answered, and then all of them are
//! forgiven. What each counts depends on how long it waited:
//!
//! - Twice as long as an answer usually takes, or longer: a failure. What is usual is learnt from good
//!   answers, while anything is amiss; a healthy breaker still reads no clock, once it has measured one
//!   answer.
//! - Less: a 32nd of a failure, once the silence has lasted for two answers. With nine callers in ten who
//!   leave too early, a run of so many that it opens the circuit never happens; one that answers nobody
//!   is found out all the same, within half a second.
//! - As long as no answer was measured: a failure after 1 s; nine 32nds of one after 20 ms, once the silence
//!   has lasted three times as long as the call waited, for it is not known what an answer takes.
//! - Calls that were in flight when the silence began count once a millisecond, for one broken
//!   connection may have ended all of them. A call that began later and waited in vain counts for
//!   itself: of 64 calls at a time that all hang, the second wave opens the circuit.
//!
//! Half open, calls that are given up decide only while no probe of this period was answered at all:
//! three that waited in vain (at least 50 ms) open the circuit again. One that left too early to
//! be answered lets twice as many probes go at a time, so that the answer does not wait for patient callers
//! to come one after the other.
//!
//! A panic in the call is a failure. So is readiness that fails: a call whose service fails in
//! `poll_ready` counts once, in every state and for every kind of breaker, also where the caller is
//! told by `poll_ready` and never calls.
//!
//! **Rejections by layers further in** are no evidence, and give a probe's slot back.
//!
//! # Defaults
//!
//! | setting | default | what it does |
//! | --- | --- | --- |
//! | [`trip`](Config::trip) | evidence, [0.3](TOLERATED) → [0.7](BROKEN), [10⁶](ODDS) | when the circuit opens |
//! | [`evidence_ttl`](Config::evidence_ttl) | [5 min](EVIDENCE_TTL) | older evidence is dropped, if no call was seen in between |
//! | [`abandonment`](Config::abandonment) | `Silence` | what a dropped call says |
//! | [`break_duration`](Config::break_duration) | [50 ms](BREAK_DURATION) | how long it stays open at first |
//! | [`max_break_duration`](Config::max_break_duration) | [250 ms](MAX_BREAK_DURATION) | and at most, after failed probes |
//! | [`max_retry_after`](Config::max_retry_after) | [30 s](MAX_RETRY_AFTER) | how much a server's `Retry-After` may add |
//! | [`probes`](Config::probes) | [64](PROBES) | probes at a time, reached by doubling from 1 |
//! | [`probe_deadline`](Config::probe_deadline) | [1 s](PROBE_DEADLINE) | how long a probe waits for readiness |
//! | [`close_threshold`](Config::close_threshold) | [7](CLOSE_THRESHOLD) | good probes, less bad ones, that close |
//! | [`reopen_threshold`](Config::reopen_threshold) | [3](REOPEN_THRESHOLD) | lead of failures that opens again |
//! | [`ramp`](Config::ramp) | [1 s](RAMP) | how long concurrency is limited after closing |
//! | [`slow_start`](Config::slow_start) | off | how long the admitted share grows after closing |
//! | [`shadow`](Config::shadow) | off | report what would be rejected, and reject nothing |
//! | [`max_keys`](KeyedConfig::max_keys) | 10,000 | keys that have a breaker of their own |
//!
//! A [keyed](Builder::keyed) breaker has these settings for all of its keys, and single keys may have
//! [some of their own](Overrides); all of it is one [`KeyedConfig`].
//!
//! # Rejections
//!
//! [`CircuitOpen`](crate::Reason::CircuitOpen), with what tripped it and the time until the next
//! probe; [`Recovering`](crate::Reason::Recovering) while the load comes back after closing, with how
//! far it has; [`Draining`](crate::Reason::Draining) after [`CircuitBreakerLayer::drain`].
//!
//! # Events and metrics
//!
//! [`Changed`](crate::EventKind::Changed) in the order of the changes;
//! [`Rejected`](crate::EventKind::Rejected), [`ShadowRejected`](crate::EventKind::ShadowRejected),
//! [`Late`](crate::EventKind::Late), [`Abandoned`](crate::EventKind::Abandoned) and
//! [`KeyOverflow`](crate::EventKind::KeyOverflow). Metrics: `seawall_calls_total`,
//! `seawall_rejections_total`, `seawall_call_duration_seconds`, `seawall_late_answers_total`,
//! `seawall_circuit_breaker_state`, `seawall_circuit_breaker_transitions_total`,
//! `seawall_circuit_breaker_shadow_rejections_total`, and for keyed ones `seawall_keys` and
//! `seawall_key_overflow_total`.
//!
//! For alerts there are [`Builder::on_open`] and [`Builder::on_close`]: one word when an outage begins
//! and one when it is over, with its [`Outage`].
//!
//! # Order
//!
//! Inside retry, so that every attempt is evidence and a retry finds out that the circuit is open;
//! outside timeout, so that an attempt that ran out of time is a failure.
//!
//! # Cancellation
//!
//! Dropping a call's future at any point ends the call: as abandoned if the inner service had a
//! chance to answer, as nothing if not. Its slot comes back at once. A service dropped after
//! `poll_ready` releases what the inner service reserved for it.

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

pub use backpressure::{Backpressure, BackpressureLayer};
pub use config::{
    Abandonment, BREAK_DURATION, BROKEN, CLOSE_THRESHOLD, Config, EVIDENCE_TTL, MAX_BREAK_DURATION,
    MAX_RETRY_AFTER, ODDS, OVER_CALLS, PROBE_DEADLINE, PROBES, RAMP, REOPEN_THRESHOLD, Span,
    TOLERATED, Trip, TripRule,
};
pub use handle::{CircuitBreakerHandle, LastTrip, Position, Snapshot, Switch, Watch};
pub use keyed::{
    KeyedBuilder, KeyedCircuitBreaker, KeyedCircuitBreakerHandle, KeyedCircuitBreakerLayer,
};
pub use layer::{Builder, CircuitBreaker, CircuitBreakerLayer, ResponseFuture};
pub use outage::Outage;
pub use overrides::{KeyedConfig, Overrides};
pub(crate) use policy::BreakerPolicy;
pub use transition::{State, Transition, TransitionCause};
