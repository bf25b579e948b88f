//! A call that ends early, at every point where it can: nothing is left behind, and the next call
//! works, at once. Pitfalls B2 and B12, for every layer, every pair, and the whole stack.

use std::time::Duration;

use metrics_exporter_prometheus::PrometheusBuilder;
use tower::Service;

use crate::subjects::{Kind, Subject, each};
use crate::support::{
    Answering, Boxed, CountingWaker, MockHandle, Ready, Reply, caught, now, poll_once, probe,
    ready_once, scripted,
};

/// Longer than any breaker of these tests breaks.
const A_REST: Duration = Duration::from_millis(250);

#[derive(Debug, Clone, Copy)]
struct Case {
    ready: Ready,
    reply: Reply,
    /// Whether `poll_ready` is asked first, or the call has to see to that.
    polite: bool,
    /// Whether the dependency was down until a moment ago, so that a breaker is about to probe.
    after_a_storm: bool,
    /// Whether the service goes before the future does.
    service_first: bool,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for nth in 0..72 {
        let bit = |at: u32| nth >> at & 1 == 1;
        cases.push(Case {
            ready: Ready::After(nth / 8 % 3),
            reply: Reply::After(nth / 24),
            polite: bit(0),
            after_a_storm: bit(1),
            service_first: bit(2),
        });
    }
    cases
}

// pitfalls B2, B12
#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_at_any_poll_leaves_nothing_behind() {
    each(async |kind| {
        for case in cases() {
            let mut polls = 0;
            while !is_over_after(polls, kind, case).await {
                polls += 1;
                assert!(polls < 20, "{case:?} never ends");
            }
        }
    })
    .await;
}

/// Polls so often, drops everything, and looks at what is left. Says whether the call was over.
async fn is_over_after(polls: u32, kind: Kind, case: Case) -> bool {
    let (handle, probe) = probe();
    let subject = kind.make();
    let mut service = subject.wrap(probe);
    let later = service.clone();
    if case.after_a_storm {
        storm(&handle, &mut service);
        tokio::time::advance(A_REST).await;
        subject.forgive();
    }
    handle.set_ready(case.ready);
    handle.set_reply(case.reply);

    let (task, mut left) = (CountingWaker::new(), polls);
    let mut ready = !case.polite;
    while !ready && left > 0 {
        left -= 1;
        ready = ready_once(&mut service, &task).is_ready();
    }
    let mut over = false;
    if ready {
        let mut future = service.call(7);
        while !over && left > 0 {
            left -= 1;
            over = poll_once(&mut future, &task).is_ready();
        }
        if case.service_first {
            drop(service);
            drop(future);
        } else {
            drop(future);
            check(&handle, &subject, &format!("{polls} polls of {case:?}, the service alive"));
            drop(service);
        }
    } else {
        drop(service);
    }
    check(&handle, &subject, &format!("{polls} polls of {case:?}"));
    works(&handle, later);
    check(&handle, &subject, &format!("{polls} polls of {case:?}, and a call"));
    over
}

/// Fails until every breaker is open.
fn storm(handle: &MockHandle, service: &mut Boxed) {
    handle.set_reply(Reply::Fails);
    for _ in 0..40 {
        assert!(now(poll_once(&mut service.call(7), &CountingWaker::new())).is_err());
    }
}

#[track_caller]
fn check(handle: &MockHandle, subject: &Subject, when: &str) {
    assert_eq!((handle.reserved(), handle.in_flight(), subject.in_flight()), (0, 0, 0), "{when}");
    handle.assert_at_rest();
}

/// The dependency is well: so is every call.
#[track_caller]
fn works(handle: &MockHandle, mut service: Boxed) {
    handle.set_ready(Ready::Yes);
    handle.set_reply(Reply::Answers);
    for nth in 0..10 {
        assert_eq!(now(ready_once(&mut service, &CountingWaker::new())), Ok(()));
        assert_eq!(now(poll_once(&mut service.call(nth), &CountingWaker::new())), Ok(nth));
    }
}

// pitfalls B2, B12
#[tokio::test(start_paused = true)]
async fn a_panic_of_the_inner_service_leaves_nothing_behind() {
    const PANICS: [(Ready, Reply); 5] = [
        (Ready::Panics, Reply::Answers),
        (Ready::Yes, Reply::PanicsInCall),
        (Ready::Yes, Reply::PanicsInFuture),
        (Ready::After(1), Reply::PanicsInCall),
        (Ready::After(1), Reply::PanicsInFuture),
    ];
    each(async |kind| {
        for (ready, reply) in PANICS {
            for (polite, after_a_storm) in
                [(true, false), (false, false), (true, true), (false, true)]
            {
                let (handle, probe) = probe();
                let subject = kind.make();
                let mut service = subject.wrap(probe);
                let later = service.clone();
                if after_a_storm {
                    storm(&handle, &mut service);
                    tokio::time::advance(A_REST).await;
                    subject.forgive();
                }
                handle.set_ready(ready);
                handle.set_reply(reply);
                let panicked = caught(|| run(&mut service, polite)).is_none();
                assert!(panicked, "{ready:?}, {reply:?}");
                drop(service);
                let when =
                    format!("{ready:?}, {reply:?}, polite: {polite}, storm: {after_a_storm}");
                check(&handle, &subject, &when);
                // Longer than a breaker breaks whose first probe panicked.
                tokio::time::advance(A_REST).await;
                works(&handle, later);
                check(&handle, &subject, &when);
            }
        }
    })
    .await;
}

