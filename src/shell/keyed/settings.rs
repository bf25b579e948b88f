//! The settings in force of a policy that may be keyed, read and replaced as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::core::config::{ConfigErrors, KeyedConfig, KeyedParams, PerKey, Written};
use crate::core::origin::Origin;
use crate::shell::live::Live;

/// What is in force: made ready for each key, and as its user wrote it.
pub(crate) struct InForce<C: PerKey> {
    version: u64,
    params: KeyedParams<C::Params>,
    pub(crate) written: KeyedConfig<C>,
}

/// The settings of a policy, or of one for each key.
pub(crate) struct Settings<C: PerKey>(Live<InForce<C>>);

/// New settings, and as what their default is known in an error.
pub(crate) type Changed<C> = (KeyedConfig<C>, Option<&'static str>);

impl<C: PerKey> InForce<C> {
    fn new(
        version: u64,
        config: KeyedConfig<C>,
        written: &Written,
        within: Option<&'static str>,
    ) -> Result<Self, ConfigErrors> {
        Ok(Self { version, params: config.params(written, within)?, written: config })
    }

    /// How many there were before these.
    pub(crate) const fn version(&self) -> u64 {
        self.version
    }

    /// What governs the policy of this key.
    pub(crate) fn params(&self, key: Option<&str>) -> &C::Params {
        self.params.of(key)
    }

    /// Those of all keys, and those of each that has its own.
    pub(crate) fn all_params(&self) -> impl Iterator<Item = &C::Params> {
        std::iter::once(&self.params.default).chain(self.params.own.values())
    }

    pub(crate) fn config(&self, key: Option<&str>) -> C {
        match key {
            Some(key) => self.written.of(key),
            None => self.written.default.clone(),
        }
    }
}

impl<C: PerKey> Settings<C> {
    /// Those that a builder was given, which knows what was `written`.
    pub(crate) fn new(
        config: KeyedConfig<C>,
        written: &Written,
        origin: &Origin,
    ) -> Result<Self, ConfigErrors> {
        let in_force = InForce::new(0, config, written, None);
        Ok(Self(Live::new(in_force.map_err(|wrong| wrong.of_policy(origin))?)))
    }

    /// The defaults, which are right, made ready as these.
    pub(crate) fn of_defaults(params: C::Params) -> Self {
        let params = KeyedParams { default: params, own: BTreeMap::new() };
        Self(Live::new(InForce { version: 0, params, written: KeyedConfig::default() }))
    }

    pub(crate) fn get(&self) -> Arc<InForce<C>> {
        self.0.get()
    }

    /// Replaces them by what `change` makes of those in force. Of two who do so at once neither loses
    /// what the other wrote.
    pub(crate) fn reload(
        &self,
        origin: &Origin,
        change: impl Fn(&KeyedConfig<C>) -> Changed<C>,
    ) -> Result<(), ConfigErrors> {
        loop {
            let old = self.get();
            let (config, within) = change(&old.written);
            let new = InForce::new(old.version + 1, config, &Written::default(), within);
            if self.0.replace(&old, new.map_err(|wrong| wrong.of_policy(origin))?) {
                return Ok(());
            }
        }
    }

    /// Replaces those of one key, or of all if there is none, but for what single keys have of their own.
    pub(crate) fn reload_one(
        &self,
        origin: &Origin,
        key: Option<&str>,
        config: &C,
    ) -> Result<(), ConfigErrors> {
        self.reload(origin, |old| match key {
            Some(key) => (old.with_own(key, config), None),
            None => (KeyedConfig { default: config.clone(), ..old.clone() }, None),
        })
    }

    /// Brings those in force to a policy. Of two who do so at once with different ones, whoever is later
    /// notices.
    pub(crate) fn bring(&self, to: impl Fn(&InForce<C>)) {
        loop {
            let latest = self.get();
            to(&latest);
            if Arc::ptr_eq(&latest, &self.get()) {
                return;
            }
        }
    }
}
