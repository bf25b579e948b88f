//! What a gRPC answer means.

use std::fmt;
use std::time::Duration;

use http::{HeaderMap, Response, StatusCode};

use super::details::retry_delay;
use crate::core::classify::{Classification, Classify};
use crate::core::context::ClassifyContext;
use crate::core::error::CallError;
use crate::core::outcome::Outcome;
use crate::http::{AsError, of_call_error, requested_delay};

/// A gRPC status code (the number of `grpc-status`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(u8);

impl Code {
    pub(super) const fn of_number(number: u8) -> Self {
        Self(number)
    }

    /// All is well.
    pub const OK: Self = Self(0);
    /// The caller went away.
    pub const CANCELLED: Self = Self(1);
    /// Nobody knows.
    pub const UNKNOWN: Self = Self(2);
    /// The request makes no sense.
    pub const INVALID_ARGUMENT: Self = Self(3);
    /// Time ran out.
    pub const DEADLINE_EXCEEDED: Self = Self(4);
    /// There is no such thing.
    pub const NOT_FOUND: Self = Self(5);
    /// There is such a thing already.
    pub const ALREADY_EXISTS: Self = Self(6);
    /// Not for this caller.
    pub const PERMISSION_DENIED: Self = Self(7);
    /// Too much was asked.
    pub const RESOURCE_EXHAUSTED: Self = Self(8);
    /// Not in this state.
    pub const FAILED_PRECONDITION: Self = Self(9);
    /// Somebody else was faster.
    pub const ABORTED: Self = Self(10);
    /// Past the end.
    pub const OUT_OF_RANGE: Self = Self(11);
    /// There is no such method.
    pub const UNIMPLEMENTED: Self = Self(12);
    /// The server broke.
    pub const INTERNAL: Self = Self(13);
    /// The server is not there.
    pub const UNAVAILABLE: Self = Self(14);
    /// Something is lost.
    pub const DATA_LOSS: Self = Self(15);
    /// Who are you?
    pub const UNAUTHENTICATED: Self = Self(16);

    /// The code in a `grpc-status` header or trailer: `None` if there is none, [`UNKNOWN`](Self::UNKNOWN)
    /// if it is no number from 0 to 16.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get("grpc-status")?;
        let number = value.to_str().ok().and_then(|value| value.parse().ok());
        Some(number.filter(|number| *number <= 16).map_or(Self::UNKNOWN, Self))
    }

    /// The code of an answer without a `grpc-status`, by its HTTP status, as gRPC
    /// [maps it](https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md).
    ///
    /// ```
    /// use seawall::grpc::Code;
    ///
    /// assert_eq!(Code::of_http(http::StatusCode::BAD_GATEWAY), Code::UNAVAILABLE);
    /// assert_eq!(Code::of_http(http::StatusCode::INTERNAL_SERVER_ERROR), Code::UNKNOWN);
    /// ```
    pub const fn of_http(status: StatusCode) -> Self {
        match status.as_u16() {
            400 => Self::INTERNAL,
            401 => Self::UNAUTHENTICATED,
            403 => Self::PERMISSION_DENIED,
            404 => Self::UNIMPLEMENTED,
            429 | 502 | 503 | 504 => Self::UNAVAILABLE,
            _ => Self::UNKNOWN,
        }
    }

    /// The number.
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Reads a gRPC answer: its `grpc-status`, with the pushback of the server.
///
/// | code | means |
/// | --- | --- |
/// | `OK`, and what the caller did wrong: `INVALID_ARGUMENT`, `NOT_FOUND`, `ALREADY_EXISTS`, `PERMISSION_DENIED`, `FAILED_PRECONDITION`, `OUT_OF_RANGE`, `UNIMPLEMENTED`, `UNAUTHENTICATED` | [`SUCCESS`](Outcome::SUCCESS): it answered as designed |
/// | `ABORTED` | [`SUCCESS`](Outcome::SUCCESS): it is for a higher level to begin the whole again |
/// | `UNAVAILABLE` | [`TRANSIENT`](Outcome::TRANSIENT) |
/// | `DEADLINE_EXCEEDED`, `INTERNAL`, `UNKNOWN`, `DATA_LOSS` | [`FAILURE`](Outcome::FAILURE): it broke, and what it did is not known |
/// | `RESOURCE_EXHAUSTED` | [`PUSHBACK`](Outcome::PUSHBACK) |
/// | `CANCELLED` | [`IGNORE`](Outcome::IGNORE) |
///
/// The `grpc-status` counts, whatever the HTTP status says. A response of HTTP 200 without one in its
/// headers is decided by its trailers
/// ([`Classification::AtEnd`](crate::Classification::AtEnd)); give the layer a [`Completion`](crate::Completion) that waits
/// for them. One of another status has the code that gRPC [maps](Code::of_http) that to. An error means
/// what it means [over HTTP](crate::http::of_error).
///
/// What is due to the caller's deadline is no evidence: `DEADLINE_EXCEEDED`, and an HTTP 504, where
/// [the caller's time ran out](ClassifyContext::may_have_timed_out); any error once it has. For that the
/// layer has to be told where to read the deadline, with its `.propagate(…)`.
#[derive(Debug, Clone, Copy, Default)]
pub struct GrpcClassifier;

