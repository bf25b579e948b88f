//! Leader election: at no time do two lead, and nothing outlives its term.

mod calls;
#[cfg(feature = "etcd")]
mod etcd;
mod jobs;

use std::collections::VecDeque;
use std::future::pending;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::future::BoxFuture;
use seawall::leader::{Advisory, Answer, Ask, Candidate, Config, Leadership, MemoryStore, State};
use seawall::{Epoch, Event, EventKind};
use tokio::time::{Instant, advance, sleep};
use tower::{BoxError, Service, ServiceExt};

use crate::scene::now;

const TTL: Duration = Duration::from_secs(15);

/// What a store does with its next question.
#[derive(Clone, Copy)]
enum Turn {
    /// It answers after so long; whatever it does with the lease, it does at once.
    Slow(Duration),
    /// It does what it is asked for, and the answer is lost.
    Mute,
    /// It is not reached.
    Fail,
    /// It answers something else.
    Say(fn() -> Answer),
}

/// A store that notes what it is asked, and does as it is told.
#[derive(Clone)]
struct Scripted {
    store: MemoryStore,
    script: Arc<Mutex<VecDeque<Turn>>>,
    /// What to do when the script is over; `None` for what is right.
    always: Arc<Mutex<Option<Turn>>>,
    asked: Arc<Mutex<Vec<(Instant, Ask)>>>,
}

impl Scripted {
    fn new(script: impl IntoIterator<Item = Turn>) -> Self {
        Self {
            store: MemoryStore::new(),
            script: Arc::new(Mutex::new(script.into_iter().collect())),
            always: Arc::default(),
            asked: Arc::default(),
        }
    }

    fn always(&self, turn: Option<Turn>) {
        *self.always.lock().unwrap() = turn;
    }

    fn asked(&self) -> Vec<(Instant, Ask)> {
        self.asked.lock().unwrap().clone()
    }

    fn count(&self, is: fn(&Ask) -> bool) -> usize {
        self.asked().iter().filter(|(_, ask)| is(ask)).count()
    }
}

impl Service<Ask> for Scripted {
    type Response = Answer;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Answer, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, ask: Ask) -> Self::Future {
        self.asked.lock().unwrap().push((now(), ask.clone()));
        let turn = self.script.lock().unwrap().pop_front().or(*self.always.lock().unwrap());
        let store = self.store.clone();
        Box::pin(async move {
            match turn {
                None => Ok(store.oneshot(ask).await?),
                Some(Turn::Slow(delay)) => {
                    let answer = store.oneshot(ask).await?;
                    sleep(delay).await;
                    Ok(answer)
                }
                Some(Turn::Mute) => {
                    store.oneshot(ask).await?;
                    pending().await
                }
                Some(Turn::Fail) => Err("connection refused (127.0.0.1:2379)".into()),
                Some(Turn::Say(answer)) => Ok(answer()),
            }
        })
    }
}

/// A campaign in the background, and what can be seen of it.
fn campaign<S>(store: S) -> Leadership
where
    S: Service<Ask, Response = Answer, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + 'static,
{
    let candidate = Candidate::builder("jobs", store).holder("pod").build().unwrap();
    let leadership = candidate.leadership();
    tokio::spawn(candidate.campaign());
    leadership
}

async fn until(leadership: &Leadership, state: State) {
    let mut watch = leadership.watch();
    while leadership.state() != state {
        watch.changed().await;
    }
}

