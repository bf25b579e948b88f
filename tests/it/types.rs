//! What the public types are: sendable, shareable, printable, and cloneable where that is meant.

use std::borrow::Cow;
use std::fmt::Debug;
use std::future::{Ready, ready};
use std::rc::Rc;
use std::time::Duration;

use seawall::bulkhead::{self, BulkheadLayer};
use seawall::circuit_breaker::{self as breaker, CircuitBreakerLayer};
use seawall::fallback::{self, FallbackLayer};
use seawall::health::{self, HealthLayer};
use seawall::hedge::{self, HedgeLayer};
use seawall::rate_limit::{self, RateLimitLayer};
use seawall::retry::{self, RetryLayer};
use seawall::stack;
use seawall::testing;
use seawall::timeout::{self, TimeoutLayer};
use seawall::{Error, Rejected};
use tower::util::ServiceFn;
use tower::{Layer, Service, service_fn};

use crate::source::source;
use crate::support::{CountingWaker, Fail, now, poll_once};

/// A row for each type: it is `Send + Sync + 'static + Debug`, and what else is named.
macro_rules! table {
    ($($type:ty: $($more:ident)*;)*) => {
        $(
            common::<$type>();
            $($more::<$type>();)*
        )*
    };
}

fn common<T: Send + Sync + 'static + Debug>() {}
#[allow(non_snake_case)] // reads like the trait
fn Clone<T: std::clone::Clone>() {}
#[allow(non_snake_case)]
fn Copy<T: std::marker::Copy>() {}
/// Of a body whose inner body is: `frame()` can be asked of it without pinning.
#[cfg(feature = "http")]
#[allow(non_snake_case)]
fn Unpinned<T: Unpin>() {}

/// An inner service that is all that a service can be.
type Inner = ServiceFn<fn(u32) -> Ready<Result<u32, Fail>>>;
type Around<L> = <L as Layer<Inner>>::Service;
type Calling<L> = <Around<L> as Service<u32>>::Future;

type Keyed = fn(&u32) -> Cow<'_, str>;
type KeyedLayer =
    breaker::KeyedCircuitBreakerLayer<seawall::Classifier, seawall::OnResponse, Keyed>;
type KeyedBuilder = breaker::KeyedBuilder<seawall::Classifier, seawall::OnResponse, Keyed>;
type KeyedBulkheadLayer = bulkhead::KeyedBulkheadLayer<seawall::OnResponse, Keyed>;
type BackpressureLayer = breaker::BackpressureLayer<seawall::Classifier, seawall::OnResponse>;

type Events = seawall::log::MemoryLog<crate::log::Event>;
type Copied = retry::Chosen<seawall::retry::Cloned>;
type KeyedRetry = RetryLayer<
    seawall::Classifier,
    Copied,
    seawall::propagate::NoPropagation,
    retry::BudgetByKey<Keyed>,
>;
type RepeatingLayer = RetryLayer<seawall::Classifier, Copied>;

