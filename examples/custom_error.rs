//! A stack whose error is an enum of your own.
//!
//! ```text
//! cargo run --example custom_error
//! ```
//!
//! Whatever the layers do, callers match on one flat type, which says what the outcome means to them.

use std::error::Error as StdError;
use std::time::Duration;

use seawall::circuit_breaker::{CircuitBreakerLayer, Trip};
use seawall::timeout::TimeoutLayer;
use seawall::{CallError, Outcome, Reason, Rejected};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

/// What can come of a payment.
#[derive(Debug, thiserror::Error)]
enum PaymentError {
    #[error("the card was declined")]
    Declined,
    #[error("the payment service broke")]
    Broken,
    /// A layer ended the call: the payment was not made, or nobody knows.
    #[error("the payment service is not available")]
    Unavailable(#[from] Rejected),
}

/// This is all that a stack asks: to hold a rejection (`#[from]` above), and to show it again.
impl CallError for PaymentError {
    fn rejected(&self) -> Option<&Rejected> {
        match self {
            Self::Unavailable(rejected) => Some(rejected),
            Self::Declined | Self::Broken => None,
        }
    }
}

impl PaymentError {
    /// What an error says about the payment service. A declined card is none of its faults, and is
    /// declined again.
    fn outcome(&self) -> Outcome {
        match self {
            Self::Declined => Outcome::SUCCESS,
            _ => Outcome::TRANSIENT,
        }
    }
}

async fn pay(amount: u32) -> Result<&'static str, PaymentError> {
    match amount {
        0..=100 => Ok("paid"),
        101..=1000 => Err(PaymentError::Declined),
        1001..=10_000 => Err(PaymentError::Broken),
        _ => std::future::pending().await,
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    let breaker = CircuitBreakerLayer::builder("payments")
        .classify_error(PaymentError::outcome)
        .trip(Trip::consecutive(3))
        .break_duration(Duration::from_secs(10))
        .max_break_duration(Duration::from_secs(10));
    let mut payments = ServiceBuilder::new()
        .layer(breaker.build()?)
        .layer(TimeoutLayer::new("payments", Duration::from_millis(50)))
        .service(service_fn(pay)); // no `map_err`: it fails with our own error already

    let mut said = Vec::new();
    for amount in [10, 500, 500, 500, 500, 5000, 5000, 50_000, 10] {
        let line = match payments.ready().await?.call(amount).await {
            Ok(answer) => answer.to_owned(),
            Err(PaymentError::Unavailable(why)) if why.reason() == Reason::TimedOut => {
                format!("nobody knows whether it was paid: {why}")
            }
            Err(PaymentError::Unavailable(why)) => format!("not paid: {why}"),
            Err(error) => format!("not paid: {error}"),
        };
        println!("{amount:>6}: {line}");
        said.push(line);
    }
    // Four declined cards in a row open nothing; three failures do, the call that hung among them.
    assert_eq!(said[4], "not paid: the card was declined");
    assert!(said[7].starts_with("nobody knows"), "{}", said[7]);
    assert!(said[8].contains("circuit is open"), "{}", said[8]);
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_runs() -> Result<(), Box<dyn std::error::Error>> {
        super::main()
    }
}
