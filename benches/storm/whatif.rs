//! Other settings than the defaults, from the command line: `retry.attempts=5`.

use std::sync::OnceLock;
use std::time::Duration;

use seawall::retry::{Budget, BudgetBuilder, OnRejection};
use seawall::{bulkhead, circuit_breaker, retry, stack};

/// The settings of a stack of ours.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) retry: retry::Config,
    pub(crate) budget: BudgetBuilder,
    pub(crate) breaker: circuit_breaker::Config,
    pub(crate) bulkhead: bulkhead::Config,
    /// How long an attempt may take: the one thing that a stack is told, beside the deadline.
    pub(crate) attempt: Duration,
    /// The ready-made stack, which has defaults of its own.
    pub(crate) client: stack::ClientConfig,
}

static SETTINGS: OnceLock<Settings> = OnceLock::new();

impl Default for Settings {
    fn default() -> Self {
        Self {
            retry: attempts(stack::ClientConfig::default().retry.attempts),
            budget: Budget::builder(),
            breaker: circuit_breaker::Config::default(),
            bulkhead: bulkhead::Config::default(),
            attempt: Duration::from_millis(300),
            client: stack::ClientConfig {
                deadline: Duration::from_secs(1),
                attempt_timeout: Duration::from_millis(300),
                ..stack::ClientConfig::default()
            },
        }
    }
}

/// The settings of the ready-made stack.
fn attempts(attempts: u32) -> retry::Config {
    retry::Config { attempts, ..retry::Config::default() }
}

impl Settings {
    /// Those of this process: the defaults, unless something else was asked for.
    pub(crate) fn get() -> &'static Self {
        SETTINGS.get_or_init(Self::default)
    }

    /// Asks for what these words say, each `setting=number`; times are in milliseconds.
    pub(crate) fn ask_for<'a>(words: impl Iterator<Item = &'a String>) {
        let mut settings = Self::default();
        for word in words {
            let (name, value) = word.split_once('=').expect("setting=number");
            settings.turn(name, value.parse().expect("a number"));
            settings.share(name);
        }
        SETTINGS.set(settings).expect("asked once");
    }

    /// The ready-made stack gets what was just asked for, too.
    fn share(&mut self, name: &str) {
        match name.split_once('.') {
            Some(("retry", _)) => self.client.retry = self.retry.clone(),
            Some(("breaker", _)) => self.client.breaker = self.breaker.clone(),
            Some(("bulkhead", _)) | None if name != "attempt" => {
                self.client.bulkhead = self.bulkhead.clone();
            }
            _ => self.client.attempt_timeout = self.attempt,
        }
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // small whole numbers
    fn turn(&mut self, name: &str, value: f64) {
        let (count, time) = (value as u32, Duration::from_secs_f64(value / 1000.0));
        match name {
            "retry.attempts" => self.retry.attempts = count,
            "retry.base" => self.retry.backoff.base = time,
            "retry.factor" => self.retry.backoff.factor = count.into(),
            "retry.cap" => self.retry.backoff.cap = time,
            "retry.wait" if count == 0 => self.retry.on_rejection = OnRejection::Stop,
            "retry.wait" => self.retry.on_rejection = OnRejection::Wait,
            "budget.cap" => self.budget = self.budget.cap(value),
            "budget.per_success" => self.budget = self.budget.per_success(value),
            "budget.per_second" => self.budget = self.budget.per_second(value),
            "budget.price" => self.budget = self.budget.price(value),
            "budget.timeout_price" => self.budget = self.budget.timeout_price(value),
            "breaker.break_duration" => self.breaker.break_duration = time,
            "breaker.max_break_duration" => self.breaker.max_break_duration = time,
            "breaker.probes" => self.breaker.probes = count,
            "breaker.close_threshold" => self.breaker.close_threshold = count,
            "breaker.reopen_threshold" => self.breaker.reopen_threshold = count,
            "breaker.ramp" => self.breaker.ramp = time,
            "breaker.slow_start" => self.breaker.slow_start = time,
            "breaker.shadow" => self.breaker.shadow = count != 0,
            "adaptive" => self.bulkhead.adaptive = (count != 0).then(bulkhead::Adaptive::default),
            "attempt" => self.attempt = time,
            "bulkhead.limit" => self.bulkhead.limit = count,
            "bulkhead.queue" => self.bulkhead.queue = count,
            "bulkhead.max_wait" => self.bulkhead.max_wait = time,
            _ => panic!("there is no setting {name}"),
        }
    }
}