impl<B, E> Classify<Response<B>, E> for GrpcClassifier
where
    E: CallError + AsError,
{
    fn classify(&self, result: Result<&Response<B>, &E>) -> Classification {
        self.classify_call(result, &ClassifyContext::default())
    }

    fn classify_call(
        &self,
        result: Result<&Response<B>, &E>,
        call: &ClassifyContext,
    ) -> Classification {
        let response = match result {
            Ok(response) => response,
            Err(error) => return of_call_error(error, call).into(),
        };
        let (status, headers) = (response.status(), response.headers());
        match Code::of(headers) {
            Some(code) => of_answer(code, headers, call).into(),
            None if status == StatusCode::OK => Classification::AtEnd,
            None if status == StatusCode::GATEWAY_TIMEOUT && call.may_have_timed_out() => {
                Outcome::IGNORE.into()
            }
            None => {
                let outcome = of_code(Code::of_http(status), headers);
                match requested_delay(headers) {
                    Some(delay) if outcome == Outcome::TRANSIENT => outcome.after(delay).into(),
                    _ => outcome.into(),
                }
            }
        }
    }
}

/// What a code means to a call of which this is known.
pub(super) fn of_answer(code: Code, headers: &HeaderMap, call: &ClassifyContext) -> Outcome {
    if code == Code::DEADLINE_EXCEEDED && call.may_have_timed_out() {
        return Outcome::IGNORE;
    }
    of_code(code, headers)
}

/// What a code means, with the pushback that came with it in the headers or trailers.
///
/// `grpc-retry-pushback-ms` says when to come back; if it is negative or no number, not at all (gRFC
/// A6). So does a `google.rpc.RetryInfo` in `grpc-status-details-bin`; of the two the later counts.
///
/// ```
/// use http::{HeaderMap, HeaderValue};
/// use seawall::Outcome;
/// use seawall::grpc::{Code, of_code};
/// use std::time::Duration;
///
/// /// A service that says `NOT_FOUND` for what it has not replicated yet.
/// fn classify(headers: &HeaderMap) -> Outcome {
///     match Code::of(headers) {
///         Some(Code::NOT_FOUND) => Outcome::TRANSIENT,
///         Some(code) => of_code(code, headers),
///         None => Outcome::SUCCESS,
///     }
/// }
///
/// let mut headers = HeaderMap::new();
/// headers.insert("grpc-status", HeaderValue::from_static("5"));
/// assert_eq!(classify(&headers), Outcome::TRANSIENT);
/// headers.insert("grpc-status", HeaderValue::from_static("8"));
/// headers.insert("grpc-retry-pushback-ms", HeaderValue::from_static("250"));
/// assert_eq!(classify(&headers), Outcome::PUSHBACK.after(Duration::from_millis(250)));
/// ```
pub fn of_code(code: Code, headers: &HeaderMap) -> Outcome {
    let outcome = match code {
        Code::UNAVAILABLE => Outcome::TRANSIENT,
        Code::DEADLINE_EXCEEDED | Code::INTERNAL | Code::UNKNOWN | Code::DATA_LOSS => {
            return Outcome::FAILURE;
        }
        Code::RESOURCE_EXHAUSTED => Outcome::PUSHBACK,
        Code::CANCELLED => return Outcome::IGNORE,
        _ => return Outcome::SUCCESS,
    };
    let pushback = headers.get("grpc-retry-pushback-ms");
    let pushback = pushback.map(|value| value.to_str().unwrap_or_default().parse());
    match (pushback, retry_delay(headers)) {
        (Some(Err(_)), _) => Outcome { retryable: Outcome::FAILURE.retryable, ..outcome },
        (Some(Ok(millis)), told) => {
            outcome.after(Duration::from_millis(millis).max(told.unwrap_or_default()))
        }
        (None, Some(told)) => outcome.after(told),
        (None, None) => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::outcome::{Retryable, Signal};

    fn headers(status: &str, pushback: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", status.parse().expect("a value"));
        if let Some(pushback) = pushback {
            headers.insert("grpc-retry-pushback-ms", pushback.parse().expect("a value"));
        }
        headers
    }

    // pitfall B29
    #[test]
    fn the_table_of_codes() {
        let health = |number: u8| of_code(Code(number), &HeaderMap::new()).signal;
        for good in [0, 3, 5, 6, 7, 9, 10, 11, 12, 16] {
            assert_eq!(health(good), Signal::Success, "{good}");
        }
        for bad in [2, 4, 13, 14, 15] {
            assert_eq!(health(bad), Signal::Failure, "{bad}");
        }
        assert_eq!((health(1), health(8)), (Signal::Ignored, Signal::Pushback));
        let again =
            |number: u8| of_code(Code(number), &HeaderMap::new()).retryable != Retryable::Never;
        let asked_again: Vec<_> = (0..=16).filter(|number| again(*number)).collect();
        assert_eq!(asked_again, [8, 14]); // field F20: ABORTED is for a higher level
    }

    // pitfall B30
    #[test]
    fn pushback_says_when_or_never() {
        let again = |pushback| of_code(Code::UNAVAILABLE, &headers("14", Some(pushback))).retryable;
        assert_eq!(again("250"), Retryable::Yes { after: Some(Duration::from_millis(250)) });
        assert_eq!(again("0"), Retryable::Yes { after: Some(Duration::ZERO) });
        assert_eq!([again("-1"), again("soon"), again("")], [Retryable::Never; 3]);
    }

    #[test]
    fn a_code_is_read_and_nonsense_is_unknown() {
        assert_eq!(Code::of(&headers("14", None)), Some(Code::UNAVAILABLE));
        for nonsense in ["", "17", "-1", "ok", "999"] {
            assert_eq!(Code::of(&headers(nonsense, None)), Some(Code::UNKNOWN), "{nonsense:?}");
        }
        assert_eq!(Code::of(&HeaderMap::new()), None);
    }
}
