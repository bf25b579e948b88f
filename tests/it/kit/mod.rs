//! The kit can fail: for each of its checks there is a layer that breaks it. And what keeps the
//! contract passes, whoever wrote it.

mod bent;
mod tokens;

use std::future::{pending, poll_fn};
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use seawall::testing::{Broken, Check, Contract, NeverEnds, Scenario, Steps, drop_at_every_poll};
use tower::buffer::BufferLayer;
use tower::layer::layer_fn;
use tower::limit::{ConcurrencyLimitLayer, RateLimitLayer};
use tower::load_shed::LoadShedLayer;
use tower::timeout::TimeoutLayer;
use tower::util::BoxService;
use tower::{Service, ServiceBuilder, service_fn};

use bent::{Bent, Inner};
use tokens::Tokens;

const HOUR: Duration = Duration::from_secs(3600);

fn echo() -> Scenario<u32, u32, Broken> {
    Scenario::echo(|| Broken)
}

#[tokio::test(start_paused = true)]
async fn each_check_finds_a_layer_that_breaks_it() {
    let bent = Bent::all();
    for check in Check::CONTRACT.iter().chain(Check::BEYOND) {
        assert!(bent.iter().any(|(breaks, _)| breaks == check), "nothing breaks {check:?}");
    }
    for (check, bent) in bent {
        let make = move || bent.anew();
        let contract = Contract::new(echo(), make)
            .with(Check::BEYOND.iter().copied())
            .in_flight(|bent| bent.count.load(Ordering::SeqCst) / 100); // leaks show in the room
        let found = contract.check().await.unwrap_err();
        let what = found.of(check).unwrap_or_else(|| panic!("{check:?} was not found: {found}"));
        assert!(what.what.len() > 20, "{what}");
    }
}

// field: the kit. A permit that a panic takes along shows in the room, without any count of the layer's
// own, and so it does where it was taken: in poll_ready, in the call, in the drop.
#[tokio::test(start_paused = true)]
async fn a_permit_that_is_lost_is_found_without_a_count() {
    for (check, bent) in Bent::all() {
        if ![Check::NothingIsLeftByAPanic, Check::NothingIsLeftByAFailure].contains(&check) {
            continue;
        }
        let contract = Contract::new(echo(), move || bent.anew());
        let contract = contract.with([Check::NothingIsLeftByAFailure]);
        let found = contract.check().await.unwrap_err();
        let found = &found.of(check).unwrap_or_else(|| panic!("{check:?}: {found}")).what;
        assert!(found.contains("there is room for 99 calls, there was for 100"), "{found}");
    }
}

// field: the kit
#[tokio::test(start_paused = true)]
async fn who_calls_an_unready_instance_is_told_how_it_came_about() {
    let tells = async |call, how: &str| {
        let make = move || Bent { call, ..Bent::straight() };
        let found = Contract::new(echo(), make).check().await.unwrap_err();
        let told = &found.of(Check::OnlyReadyIsCalled).unwrap_or_else(|| panic!("{found}")).what;
        assert!(told.contains(how), "{told}");
        assert!(!told.contains("seen in"), "by its own check: {told}");
    };
    tells(|s, n| Box::pin(s.inner.clone().call(n)), "a clone was called in the place of").await;
    let twice = |s: &mut bent::BentService, n| -> bent::Answer {
        drop(s.inner.call(n));
        Box::pin(s.inner.call(n))
    };
    tells(twice, "called twice after it was polled ready once").await;
    // A layer that is called unready is not to blame for what it makes of that.
    let found = Contract::new(echo(), Bent::straight).with([Check::DrivesReadiness]).check().await;
    let found = found.unwrap_err();
    assert_eq!(found.iter().map(|found| found.check).collect::<Vec<_>>(), [Check::DrivesReadiness]);
    assert!(found.to_string().contains("called without being polled ready"), "{found}");
}

// field: the kit. What a call spends is no leak.
#[tokio::test(start_paused = true)]
async fn a_layer_that_spends_has_a_word_for_it() {
    let second = Duration::from_secs(1);
    for (calls, per) in [(1, second), (5, second), (3, 60 * second)] {
        let limit = move || RateLimitLayer::new(calls, per);
        Contract::new(echo(), limit).spends(per).check_uncloned().await.unwrap();
        let buffered = move || {
            let stack = ServiceBuilder::new().layer(BufferLayer::<u32>::new(9));
            stack.layer(RateLimitLayer::new(calls, per)).into_inner()
        };
        let contract = Contract::new(echo(), buffered).spends(per);
        contract.check().await.unwrap();
    }
    // One that rejects, with one token a second.
    Contract::new(echo(), Tokens::default).spends(second).check().await.unwrap();
    // And the word hides no leak.
    let (check, bent) =
        Bent::all().into_iter().rfind(|(c, _)| *c == Check::NothingIsLeftByAPanic).unwrap();
    let found =
        Contract::new(echo(), move || bent.anew()).spends(second).check().await.unwrap_err();
    assert!(found.of(check).is_some(), "{found}");
}

// field: the kit. No hook is called for what is scripted, so nothing is printed.
#[test]
fn a_scripted_panic_is_caught_and_not_printed() {
    const HOOKED: &str = "SEAWALL_KIT_PANICS";
    if std::env::var_os(HOOKED).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_time().start_paused(true).build().unwrap();
        let stack = || BufferLayer::<u32>::new(5);
        runtime.block_on(Contract::new(echo(), stack).check()).unwrap();
        return;
    }
    // A process of its own, for a hook and its screen are shared by all tests.
    let this = "kit::a_scripted_panic_is_caught_and_not_printed";
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    let output = again.args([this, "--exact", "--nocapture"]).env(HOOKED, "1").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
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
        [Check::DrivesReadiness, Check::LetsGoAtOnce]
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
        let make = move || bent.anew();
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
    assert_eq!(never.await, Err(NeverEnds::NeverWoken(1)));
    let busy = drop_at_every_poll(async || (), |()| poll_fn(spins::<()>), async |(), _| ());
    assert_eq!(busy.await, Err(NeverEnds::Polls(1000)));
}
