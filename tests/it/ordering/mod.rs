//! Every three of the five layers, in every order, over one script of faults, against the rules and the tables of
//! `docs/guide/ordering.md` (pitfall B28).

mod rules;
mod world;

use std::collections::BTreeMap;
use std::future::pending;
use std::time::Duration;

use seawall::bulkhead::BulkheadLayer;
use seawall::circuit_breaker::CircuitBreakerLayer;
use seawall::propagate::{FromWithContext, WithContext};
use seawall::retry::{Backoff, RetryLayer};
use seawall::timeout::TimeoutLayer;
use seawall::{Deadline, Error, Reason};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

use self::rules::Expected;
use self::world::{Act, Answer, Counts, Down, Kind, LIMIT, MS, Order, Seen, read, run};
use crate::exposition::{Exposition, recorder};

const DOC: &str = include_str!("../../../docs/guide/ordering.md");

// pitfalls B28, B29
#[tokio::test(start_paused = true)]
async fn every_three_layers_in_every_order_do_what_the_rules_say() {
    let orders = Order::covering();
    assert!((6..=12).contains(&orders.len()), "{orders:?}"); // of 120
    for order in orders {
        for (act, seen) in run(order).await {
            assert_eq!(seen, Expected::of(order, act), "{act:?} in {:?}", order.0);
        }
    }
}

// ===== the tables of the guide =====

/// A row of a table in the guide, from what was seen in every order of that kind.
fn row(
    runs: &[(Order, BTreeMap<Act, Seen>)],
    act: Act,
    pair: [Kind; 2],
    tell: fn(&Seen) -> String,
) {
    let [outer, inner] = pair;
    let of_kind = runs.iter().filter(|(order, _)| order.outside(outer, inner));
    let mut told: Vec<_> = of_kind.map(|(_, acts)| tell(&acts[&act])).collect();
    told.dedup();
    let [told] = &told[..] else { panic!("{pair:?} does not decide {act:?}: {told:?}") };
    let row = format!("| `{}` → `{}` | {told} |", outer.label(), inner.label());
    assert!(DOC.contains(&row), "docs/guide/ordering.md has no row\n{row}");
}

fn breaker(seen: &Seen) -> Counts {
    seen.counts[&Kind::Breaker]
}

#[tokio::test(start_paused = true)]
async fn the_tables_of_the_guide_are_what_happens() {
    let mut runs = Vec::new();
    for order in Order::covering() {
        runs.push((order, run(order).await));
    }
    let both = |act, outer, inner, tell: fn(&Seen) -> String| {
        row(&runs, act, [outer, inner], tell);
        row(&runs, act, [inner, outer], tell);
    };
    both(Act::Flaky, Kind::Retry, Kind::Breaker, |seen| {
        let Counts { good, bad, .. } = breaker(seen);
        format!(
            "{good} successes, {bad} failures | {} % | {}",
            bad * 100 / (good + bad),
            seen.inner_calls
        )
    });
    both(Act::Outage, Kind::Retry, Kind::Breaker, |seen| {
        format!("{} | {}", seen.inner_calls, seen.answers.len() - 1)
    });
    both(Act::Hang, Kind::Retry, Kind::Timeout, |seen| {
        let answer = if seen.answers == [Answer::Success] { "answered" } else { "timed out" };
        format!("{answer} | {}", seen.inner_calls)
    });
    both(Act::Queue, Kind::Bulkhead, Kind::Timeout, |seen| {
        format!("{}", seen.counts[&Kind::Timeout].rejected)
    });
    both(Act::Flaky, Kind::Bulkhead, Kind::Retry, |seen| {
        (if seen.place_held { "yes" } else { "no" }).to_owned()
    });
    both(Act::Down, Kind::Breaker, Kind::Health, |seen| {
        let Counts { good, bad, silent, .. } = breaker(seen);
        format!("{good} successes, {bad} failures, {silent} ignored | {}", seen.inner_calls)
    });
    // What the breaker makes of a hanging call also depends on whether a retry inside it hides it.
    runs.retain(|(order, _)| order.outside(Kind::Retry, Kind::Breaker));
    let both = |act, outer, inner, tell: fn(&Seen) -> String| {
        row(&runs, act, [outer, inner], tell);
        row(&runs, act, [inner, outer], tell);
    };
    both(Act::Hang, Kind::Breaker, Kind::Timeout, |seen| {
        let Counts { bad, abandoned, .. } = breaker(seen);
        format!("{bad} failures, {abandoned} abandoned")
    });
}

// ===== the recommended order =====

#[tokio::test(start_paused = true)]
async fn in_the_recommended_order_the_deadline_of_the_caller_bounds_everything() {
    let recorder = recorder();
    let _recording = metrics::set_default_local_recorder(&recorder);
    let max_elapsed = TimeoutLayer::builder("max_elapsed")
        .limit(Duration::from_secs(30))
        .propagate(FromWithContext);
    let retry = RetryLayer::builder("x").attempts(10).backoff(Backoff::fixed(10 * MS));
    let bulkhead = BulkheadLayer::builder("x").propagate(FromWithContext);
    let timeout = TimeoutLayer::builder("x").limit(LIMIT).propagate(FromWithContext);
    let mut stack = ServiceBuilder::new()
        .layer(max_elapsed.build().unwrap())
        .layer(retry.propagate(FromWithContext).cloned().build().unwrap())
        .layer(CircuitBreakerLayer::new("x"))
        .layer(bulkhead.build().unwrap())
        .layer(timeout.build().unwrap())
        .map_err(Error::Inner)
        .service(service_fn(|_: WithContext<()>| pending::<Result<(), Down>>()));

    let (deadline, later) = (Deadline::after(250 * MS), Deadline::after(251 * MS));
    let call = WithContext::new((), deadline);
    let ended = Answer::of(stack.ready().await.unwrap().call(call).await);
    assert_eq!(ended, Answer::Ended(Reason::DeadlineExceeded));
    assert!(deadline.is_past() && !later.is_past());
    // Two attempts ran out of their own time; the third had less, which is not the dependency's
    // fault.
    let shown = Exposition::of(&recorder);
    let Counts { good, bad, silent, abandoned, rejected } = read(&shown, Kind::Breaker);
    assert_eq!((good, bad, silent, abandoned, rejected), (0, 2, 1, 0, 0));
    assert_eq!(shown.sum("seawall_retry_attempts_total", &[]), 3.0);
}
