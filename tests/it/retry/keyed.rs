//! A budget for each key, and a bound on all of them.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};

use seawall::retry::{
    Backoff, Budget, BudgetByKey, BudgetConfig, Cloned, KeyedBudget, OnRejection, RetryLayer,
    StopReason,
};
use seawall::{Classifier, Error, Event};
use tokio::time::advance;
use tower::{Layer, ServiceExt, service_fn};

use crate::scene::{Calls, Fail, broken, fields, ms};

type Key = fn(&String) -> Cow<'_, str>;
type Tenants = RetryLayer<
    Classifier,
    seawall::retry::Chosen<Cloned>,
    seawall::propagate::NoPropagation,
    BudgetByKey<Key>,
>;

const KEY: Key = |tenant| Cow::from(tenant);

fn budgets(cap: f64, most: usize) -> KeyedBudget {
    let builder = Budget::builder().cap(cap).per_success(0.5).per_second(0.0);
    builder.keyed("tenants").max_keys(most).build().unwrap()
}

fn retry(budgets: &KeyedBudget) -> Tenants {
    let builder = RetryLayer::builder("x").attempts(3).backoff(Backoff::none());
    builder.keyed_budget(budgets.clone(), KEY).cloned().build().unwrap()
}

/// How many attempts a call makes of this tenant, whose dependency is down.
async fn attempts(retry: &Tenants, tenant: &str) -> usize {
    let calls = Calls::default();
    let seen = calls.clone();
    let down = service_fn(move |_: String| {
        seen.note();
        async { Err::<(), Fail>(Error::Inner(broken("no"))) }
    });
    retry.layer(down).oneshot(tenant.to_owned()).await.unwrap_err();
    calls.count()
}

async fn succeed(retry: &Tenants, tenant: &str) {
    retry.run(tenant, || async { Ok::<(), Fail>(()) }).await.unwrap();
}

fn balance(budgets: &KeyedBudget, tenant: &str) -> Option<f64> {
    budgets.key(tenant).map(|budget| budget.balance())
}

// keys: one tenant's failures must not use up the retries of others
#[tokio::test(start_paused = true)]
async fn each_key_has_a_budget_of_its_own() {
    let budgets = budgets(5.0, 100);
    let retry = retry(&budgets);
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(attempts(&retry, "a").await);
    }
    assert_eq!(made, [3, 3, 2, 1, 1], "five retries, and no more");
    assert_eq!((balance(&budgets, "a"), balance(&budgets, "b")), (Some(0.0), None));
    assert_eq!(attempts(&retry, "b").await, 3, "whatever became of the other");
    assert_eq!((balance(&budgets, "a"), balance(&budgets, "b")), (Some(0.0), Some(3.0)));
    // What succeeds pays in for its own key.
    for _ in 0..2 {
        succeed(&retry, "a").await;
    }
    assert_eq!((balance(&budgets, "a"), balance(&budgets, "b")), (Some(1.0), Some(3.0)));
    assert_eq!(attempts(&retry, "a").await, 2);
    let mut keys = budgets.keys();
    keys.sort();
    assert_eq!((keys, budgets.len()), (vec!["a".into(), "b".into()], 2));
    assert!(retry.handle().budget().is_none(), "the layer has none of its own");
}

