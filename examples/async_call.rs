//! Policies around a plain async function: no service, no request type, no tower.
//!
//! ```text
//! cargo run --example async_call
//! ```
//!
//! A database that drops every third connection and sometimes hangs is asked for twenty orders,
//! through a retry, a circuit breaker, a bulkhead and a timeout.

use std::error::Error as StdError;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use seawall::Error;
use seawall::bulkhead::BulkheadLayer;
use seawall::circuit_breaker::{CircuitBreakerLayer, State};
use seawall::retry::RetryLayer;
use seawall::timeout::TimeoutLayer;

/// The driver of a database: async functions that may fail.
struct Database {
    queries: AtomicU32,
}

#[derive(Debug, thiserror::Error)]
#[error("the connection was dropped")]
struct Dropped;

impl Database {
    async fn order(&self, id: u32) -> Result<String, Dropped> {
        let nth = self.queries.fetch_add(1, Ordering::Relaxed);
        match nth {
            5 => std::future::pending().await,
            _ if nth % 3 == 2 => Err(Dropped),
            _ => Ok(format!("order {id}")),
        }
    }
}

/// The policies of one dependency. They hold its state, so there is one of them, shared by all who
/// call it.
struct Guard {
    retry: RetryLayer,
    breaker: CircuitBreakerLayer,
    bulkhead: BulkheadLayer,
    timeout: TimeoutLayer,
}

impl Guard {
    fn new(name: &str) -> Self {
        Self {
            retry: RetryLayer::new(name),
            breaker: CircuitBreakerLayer::new(name),
            bulkhead: BulkheadLayer::new(name),
            timeout: TimeoutLayer::new(name, Duration::from_millis(100)),
        }
    }

    /// Runs a call through all of them. A retry runs it again, so it is a closure that can be
    /// copied: one that borrows what it needs.
    async fn run<F, Fut, T, E>(&self, call: F) -> Result<T, Error<E>>
    where
        F: FnOnce() -> Fut + Clone,
        Fut: Future<Output = Result<T, E>>,
        E: StdError,
    {
        let inner = || async { call().await.map_err(Error::Inner) };
        let inner = || self.bulkhead.run(|| self.timeout.run(inner));
        self.retry.run(|| self.breaker.run(inner)).await
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    let database = Database { queries: AtomicU32::new(0) };
    let guard = Guard::new("orders-db");

    for id in 0..20 {
        let order = guard.run(|| database.order(id)).await?;
        assert_eq!(order, format!("order {id}"));
    }

    let queries = database.queries.load(Ordering::Relaxed);
    println!("20 orders were asked for, 20 were found, with {queries} queries");
    assert!(queries > 20);
    assert_eq!(guard.breaker.handle().state(), State::Closed);
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_runs() -> Result<(), Box<dyn std::error::Error>> {
        super::main()
    }
}
