//! Proving a layer: what tower asks of a service, and what is left of a call that ends early.
//!
//! For any tower layer, yours and other crates' as well as these. [`Contract`] runs the checks and
//! returns what it found; [`drop_at_every_poll`] ends a future at each point where it can end;
//! [`MockService`] is the inner service under both, with a script and books; [`CountingWaker`] polls by hand. Run
//! them under paused time (tokio's `test-util`), where waiting takes no time:
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
//! tower's own keep the contract, and so do the layers of this crate, each pair of them, and the whole
//! stack. Here is one that does not: it hands its inner service to the future and keeps a clone of it,
//! which nobody has polled ready. It works in every test with a service that is always ready.
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
//! Each [`Check`] says why. Three go beyond tower's contract, hold for the layers of this crate, and
//! have to be asked for: [`Check::NothingIsLeftByAFailure`], [`Check::DrivesReadiness`] and
//! [`Check::LetsGoAtOnce`]. Whether a service is `Send` the compiler knows best.
//!
//! A layer that spends what only time gives back, as a rate limit does, says so by
//! [`Contract::spends`]. Panics of the inner service are scripted, caught and not printed: no hook is
//! called for them.
//!
//! # What is not
//!
//! One thread at a time, and one request and answer of each kind: neither races nor what a layer
//! makes of a request is looked at.

mod contract;
mod counting_waker;
mod drops;
mod mock_service;
mod past;
mod scenario;

pub use contract::{Check, Contract, Violation, Violations};
pub use counting_waker::CountingWaker;
pub use drops::{Dropped, NeverEnds, Steps, drop_at_every_poll};
pub use mock_service::{Breach, MockFuture, MockHandle, MockService, Ready, Reply};
pub use scenario::{Broken, Scenario};
