//! Callers who leave before they can have been answered.

use super::kit::*;

use std::time::Duration;

use seawall::circuit_breaker::State;
use tokio::task::JoinSet;
use tokio::time::{advance, sleep, timeout};

const MS: Duration = Duration::from_millis(1);

/// How a dependency answers, and how its callers wait.
#[derive(Debug, Clone, Copy)]
struct Scene {
    /// What an answer takes.
    answers_in: Duration,
    /// When the impatient leave.
    leave_after: Duration,
    /// Which share of callers that is.
    impatient: f64,
    /// Time between two callers.
    every: Duration,
}

impl Default for Scene {
    fn default() -> Self {
        Self { answers_in: 20 * MS, leave_after: 10 * MS, impatient: 0.0, every: MS }
    }
}

/// Sends a caller every so often, for as long as `go_on` says.
async fn traffic(rig: &Rig, scene: Scene, seed: u64, mut go_on: impl FnMut(Duration) -> bool) {
    let (mut rng, mut callers) = (fastrand::Rng::with_seed(seed), JoinSet::new());
    let mut passed = Duration::ZERO;
    while go_on(passed) {
        let patience =
            if rng.f64() < scene.impatient { scene.leave_after } else { 1_000 * scene.answers_in };
        let mut rig = rig.clone();
        callers.spawn(async move {
            let _ = timeout(patience, rig.ask(Ask::After(scene.answers_in, Answer::Success))).await;
        });
        while callers.try_join_next().is_some() {}
        sleep(scene.every).await;
        passed += scene.every;
    }
}

/// After an outage of two seconds: how long until the circuit is closed.
async fn recovers_in(scene: Scene, seed: u64) -> Duration {
    let mut rig = Rig::new(builder().seed(seed));
    let calm = Scene { impatient: 0.0, ..scene };
    traffic(&rig, calm, seed, |passed| passed < 2 * scene.answers_in).await;
    let outage = Duration::from_millis(2_000 + seed % 250);
    let ticks = outage.as_millis() / scene.every.as_millis();
    for _ in 0..ticks {
        let _ = rig.ask(BAD).await;
        sleep(scene.every).await;
    }
    let (handle, mut took) = (rig.handle.clone(), Duration::ZERO);
    traffic(&rig, scene, seed, |passed| {
        took = passed;
        handle.state() != State::Closed && passed < Duration::from_secs(60)
    })
    .await;
    took
}

/// The longest that any of a few seeds needs. What hundreds of them need at every rate is a table of the algorithm
/// alone, in `src/circuit_breaker/tests/impatient.rs`.
async fn longest(scene: Scene) -> Duration {
    let mut longest = Duration::ZERO;
    for seed in 0..6 {
        longest = longest.max(recovers_in(scene, seed).await);
    }
    longest
}

// field F11
#[tokio::test(start_paused = true)]
async fn after_an_outage_it_closes_in_twice_the_time_at_most_however_many_leave() {
    for (answers_in, leave_after) in [(20, 10), (100, 90)] {
        let (answers_in, leave_after) = (answers_in * MS, leave_after * MS);
        let calm = Scene { answers_in, leave_after, ..Scene::default() };
        let alone = longest(calm).await;
        for impatient in [0.7, 0.9] {
            let crowd = longest(Scene { impatient, ..calm }).await;
            assert!(crowd <= 2 * alone, "{crowd:?} instead of {alone:?}: {impatient}, {calm:?}");
        }
    }
}

// field F11
#[tokio::test(start_paused = true)]
async fn leavers_do_not_open_the_circuit_of_a_dependency_that_answers_those_who_stay() {
    for (answers_in, leave_after, every) in [(20, 10, 1), (3, 1, 1), (40, 30, 20), (200, 60, 2)] {
        let scene = Scene {
            answers_in: answers_in * MS,
            leave_after: leave_after * MS,
            every: every * MS,
            ..Scene::default()
        };
        for impatient in [0.7, 0.9] {
            for seed in 0..2 {
                let diary = Diary::default();
                let rig = Rig::new(builder().seed(seed).observe(diary.observer()));
                let scene = Scene { impatient, ..scene };
                traffic(&rig, scene, seed, |passed| passed < Duration::from_secs(2)).await;
                assert!(diary.changes().is_empty(), "{impatient} {scene:?}, seed {seed}");
            }
        }
    }
}

// field F11
#[tokio::test(start_paused = true)]
async fn one_client_that_sends_and_leaves_by_turns_opens_nothing() {
    for seed in 0..20 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut rig = Rig::new(builder().seed(seed));
        for _ in 0..1_000 {
            let patience = if rng.f64() < 0.9 { 10 * MS } else { MS * 1_000 };
            let _ = timeout(patience, rig.ask(Ask::After(20 * MS, Answer::Success))).await;
        }
        assert_eq!(rig.state(), State::Closed, "seed {seed}");
    }
}

// field F11
#[tokio::test(start_paused = true)]
async fn a_dependency_that_hangs_with_64_calls_at_a_time_is_found_out_in_a_few_waves() {
    for answered_before in [0, 1, 1_000] {
        for patience in [100, 1_000, 30_000] {
            // Of one that never answered yet it is not known how long it may take: the silence has to last.
            let most = if answered_before == 0 && patience < 1_000 { 4 } else { 2 };
            let mut rig = Rig::new(builder());
            for _ in 0..answered_before {
                rig.ask(Ask::After(10 * MS, Answer::Success)).await.unwrap();
            }
            let mut waves = 0;
            while rig.state() == State::Closed {
                let calls: Vec<_> = (0..64).map(|_| rig.launch(Ask::Hang)).collect();
                advance(patience * MS).await;
                drop(calls);
                waves += 1;
            }
            assert_eq!(
                waves, most,
                "{answered_before} answered, then all give up after {patience} ms"
            );
        }
    }
}

// field F11: what breaks with a caller's connection is one event
#[tokio::test(start_paused = true)]
async fn a_hundred_calls_that_end_with_one_connection_open_nothing() {
    for waited in [0, 1, 10, 100, 10_000] {
        let mut rig = Rig::new(builder());
        for _ in 0..20 {
            let calls: Vec<_> = (0..100).map(|_| rig.launch(Ask::Hang)).collect();
            advance(waited * MS).await;
            drop(calls);
            assert_eq!(rig.state(), State::Closed, "after {waited} ms");
            rig.ask(Ask::After(5 * MS, Answer::Success)).await.unwrap();
        }
    }
}

// field F11
#[tokio::test(start_paused = true)]
async fn probes_that_are_all_given_up_in_vain_open_it_again() {
    let mut rig = Rig::new(builder());
    rig.trip().await;
    rig.break_duration().await;
    for _ in 0..3 {
        let probe = rig.launch(Ask::Hang);
        advance(50 * MS).await;
        assert_eq!(rig.state(), State::HalfOpen);
        drop(probe);
    }
    assert_eq!(rig.state(), State::Open);
}