#[test]
#[allow(clippy::too_many_lines)] // one a type
fn public_types_can_be_sent_shared_and_printed() {
    table! {
        // the shared words
        Rejected: Clone;
        Error<std::io::Error>: ;
        Fail: Clone;
        seawall::Reason: Copy;
        seawall::Measurement: Copy;
        seawall::SetBy: Copy;
        seawall::ConfigError: Clone;
        seawall::ConfigErrors: Clone;
        seawall::Classifier: Copy;
        seawall::Classification: Copy;
        seawall::Outcome: Copy;
        seawall::Signal: Copy;
        seawall::Retryable: Copy;
        seawall::Sent: Copy;
        seawall::Event: Clone;
        seawall::EventKind: Copy;
        seawall::circuit_breaker::Transition: Copy;
        seawall::circuit_breaker::State: Copy;
        seawall::circuit_breaker::TransitionCause: Copy;
        seawall::OnResponse: Copy;
        seawall::CallGuard: ;
        seawall::Origin: Clone;
        seawall::propagate::CallContext: Clone;
        seawall::propagate::WithContext<u32>: Clone;
        seawall::Deadline: Copy;
        seawall::retry::Cloned: Copy;
        seawall::retry::Never: Copy;
        seawall::propagate::NoPropagation: Copy;
        seawall::propagate::FromWithContext: Copy;

        // circuit breaker
        CircuitBreakerLayer: Clone;
        breaker::Builder: Clone;
        breaker::CircuitBreaker<Inner, seawall::Classifier, seawall::OnResponse>: Clone;
        Calling<CircuitBreakerLayer>: ; // ResponseFuture
        breaker::CircuitBreakerHandle: Clone;
        breaker::Config: Clone;
        breaker::Trip: Clone;
        breaker::TripRule: Clone;
        breaker::Span: Copy;
        breaker::Abandonment: Copy;
        breaker::Snapshot: Copy;
        breaker::LastTrip: Copy;
        breaker::Outage: Clone;
        breaker::Position: Copy;
        breaker::Switch: ;
        breaker::Watch: ;
        KeyedLayer: Clone;
        KeyedBuilder: Clone;
        breaker::KeyedCircuitBreaker<Inner, seawall::Classifier, seawall::OnResponse, Keyed>: Clone;
        Calling<KeyedLayer>: ;
        breaker::KeyedCircuitBreakerHandle: Clone;
        breaker::KeyedConfig: Clone;
        breaker::Overrides: Clone;
        BackpressureLayer: Clone;
        breaker::Backpressure<Inner, seawall::Classifier, seawall::OnResponse>: Clone;
        Calling<BackpressureLayer>: ;

        // fence
        seawall::fence::Config: Clone;
        seawall::fence::FenceLayer: Clone;
        seawall::fence::Builder: ;
        seawall::fence::FenceHandle: Clone;
        seawall::fence::Fence<Inner>: Clone;
        seawall::fence::Fenced<seawall::fence::Propagated>: ;
        seawall::fence::Propagated: Copy;
        seawall::fence::InRequest<fn(&u32) -> Option<seawall::Epoch>>: Copy;
        seawall::fence::KeyedFenceLayer<Keyed>: Clone;
        seawall::fence::KeyedFence<Inner, Keyed>: Clone;
        seawall::fence::KeyedBuilder<Keyed>: ;
        seawall::fence::Ask: Clone;
        seawall::fence::MemoryStore: Clone;
        Calling<seawall::fence::FenceLayer>: ;

        // leader
        seawall::leader::Config: Clone;
        seawall::leader::Candidate<seawall::leader::MemoryStore>: ;
        seawall::leader::Builder<seawall::leader::MemoryStore>: Clone;
        seawall::leader::Leadership: Clone;
        seawall::leader::Term: Clone;
        seawall::leader::Watch: Clone;
        seawall::leader::State: Copy;
        seawall::leader::MemoryStore: Clone;
        seawall::leader::Ask: Clone;
        seawall::leader::Answer: Clone;
        seawall::leader::Advisory: Copy;
        seawall::leader::LeaderLayer: Clone;
        seawall::leader::LayerBuilder: ;
        seawall::leader::Leader<Inner>: Clone;
        seawall::leader::Led: ;
        seawall::leader::EtcdStore<Inner>: Clone;
        seawall::leader::EtcdError: ;
        Calling<seawall::leader::LeaderLayer>: ;

        // endpoints
        seawall::endpoints::Endpoint: Clone;
        seawall::endpoints::Config: Clone;
        seawall::endpoints::Balance: Copy;
        seawall::endpoints::State: Copy;
        seawall::endpoints::Snapshot: Clone;
        seawall::endpoints::AdoptError: ;
        seawall::endpoints::EndpointsHandle: Clone;
        seawall::endpoints::Builder: Clone;
        seawall::endpoints::Source: ;
        seawall::endpoints::Endpoints<Inner>: Clone;
        <seawall::endpoints::Endpoints<Inner> as Service<u32>>::Future: ;

        // publish/subscribe
        seawall::bus::Bus<u32>: Clone;
        seawall::bus::Builder<u32>: ;
        seawall::bus::Publisher<u32>: Clone;
        seawall::bus::PublishError: Copy;
        seawall::bus::Envelope<u32>: Clone;
        seawall::bus::Delivery<u32>: Clone;
        seawall::bus::Received<u32>: Clone;
        seawall::bus::Closed: Copy;
        seawall::bus::WhenSlow: Copy;
        seawall::bus::Subscribe<u32>: ;
        seawall::bus::Subscription<u32>: ;
        <seawall::bus::Publisher<u32> as Service<seawall::bus::Envelope<u32>>>::Future: ;

        // failover
        seawall::failover::Builder: Clone;
        seawall::failover::FailoverHandle: Clone;
        seawall::failover::Failover<Inner, fn(&str) -> f64>: Clone;
        <seawall::failover::Failover<Inner, fn(&str) -> f64> as Service<u32>>::Future: ;
        // split
        seawall::split::Builder<u32, u32>: ;
        seawall::split::Freshness: Copy;
        seawall::split::Member: Clone;
        seawall::split::Progress: Copy;
        seawall::split::Session: Clone;
        seawall::split::Side: Copy;
        seawall::split::SplitHandle: Clone;
        seawall::split::Split<Inner, Inner, u32, u32>: Clone;
        seawall::split::Replicas<Inner, u32, u32>: Clone;
        <seawall::split::Split<Inner, Inner, u32, u32> as Service<u32>>::Future: ;
        // shards
        seawall::Epoch: Copy;
        seawall::shards::Map: Clone;
        seawall::shards::Member: Clone;
        seawall::shards::Key<'static>: Copy;
        seawall::shards::KeyRange: Clone;
        seawall::shards::Region: Clone;
        seawall::shards::Fill: Copy;
        seawall::shards::MapSource: ;
        seawall::shards::AffineBuilder<fn(&u32) -> seawall::shards::Key<'_>>: Clone;
        seawall::shards::Affine<Inner, fn(&u32) -> seawall::shards::Key<'_>>: Clone;
        seawall::shards::AffineFuture<Inner, u32, fn(&u32) -> seawall::shards::Key<'_>>: ;
        seawall::shards::Plan: Clone;
        seawall::shards::SlotMove: Clone;
        seawall::shards::Hint: Clone;
        seawall::shards::OneCall<Inner, u32, fn(&u32) -> seawall::shards::Key<'_>>: ;
        seawall::shards::Stay: Copy;
        seawall::shards::ByRejection: Copy;
        seawall::shards::Move: Copy;
        seawall::shards::MoveStep: Copy;
        seawall::shards::MoveRecord: Copy;
        seawall::shards::HoldError: Clone;
        seawall::shards::Holding: ;
        seawall::shards::OwnsHandle: Clone;
        seawall::shards::OwnsBuilder: Clone;
        seawall::shards::OwnsLayer<fn(&u32) -> seawall::shards::Key<'_>, fn(&u32) -> bool>: Clone;
        seawall::http::OwnerHint: Copy;
        seawall::shards::AdoptError: ;
        seawall::shards::ShardsHandle: Clone;
        seawall::shards::Builder: Clone;
        seawall::shards::Shards<Inner, fn(&u32) -> seawall::shards::Key<'_>>: Clone;
        <seawall::shards::Shards<Inner, fn(&u32) -> seawall::shards::Key<'_>> as Service<u32>>::Future: ;

        // event sourcing
        seawall::Position: Copy;
        seawall::log::MemoryLog<u32>: Clone;
        seawall::log::FileLog<u32>: Clone;
        seawall::log::Cut: Clone;
        seawall::log::Config: Clone;
        seawall::log::Fsync: Copy;
        <seawall::log::FileLog<u32> as Service<seawall::log::Append<u32>>>::Future: ; // AppendFuture
        seawall::log::Append<u32>: Clone;
        seawall::log::Appended: Copy;
        seawall::log::Expect: Copy;
        seawall::log::Read: Clone;
        seawall::log::Page<u32>: Clone;
        seawall::log::Recorded<u32>: Clone;
        seawall::log::LogError: Clone;
        seawall::log::Commands<crate::log::Counter, Events>: Clone;
        seawall::log::CommandsBuilder<crate::log::Counter, Events>: ;
        seawall::log::Decided<u32>: Clone;
        seawall::log::CommandError<Fail, Fail>: Clone;
        seawall::log::Snapshot<u32>: Clone;
        seawall::log::MemorySnapshots<u32>: Clone;
        seawall::log::Projection<Events>: ;
        seawall::log::ProjectionBuilder<Events>: ;
        seawall::log::ProjectionHandle: Clone;
        seawall::log::ProjectionError: ;
        seawall::log::OnError: Copy;
        seawall::log::MemoryCheckpoint: Clone;
        seawall::log::FileCheckpoint: Clone;
        seawall::log::Follow<u32>: ;
        <seawall::log::Commands<crate::log::Counter, Events> as Service<(&'static str, crate::log::Command)>>::Future: ;
        seawall::log::NoCheckpoint: Copy;
        seawall::log::NoSnapshots: Copy;
        <Events as Service<seawall::log::Read>>::Future: ; // ReadFuture

        // retry
        RetryLayer: Clone;
        RepeatingLayer: Clone;
        retry::Builder: Clone;
        retry::Retry<Inner, seawall::Classifier, Copied, seawall::propagate::NoPropagation>: Clone;
        Calling<RepeatingLayer>: ; // ResponseFuture
        retry::RetryHandle: Clone;
        retry::Config: Clone;
        retry::Backoff: Copy;
        retry::Jitter: Copy;
        retry::OnRejection: Copy;
        retry::Budget: Clone;
        retry::BudgetBuilder: Clone;
        retry::BudgetConfig: Copy;
        retry::KeyedBudget: Clone;
        retry::KeyedBudgetBuilder: Clone;
        retry::OneBudget: Copy;
        retry::BudgetByKey<Keyed>: Clone;
        KeyedRetry: Clone;
        retry::Retry<Inner, seawall::Classifier, Copied, seawall::propagate::NoPropagation, retry::BudgetByKey<Keyed>>: Clone;
        Calling<KeyedRetry>: ;
        retry::Factor: Copy;
        retry::Withdrawal: ;
        Copied: Copy;
        retry::CopyBy<fn(&u32) -> Option<u32>>: Copy;
        retry::Unsaid: Copy;
        retry::Numbered<fn(&mut u32, u32), seawall::propagate::NoPropagation>: Copy;
        seawall::retry::StopReason: Copy;
        seawall::retry::RetryReason: Copy;
        seawall::propagate::AttemptTimes: Clone;
        seawall::ClassifyContext: Copy;

        // bulkhead
        BulkheadLayer: Clone;
        bulkhead::Adaptive: Clone;
        bulkhead::Builder: Clone;
        bulkhead::Bulkhead<Inner, seawall::OnResponse, seawall::propagate::NoPropagation>: Clone;
        Calling<BulkheadLayer>: ; // ResponseFuture
        bulkhead::BulkheadHandle: Clone;
        bulkhead::Config: Clone;
        bulkhead::One: Copy;
        bulkhead::ByRequest<fn(&u32) -> u32>: Copy;
        bulkhead::KeyedConfig: Clone;
        bulkhead::Overrides: Clone;
        KeyedBulkheadLayer: Clone;
        bulkhead::KeyedBuilder<seawall::OnResponse, Keyed>: Clone;
        bulkhead::KeyedBulkhead<Inner, seawall::OnResponse, Keyed>: Clone;
        Calling<KeyedBulkheadLayer>: ;
        bulkhead::KeyedBulkheadHandle: Clone;
        bulkhead::Order: Copy;
        bulkhead::BackpressureLayer<seawall::OnResponse>: Clone;
        bulkhead::Backpressure<Inner, seawall::OnResponse>: Clone;
        Calling<bulkhead::BackpressureLayer<seawall::OnResponse>>: ;



        // rate limit
        RateLimitLayer: Clone; // a GateLayer
        rate_limit::Builder: Clone;
        rate_limit::RateLimit<Inner>: Clone; // a Gate
        Calling<RateLimitLayer>: ; // ResponseFuture
        rate_limit::RateLimitHandle: Clone;
        rate_limit::Reservation: ;
        rate_limit::Config: Clone;
        rate_limit::KeyedConfig: Clone; // a keyed::KeyedConfig
        rate_limit::Overrides: Clone;
        rate_limit::KeyedRateLimitLayer<Keyed>: Clone;
        rate_limit::KeyedBuilder<Keyed>: Clone; // a keyed::KeyedBuilder
        rate_limit::KeyedRateLimit<Inner, Keyed>: Clone;
        Calling<rate_limit::KeyedRateLimitLayer<Keyed>>: ;
        rate_limit::KeyedRateLimitHandle: Clone; // a keyed::KeyedHandle

        // hedge
        HedgeLayer<seawall::Classifier, seawall::retry::Cloned>: Clone;
        hedge::Builder: Clone;
        hedge::Hedge<Inner, seawall::Classifier, seawall::retry::Cloned>: Clone;
        Calling<HedgeLayer<seawall::Classifier, seawall::retry::Cloned>>: ; // ResponseFuture
        hedge::HedgeHandle: Clone;
        hedge::Config: Clone;

        // fallback
        FallbackLayer<fallback::Value<u32>>: Clone;
        fallback::Builder: Clone;
        fallback::Fallback<Inner, fallback::Value<u32>, seawall::Classifier>: Clone;
        Calling<FallbackLayer<fallback::Value<u32>>>: ; // ResponseFuture
        fallback::FallbackHandle: Clone;
        fallback::Config: Clone;
        fallback::FellBack: Clone;
        fallback::Value<u32>: Copy;
        fallback::Other<Inner>: ;
        fallback::LastGood<Keyed, u32>: ;

        // health
        HealthLayer: Clone;
        health::Builder: Clone;
        health::Health<Inner, seawall::Classifier>: Clone;
        Calling<HealthLayer>: ; // ResponseFuture
        health::HealthHandle: Clone;
        health::Config: Clone;
        health::Watch: ;
        health::HealthRegistry: Clone;
        health::Criticality: Copy;
        health::Probe: Copy;
        health::Report: Clone;
        health::CheckReport: Clone;
        health::RegistryWatch: ;
        health::CheckWatch: Clone;
        health::HealthUpdate: Clone;
        seawall::health::Status: Copy;

        // timeout
        TimeoutLayer: Clone;
        timeout::Builder: Clone;
        timeout::Timeout<Inner, timeout::Fixed, seawall::propagate::NoPropagation>: Clone;
        Calling<TimeoutLayer>: ; // ResponseFuture
        timeout::TimeoutHandle: Clone;
        timeout::Config: Clone;
        timeout::Fixed: Copy;
        timeout::ByRequest<fn(&u32) -> Option<Duration>>: Copy;

        // stack
        stack::AsErrors: Copy;
        stack::ClientBuilder: Clone;
        stack::ClientConfig: Clone;
        stack::ClientHandle: Clone;
        stack::EndpointsClientHandle: Clone;
        stack::MemberHandle: Clone;
        stack::EndpointsClient<Inner>: Clone;
        stack::AsIs: Copy;
        stack::PerEndpoint<stack::AsIs>: Clone;
        stack::Innermost<Inner>: Clone;
        stack::Spread<
            Inner,
            stack::AsIs,
            seawall::Classifier,
            seawall::retry::Cloned,
            seawall::propagate::NoPropagation,
            seawall::OnResponse,
            seawall::OnResponse,
        >: Clone;
        stack::ClientLayer<seawall::Classifier, seawall::retry::Cloned, seawall::propagate::NoPropagation>: Clone;
        stack::Client<Inner, seawall::Classifier, seawall::retry::Cloned, seawall::propagate::NoPropagation>: Clone;
        stack::KeyedClientConfig: Clone;
        stack::KeyOverrides: Clone;
        stack::KeyedClientHandle: Clone;
        stack::KeyedClientLayer<Keyed, seawall::Classifier, seawall::retry::Cloned, seawall::propagate::NoPropagation>: Clone;
        stack::KeyedClient<
            Inner,
            Keyed,
            seawall::Classifier,
            seawall::retry::Cloned,
            seawall::propagate::NoPropagation
        >: Clone;
        stack::PerKey<Keyed>: Clone;
        stack::Undivided: Copy;
        stack::StackLayer<(), (), seawall::Classifier, seawall::retry::Cloned, seawall::propagate::NoPropagation>: Clone;
        stack::StackHandle<(), (), ()>: Clone;

        // testing
        testing::Contract<TimeoutLayer, u32, u32, Fail>: ;
        testing::Check: Copy;
        testing::Violation: Clone;
        testing::Violations: Clone;
        testing::Scenario<u32, u32, Fail>: Clone;
        testing::Broken: Copy;
        testing::MockService<u32, u32, Fail>: Clone;
        testing::MockFuture<u32, u32, Fail>: ;
        testing::MockHandle: Clone;
        testing::Ready: Copy;
        testing::Reply: Copy;
        testing::Breach: Copy;
        testing::Steps<Inner, u32>: ;
        testing::Dropped: Copy;
        testing::NeverEnds: Copy;
        testing::CountingWaker: Clone;
    }
}

#[cfg(feature = "http")]
type Body = http_body_util::Full<bytes::Bytes>;

#[cfg(feature = "http")]
#[test]
fn public_types_of_http_can_be_sent_shared_and_printed() {
    table! {
        seawall::http::InExtensions: Copy;
        seawall::http::PerHost: Copy;
        seawall::http::InTimeoutHeader: Clone;
        seawall::http::TrailersInBody: Clone;
        seawall::http::Http2Classifier<seawall::http::HttpClassifier>: Copy;
        seawall::http::HttpClassifier: Copy;
        seawall::http::Replay: Clone;
        seawall::http::TimeoutHeader: Clone;
        seawall::http::ReadDeadlineLayer: Clone;
        seawall::http::ReadDeadline<Inner>: Clone;
        seawall::http::WriteDeadlineLayer: Clone;
        seawall::http::WriteDeadline<Inner>: Clone;
        seawall::http::WriteAttemptLayer: Clone;
        seawall::http::WriteAttempt<Inner>: Clone;
        seawall::http::Amended<Inner, seawall::http::UntrustedHeadersLayer>: Clone;
        seawall::http::UntrustedHeadersLayer: Clone;
        seawall::http::UntrustedHeadersConfig: Clone;
        seawall::http::UntrustedHeaders<Inner>: Clone;
        seawall::http::HealthEndpoint: Clone;
        seawall::http::ProblemDetails: Copy;
        seawall::http::RenderBy<fn(&Rejected) -> http::Response<String>>: Copy;
        seawall::http::RenderBytes<fn(&Rejected) -> http::Response<String>>: Copy;
        seawall::http::Asked: Copy;
        seawall::http::ResponseBody<Body>: Unpinned;
        seawall::http::RejectionResponseLayer: Clone;
        seawall::http::Respond<Inner, seawall::http::ProblemDetails>: Clone;
        seawall::http::HandleErrorLayer: Copy;
        seawall::http::HandleError<Inner>: Clone;
        seawall::http::HandleErrorFuture<std::future::Ready<u32>, seawall::http::ProblemDetails>: ;
        seawall::http::ServerBuilder: Clone;
        seawall::http::ServerConfig: Clone;
        seawall::http::ServerHandle: Clone;
        seawall::http::ServerLayer: Clone;
        seawall::http::EndpointsClient<Inner>: Clone;
        seawall::http::ToAuthority: Clone;
        seawall::http::ToDestination: Clone;
        seawall::http::Server<Inner>: Clone;
        seawall::http::ReplayBody<Body>: ;
        seawall::http::ReplayError: Copy;
        seawall::http::RecordBodyLayer: Copy;
        seawall::http::RecordBody<Inner>: Clone;
        seawall::http::OnBodyEnd: Copy;
        seawall::http::OnFirstByte: Copy;
        seawall::http::OnTrailers<seawall::http::HeadKnows>: Copy;
        seawall::http::HeadKnows: Copy;
        seawall::http::GuardedBody<Body>: Unpinned;

        seawall::http::body_timeout::BodyTimeoutLayer: Clone;
        seawall::http::body_timeout::Builder: Clone;
        seawall::http::body_timeout::BodyTimeout<Inner>: Clone;
        seawall::http::body_timeout::RequestBodyTimeoutLayer: Clone;
        seawall::http::body_timeout::RequestBodyTimeout<Inner>: Clone;
        seawall::http::body_timeout::ResponseFuture<Ready<()>>: ;
        seawall::http::body_timeout::BodyTimeoutHandle: Clone;
        seawall::http::body_timeout::Limits: Clone;
        seawall::http::body_timeout::Config: Copy;
        seawall::http::body_timeout::TimedBody<Body>: Unpinned;

        seawall::http::drain::DrainLayer: Copy;
        seawall::http::drain::DrainConfig: Clone;
        seawall::http::drain::Retried: Copy;
        seawall::http::drain::Drain<Inner, seawall::http::drain::Retried>: Clone;
        seawall::http::drain::ResponseFuture<Ready<()>, Body, seawall::http::drain::Retried>: ;
        seawall::http::drain::DrainedBody<Body>: Unpinned;
    }
}

#[cfg(feature = "grpc")]
#[test]
fn public_types_of_grpc_can_be_sent_shared_and_printed() {
    table! {
        seawall::grpc::Code: Copy;
        seawall::grpc::GrpcClassifier: Copy;
        seawall::grpc::Trailers: Copy;
        seawall::grpc::StatusInTrailers: Copy;
        seawall::grpc::AsAnswers: Copy;
        seawall::grpc::Client<Inner, Body>: ;
        seawall::grpc::KeyedClient<Inner, Body>: ;
        seawall::grpc::EndpointsClient<Inner, Body>: ;
        seawall::grpc::OnChannels<
            Inner,
            Body,
            seawall::grpc::GrpcClassifier,
            seawall::http::Replay,
            seawall::OnResponse,
        >: ;
        seawall::grpc::OnChannel<Inner, ()>: Clone;
        seawall::grpc::PerMethod: Copy;
        seawall::grpc::Rejection: Clone;
        seawall::grpc::Sender<Inner, Body>: Clone;
        seawall::stack::InnermostFuture<Ready<()>>: ;
        seawall::grpc::StreamDeadlineLayer: Copy;
        seawall::grpc::StreamDeadline<Inner>: Clone;
        seawall::grpc::StreamDeadlineFuture<Ready<()>>: ;
        seawall::grpc::DeadlineBody<Body>: Unpinned;
        seawall::grpc::HealthService: Clone;
        seawall::grpc::HealthBody: Unpinned;
    }
}

#[cfg(feature = "reqwest")]
#[test]
fn public_types_of_reqwest_can_be_sent_shared_and_printed() {
    table! {
        seawall::reqwest::InTimeout: Copy;
        seawall::reqwest::EndpointsClient<Inner>: Clone;
        seawall::reqwest::ToHost: Copy;
        seawall::reqwest::AtHost: Clone;
        seawall::reqwest::WithoutRedirects: Copy;
    }
}

/// Every type that the crate exports stands in a table above, by its name or by what makes it.
/// `gate::And`, whose parts nobody names.
#[test]
fn two_layers_as_one_can_be_sent_shared_and_printed() {
    fn check<T: Send + Sync + 'static + Debug + std::clone::Clone>(_: &T) {}
    let (second, two) = (Duration::from_secs(1), Duration::from_secs(2));
    let both = RateLimitLayer::new("x", 2, second).unwrap().and(TimeoutLayer::new("x", two));
    check(&both);
    check(&both.layer(service_fn(ready as fn(Result<u32, Fail>) -> Ready<Result<u32, Fail>>)));
}

#[test]
fn the_table_is_complete() {
    let table = include_str!("types.rs");
    let files = source();
    let is_trait = |name: &str| {
        let trait_of = [
            format!("pub trait {name}<"),
            format!("pub trait {name}:"),
            format!("pub trait {name} "),
        ];
        files.iter().any(|file| trait_of.iter().any(|line| file.text.contains(line)))
    };
    let mut missing = Vec::new();
    for file in &files {
        if file.path != "lib.rs" && !file.path.ends_with("/mod.rs") {
            continue;
        }
        for exported in file.text.split("\npub use ").skip(1) {
            let exported = exported.split(';').next().unwrap_or_default();
            let names = exported.split(|c: char| !c.is_alphanumeric() && c != '_');
            for name in names.filter(|name| name.starts_with(char::is_uppercase)) {
                let is_const = name.chars().all(|c| !c.is_lowercase());
                if !is_const && !is_trait(name) && !table.contains(name) {
                    missing.push(format!("{name}, exported by src/{}", file.path));
                }
            }
        }
    }
    assert!(missing.is_empty(), "not in the table of types: {missing:#?}");
}

#[test]
fn a_rejection_is_small() {
    assert!(size_of::<Rejected>() <= 48, "{} bytes", size_of::<Rejected>());
    assert!(size_of::<Result<(), Error<()>>>() <= 56);
}

/// A request that can neither leave its thread nor outlive its text.
#[derive(Debug, PartialEq)]
struct Local<'a>(&'a str, Rc<()>);

