//! Requests that a server of HTTP/2 promises not to have touched, for classifiers that do not look.

use super::AsError;
use super::proof::{self, UNTOUCHED};
use crate::core::classify::{Classification, Classify};
use crate::core::context::ClassifyContext;

/// Looks for h2's word that a request was not processed before the classifier inside is asked, which
/// classifies all else. [`HttpClassifier`](crate::http::HttpClassifier) and
/// [`GrpcClassifier`](crate::grpc::GrpcClassifier) look for it by themselves; this is for a classifier of
/// your own.
///
/// A server that resets a stream with `REFUSED_STREAM` (RFC 9113 §8.7), or says `GOAWAY` with a last
/// stream before this one (§6.8), has not acted on the request, whatever its method. That is no
/// evidence against it, and a [retry](crate::retry) repeats the request, if it has a copy, without
/// counting the attempt.
///
/// It looks for errors of `h2` 0.4 among the causes, as hyper 1, tonic and reqwest show them. In a
/// proxy the causes may end in the connection of the *caller*, whose body broke off; classify that
/// first, or a stranger decides what counts as unsent.
///
/// ```
/// use http::Response;
/// use seawall::http::{HttpClassifier, Http2Classifier};
/// use seawall::{Classify, Error, Sent, Classification};
///
/// let rejected: h2::Error = h2::Reason::REFUSED_STREAM.into(); // by nobody in particular
/// let result: Result<Response<String>, _> = Err(Error::Inner(rejected));
/// let Classification::Now(outcome) = Http2Classifier(HttpClassifier).classify(result.as_ref()) else { panic!() };
/// assert_eq!(outcome.sent, Sent::Unknown, "only the other side can promise that");
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Http2Classifier<C>(
    /// Classifies everything else: an [`HttpClassifier`](crate::http::HttpClassifier), for instance.
    pub C,
);

impl<R, E, C> Classify<R, E> for Http2Classifier<C>
where
    C: Classify<R, E>,
    E: AsError,
{
    fn classify(&self, result: Result<&R, &E>) -> Classification {
        self.classify_call(result, &ClassifyContext::default())
    }

    fn classify_call(&self, result: Result<&R, &E>, call: &ClassifyContext) -> Classification {
        match result {
            Err(error) if proof::is_untouched(error.as_error()) => UNTOUCHED.into(),
            result => self.0.classify_call(result, call),
        }
    }
}
