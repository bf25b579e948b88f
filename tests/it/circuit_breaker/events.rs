//! What observers are told, and what they may do.

use super::kit::*;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::Duration;

use seawall::circuit_breaker::{
    CircuitBreakerHandle, Position, State, Transition, TransitionCause, Trip,
};
use seawall::{Event, EventKind};

/// The state graph.
fn is_an_edge(change: &Transition) -> bool {
    use State::{Closed, ForcedClosed, ForcedOpen, HalfOpen, Open};
    use TransitionCause as C;
    match (change.from, change.to) {
        (Closed, Open) => {
            matches!(change.cause, C::Evidence | C::Consecutive | C::FailureRate | C::SlowRate)
        }
        (Open, HalfOpen) => change.cause == C::BreakOver,
        (HalfOpen, Open) => matches!(change.cause, C::ProbesFailed | C::ProbesAbandoned),
        (HalfOpen, Closed) => matches!(change.cause, C::ProbesSucceeded | C::Reset),
        (Open, Closed) => change.cause == C::Reset,
        (from, ForcedOpen | ForcedClosed) => from != change.to && change.cause == C::Switch,
        (ForcedOpen | ForcedClosed, Closed) => change.cause == C::Switch,
        _ => false,
    }
}

// pitfall B5
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn changes_are_a_path_of_the_state_graph_under_random_calls_switches_and_resets() {
    let diary = Diary::default();
    let config = builder()
        .trip(Trip::consecutive(4).or(Trip::default()))
        .break_duration(Duration::from_micros(20))
        .max_break_duration(Duration::from_micros(200))
        .close_threshold(2)
        .observe(diary.observer());
    let rig = Rig::new(config);
    let tasks = (0..8).map(|seed| {
        let mut rig = rig.clone();
        tokio::spawn(async move {
            let mut rng = fastrand::Rng::with_seed(seed);
            let (mut hand, mut flying) = (rig.handle.switch(Position::Auto), Vec::new());
            for _ in 0..3_000 {
                if rng.u8(0..4) == 0 {
                    hand.set(Position::Auto); // or somebody would hold it nearly all the time
                }
                match rng.u8(0..200) {
                    0..100 => drop(rig.ask(GOOD).await),
                    100..185 => drop(rig.ask(BAD).await),
                    185..192 => flying.push(rig.launch(Ask::Hang)),
                    192..196 => flying.clear(),
                    196 => rig.handle.reset(),
                    197 => hand.set(Position::Open),
                    _ => hand.set(Position::Closed),
                }
                if rng.u8(0..8) == 0 {
                    tokio::task::yield_now().await;
                }
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }

    let mut state = State::Closed;
    let mut seen = HashSet::new();
    let changed = |event: &Event| matches!(event.kind, EventKind::Changed { .. });
    for (nth, event) in diary.events().iter().filter(|event| changed(event)).enumerate() {
        let Some(change) = Transition::of(&event.kind) else { continue };
        assert_eq!(event.seq, nth as u64 + 1, "in order and without gaps");
        assert_eq!(change.from, state, "at {nth}");
        assert!(is_an_edge(&change), "{change:?}");
        state = change.to;
        seen.insert((change.from, change.to));
    }
    assert_eq!(state, rig.state());
    assert!(seen.len() >= 10, "the walk was too tame: {seen:?}");
}

/// Runs `test` on a thread of its own, and fails if it hangs.
fn with_a_watchdog(test: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        test();
        let _ = done.send(());
    });
    match wait.recv_timeout(Duration::from_secs(30)) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("deadlock"),
        _ => thread.join().unwrap(),
    }
}

fn on_a_runtime(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap().block_on(test);
}

// pitfall B25
#[test]
fn an_observer_may_call_back_into_the_same_breaker() {
    with_a_watchdog(|| {
        on_a_runtime(async {
            let handle = Arc::new(OnceLock::<CircuitBreakerHandle>::new());
            let (diary, services) = (Diary::default(), Arc::new(Mutex::new(Vec::<Breaker>::new())));
            let (reach, kept) = (handle.clone(), services.clone());
            let meddle = move |event: &Event| {
                let Some(handle) = reach.get() else { return };
                let _ = (handle.state(), handle.snapshot(), handle.config());
                handle.reload(handle.config()).unwrap();
                let dropped = kept.lock().unwrap().pop(); // gives its waker's seat back
                drop(dropped);
                if let Some(Transition { to: State::Open, .. }) = Transition::of(&event.kind) {
                    let mut hand = handle.switch(Position::Auto);
                    hand.set(Position::Open);
                    handle.reset();
                    hand.set(Position::Closed);
                }
            };
            let mut rig = Rig::new(builder().observe(meddle).observe(diary.observer()));
            handle.set(rig.handle.clone()).unwrap();
            for _ in 0..100 {
                services.lock().unwrap().extend((0..3).map(|_| rig.service.clone()));
                let _ = rig.ask(BAD).await;
                drop(rig.launch(Ask::Hang));
            }
            assert_eq!(rig.state(), State::Closed, "the last hand let go");
            let changes = diary.changes();
            assert!(changes.len() >= 12, "{changes:?}");
            let mut state = State::Closed;
            for change in changes {
                assert_eq!(change.from, state, "told in order, though made while telling");
                state = change.to;
            }
        });
    });
}

// pitfall B25
#[test]
fn an_observer_that_panics_harms_neither_the_call_nor_the_next_observer() {
    on_a_runtime(async {
        let diary = Diary::default();
        let panics = |_: &Event| panic!("as asked");
        let mut rig = Rig::new(builder().observe(panics).observe(diary.observer()));
        rig.trip().await;
        assert!(is_rejected(&rig.ask(GOOD).await));
        rig.recover().await;
        drop(rig.launch(Ask::Hang));
        assert_eq!(diary.changes().len(), 3);
        assert_eq!(diary.events().len(), 5, "and a rejection, and a call given up");
    });
}

// pitfall B25
#[test]
fn an_observer_that_blocks_holds_up_its_own_call_only_and_the_order_is_kept() {
    with_a_watchdog(|| {
        let (held, release) = mpsc::channel::<()>();
        let (held, blocked) = (Mutex::new(held), Arc::new(AtomicBool::new(false)));
        let (release, diary) = (Mutex::new(release), Diary::default());
        let says = blocked.clone();
        let block = move |event: &Event| {
            if matches!(event.kind, EventKind::Changed { .. }) && !says.swap(true, SeqCst) {
                let _ = release.lock().unwrap().recv();
            }
        };
        let rig = Rig::new(builder().observe(block).observe(diary.observer()));
        std::thread::scope(|scope| {
            let mut tripping = rig.clone();
            scope.spawn(move || {
                on_a_runtime(async move {
                    for _ in 0..17 {
                        let _ = tripping.ask(BAD).await;
                    }
                });
            });
            while !blocked.load(SeqCst) {
                std::thread::yield_now();
            }
            // Meanwhile others are rejected, and steer.
            let mut other = rig.clone();
            on_a_runtime(async move {
                assert!(is_rejected(&other.ask(GOOD).await));
                other.handle.reset();
                other.ask(GOOD).await.unwrap();
            });
            assert!(diary.changes().is_empty(), "the first is not told yet");
            held.lock().unwrap().send(()).unwrap();
        });
        let to: Vec<_> = diary.changes().iter().map(|change| change.to).collect();
        assert_eq!(to, [State::Open, State::Closed]);
    });
}

#[tokio::test(start_paused = true)]
async fn events_name_their_source_their_moment_and_their_place_in_the_order() {
    let diary = Diary::default();
    let mut rig = Rig::new(builder().observe(diary.observer()));
    tokio::time::advance(Duration::from_secs(3)).await;
    rig.trip().await;
    let _ = rig.ask(GOOD).await;
    let [opened, rejected] = &diary.events()[..] else { panic!("{:?}", diary.events()) };
    assert_eq!((opened.origin.layer(), opened.origin.name()), ("circuit_breaker", "dep"));
    assert_eq!((opened.seq, rejected.seq, &opened.key), (1, 1, &None));
    assert_eq!((opened.at, rejected.at), (Duration::from_secs(3), Duration::from_secs(3)));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_told_of_a_call_that_went_well() {
    let told = Arc::new(AtomicUsize::new(0));
    let count = told.clone();
    let mut rig = Rig::new(builder().observe(move |_: &Event| {
        count.fetch_add(1, SeqCst);
    }));
    for _ in 0..1_000 {
        rig.ask(GOOD).await.unwrap();
    }
    assert_eq!(told.load(SeqCst), 0);
}
