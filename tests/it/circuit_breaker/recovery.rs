//! Coming back: how soon, how gently, and how many at once.

use super::kit::*;

use std::collections::HashMap;
use std::time::Duration;

use seawall::circuit_breaker::{CircuitBreakerHandle, State, Transition, Trip};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{advance, sleep};

const ROUND_TRIP: Duration = Duration::from_millis(2);

/// Time on the paused clock.
#[derive(Debug)]
struct Stopwatch(seawall::Deadline);

impl Stopwatch {
    fn start() -> Self {
        Self(seawall::Deadline::after(Duration::from_secs(1_000_000)))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_secs(1_000_000) - self.0.remaining()
    }
}

async fn until_closed(handle: &CircuitBreakerHandle) -> Duration {
    let (watch, mut changes) = (Stopwatch::start(), handle.watch());
    while changes.state() != State::Closed {
        changes.changed().await;
    }
    watch.elapsed()
}

// One h2 connection breaks with a hundred calls on it; the dependency is well.
#[tokio::test(start_paused = true)]
async fn a_reset_connection_keeps_a_healthy_breaker_open_for_two_rests_at_most() {
    for seed in 0..50 {
        let mut rig = Rig::new(builder().seed(seed));
        for _ in 0..1_000 {
            rig.ask(GOOD).await.unwrap();
        }
        let in_flight: Vec<_> =
            (0..100).map(|_| rig.launch(Ask::After(ROUND_TRIP, Answer::Failure))).collect();
        for call in in_flight {
            call.await.unwrap_err();
        }
        assert_eq!(rig.state(), State::Open, "it cannot know better");
        let mut caller = rig.clone();
        let traffic = tokio::spawn(async move {
            loop {
                if is_rejected(&caller.ask(Ask::After(ROUND_TRIP, Answer::Success)).await) {
                    sleep(Duration::from_millis(1)).await;
                }
            }
        });
        let took = until_closed(&rig.handle).await;
        traffic.abort();
        assert!(took <= 2 * Duration::from_millis(50) + 6 * ROUND_TRIP, "{took:?}, seed {seed}");
    }
}