#[tokio::test(start_paused = true)]
async fn layers_share_the_budgets_each_by_a_key_of_its_own_requests() {
    let budgets = budgets(3.0, 100);
    let reads = retry(&budgets);
    let writes = RetryLayer::builder("writes").backoff(Backoff::none());
    let writes = writes.keyed_budget(budgets.clone(), |it: &(&'static str, u32)| it.0.into());
    let writes = writes.cloned().build().unwrap();
    assert_eq!(attempts(&reads, "a").await, 3);
    let down = service_fn(|_| async { Err::<(), Fail>(Error::Inner(broken("no"))) });
    writes.layer(down).oneshot(("a", 7)).await.unwrap_err();
    assert_eq!(balance(&budgets, "a"), Some(0.0));
    assert_eq!(attempts(&reads, "a").await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_helps_or_never_begins_gets_its_price_back_where_it_came_from() {
    let budgets = budgets(4.0, 100);
    let retry = RetryLayer::builder("x").attempts(3).backoff(Backoff::fixed(ms(10)));
    let retry = retry.keyed_budget(budgets.clone(), KEY).cloned().build().unwrap();
    let flaky = |count: &mut u32| {
        *count += 1;
        if *count == 1 { Err::<(), Fail>(Error::Inner(broken("no"))) } else { Ok(()) }
    };
    let mut count = 0;
    retry.run_with("a", &mut count, async |count| flaky(count)).await.unwrap();
    assert_eq!((count, balance(&budgets, "a")), (2, Some(4.0)));

    let mut call =
        Box::pin(retry.run("a", || async { Err::<(), Fail>(Error::Inner(broken("no"))) }));
    assert!(crate::scene::poll_once(&mut call).is_pending());
    assert_eq!(balance(&budgets, "a"), Some(3.0));
    drop(call); // it waits for a retry that does not come
    assert_eq!(balance(&budgets, "a"), Some(4.0));
}

#[tokio::test(start_paused = true)]
async fn events_tell_whose_call_it_was() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let log = heard.clone();
    let retry = RetryLayer::builder("x").attempts(2).backoff(Backoff::none());
    let retry = retry.on_rejection(OnRejection::Stop).keyed_budget(budgets(1.0, 10), KEY);
    let retry = retry.observe(move |event: &Event| {
        log.lock().unwrap().push((event.key.as_deref().map(str::to_owned), event.kind));
    });
    let retry = retry.cloned().build().unwrap();
    for expected in [2, 1] {
        assert_eq!(attempts(&retry, "a").await, expected);
    }
    let heard = heard.lock().unwrap();
    assert!(heard.iter().all(|(key, _)| key.as_deref() == Some("a")), "{heard:?}");
    let stops = heard.iter().filter_map(|(_, kind)| StopReason::of(kind));
    assert_eq!(stops.collect::<Vec<_>>(), [StopReason::Exhausted, StopReason::Budget]);
}

// pitfall B24
#[tokio::test(start_paused = true)]
async fn many_keys_stay_at_the_cap() {
    let budgets = budgets(5.0, 100);
    let retry = retry(&budgets);
    for nth in 0..10_000 {
        succeed(&retry, &nth.to_string()).await;
        assert!(budgets.len() <= 100);
        assert!(budgets.key(&nth.to_string()).is_some(), "a full budget makes room");
    }
    assert_eq!((budgets.len(), budgets.keys().len()), (100, 100));
}

// pitfall B24: a budget that was drawn on must not come back full
#[tokio::test(start_paused = true)]
async fn a_budget_that_is_not_full_is_not_forgotten_and_those_without_a_place_share_one() {
    for most in [1, 2, 40] {
        let budgets = budgets(3.0, most);
        let retry = retry(&budgets);
        for nth in 0..most {
            assert_eq!(attempts(&retry, &nth.to_string()).await, 3);
        }
        let mut made = Vec::new();
        for nth in 0..4 {
            made.push(attempts(&retry, &format!("other {nth}")).await);
        }
        assert_eq!(made, [3, 2, 1, 1], "they have one budget together");
        for nth in 0..most {
            assert_eq!(balance(&budgets, &nth.to_string()), Some(1.0));
        }
        assert_eq!(budgets.len(), most);
    }
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_has_filled_by_itself_makes_room() {
    let budgets = Budget::builder().cap(3.0).per_second(1.0).keyed("x").max_keys(1);
    let budgets = budgets.build().unwrap();
    let retry = retry(&budgets);
    attempts(&retry, "a").await;
    succeed(&retry, "b").await;
    assert_eq!(budgets.keys(), ["a".into()]);
    advance(ms(2_000)).await;
    succeed(&retry, "b").await;
    assert_eq!(budgets.keys(), ["b".into()]);
}

#[tokio::test(start_paused = true)]
async fn a_budget_in_use_or_in_somebodys_hands_is_not_forgotten() {
    let budgets = budgets(3.0, 1);
    let retry = retry(&budgets);
    succeed(&retry, "held").await;
    let held = budgets.key("held").unwrap();
    succeed(&retry, "other").await;
    assert_eq!(budgets.keys(), ["held".into()]);
    // Turned by itself it is not what a new one would be.
    held.reload(BudgetConfig { cap: 2.0, ..held.config() }).unwrap();
    drop(held);
    succeed(&retry, "other").await;
    assert_eq!(budgets.keys(), ["held".into()]);
    budgets.reload(budgets.config()).unwrap();
    succeed(&retry, "held").await;
    succeed(&retry, "held").await;
    let call = retry.run("held", std::future::pending::<Result<(), Fail>>);
    succeed(&retry, "other").await;
    assert_eq!(budgets.keys(), ["held".into()]);
    drop(call);
    succeed(&retry, "other").await;
    assert_eq!(budgets.keys(), ["other".into()]);
}

// pitfall B26
#[tokio::test(start_paused = true)]
async fn a_reload_turns_all_keys_and_those_to_come() {
    let budgets = budgets(5.0, 100);
    let retry = retry(&budgets);
    attempts(&retry, "a").await;
    succeed(&retry, "b").await;
    let config = BudgetConfig { cap: 2.0, ..budgets.config() };
    budgets.reload(config).unwrap();
    succeed(&retry, "c").await;
    let all = ["a", "b", "c"].map(|tenant| balance(&budgets, tenant));
    assert_eq!(all, [Some(2.0); 3], "what is above the new cap is cut off");
    assert_eq!(budgets.key("c").unwrap().config(), config);
    assert_eq!(fields(budgets.reload(BudgetConfig { cap: -1.0, ..config })), ["cap"]);
    assert_eq!((budgets.config(), budgets.key("a").unwrap().config()), (config, config));
}

#[test]
fn what_is_wrong_is_said_all_at_once() {
    let wrong = Budget::builder().cap(-1.0).keyed("x").max_keys(0).build();
    assert_eq!(fields(wrong.map(drop)), ["cap", "max_keys"]);
    let built = Budget::builder().keyed("x").build().unwrap();
    assert!(built.is_empty() && format!("{built:?}").contains("retry `x`"), "{built:?}");
    // A budget for each key bounds attempts without end as one for all does.
    let endless =
        || RetryLayer::builder("x").unlimited_attempts().max_elapsed(std::time::Duration::MAX);
    assert!(endless().keyed_budget(built, KEY).build().is_ok());
    assert_eq!(fields(endless().no_budget().build().map(drop)), ["max_elapsed"]);
}
