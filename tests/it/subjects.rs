//! The layers that every check of the contract and of cancellation goes through, alone, in pairs,
//! and as the whole stack around a client. A new layer is one more line in [`LAYERS`].

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use seawall::bulkhead::{self, BulkheadLayer, KeyedBulkheadLayer};
use seawall::circuit_breaker::{CircuitBreakerHandle, CircuitBreakerLayer, Position};
use seawall::fallback::FallbackLayer;
use seawall::health::HealthLayer;
use seawall::hedge::HedgeLayer;
use seawall::propagate::NoPropagation;
use seawall::rate_limit::{KeyedRateLimitLayer, RateLimitLayer};
use seawall::retry::{Backoff, Budget, BudgetByKey, Chosen, Cloned, RetryLayer};
use seawall::timeout::TimeoutLayer;
use seawall::{Classifier, Error, OnResponse};
use tokio::task::unconstrained;
use tower::util::BoxCloneService;
use tower::{Layer, Service};

use crate::support::{Boxed, Broken, CountingWaker, Fail, MockService, now, poll_once};

/// Longer than anything in these tests takes, unless it hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(3600);

/// Makes a [`Subject`] of a layer that has `in_flight` and `drain`.
macro_rules! subject {
    ($layer:expr) => {{
        let layer = $layer;
        let (counted, drained) = (layer.clone(), layer.clone());
        Subject {
            in_flight: Box::new(move || counted.in_flight()),
            counters: 1,
            drain: Box::new(move || {
                let drained = drained.clone();
                Box::pin(async move { drained.drain().await })
            }),
            ..Subject::new(layer)
        }
    }};
}
/// Each layer by a name of its own, and how to make a fresh one.
const LAYERS: &[(&str, Make)] = &[
    ("circuit_breaker", breaker),
    ("keyed_circuit_breaker", keyed_breaker),
    ("retry", || subject!(impatient_retry())),
    ("keyed_retry", || subject!(keyed_retry())),
    ("bulkhead", || subject!(BulkheadLayer::new("kit"))),
    ("queueing_bulkhead", || subject!(queueing_bulkhead())),
    ("costly_bulkhead", || subject!(costly_bulkhead())),
    ("keyed_bulkhead", || subject!(keyed_bulkhead())),
    ("rate_limit", || subject!(rate_limit())),
    ("keyed_rate_limit", || subject!(keyed_rate_limit())),
    #[cfg(feature = "leader")]
    ("fence", || subject!(fence())),
    ("health", health),
    ("fallback", fallback),
    ("hedge", hedge),
    ("timeout", || subject!(TimeoutLayer::new("kit", LIMIT))),
    ("covering_timeout", || subject!(covering_timeout())),
    ("rate_limit_and_timeout", || subject!(rate_limit().and(TimeoutLayer::new("kit", LIMIT)))),
    ("timeout_and_rate_limit_and_timeout", || {
        let inner = rate_limit().and(covering_timeout());
        subject!(TimeoutLayer::new("kit", LIMIT).and(inner))
    }),
];

/// What one puts around a client, from the outside in.
const STACK: [&str; DEEPEST] =
    ["timeout", "retry", "circuit_breaker", "queueing_bulkhead", "timeout"];
const DEEPEST: usize = 5;

fn breaker() -> Subject {
    let layer = CircuitBreakerLayer::new("kit");
    let handle = layer.handle();
    subject!(layer).shut_by(move || hold_open(&handle))
}

fn keyed_breaker() -> Subject {
    let builder = CircuitBreakerLayer::builder("kit");
    let layer = builder.keyed(|_: &u32| Cow::Borrowed("k")).build().unwrap();
    let (handle, drained) = (layer.handle(), layer.clone());
    let subject = Subject {
        drain: Box::new(move || {
            let drained = drained.clone();
            Box::pin(async move { drained.drain().await })
        }),
        ..Subject::new(layer)
    };
    // A key has no breaker to hold before its first call.
    subject.shut_by(move || handle.key("k").map_or(Box::new(()), |handle| hold_open(&handle)))
}

/// It has more than enough for each of these checks.
fn rate_limit() -> RateLimitLayer {
    RateLimitLayer::builder("kit").limit(1_000_000).queue(10).build().unwrap()
}

/// The same for each key, of which there is one.
fn keyed_rate_limit() -> KeyedRateLimitLayer<Key> {
    let builder = RateLimitLayer::builder("kit").limit(1_000_000).queue(10);
    builder.keyed((|_| Cow::Borrowed("k")) as Key).build().unwrap()
}

/// It tries again at once, so that a check need not wait for it.
fn impatient_retry() -> RetryLayer<Classifier, Chosen<Cloned>> {
    RetryLayer::builder("kit").backoff(Backoff::none()).cloned().build().unwrap()
}

/// The same with a budget for each key, of which there is one.
fn keyed_retry() -> RetryLayer<Classifier, Chosen<Cloned>, NoPropagation, BudgetByKey<Key>> {
    let budgets = Budget::builder().keyed("kit").build().unwrap();
    let retry = RetryLayer::builder("kit").backoff(Backoff::none());
    retry.keyed_budget(budgets, (|_| Cow::Borrowed("k")) as Key).cloned().build().unwrap()
}

