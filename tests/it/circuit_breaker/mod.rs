//! The circuit breaker. What its machine does is tested beside it; here is what its users see.

#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "tests compute with small numbers"
)]
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::unchecked_time_subtraction,
    reason = "helpers of tests may panic, as tests may"
)]

mod backpressure;
mod config;
mod endings;
mod events;
mod half_open;
mod impatient;
mod keyed;
mod kit;
mod outages;
mod overrides;
mod quiet;
mod readiness;
mod recovery;
mod reload;
mod slow;
mod steering;
mod unready;