fn echo(request: Local<'_>) -> Ready<Result<Local<'_>, Error<Rc<()>>>> {
    ready(Ok(request))
}

/// No layer forces `Send` or `'static` on requests, responses or errors.
#[test]
fn requests_may_be_local_and_borrowed() {
    let text = String::from("borrowed");
    let local = || Local(&text, Rc::new(()));
    let task = CountingWaker::new();

    let mut service = TimeoutLayer::new("local", Duration::from_secs(1)).layer(service_fn(echo));
    assert_eq!(now(poll_once(&mut Box::pin(service.call(local())), &task)), Ok(local()));

    let mut service = CircuitBreakerLayer::new("local").layer(service_fn(echo));
    assert_eq!(now(poll_once(&mut Box::pin(service.call(local())), &task)), Ok(local()));

    let mut service = BulkheadLayer::new("local").layer(service_fn(echo));
    assert_eq!(now(poll_once(&mut Box::pin(service.call(local())), &task)), Ok(local()));

    let mut service = HealthLayer::new("local").layer(service_fn(echo));
    assert_eq!(now(poll_once(&mut Box::pin(service.call(local())), &task)), Ok(local()));

    let mut service = RetryLayer::new("local").never().layer(service_fn(echo));
    assert_eq!(now(poll_once(&mut Box::pin(service.call(local())), &task)), Ok(local()));
}