type Key = fn(&u32) -> Cow<'_, str>;

/// As many places as a check has calls in flight that must have one.
fn queueing_bulkhead() -> BulkheadLayer {
    BulkheadLayer::builder("kit").limit(3).queue(1000).max_wait(LIMIT).build().unwrap()
}

/// The same with calls that take two places.
fn costly_bulkhead() -> BulkheadLayer<OnResponse, NoPropagation, bulkhead::ByRequest<Cost>> {
    let builder = BulkheadLayer::builder("kit").limit(7).queue(1000).max_wait(LIMIT);
    builder.cost((|_| 2) as Cost).build().unwrap()
}

type Cost = fn(&u32) -> u32;

/// The same for each key, of which there is one.
fn keyed_bulkhead() -> KeyedBulkheadLayer<OnResponse, Key> {
    let builder = BulkheadLayer::builder("kit").limit(3).queue(1000).max_wait(LIMIT);
    builder.keyed((|_| Cow::Borrowed("k")) as Key).build().unwrap()
}

/// One whose store has answered: calls are made by the present epoch.
#[cfg(feature = "leader")]
pub(crate) fn fence() -> seawall::fence::FenceLayer<seawall::fence::InRequest<EpochOf>> {
    use seawall::fence::{FenceLayer, MemoryStore};

    let store = MemoryStore::new();
    store.raise("kit", seawall::Epoch::new(1));
    let layer = FenceLayer::builder("kit", store)
        .epoch((|_| Some(seawall::Epoch::new(1))) as EpochOf)
        .allow_without_epoch()
        .build()
        .unwrap();
    let opened = layer.clone();
    let open = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(opened.run(|| async { Ok::<(), Fail>(()) })).unwrap();
    };
    std::thread::spawn(open).join().unwrap(); // outside of the runtime of the test
    layer
}

#[cfg(feature = "leader")]
type EpochOf = fn(&u32) -> Option<seawall::Epoch>;

/// It goes down when three live calls fail, and has to be told to look again.
fn health() -> Subject {
    let layer = HealthLayer::builder("kit").passive(true).probe_one_in(u32::MAX).build().unwrap();
    let (down, up) = (layer.clone(), layer.clone());
    let fail = |layer: &HealthLayer| {
        let call = layer.run(|| async { Err::<(), Fail>(Error::Inner(Broken)) });
        assert!(now(poll_once(&mut Box::pin(call), &CountingWaker::new())).is_err());
    };
    let look_again = move || {
        let (handle, mut config) = (up.handle(), up.handle().config());
        config.probe_one_in = 1;
        handle.reload(config.clone()).unwrap();
        for _ in 0..config.rise {
            let call = up.run(|| async { Ok::<(), Fail>(()) });
            assert_eq!(now(poll_once(&mut Box::pin(call), &CountingWaker::new())), Ok(()));
        }
        config.probe_one_in = u32::MAX;
        handle.reload(config).unwrap();
    };
    let undo = look_again.clone();
    let shut = move || {
        (0..down.handle().config().fall).for_each(|_| fail(&down));
        Box::new(Undo(Box::new(undo.clone()))) as Box<dyn Any>
    };
    Subject { forgive: vec![Box::new(look_again)], ..subject!(layer) }.shut_by(shut)
}

/// Runs when it is dropped.
struct Undo(Box<dyn Fn()>);

impl Drop for Undo {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            (self.0)();
        }
    }
}

/// One that passes everything on, for these checks want to see every failure; and as it has no drain of its
/// own, around a layer that has.
fn fallback() -> Subject {
    let layer = FallbackLayer::builder("kit").value(0).when(|_: Result<&u32, &Fail>| false);
    let (layer, timeout) = (layer.build().unwrap(), TimeoutLayer::new("kit", LIMIT));
    Subject::new(layer).over(subject!(timeout))
}

/// One that waits for longer than any check, around a layer that has a drain, for it has none.
fn hedge() -> Subject {
    let layer =
        HedgeLayer::builder("kit").delay(LIMIT * 24).on_failure(false).cloned().build().unwrap();
    Subject::new(layer).over(subject!(TimeoutLayer::new("kit", LIMIT)))
}

fn covering_timeout() -> TimeoutLayer {
    TimeoutLayer::builder("kit").limit(LIMIT).cover_readiness(true).build().unwrap()
}

fn hold_open(handle: &CircuitBreakerHandle) -> Box<dyn Any> {
    let mut switch = handle.switch(Position::Auto);
    switch.set(Position::Open);
    Box::new(switch)
}

// ===== subjects =====

/// Makes a fresh one.
type Make = fn() -> Subject;

