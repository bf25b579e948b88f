//! reqwest: a ready-made client stack for its requests, responses and errors.
//!
//! [`client`] is the stack. By hand, use the strategies of [`http`](crate::http):
//! [`HttpClassifier`](crate::http::HttpClassifier) classifies responses and errors, and
//! [`Replay`](crate::http::Replay) copies requests.
//!
//! ```
//! use seawall::{Error, http::{HttpClassifier, Replay}, reqwest::InTimeout, stack};
//! use tower::ServiceBuilder;
//!
//! # fn client() -> Result<(), Box<dyn std::error::Error>> {
//! // Switch off reqwest's own retries, or they multiply with these.
//! let client = reqwest::Client::builder().retry(reqwest::retry::never()).build()?;
//! let layers = stack::client("api")
//!     .classify(HttpClassifier)
//!     .propagate(InTimeout)
//!     .copy_with(Replay::default())
//!     .build()?;
//! let api = ServiceBuilder::new().layer(layers).map_err(Error::Inner).service(client);
//! # let _ = seawall::check_service::<_, reqwest::Request>(api);
//! # Ok(()) }
//! # client().unwrap();
//! ```

mod body;
mod classify;
mod client;
#[cfg(feature = "endpoints")]
mod endpoints;
mod key;
mod propagate;
mod replay;
mod upload;

pub use classify::{WithoutRedirects, of_error};
pub use client::client;
#[cfg(feature = "endpoints")]
#[doc(hidden)]
pub use endpoints::{AtHost, ToHost};
#[cfg(feature = "endpoints")]
#[cfg_attr(docsrs, doc(cfg(feature = "endpoints")))]
pub use endpoints::{EndpointsClient, endpoints};
pub use key::authority;
pub use propagate::InTimeout;
