//! The stacks of a plan, and what steers them.

use std::borrow::Cow;
use std::pin::Pin;
use std::time::Duration;

use seawall::bulkhead::{self, BulkheadHandle, BulkheadLayer};
use seawall::circuit_breaker::{
    self as breaker, Abandonment, CircuitBreakerHandle, CircuitBreakerLayer,
    KeyedCircuitBreakerHandle, Trip,
};
use seawall::health::{HealthHandle, HealthLayer};
use seawall::propagate::{CallContext, FromWithContext, Propagate};
use seawall::retry::{self, Backoff, OnRejection, RetryHandle, RetryLayer};
use seawall::timeout::{TimeoutHandle, TimeoutLayer};
use seawall::{Classification, Classifier, Classify, Error, Outcome, stack};
use tower::Layer;
use tower::util::BoxCloneService;

use crate::dependency::{Dependency, Down, Fail, HINT, Request};
use crate::faults::Fault;
use crate::script::{Plan, Shape, ms};

pub(crate) type Boxed = BoxCloneService<Request, u32, Fail>;
pub(crate) type Draining = Pin<Box<dyn Future<Output = ()> + Send>>;

const NAME: &str = "fuzz";
/// How many keys the requests have.
pub(crate) const KEYS: u32 = 3;

pub(crate) fn key(number: u32) -> &'static str {
    ["a", "b", "c"][(number % KEYS) as usize]
}

/// A stack of layers, and every handle to them.
pub(crate) struct Stack {
    /// The label `layer` of the outermost, and its name.
    pub(crate) outermost: (&'static str, String),
    fault: Option<Fault>,
    wrap: Box<dyn Fn(Boxed) -> Boxed>,
    pub(crate) layers: Vec<One>,
    pub(crate) retry: RetryHandle,
    pub(crate) bulkhead: BulkheadHandle,
    pub(crate) breaker: BreakerHandle,
    pub(crate) timeout: Option<TimeoutHandle>,
    pub(crate) health: Option<HealthHandle>,
}

/// One layer of it, from the outside in.
pub(crate) struct One {
    pub(crate) label: &'static str,
    pub(crate) in_flight: Box<dyn Fn() -> usize>,
    pub(crate) drain: Box<dyn Fn() -> Draining>,
}

pub(crate) enum BreakerHandle {
    One(CircuitBreakerHandle),
    Keyed(KeyedCircuitBreakerHandle),
}

impl BreakerHandle {
    /// The breaker of a call, if it has one yet.
    pub(crate) fn of(&self, number: u32) -> Option<CircuitBreakerHandle> {
        match self {
            Self::One(handle) => Some(handle.clone()),
            Self::Keyed(handle) => handle.key(key(number)),
        }
    }

    pub(crate) fn turn(&self, config: breaker::Config) {
        match self {
            Self::One(handle) => handle.reload(config).unwrap(),
            Self::Keyed(handle) => handle.reload(config).unwrap(),
        }
    }
}

/// Classifies failures by what they say of themselves.
#[derive(Debug, Clone, Copy)]
struct ByWord;

impl Classify<u32, Fail> for ByWord {
    fn classify(&self, result: Result<&u32, &Fail>) -> Classification {
        match result {
            Err(Error::Inner(Down::ForGood)) => Outcome::FAILURE.into(),
            Err(Error::Inner(Down::TooMany)) => Outcome::PUSHBACK.after(HINT).into(),
            other => <Classifier>::default().classify(other),
        }
    }
}

/// Propagates deadlines, or does not.
#[derive(Debug, Clone, Copy)]
struct Maybe(bool);

impl Propagate<Request> for Maybe {
    fn propagates(&self) -> bool {
        self.0
    }

    fn extract(&self, request: &Request) -> CallContext {
        if self.0 { FromWithContext.extract(request) } else { CallContext::default() }
    }

    fn inject(&self, request: &mut Request, call: &CallContext) {
        if self.0 {
            FromWithContext.inject(request, call);
        }
    }
}

pub(crate) fn retry_config(plan: &Plan) -> retry::Config {
    let mut config = retry::Config {
        attempts: plan.attempts,
        backoff: Backoff::exponential(plan.backoff, 4 * plan.backoff),
        max_elapsed: ms(1000),
        ..retry::Config::default()
    };
    if plan.waits_for_rejections {
        config.on_rejection = OnRejection::Wait;
    }
    config
}

pub(crate) fn bulkhead_config(plan: &Plan) -> bulkhead::Config {
    let mut config = bulkhead::Config::default();
    (config.limit, config.queue, config.max_wait) = (plan.limit, plan.queue, plan.max_wait);
    if plan.newest_first {
        config.order = bulkhead::Order::NewestFirst;
    }
    config
}

pub(crate) fn breaker_config(trip: u8, abandonment: u8) -> breaker::Config {
    breaker::Config {
        trip: match trip {
            0 => Trip::consecutive(2),
            1 => Trip::default(),
            2 => Trip::consecutive(4).or(Trip::slow_rate(0.5, ms(30)).at_least(2)),
            _ => Trip::failure_rate(0.5).over_calls(4),
        },
        abandonment: match abandonment {
            0 => Abandonment::Silence,
            1 => Abandonment::Ignore,
            2 => Abandonment::Failure,
            _ => Abandonment::After(ms(10)),
        },
        ..breaker::Config::default()
    }
}

impl Stack {
    pub(crate) fn of(plan: &Plan, fault: Option<Fault>) -> Self {
        let stack = match plan.shape {
            Shape::Client => client(plan),
            Shape::Five | Shape::Keyed => five(plan),
        };
        Self { fault, ..stack }
    }

