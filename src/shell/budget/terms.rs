//! The settings of a budget.

use super::Budget;
use crate::core::config::{ConfigError, ConfigErrors};
use crate::shell::budget::balance::{Balance, Terms};

/// The settings of a budget, in tokens: plain values, which can be [turned](Budget::reload) while calls
/// are in flight.
///
/// ```
/// use seawall::retry::{Budget, BudgetConfig};
///
/// // From a file of settings (with the feature `serde`); what it does not name has its default.
/// let config: BudgetConfig = serde_json::from_str(r#"{ "cap": 20, "per_success": 0.1 }"#)?;
/// assert_eq!(config, BudgetConfig { cap: 20.0, per_success: 0.1, ..BudgetConfig::default() });
///
/// let budget = Budget::from_config(config)?;
/// assert_eq!(budget.balance(), 20.0);
/// assert!(serde_json::from_str::<BudgetConfig>(r#"{ "caps": 20 }"#).is_err()); // no such setting
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct BudgetConfig {
    /// The most tokens it holds, and those it begins with: 0 (no retries) to 16,777. Left at its
    /// default it grows to the dearest price.
    pub cap: f64,
    /// What each success pays in: 0 to 16,777.
    pub per_success: f64,
    /// What comes by itself, each second: 0 to 16,777.
    pub per_second: f64,
    /// What an attempt costs: 0.001 to [`cap`](Self::cap). Left at its default it is cut to that.
    pub price: f64,
    /// What an attempt costs after one that ran out of time: 0.001 to [`cap`](Self::cap). Left at its
    /// default it is cut to that. Whoever ran out of time may be worked for all the same, and asked for
    /// more than the dependency could give.
    pub timeout_price: f64,
}

/// Default of [`BudgetConfig::cap`].
pub(crate) const BUDGET_CAP: f64 = 50.0;
/// Default of [`BudgetConfig::per_success`].
pub(crate) const PER_SUCCESS: f64 = 0.2;
/// Default of [`BudgetConfig::per_second`].
pub(crate) const PER_SECOND: f64 = 1.0;
/// Default of [`BudgetConfig::price`].
pub(crate) const PRICE: f64 = 1.0;
/// Default of [`BudgetConfig::timeout_price`].
// AWS SDKs, standard retry mode: a retry costs 5, after a timeout 10.
pub(crate) const TIMEOUT_PRICE: f64 = 2.0;

impl Default for BudgetConfig {
    fn default() -> Self {
        Self {
            cap: BUDGET_CAP,
            per_success: PER_SUCCESS,
            per_second: PER_SECOND,
            price: PRICE,
            timeout_price: TIMEOUT_PRICE,
        }
    }
}

impl BudgetConfig {
    /// Checks these settings, as making a budget of them does.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        Tariff::from_config(self, NamedFields::default()).map(|_| ())
    }
}

/// Settings made ready, in thousandths of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tariff {
    pub(crate) terms: Terms,
    pub(crate) price: u32,
    pub(crate) timeout_price: u32,
}

/// What a builder was told by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct NamedFields {
    cap: bool,
    price: bool,
    timeout_price: bool,
}

impl Tariff {
    /// Everything that is wrong with the settings, or what they come to.
    pub(crate) fn from_config(
        config: &BudgetConfig,
        told: NamedFields,
    ) -> Result<Self, ConfigErrors> {
        let most = f64::from(Balance::MOST / 1000);
        let mut problems = Vec::new();
        let mut milli = |field, tokens: f64, least: f64, most: f64| {
            if !(least..=most).contains(&tokens) {
                problems.push(ConfigError::new(field, tokens, format!("{least} to {most} tokens")));
                return 0;
            }
            (tokens * 1000.0).round() as u32
        };
        let BudgetConfig { mut cap, per_success, per_second, mut price, mut timeout_price } =
            *config;
        let is_written = |value: f64, default: f64, told: bool| told || value != default;
        // A price that not even a full budget can pay would mean no retries, ever; who wants none
        // says so with a cap of zero.
        if !is_written(cap, BUDGET_CAP, told.cap) {
            cap = cap.max(price).max(timeout_price).min(most);
        } else if cap > 0.0 {
            if !is_written(price, PRICE, told.price) {
                price = price.min(cap.max(0.001));
            }
            if !is_written(timeout_price, TIMEOUT_PRICE, told.timeout_price) {
                timeout_price = timeout_price.min(cap.max(0.001));
            }
        }
        let milli_cap = milli("cap", cap, 0.0, most);
        let terms = Terms {
            cap: milli_cap,
            deposit: milli("per_success", per_success, 0.0, most),
            floor_per_second: milli("per_second", per_second, 0.0, most),
        };
        let dearest = if milli_cap > 0 { cap } else { most };
        let price = milli("price", price, 0.001, dearest);
        let timeout_price = milli("timeout_price", timeout_price, 0.001, dearest);
        ConfigErrors::none_of(problems)?;
        Ok(Self { terms, price, timeout_price })
    }
}

// ===== impl BudgetBuilder =====

/// Builds a [`Budget`].
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[must_use = "call `build`"]
pub struct BudgetBuilder {
    config: BudgetConfig,
    told: NamedFields,
}

impl BudgetBuilder {
    /// Sets [`BudgetConfig::cap`]; by default 50. Zero: no retries.
    pub fn cap(mut self, tokens: f64) -> Self {
        self.config.cap = tokens;
        self.told.cap = true;
        self
    }

    /// Sets [`BudgetConfig::per_success`]; by default 0.2.
    pub fn per_success(mut self, tokens: f64) -> Self {
        self.config.per_success = tokens;
        self
    }

    /// Sets [`BudgetConfig::per_second`]; by default 1.
    pub fn per_second(mut self, tokens: f64) -> Self {
        self.config.per_second = tokens;
        self
    }

    /// Sets [`BudgetConfig::price`]; by default 1.
    pub fn price(mut self, tokens: f64) -> Self {
        self.config.price = tokens;
        self.told.price = true;
        self
    }

    /// Sets [`BudgetConfig::timeout_price`]; by default 2.
    pub fn timeout_price(mut self, tokens: f64) -> Self {
        self.config.timeout_price = tokens;
        self.told.timeout_price = true;
        self
    }

    /// Sets all settings at once.
    pub fn config(mut self, config: BudgetConfig) -> Self {
        (self.config, self.told) = (config, NamedFields::default());
        self
    }

    pub(crate) fn tariff(&self) -> Result<Tariff, ConfigErrors> {
        Tariff::from_config(&self.config, self.told)
    }

    pub(crate) const fn written(&self) -> BudgetConfig {
        self.config
    }

    /// Builds the budget.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings.
    pub fn build(self) -> Result<Budget, ConfigErrors> {
        self.tariff().map(|tariff| Budget::of(tariff, self.config))
    }
}
