//! The table of keys, where the service cannot lead it.

use std::sync::Arc;

use crate::circuit_breaker::engine::common::Common;
use crate::circuit_breaker::layer::LAYER;
use crate::circuit_breaker::outage::Listeners;
use crate::circuit_breaker::params::Params;
use crate::circuit_breaker::policy::BreakerPolicy;
use crate::core::origin::Origin;
use crate::shell::keyed::{Keyed, Settings};

fn table() -> Keyed<BreakerPolicy<()>> {
    let observers = Listeners::default();
    let settings = Settings::of_defaults(Arc::new(Params::of_defaults()));
    let common = Common::new(Origin::new(LAYER, "test"), observers, settings, 1);
    let shared = Arc::clone(&common);
    let make = move |key| BreakerPolicy::new(Arc::clone(&shared), (), Some(key));
    Keyed::new(common, 10, make)
}

/// Cells are found by the hash of their key, and two keys may have the same.
#[test]
fn a_key_is_never_taken_for_another_with_its_hash() {
    const HASH: u64 = 7;
    let keyed = table();
    let one = keyed.enter_as("one", HASH);
    let other = keyed.enter_as("other", HASH);
    let again = keyed.enter_as("one", HASH);
    let overflow = keyed.enter(&"long".repeat(100));
    assert!(Arc::ptr_eq(&one, &again) && !Arc::ptr_eq(&one, &other));
    assert!(Arc::ptr_eq(&other, &overflow), "who has no place shares the overflow");
    assert_eq!((keyed.len(), keyed.keys()), (1, vec!["one".into()]));
}
