//! An error enum of the user's, which can hold a rejection but does not show it.

use seawall::Rejected;
use seawall::circuit_breaker::CircuitBreakerLayer;
use tower::{ServiceBuilder, service_fn};

#[derive(Debug, thiserror::Error)]
enum PaymentError {
    #[error("declined")]
    Declined,
    #[error(transparent)]
    NotTried(#[from] Rejected),
}

fn main() {
    let service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new("payments"))
        .service(service_fn(|_amount: u32| async { Err::<u32, _>(PaymentError::Declined) }));
    let _ = seawall::check_service(service);
}
