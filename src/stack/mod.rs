//! The recommended stack, ready made.
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
//!     .cloned() // repeating a request is safe: we say so
//!     .build()?;
//! let payments = ServiceBuilder::new().layer(client).map_err(Error::Inner).service(service_fn(charge));
//! assert_eq!(payments.oneshot(100).await?, 100);
//! # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! From the outside in: a [timeout](crate::timeout) for the whole call, [retry](crate::retry), a
//! [circuit breaker](crate::circuit_breaker), a [bulkhead](crate::bulkhead), and a timeout for each
//! attempt. Why in this order is told in the guide to ordering.
//!
//! # Settings
//!
//! All of them are one [`ClientConfig`], which may be a file. A setting that nobody wrote follows the
//! one that was: a `deadline` of 500 ms alone cuts the attempt timeout. Two that were both written must
//! agree. [`ClientLayer::handle`] reads them while calls are flying, and reloads them all or not at all.
//!
//! # Defaults
//!
//! | setting | default | what it does |
//! | --- | --- | --- |
//! | [`deadline`](ClientConfig::deadline) | [5 s](DEADLINE) | how long the whole may take |
//! | [`attempt_timeout`](ClientConfig::attempt_timeout) | [1 s](ATTEMPT_TIMEOUT) | how long one attempt may take |
//! | [`retry`](ClientConfig::retry) | [5](ATTEMPTS) attempts, else as [there](crate::retry#defaults) | one that fails 3 of 10 calls is answered 998 times in 1,000 |
//! | [`budget`](ClientConfig::budget) | as [there](crate::retry::BudgetConfig) | |
//! | [`breaker`](ClientConfig::breaker) | as [there](crate::circuit_breaker#defaults) | |
//! | [`bulkhead`](ClientConfig::bulkhead) | up to [1,024](QUEUE) calls wait, else as [there](crate::bulkhead#defaults) | a burst is no reason to turn calls away |

mod build;
mod client;
mod client_layer;
mod config;
mod division;
mod handle;
mod keyed_config;
mod tell;

pub use client::{ClientBuilder, client};
pub use client_layer::{Client, ClientLayer, KeyedClient, KeyedClientLayer, StackLayer};
pub use config::{ATTEMPT_TIMEOUT, ATTEMPTS, ClientConfig, DEADLINE, QUEUE};
pub use division::{PerKey, Undivided};
pub use handle::{ClientHandle, KeyedClientHandle, StackHandle};
#[cfg(feature = "http")]
pub(crate) use keyed_config::Spelling;
pub use keyed_config::{KeyOverrides, KeyedClientConfig};
pub use tell::{AsErrors, Tell};
