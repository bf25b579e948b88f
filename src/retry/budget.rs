//! What retries may cost.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::config::{ConfigError, ConfigErrors};
use crate::parts::balance::{Balance, Terms};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::time::Clock;

/// What retries may cost in all: a balance of tokens that successes fill and retries empty.
///
/// A shared handle: clones draw on the same balance, so that several layers and stacks that call
/// the same dependency can share one budget.
///
/// It begins full. Each success pays a little in, a little more comes by itself each second, and
/// it never holds more than its cap. A retry takes its price out before it begins, and gets it
/// back if it succeeds: retries that help are not rationed, retries that do not are soon a fifth of
/// what succeeds, and nothing but the floor when nothing does. A retry after an attempt that ran out
/// of time costs twice as much: the dependency may still be working for that one. So a dependency
/// that is down is not hit harder for it, nor does a chain of services multiply what the lowest one
/// gets.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use seawall::Error;
/// use seawall::retry::{Budget, RetryLayer};
/// use std::io;
///
/// let budget = Budget::builder().cap(20.0).per_success(0.1).build()?;
/// let reads = RetryLayer::builder("orders-read").budget(budget.clone()).build()?;
/// let writes = RetryLayer::builder("orders-write").budget(budget).build()?;
///
/// let down = || async { Err::<(), _>(Error::Inner(io::Error::other("no route"))) };
/// assert!(reads.run(down).await.is_err()); // with two repetitions
/// assert!(writes.handle().budget().unwrap().balance() < 19.0);
/// # Ok::<(), seawall::ConfigErrors>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Budget(Arc<Account>);

struct Account {
    terms: Terms,
    price: u32,
    timeout_price: u32,
    clock: Clock,
    word: AtomicU64,
}

/// Default of [`BudgetBuilder::cap`].
pub const BUDGET_CAP: f64 = 50.0;
/// Default of [`BudgetBuilder::per_success`].
pub const PER_SUCCESS: f64 = 0.2;
/// Default of [`BudgetBuilder::per_second`].
pub const PER_SECOND: f64 = 1.0;
/// Default of [`BudgetBuilder::price`].
pub const PRICE: f64 = 1.0;
/// Default of [`BudgetBuilder::timeout_price`].
// AWS SDKs, standard retry mode: a retry costs 5, after a timeout 10.
pub const TIMEOUT_PRICE: f64 = 2.0;

impl Default for Budget {
    /// A budget with every setting at its default.
    #[expect(clippy::expect_used, reason = "a test builds from the defaults")]
    fn default() -> Self {
        Self::builder().build().expect("the defaults are valid")
    }
}

impl Budget {
    /// Starts to build a budget.
    pub fn builder() -> BudgetBuilder {
        BudgetBuilder {
            cap: BUDGET_CAP,
            per_success: PER_SUCCESS,
            per_second: PER_SECOND,
            price: PRICE,
            timeout_price: TIMEOUT_PRICE,
        }
    }

    /// The tokens that are left.
    pub fn balance(&self) -> f64 {
        let balance = Balance::unpack(self.0.word.load(Ordering::Relaxed));
        f64::from(balance.topped_up(&self.0.terms, self.now_ms()).milli()) / 1000.0
    }

    /// A call succeeded. While the budget is full this is one load.
    #[inline]
    pub fn deposit(&self) {
        self.pay_in(self.0.terms.deposit);
    }

    /// Takes out the price of one more attempt, if there is enough. What is returned gives the
    /// price [back](Withdrawal::give_back) if the attempt succeeds.
    pub fn withdraw(&self) -> Option<Withdrawal> {
        self.take(self.0.price)
    }

    pub(super) fn withdraw_after_timeout(&self) -> Option<Withdrawal> {
        self.take(self.0.timeout_price)
    }

    fn take(&self, price: u32) -> Option<Withdrawal> {
        let (terms, now) = (&self.0.terms, self.now_ms());
        let take = |word| Balance::unpack(word).without(terms, now, price).map(Balance::pack);
        self.0.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        NonZeroU32::new(price).map(|price| Withdrawal { price })
    }

