//! The kit can fail: for each of its checks there is a layer that breaks it. And what keeps the
//! contract passes, whoever wrote it.

mod bent;

use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use seawall::testing::{Broken, Check, Contract, Endless, Exchange, Steps, drop_at_every_poll};
use tower::buffer::BufferLayer;
use tower::layer::layer_fn;
use tower::limit::ConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;
use tower::timeout::TimeoutLayer;
use tower::util::BoxService;
use tower::{ServiceBuilder, service_fn};

use bent::{Bent, Inner};

const HOUR: Duration = Duration::from_secs(3600);

fn echo() -> Exchange<u32, u32, Broken> {
    Exchange::echo(|| Broken)
}

#[tokio::test(start_paused = true)]
async fn each_check_finds_a_layer_that_breaks_it() {
    let bent = Bent::all();
    for check in Check::CONTRACT.iter().chain(Check::BEYOND) {
        assert!(bent.iter().any(|(breaks, _)| breaks == check), "nothing breaks {check:?}");
    }
    for (check, bent) in bent {
        let make = move || Bent { count: Arc::default(), ..bent.clone() };
        let contract = Contract::new(echo(), make)
            .with(Check::BEYOND.iter().copied())
            .in_flight(|bent| bent.count.load(Ordering::SeqCst) / 100); // leaks show in the room
        let contract = match check {
            Check::NothingIsLeftByAPanic => {
                contract.in_flight(|bent| bent.count.load(Ordering::SeqCst))
            }
            _ => contract,
        };
        let found = contract.check().await.unwrap_err();
        let what = found.of(check).unwrap_or_else(|| panic!("{check:?} was not found: {found}"));
        assert!(!what.what.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_passes_everything_on_keeps_the_contract() {
    Contract::new(echo(), Bent::straight).check().await.unwrap();
    let found = Contract::new(echo(), Bent::straight)
        .with(Check::BEYOND.iter().copied())
        .check()
        .await
        .unwrap_err();
    assert_eq!(found.iter().map(|found| found.check).collect::<Vec<_>>(), {
        [Check::DrivesReadiness, Check::OnlyReadyIsCalled, Check::LetsGoAtOnce]
    });
}

#[tokio::test(start_paused = true)]
async fn the_layers_of_tower_keep_the_contract() {
    Contract::new(echo(), || ConcurrencyLimitLayer::new(5)).check().await.unwrap();
    Contract::new(echo(), || TimeoutLayer::new(HOUR)).check().await.unwrap();
    Contract::new(echo(), || BufferLayer::<u32>::new(5)).check().await.unwrap();
    Contract::new(echo(), LoadShedLayer::new).check().await.unwrap();
    let stack = || {
        ServiceBuilder::new()
            .layer(BufferLayer::<u32>::new(5))
            .layer(ConcurrencyLimitLayer::new(5))
            .layer(TimeoutLayer::new(HOUR))
            .into_inner()
    };
    Contract::new(echo(), stack).check().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_service_without_clone_can_be_checked() {
    let boxed = || layer_fn(|inner: Inner| BoxService::new(inner));
    Contract::new(echo(), boxed).check_uncloned().await.unwrap();
    for check in [Check::WokenWhenReady, Check::NothingIsLeftByADrop] {
        let (_, bent) = Bent::all().into_iter().find(|(breaks, _)| *breaks == check).unwrap();
        let make = move || Bent { count: Arc::default(), ..bent.clone() };
        let found = Contract::new(echo(), make).check_uncloned().await.unwrap_err();
        assert!(found.of(check).is_some(), "{found}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_ends_is_found_be_it_asleep_or_busy() {
    let asleep = || Bent { call: |_, _| Box::pin(pending()), ..Bent::straight() };
    let busy = || Bent { call: |_, _| Box::pin(poll_fn(spins)), ..Bent::straight() };
    let asleep = Contract::new(echo(), asleep).patience(HOUR).check().await.unwrap_err();
    let busy = Contract::new(echo(), busy).check().await.unwrap_err();
    for (found, how) in [(asleep, "a call hangs"), (busy, "a call spins")] {
        let found = found.of(Check::AnswersArePassedOn).map(|found| &*found.what);
        assert_eq!(found, Some(how));
    }
}

fn spins<T>(cx: &mut Context<'_>) -> Poll<T> {
    cx.waker().wake_by_ref();
    Poll::Pending
}

#[tokio::test(start_paused = true)]
async fn a_finding_can_be_expected_or_left_out() {
    let twice = || ServiceBuilder::new().layer_fn(|inner: Inner| inner).into_inner();
    let (_, bent) = Bent::all().into_iter().find(|(c, _)| *c == Check::OneCallEach).unwrap();
    Contract::new(echo(), twice).check().await.unwrap();
    let make = move || bent.clone();
    let found = Contract::new(echo(), make.clone()).check().await.unwrap_err();
    assert_eq!(found.to_string().lines().next(), Some("the contract is broken:"));
    Contract::new(echo(), make).without(Check::OneCallEach).check().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_future_is_dropped_after_every_poll_and_each_world_is_new() {
    let mut seen = Vec::new();
    let polls = drop_at_every_poll(
        async || {
            service_fn(|n: u32| async move {
                tokio::task::yield_now().await;
                Ok::<_, Broken>(n)
            })
        },
        |service| Steps::new(*service, 7).lets_go(),
        async |_, dropped| seen.push((dropped.polls, dropped.over)),
    );
    assert_eq!(polls.await, Ok(4));
    assert_eq!(seen, [(0, false), (1, false), (2, false), (3, false), (4, true)]);
}

#[tokio::test(start_paused = true)]
async fn a_future_that_never_ends_is_told_from_one_that_is_never_woken() {
    let never = drop_at_every_poll(async || (), |()| pending::<()>(), async |(), _| ());
    assert_eq!(never.await, Err(Endless::NeverWoken(1)));
    let busy = drop_at_every_poll(async || (), |()| poll_fn(spins::<()>), async |(), _| ());
    assert_eq!(busy.await, Err(Endless::Polls(1000)));
}
