//! What every stack around a client has, whether or not it is divided.

use super::config::ClientConfig;
use crate::core::config::{ConfigErrors, Written};
use crate::core::origin::Origin;
use crate::retry::{Budget, Chosen, RetryHandle, RetryLayer};
use crate::shell::gate::Entrance;
use crate::shell::in_flight::InFlight;
use crate::shell::live::Live;
use crate::timeout::{self, Fixed, TimeoutHandle, TimeoutLayer};
use crate::{bulkhead, circuit_breaker};
use std::sync::Arc;

/// The layers that are one for all calls.
#[derive(Debug, Clone)]
pub(super) struct Frame<C, R, K> {
    pub(super) whole: TimeoutLayer<Fixed, K>,
    pub(super) retry: RetryLayer<C, Chosen<R>, K>,
    pub(super) attempt: TimeoutLayer<Fixed, K>,
    pub(super) budget: Budget,
    pub(super) origin: Origin,
}

impl<C, R, K> Frame<C, R, K> {
    pub(super) fn handle(&self) -> FrameHandle
    where
        C: Send + Sync + 'static,
    {
        FrameHandle {
            origin: self.origin.clone(),
            whole: self.whole.handle(),
            retry: self.retry.handle(),
            budget: self.budget.clone(),
            attempt: self.attempt.handle(),
        }
    }

    /// Begins to drain, from the outside in.
    pub(super) fn stop(&self) {
        self.whole.stop();
        self.retry.stop();
        self.attempt.stop();
    }
}

/// A part of what the services of a stack share, as a handle sees it.
pub(super) struct Part<X, T> {
    gate: Arc<InFlight<X>>,
    part: fn(&X) -> &T,
}

impl<X: Send + Sync + 'static, T: 'static> Part<X, T> {
    pub(super) fn of(gate: &Arc<InFlight<X>>, part: fn(&X) -> &T) -> Arc<dyn Entrance<T>> {
        Arc::new(Self { gate: Arc::clone(gate), part })
    }
}

impl<X: Send + Sync, T> Entrance<T> for Part<X, T> {
    fn policy(&self) -> &T {
        (self.part)(&self.gate)
    }

    fn in_flight(&self) -> usize {
        self.gate.in_flight()
    }
}

/// Sees and steers them.
#[derive(Clone)]
pub(super) struct FrameHandle {
    pub(super) origin: Origin,
    pub(super) whole: TimeoutHandle,
    pub(super) retry: RetryHandle,
    pub(super) budget: Budget,
    pub(super) attempt: TimeoutHandle,
}

impl FrameHandle {
    /// The settings of these layers as they were written, and those of the others.
    pub(super) fn config(
        &self,
        written: &ClientConfig,
        breaker: circuit_breaker::Config,
        bulkhead: bulkhead::Config,
    ) -> ClientConfig {
        let retry = self.retry.config();
        // What is in force differs where one setting follows another; else it was turned by itself.
        let follows = written.in_force(&Written::default()).is_ok_and(|force| force.retry == retry);
        ClientConfig {
            deadline: written.deadline,
            attempt_timeout: written.attempt_timeout,
            retry: if follows { written.retry.clone() } else { retry },
            budget: (!self.budget.is_endless()).then(|| self.budget.config()),
            breaker,
            bulkhead,
        }
    }

    /// These settings, as they take effect, count from now on.
    pub(super) fn put_in_force(&self, force: &ClientConfig) -> Result<(), ConfigErrors> {
        self.budget.set_endless(force.budget.is_none());
        if let Some(budget) = force.budget {
            self.budget.reload(budget)?;
        }
        let limit = |limit, timeout: &TimeoutHandle| timeout::Config { limit, ..timeout.config() };
        self.whole.reload(limit(force.deadline, &self.whole))?;
        self.attempt.reload(limit(force.attempt_timeout, &self.attempt))?;
        self.retry.reload(force.retry.clone())
    }
}

/// Writes `config` down and puts it into force. Of two who turn at once the last one to write wins
/// everything: whoever finds, when done, that somebody wrote in the meantime puts that into force.
pub(super) fn turn<T>(
    written: &Live<T>,
    config: T,
    put_in_force: impl Fn(&T) -> Result<(), ConfigErrors>,
) -> Result<(), ConfigErrors> {
    written.set(config);
    loop {
        let latest = written.get();
        put_in_force(&latest)?;
        if Arc::ptr_eq(&latest, &written.get()) {
            return Ok(());
        }
    }
}
