//! Tests for tower layers: the contract of a service, and dropped calls.
//!
//! They work for any tower layer: yours, those of other crates, and these. [`Contract`] runs the checks and returns
//! the violations. [`drop_at_every_poll`] drops a future at each of its polls. [`MockService`] is the inner service,
//! with a script and a record of what happened. [`CountingWaker`] polls by hand. Run them under paused time (tokio's
//! `test-util`):
//!
//! ```
//! use seawall::testing::{Broken, Contract, Scenario};
//! use std::time::Duration;
//! use tower::{buffer::BufferLayer, limit::ConcurrencyLimitLayer, timeout::TimeoutLayer};
//!
//! // In your crate: #[tokio::test(start_paused = true)] async fn …
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
//! #     .block_on(async {
//! let echo = || Scenario::echo(|| Broken);
//! Contract::new(echo(), || ConcurrencyLimitLayer::new(8)).check().await?;
//! Contract::new(echo(), || TimeoutLayer::new(Duration::from_secs(60))).check().await?;
//! Contract::new(echo(), || BufferLayer::<u32>::new(8)).check().await?;
//! # Ok::<(), seawall::testing::Violations>(()) }).unwrap();
//! ```
//!
//! tower's own layers keep the contract, and so do the layers of this crate, each pair of them, and the whole
//! stack. This layer does not: it moves a clone of its inner service into the future, and the clone was not polled
//! ready. The defect does not show in tests with a service that is always ready.
//!
//! ```
//! # use seawall::testing::{Broken, Check, Contract, Scenario};
//! # use std::{future::Future, pin::Pin, task::{Context, Poll}};
//! use tower::{Service, layer::layer_fn};
//!
//! #[derive(Clone)]
//! struct Logged<S>(S);
//!
//! impl<S> Service<u32> for Logged<S>
//! where
//!     S: Service<u32, Future: Send> + Clone + Send + 'static,
//! {
//!     type Response = S::Response;
//!     type Error = S::Error;
//!     type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;
//!
//!     fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
//!         self.0.poll_ready(cx)
//!     }
//!
//!     fn call(&mut self, request: u32) -> Self::Future {
//!         let mut inner = self.0.clone(); // not the instance that is ready
//!         Box::pin(async move { inner.call(request).await })
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
//! #     .block_on(async {
//! let contract = Contract::new(Scenario::echo(|| Broken), || layer_fn(Logged));
//! let found = contract.check().await.unwrap_err();
//! assert!(found.of(Check::OnlyReadyIsCalled).is_some(), "{found}");
//! # });
//! ```
//!
//! # What is checked
//!
//! Each [`Check`] documents its reason. Three go beyond tower's contract; the layers of this crate keep them, and you
//! switch them on: [`Check::NothingIsLeftByAFailure`], [`Check::DrivesReadiness`] and
//! [`Check::LetsGoAtOnce`].
//!
//! For a layer that uses up what only time returns, such as a rate limit, call [`Contract::spends`]. Panics of the inner
//! service are scripted, caught and not printed: no panic hook is called for them.
//!
//! # What is not checked
//!
//! The checks use one thread, and one request and response of each kind. They find no races, and do not look at
//! how a layer changes a request.

mod contract;
mod counting_waker;
mod drops;
mod mock_service;
mod past;
mod scenario;

pub use contract::{Check, Contract, Violation, Violations};
pub use counting_waker::CountingWaker;
pub use drops::{Dropped, NeverEnds, Steps, drop_at_every_poll};
#[doc(hidden)]
pub use mock_service::MockFuture;
pub use mock_service::{Breach, MockHandle, MockService, Ready, Reply};
pub use scenario::{Broken, Scenario};
