//! What further attempts may cost.

pub(crate) mod balance;
mod terms;
#[cfg(test)]
mod tests;

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

pub(crate) use self::terms::NamedFields;
pub(crate) use self::terms::Tariff;
pub use self::terms::{BudgetBuilder, BudgetConfig};
use crate::core::config::ConfigErrors;
use crate::core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use crate::core::time::Clock;
use crate::shell::budget::balance::{Balance, Terms};
use crate::shell::live::Live;

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
/// assert!(reads.run(down).await.is_err()); // with two retries
/// assert!(writes.handle().budget().unwrap().balance() < 19.0);
/// # Ok::<(), seawall::ConfigErrors>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct Budget(Arc<Account>);

struct Account {
    cap: AtomicU32,
    deposit: AtomicU32,
    floor_per_second: AtomicU32,
    price: AtomicU32,
    timeout_price: AtomicU32,
    /// Whether it pays for everything.
    is_endless: AtomicBool,
    config: Live<BudgetConfig>,
    clock: Clock,
    word: AtomicU64,
}

impl Default for Budget {
    /// A budget with every setting at its default.
    #[expect(clippy::expect_used, reason = "a test builds from the defaults")]
    fn default() -> Self {
        Self::builder().build().expect("the defaults are valid")
    }
}

impl Budget {
    /// A budget with these settings, for instance from a configuration file.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings.
    pub fn from_config(config: BudgetConfig) -> Result<Self, ConfigErrors> {
        Self::builder().config(config).build()
    }

    /// Starts to build a budget.
    pub fn builder() -> BudgetBuilder {
        BudgetBuilder::default()
    }

    pub(crate) fn of(tariff: Tariff, config: BudgetConfig) -> Self {
        let account = Account {
            cap: AtomicU32::new(0),
            deposit: AtomicU32::new(0),
            floor_per_second: AtomicU32::new(0),
            price: AtomicU32::new(0),
            timeout_price: AtomicU32::new(0),
            is_endless: AtomicBool::new(false),
            config: Live::new(config),
            clock: Clock::start(),
            word: AtomicU64::new(Balance::full(&tariff.terms).pack()),
        };
        account.set(tariff);
        Self(Arc::new(account))
    }

    /// The settings in force, as they were written.
    pub fn config(&self) -> BudgetConfig {
        *self.0.config.get()
    }

    /// Reloads the settings, for all who share this budget. The balance stays what it is, or what the
    /// new cap allows of it.
    ///
    /// ```
    /// use seawall::retry::{Budget, BudgetConfig};
    ///
    /// let budget = Budget::default();
    /// let less = BudgetConfig { cap: 10.0, ..budget.config() };
    /// budget.reload(less)?;
    /// assert_eq!((budget.balance(), budget.config()), (10.0, less));
    /// assert!(budget.reload(BudgetConfig { cap: -1.0, ..less }).is_err());
    /// assert_eq!(budget.config(), less); // still
    /// # Ok::<(), seawall::ConfigErrors>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings; then the old ones stay in force.
    pub fn reload(&self, config: BudgetConfig) -> Result<(), ConfigErrors> {
        let tariff = Tariff::from_config(&config, NamedFields::default())?;
        self.turn(tariff, config);
        Ok(())
    }

    pub(crate) fn turn(&self, tariff: Tariff, config: BudgetConfig) {
        // Together, so that of two who turn at once the same one wins both.
        self.0.config.update(|_| {
            self.0.set(tariff);
            config
        });
    }

    /// Whether it holds all it may.
    pub(crate) fn is_full(&self) -> bool {
        let terms = self.0.terms();
        let balance = Balance::unpack(self.word());
        balance.topped_up(&terms, self.now_ms()).is_full(terms.cap)
    }

    /// The balance as it was written last.
    pub(crate) fn word(&self) -> u64 {
        self.0.word.load(Ordering::Acquire)
    }

    /// Whether somebody else has it too.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// Whether it pays for everything.
    pub(crate) fn is_endless(&self) -> bool {
        self.0.is_endless.load(Ordering::Relaxed)
    }

    /// Makes it pay for everything, or ration again.
    pub(crate) fn set_endless(&self, is_endless: bool) {
        self.0.is_endless.store(is_endless, Ordering::Relaxed);
    }

    /// The tokens that are left.
    pub fn balance(&self) -> f64 {
        let balance = Balance::unpack(self.0.word.load(Ordering::Relaxed));
        f64::from(balance.topped_up(&self.0.terms(), self.now_ms()).milli()) / 1000.0
    }

    /// A call succeeded. While the budget is full this is two loads.
    #[inline]
    pub fn deposit(&self) {
        self.pay_in(&self.0.deposit);
    }

    /// Takes out the price of one more attempt, if there is enough. What is returned gives the
    /// price [back](Withdrawal::give_back) if the attempt succeeds.
    pub fn withdraw(&self) -> Option<Withdrawal> {
        self.take(&self.0.price)
    }

    pub(crate) fn withdraw_after_timeout(&self) -> Option<Withdrawal> {
        self.take(&self.0.timeout_price)
    }

    fn take(&self, price: &AtomicU32) -> Option<Withdrawal> {
        let price = price.load(Ordering::Relaxed);
        if !self.is_endless() {
            let (terms, now) = (self.0.terms(), self.now_ms());
            let take = |word| Balance::unpack(word).without(&terms, now, price).map(Balance::pack);
            self.0.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        }
        NonZeroU32::new(price).map(|price| Withdrawal { price })
    }

    #[inline]
    fn pay_in(&self, more: &AtomicU32) {
        let balance = Balance::unpack(self.0.word.load(Ordering::Relaxed));
        if !balance.is_full(self.0.cap.load(Ordering::Relaxed)) {
            self.top_up(more.load(Ordering::Relaxed));
        }
    }

    #[inline(never)]
    fn top_up(&self, more: u32) {
        let terms = self.0.terms();
        let pay = |word| Some(Balance::unpack(word).with(&terms, more).pack());
        let _ = self.0.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay);
    }

    fn now_ms(&self) -> u64 {
        self.0.clock.now().0 / 1_000_000
    }
}

impl Account {
    /// Not all from one moment, if they are being turned; each is one that was or is in force.
    fn terms(&self) -> Terms {
        Terms {
            cap: self.cap.load(Ordering::Relaxed),
            deposit: self.deposit.load(Ordering::Relaxed),
            floor_per_second: self.floor_per_second.load(Ordering::Relaxed),
        }
    }

    fn set(&self, tariff: Tariff) {
        let Tariff { terms, price, timeout_price } = tariff;
        self.cap.store(terms.cap, Ordering::Relaxed);
        self.deposit.store(terms.deposit, Ordering::Relaxed);
        self.floor_per_second.store(terms.floor_per_second, Ordering::Relaxed);
        self.price.store(price, Ordering::Relaxed);
        self.timeout_price.store(timeout_price, Ordering::Relaxed);
        // What is above a smaller cap is cut off.
        let cut = |word| Some(Balance::unpack(word).with(&terms, 0).pack());
        let _ = self.word.fetch_update(Ordering::Relaxed, Ordering::Relaxed, cut);
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
///         price.give_back(budget); // a retry that helps costs nothing
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
        budget.top_up(self.price.get());
    }
}
