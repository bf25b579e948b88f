//! Requests that a server of HTTP/2 promises not to have touched.

use std::error::Error as StdError;

use crate::classify::{Classify, Verdict};
use crate::error::causes;
use crate::http::AsError;

/// Looks for h2's word that a request was not processed, and marks the error
/// [unsent](crate::Outcome::unsent); all else is judged by the classifier inside.
///
/// A server that resets a stream with `REFUSED_STREAM` (RFC 9113 §8.7), or says `GOAWAY` with a last
/// stream before this one (§6.8), has not acted on the request, whatever its method. A [retry](crate::retry)
/// then repeats it, if it has a copy, without counting the attempt.
///
/// It looks for errors of `h2` 0.4 among the causes, as hyper 1, tonic and reqwest show them. In a
/// proxy the causes may end in the connection of the *caller*, whose body broke off; classify that
/// first, or a stranger decides what counts as unsent.
///
/// ```
/// use http::Response;
/// use seawall::http::{HttpClassifier, OverHttp2};
/// use seawall::{Classify, Error, Sent, Verdict};
///
/// let refused: h2::Error = h2::Reason::REFUSED_STREAM.into(); // by nobody in particular
/// let result: Result<Response<String>, _> = Err(Error::Inner(refused));
/// let Verdict::Now(outcome) = OverHttp2(HttpClassifier).classify(result.as_ref()) else { panic!() };
/// assert_eq!(outcome.sent, Sent::Unknown, "only the other side can promise that");
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct OverHttp2<C>(
    /// Judges everything else: an [`HttpClassifier`](super::HttpClassifier), for instance.
    pub C,
);

impl<R, E, C> Classify<R, E> for OverHttp2<C>
where
    C: Classify<R, E>,
    E: AsError,
{
    fn classify(&self, result: Result<&R, &E>) -> Verdict {
        let verdict = self.0.classify(result);
        match (verdict, result) {
            (Verdict::Now(outcome), Err(error)) if causes(error.as_error()).any(is_untouched) => {
                outcome.unsent().into()
            }
            _ => verdict,
        }
    }
}

/// A `GOAWAY` is the error of those streams only that come after the last one it names, and of those
/// that were opened later; the others end by themselves, or with their connection.
fn is_untouched(error: &(dyn StdError + 'static)) -> bool {
    error.downcast_ref().is_some_and(|error: &h2::Error| {
        let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
        error.is_remote() && (error.is_go_away() || refused)
    })
}