/// After an outage, a dependency that fails in this ratio: whether it is closed upon within 20 breaks.
async fn closes_within_20_breaks(seed: u64, ratio: f64) -> bool {
    let diary = Diary::default();
    let mut rig = Rig::new(builder().seed(seed).observe(diary.observer()));
    let mut rng = fastrand::Rng::with_seed(seed);
    rig.trip().await;
    loop {
        let opened = diary.changes().iter().filter(|change| change.to == State::Open).count();
        match rig.state() {
            State::Closed => return true,
            State::Open if opened > 20 => return false,
            State::Open => rig.break_duration().await,
            _ => {}
        }
        let answer = if rng.f64() < ratio { Answer::Failure } else { Answer::Success };
        let _ = rig.ask(Ask::After(ROUND_TRIP, answer)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_it_closes_on_a_dependency_that_works_and_not_on_one_that_does_not() {
    for ratio in [0.0, 0.05, 0.10, 0.20, 0.30] {
        let mut closed = 0;
        for seed in 0..200 {
            closed += u32::from(closes_within_20_breaks(seed, ratio).await);
        }
        assert!(closed >= 198, "{closed} of 200 at {ratio}");
    }
    let mut closed = 0;
    for seed in 0..200 {
        closed += u32::from(closes_within_20_breaks(seed, 0.8).await);
    }
    assert!(closed <= 2, "{closed} of 200 at 0.8");
}

// pitfall B31
#[tokio::test(start_paused = true)]
async fn a_fleet_that_tripped_in_the_same_millisecond_does_not_probe_in_step() {
    for (break_duration, cap, step) in [(50, 250, 1), (1_000, 30_000, 5)] {
        let diary = Diary::default();
        let mut fleet: Vec<_> = (0..1_000)
            .map(|seed| {
                let builder = builder()
                    .seed(seed)
                    .trip(Trip::consecutive(1))
                    .break_duration(Duration::from_millis(break_duration))
                    .max_break_duration(Duration::from_millis(cap));
                Rig::new(builder.observe(diary.observer()))
            })
            .collect();
        for rig in &mut fleet {
            rig.trip().await;
        }
        // Each instance has traffic all the time, and the dependency stays down for three breaks.
        for _ in 0..3 * break_duration / step {
            for rig in &mut fleet {
                drop(rig.launch(BAD));
            }
            advance(Duration::from_millis(step)).await;
        }
        let mut buckets: HashMap<u128, usize> = HashMap::new();
        for event in diary.events() {
            if Transition::of(&event.kind).is_some_and(|change| change.to == State::HalfOpen) {
                *buckets.entry(event.at.as_millis() / 10).or_default() += 1;
            }
        }
        let first_break = u128::from(break_duration / 10);
        let probes: usize = (0..first_break).filter_map(|nth| buckets.get(&nth)).sum();
        let (mean, most) =
            (probes / (break_duration as usize / 10), buckets.values().max().unwrap());
        assert!((900..1_100).contains(&probes), "each probes once a break: {probes}");
        assert!(
            *most <= 5 * mean,
            "{most} in one bucket, {mean} on average, rest {break_duration} ms"
        );
    }
}

/// A dependency that comes back cold: in its first ten seconds it falls over, for half a second, when
/// it gets clearly more than half of the full load of 8 calls a millisecond.
#[derive(Debug, Default)]
struct Cold {
    up_since: u64,
    window: u64,
    calls_in_window: u32,
}

impl Cold {
    fn answers(&mut self, now: u64) -> bool {
        if now < self.up_since {
            return false;
        }
        if std::mem::replace(&mut self.window, now / 100) != now / 100 {
            self.calls_in_window = 0;
        }
        self.calls_in_window += 1;
        if now < self.up_since + 10_000 && self.calls_in_window > 450 {
            self.up_since = now + 500;
            return false;
        }
        true
    }
}

/// Half a minute of full load on a dependency that comes back cold after a second. Returns how often
/// the circuit opened after that, and which share of the last second's calls was answered.
async fn come_back_to_the_cold(slow_start: Duration) -> (usize, f64) {
    let diary = Diary::default();
    let mut rig = Rig::new(builder().slow_start(slow_start).observe(diary.observer()));
    let mut cold = Cold { up_since: 1_000, ..Cold::default() };
    let (mut opened_before, mut answered) = (0, 0);
    for now in 0..30_000 {
        if now == 1_000 {
            opened_before = diary.changes().iter().filter(|c| c.to == State::Open).count();
        }
        for _ in 0..8 {
            let (calls, (tell, told)) = (rig.seen.calls(), oneshot::channel());
            let mut call = rig.launch(Ask::When(told));
            // Whether it gets through decides whether the dependency sees it at all.
            if rig.seen.calls() > calls {
                let good = cold.answers(now);
                tell.send(if good { Answer::Success } else { Answer::Failure }).unwrap();
                answered += u32::from(good && now >= 29_000);
            }
            assert!(poll(call.as_mut()).is_ready());
        }
        advance(Duration::from_millis(1)).await;
    }
    let opened = diary.changes().iter().filter(|change| change.to == State::Open).count();
    (opened - opened_before, f64::from(answered) / 8_000.0)
}

// pitfall B32
#[tokio::test(start_paused = true)]
async fn with_a_slow_start_a_cold_dependency_comes_back_without_falling_over() {
    let (opened, share) = come_back_to_the_cold(Duration::from_secs(15)).await;
    assert_eq!((opened, share), (0, 1.0));
    let (opened, share) = come_back_to_the_cold(Duration::ZERO).await;
    assert!(
        opened > 10 && share < 0.6,
        "without, it falls over again and again: {opened}, {share}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_hint_of_a_failing_server_is_kept_and_capped() {
    for (retry_after, least, most) in [(3, 3_000, 3_050), (3_600, 30_000, 30_050)] {
        let mut rig = Rig::new(builder());
        let busy = || Ask::Now(Answer::Busy(Duration::from_secs(retry_after)));
        while rig.state() == State::Closed {
            let _ = rig.ask(busy()).await;
        }
        let break_duration = rig.handle.snapshot().next_probe_in.unwrap().as_millis();
        assert!(
            (least..=most).contains(&break_duration),
            "{break_duration} ms after a `Retry-After` of {retry_after} s"
        );
        advance(Duration::from_millis(least as u64 - 1)).await;
        assert!(is_rejected(&rig.ask(GOOD).await), "never earlier than told");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dependency_that_hangs_is_found_out_by_callers_who_give_up() {
    let mut rig = Rig::new(builder());
    for _ in 0..1_000 {
        rig.ask(GOOD).await.unwrap();
    }
    let mut impatient = JoinSet::new();
    for nth in 0..40_u64 {
        let mut rig = rig.clone();
        impatient.spawn(async move {
            sleep(Duration::from_millis(10 * nth)).await;
            let patience = Duration::from_secs(1);
            tokio::time::timeout(patience, async { rig.ask(Ask::Hang).await }).await.is_err()
        });
    }
    let mut watch = rig.handle.watch();
    let started = Stopwatch::start();
    assert_eq!(watch.changed().await, State::Open);
    assert_eq!(started.elapsed().as_millis() / 10, 116, "one second, and sixteen more calls");
    impatient.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn impatient_callers_of_a_dependency_that_answers_others_do_no_harm() {
    let mut rig = Rig::new(builder());
    for _ in 0..500 {
        drop(rig.launch(Ask::Hang));
        advance(Duration::from_millis(2)).await;
        drop(rig.launch(Ask::Hang));
        advance(Duration::from_millis(2)).await;
        rig.ask(GOOD).await.unwrap();
    }
    assert_eq!(rig.state(), State::Closed);
}
