//! Which budget pays for the retries of a call.

use std::fmt;
use std::sync::Arc;

use super::keyed::{KeyBudget, KeyedBudget};
use crate::core::request::ExtractKey;
use crate::shell::budget::Budget;
use crate::shell::retry::{ByItself, Named, Payer};

/// One budget, or none, pays for all calls of a layer. The default; it costs nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct OneBudget;

/// The budget of its key pays for a call.
pub struct BudgetByKey<K> {
    budgets: KeyedBudget,
    key: Arc<K>,
}

/// What a builder was told of what pays.
#[derive(Clone)]
pub(super) struct Means<B> {
    pub(super) budget: Option<Budget>,
    pub(super) payer: B,
    /// Whether each key has a budget.
    pub(super) by_key: bool,
}

impl Means<OneBudget> {
    pub(super) const fn one(budget: Budget) -> Self {
        Self { budget: Some(budget), payer: OneBudget, by_key: false }
    }

    pub(super) const fn none() -> Self {
        Self { budget: None, payer: OneBudget, by_key: false }
    }
}

impl<K> Means<BudgetByKey<K>> {
    pub(super) fn keyed(budgets: KeyedBudget, key: K) -> Self {
        let payer = BudgetByKey { budgets, key: Arc::new(key) };
        Self { budget: None, payer, by_key: true }
    }
}

/// What a call holds of the budget that pays for it.
pub(crate) trait Purse {
    /// The budget, of a layer that has this one.
    fn budget<'a>(&'a self, of_layer: Option<&'a Budget>) -> Option<&'a Budget>;

    /// Whose it is, if it is one of many.
    fn key(&self) -> Option<&Arc<str>>;
}

/// The budget of a key.
#[derive(Clone)]
pub struct OfKey(pub(super) Arc<KeyBudget>);

impl ByItself for OneBudget {}
impl ByItself for OfKey {}

impl<Req> Payer<Req> for OneBudget {
    type Purse = Self;

    #[inline]
    fn purse(&self, _: &Req) -> Self {
        Self
    }
}

impl Purse for OneBudget {
    #[inline]
    fn budget<'a>(&'a self, of_layer: Option<&'a Budget>) -> Option<&'a Budget> {
        of_layer
    }

    #[inline]
    fn key(&self) -> Option<&Arc<str>> {
        None
    }
}

impl Purse for Named {
    fn budget<'a>(&'a self, of_layer: Option<&'a Budget>) -> Option<&'a Budget> {
        of_layer
    }

    fn key(&self) -> Option<&Arc<str>> {
        None
    }
}

/// Pays with what is known already.
pub(super) struct Given(pub(super) OfKey);

impl<Req> Payer<Req> for Given {
    type Purse = OfKey;

    fn purse(&self, _: &Req) -> OfKey {
        self.0.clone()
    }
}

impl<K> BudgetByKey<K> {
    pub(super) fn of(&self, key: &str) -> OfKey {
        self.budgets.purse(key)
    }
}

impl<Req, K: ExtractKey<Req>> Payer<Req> for BudgetByKey<K> {
    type Purse = OfKey;

    fn purse(&self, request: &Req) -> OfKey {
        self.key.with_key(request, |key| self.of(key))
    }
}

impl Purse for OfKey {
    fn budget<'a>(&'a self, _: Option<&'a Budget>) -> Option<&'a Budget> {
        Some(self.0.budget())
    }

    fn key(&self) -> Option<&Arc<str>> {
        Some(self.0.name())
    }
}

impl<K> Clone for BudgetByKey<K> {
    fn clone(&self) -> Self {
        Self { budgets: self.budgets.clone(), key: Arc::clone(&self.key) }
    }
}

impl<K> fmt::Debug for BudgetByKey<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BudgetByKey").field(&self.budgets).finish()
    }
}

impl fmt::Debug for OfKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OfKey").field(&self.key()).finish()
    }
}