    pub(crate) fn has_keys(&self) -> bool {
        matches!(self.breaker, BreakerHandle::Keyed(_))
    }

    /// The layers around the dependency, once more.
    pub(crate) fn make(&self, dependency: &Dependency) -> Boxed {
        let innermost = Boxed::new(dependency.clone());
        match self.fault {
            None => (self.wrap)(innermost),
            Some(fault) if fault.is_inside() => (self.wrap)(fault.around(innermost, dependency)),
            Some(fault) => fault.around((self.wrap)(innermost), dependency),
        }
    }
}

/// The place of a layer in a stack.
macro_rules! one {
    ($label:expr, $layer:expr) => {{
        let (counted, drained) = ($layer.clone(), $layer.clone());
        One {
            label: $label,
            in_flight: Box::new(move || counted.in_flight()),
            drain: Box::new(move || {
                let drained = drained.clone();
                Box::pin(async move { drained.drain().await })
            }),
        }
    }};
}

const LABELS: [&str; 5] = ["retry", "circuit_breaker", "bulkhead", "timeout", "health"];

/// Of all orders the `nth`.
fn order(nth: u8) -> Vec<&'static str> {
    let (mut left, mut nth) = (LABELS.to_vec(), usize::from(nth));
    let mut order = Vec::new();
    while !left.is_empty() {
        order.push(left.remove(nth % left.len()));
        nth /= left.len() + 1;
    }
    order
}

fn five(plan: &Plan) -> Stack {
    let propagate = Maybe(plan.propagates);
    let retry =
        RetryLayer::builder(NAME).config(retry_config(plan)).classify(ByWord).propagate(propagate);
    let retry = retry.cloned().build().unwrap();
    let bulkhead = BulkheadLayer::builder(NAME).config(bulkhead_config(plan)).propagate(propagate);
    let bulkhead = bulkhead.build().unwrap();
    let breaker = CircuitBreakerLayer::builder(NAME)
        .config(breaker_config(plan.trip, plan.abandonment))
        .classify(ByWord);
    let timeout = TimeoutLayer::builder(NAME).limit(plan.time_limit).propagate(propagate);
    let timeout = timeout.cover_readiness(plan.covers_readiness).build().unwrap();
    let health = HealthLayer::builder(NAME).passive(true).probe_one_in(3).classify(ByWord);
    let health = health.build().unwrap();

    let order = order(plan.order);
    let (retry_handle, bulkhead_handle) = (retry.handle(), bulkhead.handle());
    let (timeout_handle, health_handle) = (timeout.handle(), health.handle());
    let (breaker_handle, breaker_one, breaker): (_, _, Box<dyn Fn(Boxed) -> Boxed>) =
        if plan.shape == Shape::Keyed {
            // Fewer places than keys, so that one has to make room.
            let keyed = breaker.keyed(|request: &Request| Cow::Borrowed(key(request.request)));
            let keyed = keyed.max_keys(2).build().unwrap();
            let one = one!("circuit_breaker", keyed);
            (
                BreakerHandle::Keyed(keyed.handle()),
                one,
                Box::new(move |inner| Boxed::new(keyed.layer(inner))),
            )
        } else {
            let breaker = breaker.build().unwrap();
            let one = one!("circuit_breaker", breaker);
            (
                BreakerHandle::One(breaker.handle()),
                one,
                Box::new(move |inner| Boxed::new(breaker.layer(inner))),
            )
        };
    let mut breaker_one = Some(breaker_one);
    let layers = order.iter().map(|label| match *label {
        "retry" => one!("retry", retry),
        "bulkhead" => one!("bulkhead", bulkhead),
        "timeout" => one!("timeout", timeout),
        "health" => one!("health", health),
        _ => breaker_one.take().expect("each label is there once"),
    });
    Stack {
        fault: None,
        outermost: (order[0], NAME.into()),
        layers: layers.collect(),
        retry: retry_handle,
        bulkhead: bulkhead_handle,
        breaker: breaker_handle,
        timeout: Some(timeout_handle),
        health: Some(health_handle),
        wrap: Box::new(move |dependency| {
            order.iter().rev().fold(dependency, |inner, label| match *label {
                "retry" => Boxed::new(retry.layer(inner)),
                "bulkhead" => Boxed::new(bulkhead.layer(inner)),
                "timeout" => Boxed::new(timeout.layer(inner)),
                "health" => Boxed::new(health.layer(inner)),
                _ => breaker(inner),
            })
        }),
    }
}

fn client(plan: &Plan) -> Stack {
    let client = stack::client(NAME)
        .deadline(DEADLINE)
        .attempt_timeout(plan.time_limit)
        .retry(retry_config(plan))
        .breaker(breaker_config(plan.trip, plan.abandonment))
        .bulkhead(bulkhead_config(plan))
        .classify(ByWord)
        .propagate(Maybe(plan.propagates))
        .cloned()
        .build()
        .unwrap();
    Stack {
        fault: None,
        outermost: ("timeout", format!("{NAME} deadline")),
        layers: vec![one!("timeout", client)],
        retry: client.retry(),
        bulkhead: client.bulkhead(),
        breaker: BreakerHandle::One(client.breaker()),
        timeout: None,
        health: None,
        wrap: Box::new(move |dependency| Boxed::new(client.layer(dependency))),
    }
}

/// Of the ready-made stack.
const DEADLINE: Duration = Duration::from_millis(400);
