//! Streams that tell at their end what came of them.

use http::HeaderMap;

use super::classify::{Code, of_answer};
use crate::core::context::ClassifyContext;
use crate::core::outcome::Outcome;
use crate::http::{ClassifyTrailers, OnTrailers, TrailersInBody};

/// A [`Completion`](crate::Completion) for gRPC: a call whose head left its outcome open is over when its
/// body ends, and its trailers say what came of it.
///
/// In grpc-web the trailers are the last message of the body.
/// A body that fails, or ends without a `grpc-status`, has failed. One that its reader drops after a
/// message is a success, for the server answered; one of which nothing came is abandoned.
///
/// ```
/// use seawall::circuit_breaker::CircuitBreakerLayer;
/// use seawall::grpc::{GrpcClassifier, at_trailers};
///
/// let breaker = CircuitBreakerLayer::builder("payments")
///     .classify(GrpcClassifier)
///     .completion(at_trailers())
///     .build()?;
/// # let _ = breaker;
/// # Ok::<(), seawall::ConfigErrors>(())
/// ```
pub fn at_trailers() -> OnTrailers<StatusInTrailers> {
    OnTrailers::new(StatusInTrailers)
}

/// Reads the `grpc-status` in trailers; see [`at_trailers`].
#[derive(Debug, Clone, Copy, Default)]
pub struct StatusInTrailers;

impl ClassifyTrailers for StatusInTrailers {
    fn classify(&self, trailers: Option<&HeaderMap>) -> Outcome {
        self.classify_call_trailers(trailers, &ClassifyContext::default())
    }

    fn classify_call_trailers(
        &self,
        trailers: Option<&HeaderMap>,
        call: &ClassifyContext,
    ) -> Outcome {
        let Some(trailers) = trailers else { return Outcome::FAILURE };
        Code::of(trailers).map_or(Outcome::FAILURE, |code| of_answer(code, trailers, call))
    }

    fn in_body(&self, head: &HeaderMap) -> Option<TrailersInBody> {
        TrailersInBody::of_grpc_web(head)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // pitfall B29
    #[test]
    fn trailers_decide_and_none_is_a_failure() {
        let mut trailers = HeaderMap::new();
        assert_eq!(StatusInTrailers.classify(None), Outcome::FAILURE);
        assert_eq!(StatusInTrailers.classify(Some(&trailers)), Outcome::FAILURE);
        trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
        assert_eq!(StatusInTrailers.classify(Some(&trailers)), Outcome::SUCCESS);
        trailers.insert("grpc-status", http::HeaderValue::from_static("14"));
        assert_eq!(StatusInTrailers.classify(Some(&trailers)), Outcome::TRANSIENT);
    }
}
