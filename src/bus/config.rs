//! The settings of a bus.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::service::Bus;
use crate::core::config::{ConfigError, ConfigErrors};
use crate::core::origin::Origin;

/// Default of [`Builder::capacity`].
const CAPACITY: usize = 1024;
const MOST_CAPACITY: usize = 1 << 20;

/// Builds a [`Bus`].
#[must_use = "nothing is made before `build()`"]
pub struct Builder<E> {
    name: Arc<str>,
    capacity: usize,
    events: PhantomData<fn() -> E>,
}

impl<E> Builder<E> {
    pub(super) fn new(name: Arc<str>) -> Self {
        Self { name, capacity: CAPACITY, events: PhantomData }
    }

    /// How many events are kept for subscribers that have not read them yet, 1 to 1,048,576: exactly so many.
    pub const fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity;
        self
    }

    /// Builds it.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings.
    ///
    /// ```
    /// use seawall::bus::{Builder, Bus};
    ///
    /// let builder: Builder<u32> = Bus::builder("orders").capacity(0);
    /// let wrong = builder.build().unwrap_err();
    /// assert_eq!(wrong.to_string(), "invalid configuration of bus `orders`: capacity = 0: 1 to 1048576");
    /// ```
    pub fn build(self) -> Result<Bus<E>, ConfigErrors> {
        let mut problems = Vec::new();
        if !(1..=MOST_CAPACITY).contains(&self.capacity) {
            let accepted = format!("1 to {MOST_CAPACITY}");
            problems.push(ConfigError::new("capacity", self.capacity, accepted));
        }
        let origin = Origin::new("bus", self.name);
        ConfigErrors::none_of(problems).map_err(|errors| errors.of_policy(&origin))?;
        Ok(Bus::new(origin, self.capacity))
    }
}

impl<E> fmt::Debug for Builder<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}
