//! A budget as a configuration.

use std::time::Duration;

use seawall::retry::{Budget, BudgetConfig};

use super::paths;

#[tokio::test(start_paused = true)]
async fn a_live_budget_is_turned_for_all_who_share_it() {
    let budget = Budget::builder().cap(10.0).per_second(0.0).per_success(0.0).build().unwrap();
    let shared = budget.clone();
    assert!(budget.withdraw().is_some());

    // A larger cap fills by and by, a smaller one cuts at once.
    let rich = BudgetConfig { cap: 100.0, price: 4.0, timeout_price: 4.0, ..budget.config() };
    shared.reload(rich).unwrap();
    assert_eq!((budget.balance(), budget.config()), (9.0, rich));
    let price = budget.withdraw().unwrap();
    assert_eq!(shared.balance(), 5.0);
    price.give_back(&budget);
    budget.reload(BudgetConfig { cap: 4.0, per_success: 1.0, ..rich }).unwrap();
    assert_eq!(shared.balance(), 4.0);
    shared.deposit();
    assert_eq!(shared.balance(), 4.0);

    // What comes by itself comes at the new rate.
    assert!(shared.withdraw().is_some());
    budget.reload(BudgetConfig { per_second: 2.0, ..budget.config() }).unwrap();
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(shared.balance(), 2.0);

    // pitfall B26: a bad one changes nothing, and the next good one is taken.
    let before = shared.config();
    let wrong = budget.reload(BudgetConfig { per_success: f64::NAN, ..before }).unwrap_err();
    assert_eq!((paths(&wrong), shared.config()), (vec!["per_success".to_owned()], before));
    budget.reload(BudgetConfig { per_success: 0.5, ..before }).unwrap();
}

#[test]
fn a_price_and_a_cap_that_nobody_wrote_follow_the_other() {
    // A cap below a price of the defaults.
    let least = BudgetConfig { cap: 0.5, per_second: 0.0, ..BudgetConfig::default() };
    let budget = Budget::from_config(least).unwrap();
    assert!(budget.withdraw().is_some());
    assert_eq!((budget.balance(), budget.config()), (0.0, least));
    // Prices above the cap of the defaults.
    let dear = BudgetConfig { price: 60.0, timeout_price: 70.0, ..BudgetConfig::default() };
    assert_eq!(Budget::from_config(dear).unwrap().balance(), 70.0);
    // Both written.
    let both = BudgetConfig { cap: 60.0, price: 61.0, ..BudgetConfig::default() };
    assert_eq!(paths(&both.validate().unwrap_err()), ["price"]);
    let both = Budget::builder().cap(BudgetConfig::default().cap).price(51.0).build().unwrap_err();
    assert_eq!(paths(&both), ["price"]);
    let both = Budget::builder()
        .cap(0.5)
        .price(BudgetConfig::default().price)
        .timeout_price(0.1)
        .build()
        .unwrap_err();
    assert_eq!(paths(&both), ["price"]);
}
