//! Reads out of an answer who owns the key of a request.

use http::{HeaderName, HeaderValue, Response, StatusCode};

use crate::core::hint::{Hint, OWNER_HEADER, Redirect};

/// Who owns the key: `name; epoch=8`.
const OWNER: HeaderName = HeaderName::from_static(OWNER_HEADER);
/// `FAILED_PRECONDITION` in the head of a gRPC answer.
const FAILED_PRECONDITION: HeaderValue = HeaderValue::from_static("9");

/// Follows the hints of owners over HTTP and gRPC: a `421 Misdirected Request`, or an answer of headers alone with the gRPC status
/// `FAILED_PRECONDITION`, that has a header `seawall-owner: name; epoch=8`. An [`OwnsLayer`](crate::shards::OwnsLayer) in a
/// server of this crate answers so.
///
/// For [`Builder::redirect`](crate::shards::Builder::redirect), towards owners of your own.
///
/// ```
/// use http::Response;
/// use seawall::http::OwnerHint;
/// use seawall::shards::Redirect;
/// use std::io::Error;
///
/// let answer = Response::builder().status(421).header("seawall-owner", "orders-3; epoch=8").body(()).unwrap();
/// let hint = OwnerHint.redirect(Ok::<_, &Error>(&answer)).unwrap();
/// assert_eq!((hint.to(), hint.epoch().get()), (Some("orders-3"), 8));
/// let other = Response::builder().status(200).header("seawall-owner", "orders-3; epoch=8").body(()).unwrap();
/// assert_eq!(OwnerHint.redirect(Ok::<_, &Error>(&other)), None);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct OwnerHint;

impl<B, E> Redirect<Response<B>, E> for OwnerHint {
    #[inline]
    fn redirect(&self, result: Result<&Response<B>, &E>) -> Option<Hint> {
        let answer = result.ok()?;
        let refused = answer.status() == StatusCode::MISDIRECTED_REQUEST
            || answer.headers().get("grpc-status") == Some(&FAILED_PRECONDITION);
        if !refused {
            return None;
        }
        let mut told = answer.headers().get_all(OWNER).iter();
        let hint = told.next().filter(|_| told.next().is_none())?;
        hint.to_str().ok()?.parse().ok()
    }
}
