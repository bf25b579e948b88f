//! Clients: the ready-made stack, and the layers and checks for clients only.

mod attempt;
mod check;
pub mod drain;
#[cfg(feature = "endpoints")]
mod endpoints;
#[cfg(feature = "shards")]
mod owner_hint;
mod write_deadline;

use std::sync::Arc;

#[doc(hidden)]
pub use attempt::WriteAttempt;
pub use attempt::WriteAttemptLayer;
#[cfg(all(feature = "endpoints", feature = "reqwest"))]
pub(crate) use endpoints::destination;
#[cfg(feature = "endpoints")]
pub use endpoints::{EndpointsClient, ToAuthority, ToDestination, endpoints};
#[cfg(feature = "shards")]
pub use owner_hint::OwnerHint;
#[doc(hidden)]
pub use write_deadline::WriteDeadline;
pub use write_deadline::WriteDeadlineLayer;

use super::{HttpClassifier, InExtensions, Replay};
use crate::retry::Chosen;
use crate::stack::{self, ClientBuilder};

/// Starts to build the [stack around a client](stack::client) of HTTP: answers count as
/// [`HttpClassifier`] reads them, the methods that [`Replay`] allows are retried, and a deadline that
/// comes [in the extensions](InExtensions) is heeded.
///
/// ```
/// use bytes::Bytes;
/// use http_body_util::Full;
/// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
/// use seawall::{Error, http};
/// use tower::ServiceBuilder;
///
/// let api = ServiceBuilder::new()
///     .layer(http::client("api").build()?)
///     .map_err(Error::Inner)
///     .service(Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>());
/// # let _ = seawall::check_service::<_, ::http::Request<Full<Bytes>>>(api);
/// # Ok::<(), seawall::ConfigErrors>(())
/// ```
pub fn client(
    name: impl Into<Arc<str>>,
) -> ClientBuilder<HttpClassifier, Chosen<Replay>, InExtensions> {
    stack::client(name)
        .classify(HttpClassifier)
        .propagate(InExtensions)
        .copy_with(Replay::default())
}
