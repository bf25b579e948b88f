//! The recommended stack around reqwest's client, ready made.

use std::sync::Arc;

use super::InTimeout;
use crate::http::{HttpClassifier, Replay};
use crate::retry::Chosen;
use crate::stack::{self, ClientBuilder};

/// Starts to build the [stack around a client](stack::client) of reqwest: answers and errors count as
/// [`HttpClassifier`] reads them, the methods that [`Replay`] allows are retried, and a timeout that is
/// set on a request is [its deadline](InTimeout). A body that is a stream may be slow, stall or fail, and that
/// says [nothing of the server](InTimeout#uploads).
///
/// ```
/// use seawall::Error;
/// use tower::ServiceBuilder;
///
/// # fn client() -> Result<(), Box<dyn std::error::Error>> {
/// // reqwest's own retries are switched off, or they would multiply with these.
/// let client = reqwest::Client::builder().retry(reqwest::retry::never()).build()?;
/// let layers = seawall::reqwest::client("api").build()?;
/// let api = ServiceBuilder::new().layer(layers).map_err(Error::Inner).service(client);
/// # let _ = seawall::check_service::<_, reqwest::Request>(api);
/// # Ok(()) }
/// # client().unwrap();
/// ```
pub fn client(
    name: impl Into<Arc<str>>,
) -> ClientBuilder<HttpClassifier, Chosen<Replay>, InTimeout> {
    stack::client(name).classify(HttpClassifier).propagate(InTimeout).copy_with(Replay::default())
}
