//! The bulkhead of one key, and what those of all keys have in common.

use std::fmt;
use std::sync::Arc;

use crate::bulkhead::config::Config;
use crate::bulkhead::limiter::Limiter;
use crate::bulkhead::machine::{Occupancy, Params};
use crate::bulkhead::meter::{BulkheadMeter, Totals};
use crate::bulkhead::overrides::{AllParams, KeyedConfig, Overrides};
use crate::core::config::ConfigErrors;
use crate::shell::keyed::Keyed;
use crate::shell::live::Live;
use crate::shell::member::{Member, Stamp};
use crate::shell::reporter::Reporter;

/// The bulkhead of one key.
pub(crate) struct KeyedPart {
    bulkhead: Arc<Limiter>,
    common: Arc<Common>,
}

/// What the bulkheads of all keys have in common.
pub(crate) struct Common {
    pub(super) reporter: Arc<Reporter<BulkheadMeter>>,
    settings: Live<Settings>,
    totals: Arc<Totals>,
}

/// The settings in force, made ready and as their user wrote them.
struct Settings {
    all_params: AllParams,
    written: KeyedConfig,
}

impl Settings {
    fn of(&self, key: &str) -> (Params, Config) {
        let (params, own) = &self.all_params;
        (*own.get(key).unwrap_or(params), self.written.of(key))
    }
}

// ===== impl Common =====

impl Common {
    pub(super) fn new(
        reporter: Reporter<BulkheadMeter>,
        all_params: AllParams,
        written: KeyedConfig,
    ) -> Arc<Self> {
        let totals = Arc::new(Totals::new(all_params.0.limit));
        let settings = Live::new(Settings { all_params, written });
        Arc::new(Self { reporter: Arc::new(reporter), settings, totals })
    }

    pub(super) fn part(self: &Arc<Self>, key: Arc<str>) -> KeyedPart {
        let (params, config) = self.settings.get().of(&key);
        let (reporter, totals) = (Arc::clone(&self.reporter), Arc::clone(&self.totals));
        let bulkhead = Arc::new(Limiter::of_key(reporter, totals, key, params, config));
        KeyedPart { bulkhead, common: Arc::clone(self) }
    }

    pub(super) fn written(&self) -> KeyedConfig {
        self.settings.get().written.clone()
    }

    /// Settings that somebody made of those in force, in their place. `None`, if they are not in force
    /// any more.
    fn turn(
        &self,
        change: &impl Fn(&KeyedConfig) -> (KeyedConfig, Option<&'static str>),
    ) -> Turned {
        let old = self.settings.get();
        let (written, within) = change(&old.written);
        let all_params =
            written.all_params(within).map_err(|wrong| wrong.of_policy(&self.reporter.origin))?;
        let limit = all_params.0.limit;
        let is_turned = self.settings.replace(&old, Settings { all_params, written });
        if is_turned {
            self.totals.turn(limit);
        }
        Ok(is_turned)
    }
}

/// Whether the settings were turned, or somebody else was faster.
type Turned = Result<bool, ConfigErrors>;

/// Reloads the settings of all: `change` makes the new ones of those in force, and says as what its
/// default is known.
pub(super) fn reload(
    cells: &Keyed<KeyedPart>,
    change: impl Fn(&KeyedConfig) -> (KeyedConfig, Option<&'static str>),
) -> Result<(), ConfigErrors> {
    while !cells.common.turn(&change)? {}
    cells.set_most(cells.common.settings.get().written.max_keys);
    cells.each(KeyedPart::keep_up);
    Ok(())
}

/// Reloads the settings of one key, which it has of its own from now on.
pub(in crate::bulkhead) fn reload_key(
    cells: &Keyed<KeyedPart>,
    key: &str,
    config: &Config,
) -> Result<(), ConfigErrors> {
    reload(cells, move |old| {
        let mut new = old.clone();
        new.overrides.insert(key.to_owned(), Overrides::from(config));
        (new, None)
    })
}

/// Reloads the settings that all have, but for what single keys have of their own.
pub(super) fn reload_all(cells: &Keyed<KeyedPart>, config: Config) -> Result<(), ConfigErrors> {
    reload(cells, move |old| (KeyedConfig { default: config.clone(), ..old.clone() }, None))
}

// ===== impl KeyedPart =====

impl KeyedPart {
    #[inline]
    pub(in crate::bulkhead) const fn bulkhead(&self) -> &Arc<Limiter> {
        &self.bulkhead
    }

    /// Takes the settings in force. Of two who do so at once with different ones, whoever is later
    /// notices.
    fn keep_up(&self) {
        let Some(key) = self.bulkhead.key() else { return };
        loop {
            let settings = self.common.settings.get();
            let (params, config) = settings.of(key);
            self.bulkhead.reload(params, config);
            if Arc::ptr_eq(&settings, &self.common.settings.get()) {
                return;
            }
        }
    }
}

impl fmt::Debug for KeyedPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bulkhead.fmt(f)
    }
}

impl Member for KeyedPart {
    type Common = Common;
    type Meter = BulkheadMeter;

    fn reporter(common: &Common) -> &Reporter<BulkheadMeter> {
        &common.reporter
    }

    fn key(&self) -> Option<&Arc<str>> {
        self.bulkhead.key()
    }

    fn is_watched(&self) -> bool {
        Arc::strong_count(&self.bulkhead) > 1
    }

    /// Who is inside or waits holds the cell, so that this is known already.
    fn at_rest(&self) -> Option<Stamp> {
        (self.bulkhead.occupancy() == Occupancy::default()).then(|| self.stamp())
    }

    fn stamp(&self) -> Stamp {
        Some(self.bulkhead.occupancy().pack())
    }

    /// Whoever turned all of them since it was made did not find it.
    fn settle_in(&self) {
        self.keep_up();
    }

    fn wake_all(&self) {
        self.bulkhead.wake_line();
    }
}
