//! One budget for each key.

use std::fmt;
use std::sync::Arc;

use super::layer::LAYER;
use super::purse::OfKey;
use crate::core::config::{ConfigError, ConfigErrors};
use crate::core::event::Observers;
use crate::core::origin::Origin;
use crate::shell::budget::Budget;
use crate::shell::budget::{BudgetBuilder, BudgetConfig, NamedFields, Tariff};
use crate::shell::keyed::Keyed;
use crate::shell::live::Live;
use crate::shell::member::{Member, Stamp};
use crate::shell::meter::{Ended, Instruments, Labels};
use crate::shell::reporter::Reporter;

/// Default of [`KeyedBudgetBuilder::max_keys`].
pub(crate) const MAX_KEYS: usize = 10_000;

/// A [`Budget`] for each key, so that the failures of one tenant or host do not use up the retries of
/// the others.
///
/// A shared handle: several layers may draw on the same budgets, each by a key of its own requests.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use seawall::Error;
/// use seawall::retry::{Budget, KeyedBudget, RetryLayer};
/// use std::borrow::Cow;
/// use std::io;
///
/// let tenants: KeyedBudget =
///     Budget::builder().cap(4.0).per_second(0.0).keyed("tenants").max_keys(1_000).build()?;
/// let reads = RetryLayer::builder("orders-read")
///     .keyed_budget(tenants.clone(), |tenant: &String| Cow::from(tenant))
///     .build()?;
///
/// let down = || async { Err::<(), _>(Error::Inner(io::Error::other("no route"))) };
/// for _ in 0..10 {
///     assert!(reads.run("acme", down).await.is_err());
/// }
/// assert!(reads.run("initech", down).await.is_err()); // with two retries
/// let balance = |tenant| tenants.key(tenant).map(|budget| budget.balance());
/// assert_eq!((balance("acme"), balance("initech")), (Some(0.0), Some(2.0)));
/// # Ok::<(), seawall::ConfigErrors>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct KeyedBudget {
    cells: Arc<Keyed<KeyBudget>>,
}

/// The budget of one key.
pub(super) struct KeyBudget {
    key: Arc<str>,
    budget: Budget,
    common: Arc<Common>,
}

/// What the budgets of all keys have in common.
pub(crate) struct Common {
    reporter: Reporter<Nothing>,
    settings: Live<(Tariff, BudgetConfig)>,
}

/// Budgets are told of by the layers that draw on them.
pub(crate) struct Nothing;

impl Instruments for Nothing {
    const OUTCOMES: &'static [Ended] = &[];

    fn new(_: &Labels<'_>) -> Self {
        Self
    }
}

// ===== impl KeyedBudget =====

impl KeyedBudget {
    /// The budget of a key, if it has one of its own. It is not evicted while this lives.
    ///
    /// [Reloading](Budget::reload) it turns the budget of this key alone, which is not forgotten as
    /// long as its settings differ from those of all.
    pub fn key(&self, key: &str) -> Option<Budget> {
        self.cells.find(key).map(|cell| cell.budget.clone())
    }

    /// The keys that have a budget of their own, in no order.
    pub fn keys(&self) -> Vec<Arc<str>> {
        self.cells.keys()
    }

    /// The number of keys that have a budget of their own.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether no key has a budget yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The settings in force, for all keys, as they were written.
    pub fn config(&self) -> BudgetConfig {
        self.cells.common.settings.get().1
    }

    /// Reloads the settings of all keys at once. Each balance stays what it is, or what the new cap
    /// allows of it.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings; then the old ones stay in force.
    pub fn reload(&self, config: BudgetConfig) -> Result<(), ConfigErrors> {
        let common = &self.cells.common;
        let tariff = Tariff::from_config(&config, NamedFields::default());
        let tariff = tariff.map_err(|wrong| wrong.of_policy(&common.reporter.origin))?;
        common.settings.set((tariff, config));
        self.cells.each(KeyBudget::keep_up);
        Ok(())
    }

    pub(super) fn purse(&self, key: &str) -> OfKey {
        OfKey(self.cells.enter(key))
    }
}

