use std::sync::Arc;
use std::task::{Context, Poll};

use failsafe::failure_policy::consecutive_failures;
use failsafe::futures::CircuitBreaker as _;
use recloser::{AnyError, AsyncRecloser, Recloser, RecloserFuture};
use seatbelt::ResilienceContext;
use seawall::Error;
use seawall::circuit_breaker::CircuitBreakerLayer;
use tick::Clock;
use tower::{Service, ServiceBuilder};
use tower_resilience::circuitbreaker;

use super::retry::recovery;
use super::{LONG, Row, Target};
use crate::drive::{Fork, service, tripped, wrapper};
use crate::inner::{Broken, Echo, Failure};

pub fn closed() -> Row {
    let row = Row::new("breaker", "breaker, closed and healthy").at_most(Target::Best(0.6));
    healthy(row).scales()
}

pub fn cloned_per_call() -> Row {
    let row = Row::new("breaker-cloned", "breaker, closed, service cloned per call");
    healthy(row).cloned_per_call()
}

fn healthy(row: Row) -> Row {
    row.ours(|| service(ours(Echo)))
        .peer("tower-resilience", || service(resilience(Echo)))
        .peer("seatbelt", || seatbelt(Echo, |service| service))
        .peer("recloser", || {
            let policy = AsyncRecloser::from(Recloser::default());
            wrapper(policy, Echo, |policy, inner, request| policy.call(inner.call(request)))
        })
        .peer("failsafe", || {
            let policy = Arc::new(failsafe::Config::new().build());
            wrapper(policy, Echo, |policy, inner, request| policy.call(inner.call(request)))
        })
}

pub fn open() -> Row {
    Row::new("breaker-open", "breaker, open: a rejection")
        .at_most(Target::Best(1.0))
        .rejects()
        .ours(|| service(tripped(ours(Broken))))
        .peer("tower-resilience", || service(tripped(resilience(Broken))))
        .peer("seatbelt", || seatbelt(Broken, tripped))
        .peer("recloser", || {
            let policy = Recloser::custom().open_wait(LONG).build();
            for _ in 0..1000 {
                let _ = policy.call(|| Err::<(), _>(Failure));
            }
            wrapper(AsyncRecloser::from(policy), Echo, |policy, inner, request| {
                policy.call(lazily(*inner, request))
            })
        })
        .peer("failsafe", || {
            let trip = consecutive_failures(5, failsafe::backoff::constant(LONG));
            let policy = Arc::new(failsafe::Config::new().failure_policy(trip).build());
            for _ in 0..1000 {
                let _ = failsafe::CircuitBreaker::call(&*policy, || Err::<(), _>(Failure));
            }
            wrapper(policy, Echo, |policy, inner, request| policy.call(lazily(*inner, request)))
        })
}

/// A call that is made at the first poll, so that a breaker that wraps futures can spare it.
async fn lazily(mut inner: Echo, request: u64) -> Result<u64, Failure> {
    inner.call(request).await
}

/// Ours with its defaults, but for a break that no bench outlasts.
fn ours<S>(
    inner: S,
) -> impl Service<u64, Response = u64, Error = Error<Failure>, Future: Send> + Clone + Send
where
    S: Service<u64, Response = u64, Error = Failure> + Clone + Send + 'static,
    S::Future: Send,
{
    let layer = CircuitBreakerLayer::builder("bench").break_duration(LONG).max_break_duration(LONG);
    let layer = layer.build().expect("valid");
    ServiceBuilder::new().layer(layer).map_err(Error::Inner).service(inner)
}

fn resilience<S>(
    inner: S,
) -> impl Service<u64, Response = u64, Error: Send, Future: Send> + Clone + Send
where
    S: Service<u64, Response = u64, Error = Failure> + Clone + Send + 'static,
    S::Future: Send,
{
    let layer = circuitbreaker::CircuitBreakerLayer::builder().wait_duration_in_open(LONG);
    ServiceBuilder::new().layer(layer.build().expect("valid")).service(inner)
}

fn seatbelt<S>(inner: S, prepare: fn(Seatbelt<S>) -> Seatbelt<S>) -> Fork
where
    S: Service<u64, Response = u64, Error = Failure> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    let context = ResilienceContext::<u64, Result<u64, Failure>>::new(Clock::new_tokio());
    let layer = seatbelt::breaker::Breaker::layer("bench", &context)
        .recovery_with(|result: &Result<u64, Failure>, _| recovery(result))
        .rejected_input_error(|_, _| Failure)
        .break_duration(LONG);
    service(prepare(ServiceBuilder::new().layer(layer).service(inner)))
}

type Seatbelt<S> = seatbelt::breaker::Breaker<u64, Result<u64, Failure>, S>;

/// recloser as a service, as it is put into a stack.
#[derive(Clone)]
pub struct Reclosed<S> {
    pub policy: AsyncRecloser,
    pub inner: S,
}

impl<S, E> Service<u64> for Reclosed<S>
where
    S: Service<u64, Response = u64, Error = E>,
{
    type Response = u64;
    type Error = recloser::Error<E>;
    type Future = RecloserFuture<S::Future, AnyError>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(recloser::Error::Inner)
    }

    #[inline]
    fn call(&mut self, request: u64) -> Self::Future {
        self.policy.call(self.inner.call(request))
    }
}