    #[inline]
    fn pay_in(&self, more: u32) {
        let terms = &self.0.terms;
        if Balance::unpack(self.0.word.load(Ordering::Relaxed)).is_full(terms) {
            return;
        }
        let pay = |word| Some(Balance::unpack(word).with(terms, more).pack());
        let _ = self.0.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay);
    }

    fn now_ms(&self) -> u64 {
        self.0.clock.now().0 / 1_000_000
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("balance", &self.balance()).finish_non_exhaustive()
    }
}

/// The price of one attempt, taken out of a [`Budget`].
///
/// ```
/// use seawall::retry::{Budget, Withdrawal};
///
/// /// Sends once more if the budget has it: for a loop of your own that shares it with a layer.
/// fn again(budget: &Budget, send: impl FnOnce() -> bool) -> Option<bool> {
///     let price: Withdrawal = budget.withdraw()?;
///     let is_sent = send();
///     if is_sent {
///         price.give_back(budget); // a repetition that helps costs nothing
///     }
///     Some(is_sent)
/// }
///
/// let budget = Budget::builder().cap(2.0).per_second(0.0).build()?;
/// assert_eq!(again(&budget, || true), Some(true));
/// assert_eq!(budget.balance(), 2.0);
/// assert_eq!([again(&budget, || false), again(&budget, || false)], [Some(false); 2]);
/// assert_eq!(again(&budget, || true), None); // it is spent
/// # Ok::<(), seawall::ConfigErrors>(())
/// ```
#[derive(Debug, PartialEq, Eq)]
#[must_use = "give it back if the attempt succeeds"]
pub struct Withdrawal {
    price: NonZeroU32,
}

impl Withdrawal {
    /// The attempt succeeded: `budget` gets the price back.
    pub fn give_back(self, budget: &Budget) {
        budget.pay_in(self.price.get());
    }
}

// ===== impl BudgetBuilder =====

/// Builds a [`Budget`].
#[derive(Debug, Clone, Copy, PartialEq)]
#[must_use = "call `build`"]
pub struct BudgetBuilder {
    cap: f64,
    per_success: f64,
    per_second: f64,
    price: f64,
    timeout_price: f64,
}

impl BudgetBuilder {
    /// The most tokens it holds, and those it begins with; by default 50. Zero: no retries.
    pub fn cap(mut self, tokens: f64) -> Self {
        self.cap = tokens;
        self
    }

    /// What each success pays in; by default 0.2.
    pub fn per_success(mut self, tokens: f64) -> Self {
        self.per_success = tokens;
        self
    }

    /// What comes by itself, each second; by default 1.
    pub fn per_second(mut self, tokens: f64) -> Self {
        self.per_second = tokens;
        self
    }

    /// What an attempt costs; by default 1.
    pub fn price(mut self, tokens: f64) -> Self {
        self.price = tokens;
        self
    }

    /// What an attempt costs after one that ran out of time; by default 2. Whoever ran out of time
    /// may be worked for all the same, and asked for more than the dependency could give.
    pub fn timeout_price(mut self, tokens: f64) -> Self {
        self.timeout_price = tokens;
        self
    }

    /// Builds the budget.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings.
    pub fn build(self) -> Result<Budget, ConfigErrors> {
        let most = f64::from(Balance::MOST / 1000);
        let mut problems = Vec::new();
        let mut milli = |field, tokens: f64, least: f64, most: f64| {
            if !(least..=most).contains(&tokens) {
                problems.push(ConfigError::new(field, tokens, format!("{least} to {most} tokens")));
                return 0;
            }
            (tokens * 1000.0).round() as u32
        };
        let cap = milli("cap", self.cap, 0.0, most);
        let terms = Terms {
            cap,
            deposit: milli("per_success", self.per_success, 0.0, most),
            floor_per_second: milli("per_second", self.per_second, 0.0, most),
        };
        // A price that not even a full budget can pay would mean no retries, ever; who wants none
        // says so with a cap of zero.
        let dearest = if cap > 0 { self.cap } else { most };
        let price = milli("price", self.price, 0.001, dearest);
        let timeout_price = milli("timeout_price", self.timeout_price, 0.001, dearest);
        ConfigErrors::none_of(problems)?;
        let word = AtomicU64::new(Balance::full(&terms).pack());
        Ok(Budget(Arc::new(Account { terms, price, timeout_price, clock: Clock::start(), word })))
    }
}