impl fmt::Debug for KeyedBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBudget")
            .field("origin", &self.cells.common.reporter.origin)
            .field("keys", &self.len())
            .finish()
    }
}

// ===== impl KeyBudget =====

impl KeyBudget {
    pub(super) const fn budget(&self) -> &Budget {
        &self.budget
    }

    pub(super) const fn name(&self) -> &Arc<str> {
        &self.key
    }

    /// Takes the settings in force. Of two who do so at once with different ones, whoever is later
    /// notices.
    fn keep_up(&self) {
        loop {
            let settings = self.common.settings.get();
            self.budget.turn(settings.0, settings.1);
            if Arc::ptr_eq(&settings, &self.common.settings.get()) {
                return;
            }
        }
    }
}

impl Member for KeyBudget {
    type Common = Common;
    type Meter = Nothing;

    fn reporter(common: &Common) -> &Reporter<Nothing> {
        &common.reporter
    }

    fn key(&self) -> Option<&Arc<str>> {
        Some(&self.key)
    }

    fn is_watched(&self) -> bool {
        self.budget.is_shared()
    }

    /// A full budget is what a new one is.
    fn at_rest(&self) -> Option<Stamp> {
        let stamp = self.stamp(); // before the look
        let is_new = self.budget.is_full() && self.budget.config() == self.common.settings.get().1;
        is_new.then_some(stamp)
    }

    fn stamp(&self) -> Stamp {
        Some(self.budget.word())
    }

    /// Whoever turned all of them since it was made did not find it.
    fn settle_in(&self) {
        self.keep_up();
    }
}

// ===== impl KeyedBudgetBuilder =====

/// Builds a [`KeyedBudget`].
#[derive(Debug, Clone, PartialEq)]
#[must_use = "call `build`"]
pub struct KeyedBudgetBuilder {
    builder: BudgetBuilder,
    name: Arc<str>,
    max_keys: usize,
}

impl KeyedBudgetBuilder {
    pub(super) const fn new(builder: BudgetBuilder, name: Arc<str>) -> Self {
        Self { builder, name, max_keys: MAX_KEYS }
    }

    /// At most this many keys have a budget of their own, by default 10,000.
    ///
    /// When a new key comes and the table is full, a budget that is full and on which no call draws
    /// makes room. If there is none, the key shares one overflow budget with others like it, and a
    /// counter says so. Keys of more than 256 bytes always share it. A budget is forgotten once it is full
    /// again: where nothing [fills it by itself](BudgetBuilder::per_second), those of keys that are gone stay.
    pub fn max_keys(mut self, max_keys: usize) -> Self {
        self.max_keys = max_keys;
        self
    }

    /// Builds the budgets.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings.
    pub fn build(self) -> Result<KeyedBudget, ConfigErrors> {
        let origin = Origin::new(LAYER, self.name);
        let tariff = self.builder.tariff();
        let mut problems =
            tariff.as_ref().err().cloned().map_or_else(Vec::new, ConfigErrors::into_problems);
        if self.max_keys == 0 {
            problems.push(ConfigError::new("max_keys", 0, "at least 1"));
        }
        let tariff = match tariff {
            Ok(tariff) if problems.is_empty() => tariff,
            _ => return Err(ConfigErrors::of(problems).of_policy(&origin)),
        };
        let settings = Live::new((tariff, self.builder.written()));
        let reporter = Reporter::new(origin, Observers::default());
        let common = Arc::new(Common { reporter, settings });
        let for_cells = Arc::clone(&common);
        let cells = Keyed::new(common, self.max_keys, move |key| {
            let (tariff, config) = *for_cells.settings.get();
            KeyBudget { key, budget: Budget::of(tariff, config), common: Arc::clone(&for_cells) }
        });
        Ok(KeyedBudget { cells: Arc::new(cells) })
    }
}

impl BudgetBuilder {
    /// One budget with these settings for each key, for instance for each tenant or host; see
    /// [`KeyedBudget`](super::KeyedBudget).
    ///
    /// Metrics of the table of keys bear this name, and `retry` as their layer.
    pub fn keyed(self, name: impl Into<Arc<str>>) -> KeyedBudgetBuilder {
        KeyedBudgetBuilder::new(self, name.into())
    }
}
