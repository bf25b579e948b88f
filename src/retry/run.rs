//! Running async calls with retries, for callers without a service.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::sleep_until;
use tower::Service;

use super::journey::Journey;
use super::layer::RetryLayer;
use super::machine::{Failed, Next};
use super::policy::Flight;
use super::purse::{BudgetByKey, Given, OneBudget, Purse};
use super::service::Retry;
use super::travels::Kit;
use crate::classify::Classify;
use crate::error::{CallError, Measured, Reason};
use crate::event::Stop;
use crate::outcome::{Again, Health};
use crate::request::{Cloned, NoCarry};
use crate::shell::caller::Caller;
use crate::shell::gate::Parked;
use crate::time;

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
    pub fn run<Call, Fut, T, E>(
        &self,
        call: Call,
    ) -> impl Future<Output = Result<T, E>> + use<Call, Fut, T, E, C, R, K>
    where
        Call: FnOnce() -> Fut + Clone,
        Fut: Future<Output = Result<T, E>>,
        E: CallError,
        C: Classify<T, E>,
    {
        let kit = Kit { copy: Cloned, carry: NoCarry };
        Retry::new(Caller, Arc::clone(self.gate()), kit, OneBudget).call(call)
    }

    /// Runs an async call that needs `&mut` to something, such as a connection or a transaction, with
    /// retries.
    ///
    /// Each attempt borrows `state` anew, after the one before it is over and dropped: whatever an
    /// attempt that failed left in it is there for the next. Otherwise it is as
    /// [`run`](Self::run): dropping the future drops the attempt under way, or ends the wait.
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
    /// The last error of the call, or [`Draining`](Reason::Draining), or
    /// [`TimedOut`](Reason::TimedOut) as told in the [guide](crate::retry#rejections).
    pub async fn run_with<State, T, E>(
        &self,
        state: &mut State,
        call: impl AsyncFnMut(&mut State) -> Result<T, E>,
    ) -> Result<T, E>
    where
        State: ?Sized,
        E: CallError,
        C: Classify<T, E>,
    {
        self.run_paid(OneBudget, state, call).await
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
    pub fn run<Call, Fut, T, E>(
        &self,
        key: &str,
        call: Call,
    ) -> impl Future<Output = Result<T, E>> + use<Call, Fut, T, E, C, R, K, Key>
    where
        Call: FnOnce() -> Fut + Clone,
        Fut: Future<Output = Result<T, E>>,
        E: CallError,
        C: Classify<T, E>,
    {
        let kit = Kit { copy: Cloned, carry: NoCarry };
        let payer = Given(self.payer().of(key));
        Retry::new(Caller, Arc::clone(self.gate()), kit, payer).call(call)
    }

    /// Runs an async call that needs `&mut` to something, with retries that the budget of `key` pays
    /// for. Otherwise it is as [`run_with`](RetryLayer::run_with) of a layer with one budget.
    ///
    /// # Errors
    ///
    /// The last error of the call, or [`Draining`](Reason::Draining), or
    /// [`TimedOut`](Reason::TimedOut) as told in the [guide](crate::retry#rejections).
    pub async fn run_with<State, T, E>(
        &self,
        key: &str,
        state: &mut State,
        call: impl AsyncFnMut(&mut State) -> Result<T, E>,
    ) -> Result<T, E>
    where
        State: ?Sized,
        E: CallError,
        C: Classify<T, E>,
    {
        self.run_paid(self.payer().of(key), state, call).await
    }
}

impl<C, R, K, B> RetryLayer<C, R, K, B> {
    async fn run_paid<State, T, E>(
        &self,
        purse: impl Purse,
        state: &mut State,
        mut call: impl AsyncFnMut(&mut State) -> Result<T, E>,
    ) -> Result<T, E>
    where
        State: ?Sized,
        E: CallError,
        C: Classify<T, E>,
    {
        let mut flight = match self.gate().enter() {
            Some(lane) => Flight::new(lane, purse),
            None => Flight::over(purse),
        };
        let begins = flight.poll(|| false);
        let mut journey = Journey::<E>::default();
        loop {
            if !begins || flight.policy().is_none() || flight.is_stopped() {
                flight.lose();
                return Err(self.gate().reject(Reason::Draining, Measured::Nothing).into());
            }
            let result = {
                let mut attempt = pin!(call(state));
                poll_fn(|cx| {
                    let poll = attempt.as_mut().poll(cx);
                    if poll.is_pending() {
                        journey.begin();
                        flight.begin();
                    }
                    poll
                })
                .await
            };
            let policy = &**self.gate();
            let outcome = policy.classify.classify(result.as_ref()).of_head();
            if outcome.health == Health::Good && outcome.again == Again::Never {
                policy.note_success(&flight.purse);
                policy.note_good_end(|| journey.took());
                flight.succeed();
                return result;
            }
            if outcome.health == Health::Good {
                flight.refund();
            }
            policy.note_attempt();
            let rejection = result.as_ref().err().and_then(CallError::rejected);
            let (mut failed, kind) = Failed::of(outcome, rejection, true);
            failed.draining = flight.is_stopped();
            let law = policy.law();
            let left = journey.left(&law, None);
            let purse = &flight.purse;
            let wait = match policy.next(&law, &mut journey.attempts, failed, kind, left, purse) {
                (Next::Stop(stop), _) => {
                    policy.note_stop(journey.attempts.number(), stop, purse);
                    policy.note_end(outcome.into(), journey.took());
                    flight.end();
                    return result;
                }
                (Next::Wait(wait), price) => {
                    flight.pay(price);
                    wait
                }
            };
            drop(result);
            if !wait_for(&flight, wait).await {
                let unspent = flight.take_unspent();
                policy.give_back(unspent, &flight.purse);
                let begun = journey.attempts.number().saturating_sub(1);
                policy.note_stop(begun, Stop::Draining, &flight.purse);
            }
        }
    }
}

/// Waits so many nanoseconds. `false` if a drain ended that.
async fn wait_for<C, P: Purse>(flight: &Flight<C, P>, nanos: u64) -> bool {
    if nanos == 0 {
        return !flight.is_stopped();
    }
    let at = time::now().checked_add(Duration::from_nanos(nanos));
    let (mut timer, mut parked) = (pin!(at.map(sleep_until)), Parked::new());
    poll_fn(|cx| {
        let over = match timer.as_mut().as_pin_mut() {
            Some(timer) => time::poll_timer(timer, cx).is_ready(),
            None => false,
        };
        if over && !flight.is_stopped() {
            return Poll::Ready(true);
        }
        if flight.park(&mut parked, cx.waker()) { Poll::Pending } else { Poll::Ready(false) }
    })
    .await
}
