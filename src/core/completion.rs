//! When a call is over.

use std::fmt;
use std::sync::Arc;

use crate::core::classify::Classification;
use crate::core::context::ClassifyContext;
use crate::core::outcome::{Outcome, Signal};
use crate::core::time::Tick;

/// Decides when a call is over: at its response head, or later.
///
/// A layer that counts calls gives each `Ok` response to its `Completion`, together with a [`CallGuard`], which reports
/// how the call ended. [`OnResponse`] settles at once and returns the response itself. An implementation for streaming
/// bodies moves the `CallGuard` into the body and settles at its end.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::bulkhead::BulkheadLayer;
/// use seawall::{Error, Completion, Outcome, CallGuard};
/// use std::io;
///
/// /// Rows that are fetched one by one: until the last of them, the query is in flight.
/// struct Rows {
///     left: std::vec::IntoIter<u32>,
///     call: Option<CallGuard>,
/// }
///
/// impl Iterator for Rows {
///     type Item = u32;
///
///     fn next(&mut self) -> Option<u32> {
///         let row = self.left.next();
///         if row.is_none()
///             && let Some(call) = self.call.take()
///         {
///             call.settle(Outcome::SUCCESS);
///         }
///         row
///     }
/// }
///
/// #[derive(Clone)]
/// struct AtLastRow;
///
/// impl Completion<Vec<u32>> for AtLastRow {
///     type Response = Rows;
///
///     fn wrap(&self, rows: Vec<u32>, call: CallGuard) -> Rows {
///         Rows { left: rows.into_iter(), call: Some(call) }
///     }
/// }
///
/// let database = BulkheadLayer::builder("database").completion(AtLastRow).build()?;
/// let mut rows = database.run(|| async { Ok::<_, Error<io::Error>>(vec![1, 2, 3]) }).await?;
/// assert_eq!(database.in_flight(), 1);
/// assert_eq!(rows.by_ref().sum::<u32>(), 6);
/// assert_eq!(database.in_flight(), 0); // over, though `rows` is still here
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub trait Completion<Res>: Send + Sync + 'static {
    /// What the caller gets: `Res` itself, or `Res` with something wrapped around its body.
    type Response;

    /// Takes the response, and the guard that settles the call.
    fn wrap(&self, response: Res, guard: CallGuard) -> Self::Response;

    /// A shortcut for implementations that settle at the head and need no [`CallGuard`]: `Ok` ends the call with the
    /// outcome of its head, `Err` returns the response to be [wrapped](Self::wrap). By default there is no shortcut.
    ///
    /// # Errors
    ///
    /// The response, if it must be wrapped.
    fn at_head(&self, response: Res) -> Result<Self::Response, Res> {
        Err(response)
    }
}

impl<Res, F: Completion<Res> + ?Sized> Completion<Res> for Arc<F> {
    type Response = F::Response;

    fn wrap(&self, response: Res, guard: CallGuard) -> F::Response {
        (**self).wrap(response, guard)
    }

    #[inline]
    fn at_head(&self, response: Res) -> Result<F::Response, Res> {
        (**self).at_head(response)
    }
}

/// A call is over at its response head. The default; it costs nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct OnResponse;

impl<Res> Completion<Res> for OnResponse {
    type Response = Res;

    #[inline]
    fn wrap(&self, response: Res, guard: CallGuard) -> Res {
        guard.at_head();
        response
    }

    #[inline]
    fn at_head(&self, response: Res) -> Result<Res, Res> {
        Ok(response)
    }
}

/// Reports how a call ended: settle it once, or drop it.
///
/// If it is dropped, the call counts as its head if that was a failure or pushback. If part of the response was
/// [delivered](Self::mark_delivered), the call counts as its head, or as a success if the head left it open. Otherwise the
/// call is abandoned.
///
/// It is owned, `Send` and `'static`, so that it can live in a response body.
#[must_use = "dropping it counts the call as abandoned, unless something was delivered"]
pub struct CallGuard {
    ending: Option<Stay>,
    head: Classification,
    delivered: bool,
    tail: Tail,
    context: ClassifyContext,
}

impl CallGuard {
    #[inline]
    pub(crate) fn new(
        stripe: Arc<dyn Ending>,
        cell: Option<Arc<dyn Ending>>,
        stay: Option<u32>,
        part: u8,
        head: Classification,
        tail: Tail,
    ) -> Self {
        let ending = Some(Stay { stripe, cell, stay, part });
        Self { ending, head, delivered: false, tail, context: ClassifyContext::default() }
    }

    /// The same, of a call of which this is known.
    pub(crate) fn within(mut self, context: ClassifyContext) -> Self {
        self.context = context;
        self
    }

    /// The context of the call: the caller's deadline, if the layer propagates one.
    pub const fn context(&self) -> &ClassifyContext {
        &self.context
    }

    /// The classification of the response head.
    pub const fn head(&self) -> Classification {
        self.head
    }

