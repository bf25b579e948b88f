//! Running async calls with retries, for callers without a service.

use std::sync::Arc;

use tower::Service;

use super::layer::RetryLayer;
use super::policy::Retry;
use super::purse::{BudgetByKey, Given, OneBudget};
use crate::core::classify::Classify;
use crate::core::error::CallError;
use crate::core::request::{Cloned, NoPropagation};
use crate::shell::caller::Caller;
use crate::shell::retry::{RequestTools, run_with};

impl<C, R, K> RetryLayer<C, R, K> {
    /// Runs an async call with retries, for callers without a service.
    ///
    /// The closure is cloned for each attempt; one that borrows what it needs is cheap to clone.
    /// What the layer was told of copying requests does not matter here.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use seawall::{Error, retry::RetryLayer};
    ///
    /// # async fn query(_: &str) -> Result<u32, std::io::Error> { Ok(7) }
    /// let retry = RetryLayer::new("orders-db");
    /// let orders = retry
    ///     .run(|| async { query("SELECT count(*) FROM orders").await.map_err(Error::Inner) })
    ///     .await?;
    /// assert_eq!(orders, 7);
    /// # Ok::<(), Error<std::io::Error>>(()) }).unwrap();
    /// ```
    pub fn run<Op, Fut, T, E>(
        &self,
        call: Op,
    ) -> impl Future<Output = Result<T, E>> + use<Op, Fut, T, E, C, R, K>
    where
        Op: FnOnce() -> Fut + Clone,
        Fut: Future<Output = Result<T, E>>,
        E: CallError,
        C: Classify<T, E> + Send + Sync + 'static,
    {
        let tools = RequestTools { copy: Cloned, propagate: NoPropagation };
        Retry::new(Caller, Arc::clone(self.gate()), tools, OneBudget).readied().call(call)
    }

    /// Runs an async call that needs `&mut` to something, such as a connection or a transaction, with
    /// retries.
    ///
    /// Each attempt borrows `state` anew, after the one before it is over and dropped: whatever an
    /// attempt that failed left in it is there for the next. Otherwise it is as
    /// [`run`](Self::run): dropping the future drops the attempt in flight, or ends the wait.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
    /// use seawall::{Error, retry::RetryLayer};
    /// use std::io;
    ///
    /// struct Connection {
    ///     queries: u32,
    /// }
    ///
    /// impl Connection {
    ///     async fn query(&mut self, _sql: &str) -> io::Result<u32> {
    ///         self.queries += 1;
    ///         if self.queries == 1 { Err(io::Error::other("serialization failure")) } else { Ok(7) }
    ///     }
    /// }
    ///
    /// let retry = RetryLayer::new("orders-db");
    /// let mut connection = Connection { queries: 0 };
    /// let orders = retry
    ///     .run_with(&mut connection, async |connection| {
    ///         connection.query("SELECT count(*) FROM orders").await.map_err(Error::Inner)
    ///     })
    ///     .await?;
    /// assert_eq!((orders, connection.queries), (7, 2));
    /// # Ok::<(), Error<io::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// The last error of the call, or [`Draining`](crate::Reason::Draining), or
    /// [`TimedOut`](crate::Reason::TimedOut) as told in the [guide](crate::retry#rejections).
    pub async fn run_with<State, T, E>(
        &self,
        state: &mut State,
        call: impl AsyncFnMut(&mut State) -> Result<T, E>,
    ) -> Result<T, E>
    where
        State: ?Sized,
        E: CallError,
        C: Classify<T, E> + Send + Sync + 'static,
    {
        run_with(self.gate(), OneBudget, state, call).await
    }
}

impl<C, R, K, Key> RetryLayer<C, R, K, BudgetByKey<Key>> {
    /// Runs an async call with retries that the budget of `key` pays for, for callers without a
    /// service. Otherwise it is as [`run`](RetryLayer::run) of a layer with one budget.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use seawall::Error;
    /// use seawall::retry::{Budget, RetryLayer};
    /// use std::borrow::Cow;
    ///
    /// # async fn query(_: &str) -> Result<u32, std::io::Error> { Ok(7) }
    /// let tenants = Budget::builder().keyed("tenants").build()?;
    /// let retry = RetryLayer::builder("orders-db")
    ///     .keyed_budget(tenants, |tenant: &String| Cow::from(tenant))
    ///     .build()?;
    /// let count = || async { query("SELECT count(*) FROM orders").await.map_err(Error::Inner) };
    /// assert_eq!(retry.run("acme", count).await?, 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn run<Op, Fut, T, E>(
        &self,
        key: &str,
        call: Op,
    ) -> impl Future<Output = Result<T, E>> + use<Op, Fut, T, E, C, R, K, Key>
    where
        Op: FnOnce() -> Fut + Clone,
        Fut: Future<Output = Result<T, E>>,
        E: CallError,
        C: Classify<T, E> + Send + Sync + 'static,
    {
        let tools = RequestTools { copy: Cloned, propagate: NoPropagation };
        let payer = Given(self.payer().of(key));
        Retry::new(Caller, Arc::clone(self.gate()), tools, payer).readied().call(call)
    }

    /// Runs an async call that needs `&mut` to something, with retries that the budget of `key` pays
    /// for. Otherwise it is as [`run_with`](RetryLayer::run_with) of a layer with one budget.
    ///
    /// # Errors
    ///
    /// The last error of the call, or [`Draining`](crate::Reason::Draining), or
    /// [`TimedOut`](crate::Reason::TimedOut) as told in the [guide](crate::retry#rejections).
    pub async fn run_with<State, T, E>(
        &self,
        key: &str,
        state: &mut State,
        call: impl AsyncFnMut(&mut State) -> Result<T, E>,
    ) -> Result<T, E>
    where
        State: ?Sized,
        E: CallError,
        C: Classify<T, E> + Send + Sync + 'static,
    {
        run_with(self.gate(), self.payer().of(key), state, call).await
    }
}