fn epoch(leadership: &Leadership) -> Option<Epoch> {
    leadership.term().map(|term| term.epoch())
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

// ===== terms =====

#[tokio::test(start_paused = true)]
async fn one_leads_and_the_next_when_it_resigns() {
    let store = MemoryStore::new();
    let [first, second] = [campaign(store.clone()), campaign(store.clone())];
    until(&first, State::Leading).await;
    sleep(TTL * 10).await;
    assert_eq!((epoch(&first), second.state()), (Some(Epoch::new(1)), State::Following));
    assert_eq!(second.holder(), first.holder());

    let before = now();
    first.resign().await;
    assert_eq!((first.state(), first.term().is_none()), (State::Resigned, true));
    until(&second, State::Leading).await;
    assert_eq!(epoch(&second), Some(Epoch::new(2)));
    assert!(
        before.elapsed() <= TTL / 3 + TTL / 30,
        "it asks now and then whether the lease is free"
    );
    assert_ne!(second.holder(), first.holder());
}

// pitfall B41
#[tokio::test(start_paused = true)]
async fn a_term_counts_from_before_the_question_left() {
    let config = Config { ask_timeout: Duration::from_millis(4_800), ..Config::default() };
    let store = Scripted::new([Turn::Slow(Duration::from_millis(4_700))]);
    let candidate = Candidate::builder("jobs", store.clone()).config(config).build().unwrap();
    let leadership = candidate.leadership();
    let begun = now();
    let task = tokio::spawn(candidate.campaign());
    until(&leadership, State::Leading).await;
    let left = leadership.term().unwrap().remaining();
    let of_ttl = begun.elapsed() + left;
    assert!(of_ttl <= TTL.mul_f64(0.99), "{of_ttl:?} of {TTL:?} and no drift");
    assert!(of_ttl > TTL.mul_f64(0.989), "{of_ttl:?}");
    task.abort();
    let _ = task.await;
    sleep(left).await;
    assert_eq!((leadership.state(), leadership.term().is_none()), (State::Following, true));
}

// pitfall B43
#[tokio::test(start_paused = true)]
async fn what_the_store_grants_counts_and_not_what_was_asked_for() {
    let granted = || Answer::Granted { token: Epoch::new(5), ttl: Duration::from_secs(2) };
    let leadership = campaign(Scripted::new([Turn::Say(granted)]));
    until(&leadership, State::Leading).await;
    assert!(leadership.term().unwrap().remaining() < Duration::from_secs(2));
}

// pitfall B42
#[tokio::test(start_paused = true)]
async fn a_renewal_without_a_clear_yes_lengthens_nothing() {
    let store = Scripted::new([]);
    let leadership = campaign(store.clone());
    until(&leadership, State::Leading).await;
    let end = now() + leadership.term().unwrap().remaining();
    store.always(Some(Turn::Fail));
    sleep(TTL * 9 / 10).await;
    assert_eq!(leadership.state(), State::Expiring);
    assert_eq!(leadership.last_error().as_deref(), Some("connection refused (127.0.0.1:2379)"));
    assert_eq!(now() + leadership.term().unwrap().remaining(), end);
    sleep(TTL / 10).await;
    assert_eq!(leadership.state(), State::Following);

    store.always(None);
    until(&leadership, State::Leading).await;
    assert_eq!((epoch(&leadership), leadership.last_error()), (Some(Epoch::new(2)), None));
    store.always(Some(Turn::Say(|| Answer::Free)));
    sleep(TTL / 2).await;
    assert_eq!(leadership.state(), State::Following, "the lease is gone, says the store");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_lost_costs_no_term() {
    let store = Scripted::new([Turn::Mute]);
    let leadership = campaign(store.clone());
    until(&leadership, State::Leading).await;
    assert_eq!(epoch(&leadership), Some(Epoch::new(1)), "the lease was its own already");
    let is_renewal = |ask: &Ask| matches!(ask, Ask::Renew { .. });
    let (asked, _) = store.asked().into_iter().find(|(_, ask)| is_renewal(ask)).unwrap();
    let left = leadership.term().unwrap().remaining();
    assert!(now() + left <= asked + TTL, "it counts from the question that was answered");
}

// pitfall B46
#[tokio::test(start_paused = true)]
async fn a_store_that_forgets_its_count_makes_no_leader() {
    let store = Scripted::new([]);
    let leadership = campaign(store.clone());
    until(&leadership, State::Leading).await;
    let again = || Answer::Granted { token: Epoch::new(1), ttl: TTL };
    store.always(Some(Turn::Fail));
    sleep(TTL).await;
    store.always(Some(Turn::Say(again)));
    sleep(TTL * 2).await;
    assert_eq!(leadership.state(), State::Following);
    let why = leadership.last_error().unwrap();
    assert!(why.contains("forgotten its count"), "{why}");
}

// pitfall B47
#[tokio::test(start_paused = true)]
async fn a_holder_that_restarts_does_not_inherit_its_own_lease() {
    let store = MemoryStore::new();
    let candidate = || Candidate::builder("jobs", store.clone()).holder("pod-7").build().unwrap();
    let before = candidate();
    let seen = before.leadership();
    let killed = tokio::spawn(before.campaign());
    until(&seen, State::Leading).await;
    killed.abort();

    let after = candidate();
    let leadership = after.leadership();
    tokio::spawn(after.campaign());
    sleep(TTL / 2).await;
    assert_eq!(leadership.state(), State::Following);
    until(&leadership, State::Leading).await;
    assert_eq!(epoch(&leadership), Some(Epoch::new(2)));
}

#[tokio::test(start_paused = true)]
async fn whatever_the_store_says_it_is_not_asked_in_a_hot_loop() {
    let held = || Answer::Held { holder: "other".into(), expires_in: Some(Duration::ZERO) };
    let unknown = || Answer::Held { holder: "other".into(), expires_in: None };
    let nothing = || Answer::Granted { token: Epoch::new(9), ttl: Duration::ZERO };
    let brief = || {
        static TERMS: AtomicU64 = AtomicU64::new(0);
        let token = Epoch::new(TERMS.fetch_add(1, Ordering::Relaxed) + 1);
        Answer::Granted { token, ttl: Duration::from_millis(1) }
    };
    let turns = [
        Turn::Fail,
        Turn::Mute,
        Turn::Say(held),
        Turn::Say(unknown),
        Turn::Say(|| Answer::Free),
        Turn::Say(nothing),
        Turn::Say(brief),
        Turn::Say(|| Answer::Granted { token: Epoch::new(7), ttl: Duration::from_millis(1) }),
    ];
    for (nth, turn) in turns.into_iter().enumerate() {
        let store = Scripted::new([]);
        store.always(Some(turn));
        let leadership = campaign(store.clone());
        sleep(TTL).await;
        let asked = store.asked().len();
        assert!((1..=16).contains(&asked), "case {nth}: {asked} questions in {TTL:?}");
        assert_eq!(leadership.state(), State::Following, "case {nth}");
    }
}

/// Nobody leads by a store that was restored from a backup before others had a chance.
#[tokio::test(start_paused = true)]
async fn what_is_not_taken_is_not_renewed() {
    let restored = MemoryStore::new();
    let store = Scripted::new([Turn::Say(|| Answer::Granted { token: Epoch::new(9), ttl: TTL })]);
    let store = Scripted { store: restored.clone(), ..store };
    let old = campaign(store);
    until(&old, State::Leading).await;
    sleep(TTL / 2).await; // the store has been restored, and knows of no lease
    assert_eq!(old.state(), State::Following);
    let fresh = campaign(restored);
    until(&fresh, State::Leading).await;
    assert_eq!(old.state(), State::Following);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_panics_is_one_that_did_not_answer() {
    let store =
        Scripted::new([Turn::Say(|| panic!("a store with a defect")), Turn::Say(|| panic!())]);
    let leadership = campaign(store);
    until(&leadership, State::Leading).await;
}

/// A store that cannot count.
#[derive(Clone)]
struct Uncounted(MemoryStore);

impl Service<Ask> for Uncounted {
    type Response = Answer<Advisory>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, ask: Ask) -> Self::Future {
        let answer = self.0.call(ask);
        Box::pin(async {
            Ok(match answer.await? {
                Answer::Granted { ttl, .. } => Answer::Granted { token: Advisory, ttl },
                Answer::Held { holder, expires_in } => Answer::Held { holder, expires_in },
                Answer::Free => Answer::Free,
            })
        })
    }
}

#[tokio::test(start_paused = true)]
async fn an_advisory_store_elects_too() {
    let store = Uncounted(MemoryStore::new());
    let mut first = Candidate::builder("jobs", store.clone()).build().unwrap();
    let mut second = Candidate::builder("jobs", store).build().unwrap();
    let at_work = Arc::new(Mutex::new(0));
    let work = |most: Arc<Mutex<i32>>| async move {
        *most.lock().unwrap() += 1;
        assert_eq!(*most.lock().unwrap(), 1);
        sleep(TTL * 3).await; // longer than a term: it is renewed
        *most.lock().unwrap() -= 1;
    };
    let (one, two) = tokio::join!(
        first.lead(|_| work(at_work.clone())),
        second.lead(|_| work(at_work.clone())),
    );
    assert_eq!((one, two), (Some(()), Some(())));
}

// ===== what is told =====

#[tokio::test(start_paused = true)]
async fn what_happens_is_told_in_words() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&told);
    let store = Scripted::new([]);
    let candidate = Candidate::builder("jobs", store.clone())
        .observe(move |event: &Event| {
            if let EventKind::Changed { from, to, cause, .. } = event.kind {
                log.lock().unwrap().push(format!("{}: {from} → {to}, {cause}", event.origin));
            }
        })
        .build()
        .unwrap();
    let leadership = candidate.leadership();
    tokio::spawn(candidate.campaign());
    until(&leadership, State::Leading).await;
    store.always(Some(Turn::Fail));
    sleep(TTL * 41 / 50).await; // little is left, and it will be asked once more
    store.always(None);
    until(&leadership, State::Leading).await;
    store.always(Some(Turn::Fail));
    sleep(TTL * 3 / 2).await;
    leadership.resign().await;
    assert_eq!(
        *told.lock().unwrap(),
        [
            "candidate `jobs`: following → leading, acquired",
            "candidate `jobs`: leading → expiring, not_renewed",
            "candidate `jobs`: expiring → leading, renewed",
            "candidate `jobs`: leading → expiring, not_renewed",
            "candidate `jobs`: expiring → following, expired",
            "candidate `jobs`: following → resigning, resigned",
            "candidate `jobs`: resigning → resigned, released",
        ]
    );
}

#[test]
fn what_is_wrong_with_settings_is_said_at_once() {
    let config = Config {
        ttl: Duration::from_secs(5),
        renew: Duration::from_millis(2_500),
        ask_timeout: Duration::from_secs(2),
        drift: 0.2,
        stop: Duration::from_millis(500),
    };
    let built = Candidate::builder("jobs", MemoryStore::new()).config(config).build();
    assert_eq!(
        built.unwrap_err().to_string(),
        "invalid configuration of candidate `jobs`: \
         ttl = 5s: 6.5s (three times ask_timeout, and stop) to 86400s; \
         renew = 2.5s: more than 0, less than 2.5s (half of ttl); \
         drift = 0.2: 0.0 to 0.1"
    );
    for drift in [f64::NAN, -0.1, f64::INFINITY] {
        assert!(Config { drift, ..Config::default() }.validate().is_err());
    }
    let short = Candidate::builder("jobs", MemoryStore::new()).ttl(Duration::from_secs(1)).build();
    assert!(short.is_ok(), "what depends on the ttl follows it: {short:?}");
}