    /// Part of the response has reached its reader. If the reader stops now, that does not count against the dependency.
    ///
    /// Call it at the first message, row or byte, and as often as you like. If the `CallGuard` is dropped afterwards, the call
    /// is not abandoned, whatever the breaker's [`Abandonment`](crate::circuit_breaker::Abandonment). If the stream itself breaks
    /// off, [settle](Self::settle) it as a failure.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use seawall::circuit_breaker::{Abandonment, CircuitBreakerLayer, State, Trip};
    /// use seawall::{CallGuard, Completion, Error};
    /// use std::io;
    ///
    /// /// Prices that are told for as long as somebody listens.
    /// struct Prices(CallGuard);
    ///
    /// impl Prices {
    ///     fn next(&mut self) -> u32 {
    ///         self.0.mark_delivered();
    ///         42
    ///     }
    /// }
    ///
    /// #[derive(Clone)]
    /// struct WhileListening;
    ///
    /// impl Completion<()> for WhileListening {
    ///     type Response = Prices;
    ///
    ///     fn wrap(&self, (): (), call: CallGuard) -> Prices {
    ///         Prices(call)
    ///     }
    /// }
    ///
    /// let exchange = CircuitBreakerLayer::builder("exchange")
    ///     .trip(Trip::consecutive(1))
    ///     .abandonment(Abandonment::Failure)
    ///     .completion(WhileListening)
    ///     .build()?;
    /// let mut prices = exchange.run(|| async { Ok::<_, Error<io::Error>>(()) }).await?;
    /// assert_eq!(prices.next(), 42);
    /// drop(prices); // the listener has heard enough, and that is no failure of the exchange
    /// assert_eq!(exchange.handle().state(), State::Closed);
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    #[inline]
    pub fn mark_delivered(&mut self) {
        if !std::mem::replace(&mut self.delivered, true)
            && let Some(ending) = &self.ending
        {
            ending.hears().delivered(ending.part, &mut self.tail);
        }
    }

    /// The call is over, with this outcome.
    #[inline]
    pub fn settle(mut self, outcome: Outcome) {
        if let Some(ending) = self.ending.take() {
            ending.hears().settle(ending.part, self.tail, &outcome);
        }
    }

    /// The call is over with the outcome of its head.
    ///
    /// If the classification is [`Classification::AtEnd`], the response counts as a success.
    #[inline]
    pub fn at_head(self) {
        let outcome = self.head.of_head();
        self.settle(outcome);
    }
}

impl Drop for CallGuard {
    #[inline]
    fn drop(&mut self) {
        let Some(ending) = self.ending.take() else { return };
        let (hears, part) = (ending.hears(), ending.part);
        match self.head {
            // Nobody reads on after a failure, and it is one all the same.
            Classification::Now(outcome)
                if matches!(outcome.signal, Signal::Failure | Signal::Pushback) =>
            {
                hears.settle(part, self.tail, &outcome);
            }
            // How long its reader stayed says nothing about the dependency.
            head if self.delivered => {
                hears.settle(part, Tail { started: None, ..self.tail }, &head.of_head());
            }
            head => {
                // A dependency whose answer began well is not silent, if nobody reads on.
                let silent = head == Classification::AtEnd;
                hears.abandon(part, Tail { pending: self.tail.pending && silent, ..self.tail });
            }
        }
    }
}

impl fmt::Debug for CallGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallGuard").field("head", &self.head).finish_non_exhaustive()
    }
}

/// What is kept of a permit after the call was answered: plain data, which its policy alone can read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tail {
    pub(crate) word: u64,
    pub(crate) small: [u8; 4],
    /// Whether the inner service let the call wait.
    pub(crate) pending: bool,
    /// Since when, if anyone needs to know.
    pub(crate) started: Option<Tick>,
}

/// Where a call's ending is told: a policy's shared state. Of a policy of several parts one hears it.
pub(crate) trait Ending: Send + Sync {
    fn settle(&self, part: u8, tail: Tail, outcome: &Outcome);
    /// Something of the answer has reached its reader: what came late was slow, whatever its reader
    /// does next.
    fn delivered(&self, part: u8, tail: &mut Tail) {
        let _ = (part, tail);
    }
    fn abandon(&self, part: u8, tail: Tail);

    /// The call was told of, and holds up no drain any longer. Of a policy of several parts, `stay` is what
    /// those of the call are counted by.
    fn no_longer_in_flight(&self, stay: Option<u32>);
}

/// A call in flight, until dropped.
struct Stay {
    stripe: Arc<dyn Ending>,
    /// Of one of many policies, that which hears of it.
    cell: Option<Arc<dyn Ending>>,
    stay: Option<u32>,
    part: u8,
}

impl Stay {
    #[inline]
    fn hears(&self) -> &dyn Ending {
        self.cell.as_deref().unwrap_or(&*self.stripe)
    }
}

impl Drop for Stay {
    #[inline]
    fn drop(&mut self) {
        self.stripe.no_longer_in_flight(self.stay);
    }
}
