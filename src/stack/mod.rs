//! Ready-made stack: deadline, retry, circuit breaker, bulkhead and attempt timeout as one layer.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! use seawall::{Error, stack};
//! use std::time::Duration;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # async fn charge(amount: u32) -> Result<u32, std::io::Error> { Ok(amount) }
//! let client = stack::client("payments")
//!     .deadline(Duration::from_secs(1))
//!     .attempt_timeout(Duration::from_millis(300))
//!     .cloned() // requests are idempotent and may be cloned for retries
//!     .build()?;
//! let payments = ServiceBuilder::new().layer(client).map_err(Error::Inner).service(service_fn(charge));
//! assert_eq!(payments.oneshot(100).await?, 100);
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! Outermost first: a [timeout](crate::timeout) for the whole call, [retry](crate::retry), a
//! [circuit breaker](crate::circuit_breaker), a [bulkhead](crate::bulkhead), and a timeout for each
//! attempt. The guide to the order of layers says why.
//!
//! Over many addresses of one service there is [`endpoints`](endpoints()) (feature `endpoints`): the deadline and the retry around a
//! [set](crate::endpoints), the others for each endpoint.
//!
//! # Settings
//!
//! All settings are one [`ClientConfig`], which may be read from a file. A setting that you leave out adapts to those that
//! you give: a `deadline` of 500 ms alone shortens the attempt timeout. Two settings that you give must agree.
//! [`ClientLayer::handle`] reads the settings of a live stack, and reloads all of them or none.
//!
//! # Defaults
//!
//! | setting | default | what it does |
//! | --- | --- | --- |
//! | [`deadline`](ClientConfig::deadline) | 5 s | how long the whole call may take |
//! | [`attempt_timeout`](ClientConfig::attempt_timeout) | 1 s | how long one attempt may take |
//! | [`retry`](ClientConfig::retry) | 5 attempts, otherwise [those of retry](crate::retry#defaults) | with 30 % errors, 998 of 1,000 calls succeed |
//! | [`budget`](ClientConfig::budget) | [those of the retry budget](crate::retry::BudgetConfig) | what retries may cost |
//! | [`breaker`](ClientConfig::breaker) | [those of the circuit breaker](crate::circuit_breaker#defaults) | when calls are rejected, and when probed again |
//! | [`bulkhead`](ClientConfig::bulkhead) | a queue of 1,024, otherwise [those of the bulkhead](crate::bulkhead#defaults) | concurrent calls; a burst waits instead of being rejected |

mod build;
mod client;
mod client_layer;
mod config;
mod division;
#[cfg(feature = "endpoints")]
mod endpoints;
mod handle;
#[cfg(any(feature = "endpoints", feature = "grpc"))]
mod innermost;
mod keyed_config;
mod tell;

pub use client::{ClientBuilder, client};
#[doc(hidden)]
pub use client_layer::{Client, KeyedClient};
pub use client_layer::{ClientLayer, KeyedClientLayer, StackLayer};
pub use config::ClientConfig;
#[doc(hidden)]
pub use division::{PerKey, Undivided};
#[cfg(feature = "endpoints")]
#[doc(hidden)]
pub use endpoints::{AsIs, Direct, Directs, Member, PerEndpoint, Spread};
#[cfg(feature = "endpoints")]
#[cfg_attr(docsrs, doc(cfg(feature = "endpoints")))]
pub use endpoints::{EndpointsClient, EndpointsClientHandle, MemberHandle, endpoints};
pub use handle::{ClientHandle, KeyedClientHandle, StackHandle};
#[cfg(any(feature = "endpoints", feature = "grpc"))]
#[doc(hidden)]
pub use innermost::{Innermost, InnermostFuture};
#[cfg(feature = "http")]
pub(crate) use keyed_config::Spelling;
pub use keyed_config::{KeyOverrides, KeyedClientConfig};
#[doc(hidden)]
pub use tell::{AsErrors, Tell};
