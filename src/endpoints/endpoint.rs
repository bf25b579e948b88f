//! One of the addresses of a service.

use std::sync::Arc;

use crate::shell::set::Named;

/// One of the addresses of a service: a name, an address, how much of the calls it is to have, and where it is.
///
/// The name is what events say, and what an endpoint is known by when the list changes. With the same name and
/// another address, it is another one.
///
/// ```
/// use seawall::endpoints::Endpoint;
///
/// let plain = Endpoint::new("10.0.0.7:443"); // its address is its name
/// let large = Endpoint::named("orders-3", "10.0.0.8:443").weight(4).zone("eu-1a");
/// assert_eq!((plain.name(), plain.address()), ("10.0.0.7:443", "10.0.0.7:443"));
/// assert_eq!((large.name(), large.get_weight(), large.get_zone()), ("orders-3", 4, Some("eu-1a")));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    name: Arc<str>,
    address: Arc<str>,
    weight: u32,
    zone: Option<Arc<str>>,
}

impl Endpoint {
    /// An endpoint that is known by its address, and weighs 1.
    pub fn new(address: impl Into<Arc<str>>) -> Self {
        let address = address.into();
        Self { name: Arc::clone(&address), address, weight: 1, zone: None }
    }

    /// An endpoint with a name of its own.
    pub fn named(name: impl Into<Arc<str>>, address: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), ..Self::new(address) }
    }

    /// Its share of the calls, against that of the others: 1 to 100.
    #[must_use]
    pub const fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Where it is. Endpoints in the zone of the [client](super::Builder::zone) are preferred.
    #[must_use]
    pub fn zone(mut self, zone: impl Into<Arc<str>>) -> Self {
        self.zone = Some(zone.into());
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// What it weighs.
    pub const fn get_weight(&self) -> u32 {
        self.weight
    }

    /// Where it is.
    pub fn get_zone(&self) -> Option<&str> {
        self.zone.as_deref()
    }
}

impl<A: Into<Arc<str>>> From<A> for Endpoint {
    fn from(address: A) -> Self {
        Self::new(address)
    }
}

impl Named for Endpoint {
    fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn is_like(&self, other: &Self) -> bool {
        self.address == other.address
    }
}
