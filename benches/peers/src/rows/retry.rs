use std::future::{Ready, ready};
use std::sync::Arc;

use seatbelt::{RecoveryInfo, ResilienceContext};
use seawall::Error;
use seawall::retry::RetryLayer;
use tick::Clock;
use tower::ServiceBuilder;
use tower::retry::Policy;
use tower::retry::budget::{Budget, TpsBudget};
use tower_resilience::retry;

use super::{Row, Target};
use crate::drive::service;
use crate::inner::{Echo, Failure};

pub fn not_taken() -> Row {
    Row::new("retry", "retry, no retry taken")
        .at_most(Target::Of(2.0, "tower"))
        .scales()
        .ours(|| {
            let layer = RetryLayer::new("bench").cloned();
            service(ServiceBuilder::new().layer(layer).map_err(Error::Inner).service(Echo))
        })
        .peer("tower", || service(ServiceBuilder::new().retry(ThreeTimes(3)).service(Echo)))
        .peer("tower, budget", || {
            let policy = WithinBudget { tries: ThreeTimes(3), budget: Arc::default() };
            service(ServiceBuilder::new().retry(policy).service(Echo))
        })
        .peer("tower-resilience", || {
            let layer = retry::RetryLayer::<u64, u64, Failure>::builder().max_attempts(3).build();
            service(ServiceBuilder::new().layer(layer).service(Echo))
        })
        .peer("seatbelt", || {
            let context = ResilienceContext::<u64, Result<u64, Failure>>::new(Clock::new_tokio());
            let layer = seatbelt::retry::Retry::layer("bench", &context)
                .clone_input()
                .recovery_with(|result: &Result<u64, Failure>, _| recovery(result));
            service(ServiceBuilder::new().layer(layer).service(Echo))
        })
}

/// What every user of seatbelt writes.
pub fn recovery(result: &Result<u64, Failure>) -> RecoveryInfo {
    match result {
        Ok(_) => RecoveryInfo::never(),
        Err(_) => RecoveryInfo::retry(),
    }
}

/// tower's policy as its documentation writes it.
#[derive(Debug, Clone)]
pub struct ThreeTimes(pub usize);

impl<E> Policy<u64, u64, E> for ThreeTimes {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut u64, result: &mut Result<u64, E>) -> Option<Self::Future> {
        if result.is_ok() || self.0 == 0 {
            return None;
        }
        self.0 -= 1;
        Some(ready(()))
    }

    fn clone_request(&mut self, request: &u64) -> Option<u64> {
        Some(*request)
    }
}

/// The same, with tower's budget.
#[derive(Debug, Clone)]
struct WithinBudget {
    tries: ThreeTimes,
    budget: Arc<TpsBudget>,
}

impl<E> Policy<u64, u64, E> for WithinBudget {
    type Future = Ready<()>;

    fn retry(&mut self, request: &mut u64, result: &mut Result<u64, E>) -> Option<Self::Future> {
        if result.is_ok() {
            self.budget.deposit();
            return None;
        }
        if self.budget.withdraw() { self.tries.retry(request, result) } else { None }
    }

    fn clone_request(&mut self, request: &u64) -> Option<u64> {
        Some(*request)
    }
}