/// The guard of a call is born before the inner service is called.
#[tokio::test(start_paused = true)]
async fn a_panic_of_the_inner_service_is_counted_as_one_call() {
    each(async |kind| {
        for reply in [Reply::PanicsInCall, Reply::PanicsInFuture] {
            let recorder = PrometheusBuilder::new().build_recorder();
            metrics::with_local_recorder(&recorder, || {
                let (_, probe) = scripted(Ready::Yes, reply);
                let mut service = kind.make().wrap(probe);
                assert!(caught(|| run(&mut service, true)).is_none());
            });
            let metrics = recorder.handle().render();
            let calls = metrics.lines().filter(|line| line.starts_with("seawall_calls_total"));
            let counts =
                calls.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap());
            assert_eq!(counts.sum::<usize>(), kind.layers(), "{reply:?}: {metrics}");
        }
    })
    .await;
}

/// One call, to its end.
fn run(service: &mut Boxed, polite: bool) {
    let task = CountingWaker::new();
    while polite && ready_once(service, &task).is_pending() {}
    let mut future = service.call(7);
    for _ in 0..20 {
        if poll_once(&mut future, &task).is_ready() {
            return;
        }
    }
}

/// Enough calls to fill every layer here that has a limit and lets others wait.
const A_FEW: usize = 3;

/// That many calls in flight, and two more, which may have to wait.
fn crowd(handle: &MockHandle, service: &Boxed, task: &CountingWaker) -> Vec<Answering> {
    handle.set_reply(Reply::Never);
    let mut crowd: Vec<_> = (0..A_FEW + 2).map(|_| service.clone().call(7)).collect();
    assert!(crowd.iter_mut().all(|call| poll_once(call, task).is_pending()));
    crowd
}

// pitfall B33: nobody waits in the queue with a reservation in hand
#[tokio::test(start_paused = true)]
async fn a_call_that_has_begun_holds_no_reservation() {
    each(async |kind| {
        let (handle, probe) = probe();
        let (task, mut service) = (CountingWaker::new(), kind.make().wrap(probe));
        assert_eq!(now(ready_once(&mut service, &task)), Ok(()));
        let others = crowd(&handle, &service, &task);
        let mut call = service.call(7);
        assert!(poll_once(&mut call, &task).is_pending());
        assert_eq!(handle.reserved(), 0, "it waits, and keeps others from the inner service");
        drop((others, call, service));
        handle.assert_at_rest();
    })
    .await;
}

// pitfall B11
#[tokio::test(start_paused = true)]
async fn one_who_gets_a_place_and_goes_hands_it_on() {
    each(async |kind| {
        let (handle, probe) = probe();
        let (task, subject) = (CountingWaker::new(), kind.make());
        let service = subject.wrap(probe);
        let mut crowd = crowd(&handle, &service, &task);
        let mut last = crowd.pop().unwrap();
        let lucky = crowd.pop();
        drop(crowd.pop()); // its place goes to the one who has waited longest
        drop(lucky); // who never looks
        assert!(poll_once(&mut last, &task).is_pending());
        assert_eq!(handle.in_flight(), A_FEW, "the last is in flight like the others");
        drop((crowd, last, service));
        check(&handle, &subject, "after a crowd");
    })
    .await;
}

// pitfall B12: random endings, many at a time
#[tokio::test(start_paused = true)]
async fn after_any_mix_of_endings_nothing_is_left() {
    each(async |kind| {
        let (handle, probe) = probe();
        let subject = kind.make();
        let service = subject.wrap(probe);
        let (task, mut draws) = (CountingWaker::new(), Draws(0x5EA_7A11));
        let mut flying = Vec::new();
        for _ in 0..400 {
            let ready = [Ready::Yes, Ready::After(1), Ready::No, Ready::Fails];
            let reply = [
                Reply::Answers,
                Reply::Fails,
                Reply::Never,
                Reply::After(1),
                Reply::PanicsInCall,
                Reply::PanicsInFuture,
            ];
            handle.set_ready(ready[draws.below(ready.len())]);
            handle.set_reply(reply[draws.below(reply.len())]);
            let mut caller = service.clone();
            let readied = caught(|| ready_once(&mut caller, &task));
            if readied.is_some_and(|readied| readied == std::task::Poll::Ready(Ok(()))) {
                flying.extend(caught(|| caller.call(7)));
            }
            if draws.below(3) == 0 && !flying.is_empty() {
                drop(flying.swap_remove(draws.below(flying.len())));
            }
            flying.retain_mut(|future| {
                caught(|| poll_once(future, &task)).is_some_and(|polled| polled.is_pending())
            });
            tokio::time::advance(Duration::from_millis(draws.below(20) as u64)).await;
        }
        drop(flying);
        check(&handle, &subject, "after the mix");
        tokio::time::advance(A_REST).await;
        subject.forgive();
        works(&handle, service);
        check(&handle, &subject, "after the mix, and a call");
    })
    .await;
}

/// The same numbers in every run.
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: usize) -> usize {
        // SplitMix64 (Steele, Lea and Flood 2014)
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % bound as u64).expect("below a usize")
    }
}