/// One layer, or a stack of them, whose types are of no interest.
pub(crate) struct Subject {
    wrap: Box<dyn Fn(Boxed) -> Boxed>,
    in_flight: Box<dyn Fn() -> usize>,
    counters: usize,
    drain: Box<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>>>,
    shut: Vec<Box<dyn Fn() -> Box<dyn Any>>>,
    forgive: Vec<Box<dyn Fn()>>,
}

impl Subject {
    fn new<L>(layer: L) -> Self
    where
        L: Layer<Boxed> + 'static,
        L::Service:
            Service<u32, Response = u32, Error = Fail, Future: Send> + Clone + Send + 'static,
    {
        Self {
            wrap: Box::new(move |inner| BoxCloneService::new(layer.layer(inner))),
            in_flight: Box::new(|| 0),
            counters: 0,
            drain: Box::new(|| Box::pin(async {})),
            shut: Vec::new(),
            forgive: Vec::new(),
        }
    }

    /// The layer can be made to reject everything, until what `shut` returns is dropped.
    fn shut_by(mut self, shut: impl Fn() -> Box<dyn Any> + 'static) -> Self {
        self.shut.push(Box::new(shut));
        self
    }

    /// `self` around `inner`.
    fn over(self, inner: Self) -> Self {
        let (wrap, count, drain) = (self.wrap, self.in_flight, self.drain);
        let mut shut = self.shut;
        shut.extend(inner.shut);
        let mut forgive = self.forgive;
        forgive.extend(inner.forgive);
        Self {
            wrap: Box::new(move |service| wrap((inner.wrap)(service))),
            in_flight: Box::new(move || count() + (inner.in_flight)()),
            counters: self.counters + inner.counters,
            drain: Box::new(move || {
                let (outer, inner) = (drain(), (inner.drain)());
                Box::pin(async move {
                    outer.await;
                    inner.await;
                })
            }),
            shut,
            forgive,
        }
    }

    /// Puts the layer around a service, as often as one likes.
    pub(crate) fn wrap<S>(&self, inner: S) -> Boxed
    where
        S: Service<u32, Response = u32, Error = Fail, Future: Send> + Clone + Send + 'static,
    {
        (self.wrap)(Boxed::new(inner))
    }

    /// The calls in flight, by the count of all layers in it.
    pub(crate) fn in_flight(&self) -> usize {
        (self.in_flight)()
    }

    /// How many layers in it count calls.
    pub(crate) fn counters(&self) -> usize {
        self.counters
    }

    pub(crate) fn drain(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        (self.drain)()
    }

    /// What does not recover by itself is told that all is well.
    pub(crate) fn forgive(&self) {
        self.forgive.iter().for_each(|forgive| forgive());
    }

    /// The ways to make it reject everything, one for each of its layers that can.
    pub(crate) fn shutters(&self) -> &[Box<dyn Fn() -> Box<dyn Any>>] {
        &self.shut
    }
}

impl Layer<MockService> for Subject {
    type Service = Boxed;

    fn layer(&self, probe: MockService) -> Boxed {
        self.wrap(probe)
    }
}

// ===== kinds =====

/// Layers of the list around each other, from the outside in, of which fresh ones can be made.
#[derive(Clone, Copy)]
pub(crate) struct Kind([Option<usize>; DEEPEST]);

impl Kind {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        let small = (0..LAYERS.len()).flat_map(|outer| {
            let inner = std::iter::once(None).chain((0..LAYERS.len()).map(Some));
            inner.map(move |inner| Self([Some(outer), inner, None, None, None]))
        });
        small.chain([Self(STACK.map(|name| LAYERS.iter().position(|layer| layer.0 == name)))])
    }

    fn indices(self) -> impl Iterator<Item = usize> {
        self.0.into_iter().flatten()
    }

    pub(crate) fn make(self) -> Subject {
        let subjects = self.indices().map(|at| LAYERS[at].1());
        subjects.reduce(Subject::over).expect("a kind has a layer")
    }

    /// How many attempts one call may make: three for each retry.
    pub(crate) fn attempts(self) -> usize {
        let retries = self.indices().filter(|&at| LAYERS[at].0.ends_with("retry")).count();
        3_usize.pow(u32::try_from(retries).expect("a few"))
    }

    /// How many layers it has.
    pub(crate) fn layers(self) -> usize {
        self.indices().map(|at| LAYERS[at].0.split("_and_").count()).sum()
    }

    /// Whether it is this layer alone.
    pub(crate) fn is(self, name: &str) -> bool {
        self.indices().map(|at| LAYERS[at].0).eq([name])
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.indices().map(|at| LAYERS[at].0).collect();
        f.write_str(&names.join(" over "))
    }
}

/// Runs a check on every kind. Without tokio's budget, which would make timers say `Pending` and
/// wake themselves when many kinds are polled in one go.
pub(crate) async fn each(check: impl AsyncFn(Kind)) {
    for kind in Kind::all() {
        let blame = Blame(kind);
        unconstrained(check(kind)).await;
        drop(blame);
    }
}

/// Says in the output of a failed test which kind it was.
struct Blame(Kind);

impl Drop for Blame {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("^ the check failed on: {}", self.0);
        }
    }
}
