//! Calls that take more than one place, or none.

use std::borrow::Cow;
use std::pin::Pin;
use std::task::Poll;

use seawall::bulkhead::{self, BulkheadLayer, Order};
use seawall::{CallGuard, Completion, Error, Measurement, Reason};
use tokio::time::{advance, sleep};
use tower::util::BoxCloneService;
use tower::{Layer, Service, service_fn};

use super::NO;
use crate::scene::{Fail, in_time, measurement, ms, poll_once, reason, settle};

/// What a request costs, and how its call shall end.
#[derive(Debug, Clone, Copy)]
struct Job(u32, Then);

#[derive(Debug, Clone, Copy)]
enum Then {
    Hang,
    Well,
    Badly,
    Panic,
}

type Jobs = BoxCloneService<Job, (), Fail>;
type Calling = Pin<Box<dyn Future<Output = Result<(), Fail>> + Send>>;

async fn work(Job(_, then): Job) -> Result<(), Fail> {
    sleep(ms(1)).await;
    match then {
        Then::Hang => std::future::pending().await,
        Then::Well => Ok(()),
        Then::Badly => Err(Error::Inner(NO)),
        Then::Panic => std::panic::resume_unwind(Box::new("scripted")),
    }
}

fn jobs(builder: bulkhead::Builder) -> (Jobs, bulkhead::BulkheadHandle) {
    let layer = builder.cost(|job: &Job| job.0).build().unwrap();
    (BoxCloneService::new(layer.layer(service_fn(work))), layer.handle())
}

fn limit(limit: u32) -> bulkhead::Builder {
    BulkheadLayer::builder("x").limit(limit).queue(10)
}

fn made(jobs: &Jobs, cost: u32, then: Then) -> Calling {
    let mut jobs = jobs.clone();
    assert!(crate::scene::is_ready(&mut jobs));
    jobs.call(Job(cost, then))
}

/// One that is in flight or waits until it is dropped.
fn begin(jobs: &Jobs, cost: u32) -> Calling {
    let mut call = made(jobs, cost, Then::Hang);
    assert!(poll_once(&mut call).is_pending());
    call
}

/// One that is over at once.
fn rejected(jobs: &Jobs, cost: u32) -> (Option<Reason>, Option<Measurement>) {
    let Poll::Ready(ended) = poll_once(&mut made(jobs, cost, Then::Well)) else {
        panic!("it goes on")
    };
    (reason(&ended), measurement(&ended))
}

fn levels(handle: &bulkhead::BulkheadHandle) -> (u32, u32, u32) {
    (handle.in_flight(), handle.available(), handle.queued())
}

// weights: a call that takes three permits
#[tokio::test(start_paused = true)]
async fn a_call_takes_as_many_places_as_it_costs() {
    let (jobs, handle) = jobs(BulkheadLayer::builder("x").limit(10));
    let three = begin(&jobs, 3);
    let seven = begin(&jobs, 7);
    assert_eq!(levels(&handle), (10, 0, 0));
    let full = Measurement::Occupied { in_flight: 10, limit: 10, queued: 0 };
    assert_eq!(rejected(&jobs, 1), (Some(Reason::Full), Some(full)));
    drop(three);
    assert_eq!(levels(&handle), (7, 3, 0));
    assert_eq!(rejected(&jobs, 4).0, Some(Reason::Full));
    let two = begin(&jobs, 2);
    assert_eq!(levels(&handle), (9, 1, 0));
    drop((seven, two));
    assert_eq!(levels(&handle), (0, 10, 0));
}

#[tokio::test(start_paused = true)]
async fn what_costs_more_than_there_is_is_rejected_at_once_and_what_costs_nothing_never() {
    let (jobs, handle) = jobs(limit(3));
    let dear = |cost, most| (Some(Reason::CostTooHigh), Some(Measurement::Cost { cost, most }));
    assert_eq!(rejected(&jobs, 4), dear(4, 3), "with nobody there");
    let all = begin(&jobs, 3);
    let waits = begin(&jobs, 2);
    assert_eq!(rejected(&jobs, u32::MAX), dear(u32::MAX, 3), "and with a queue");
    // What costs nothing waits for nobody.
    let mut free = made(&jobs, 0, Then::Well);
    assert!(poll_once(&mut free).is_pending());
    advance(ms(1)).await;
    assert_eq!(poll_once(&mut free), Poll::Ready(Ok(())));
    assert_eq!(levels(&handle), (3, 0, 1));
    drop((all, waits));
    assert_eq!(levels(&handle), (0, 3, 0));
}

// weights: no starvation
#[tokio::test(start_paused = true)]
async fn one_that_costs_much_is_not_overtaken_by_many_that_cost_little() {
    let (jobs, handle) = jobs(limit(4));
    let mut inside: Vec<_> = (0..4).map(|_| begin(&jobs, 1)).collect();
    let mut heavy = begin(&jobs, 3);
    let mut light: Vec<_> = (0..3).map(|_| begin(&jobs, 1)).collect();
    for free in 1..=2 {
        inside.pop();
        assert!(light.iter_mut().all(|call| poll_once(call).is_pending()));
        assert_eq!(levels(&handle), (4 - free, free, 4), "they are kept for it");
    }
    // Nor by one that comes now and would find room.
    light.push(begin(&jobs, 1));
    assert_eq!(handle.queued(), 5);
    inside.pop();
    assert!(poll_once(&mut heavy).is_pending());
    assert_eq!(levels(&handle), (4, 0, 4), "it came in, alone");
    drop(heavy);
    assert_eq!(levels(&handle), (4, 0, 1), "three at once for the one that left");
    drop((inside, light));
    assert_eq!(levels(&handle), (0, 4, 0));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_in_the_way_and_leaves_lets_those_behind_it_in() {
    let (jobs, handle) = jobs(limit(4).max_wait(ms(100)));
    let inside = begin(&jobs, 2);
    for dropped in [true, false] {
        let heavy = begin(&jobs, 3);
        advance(ms(50)).await;
        let mut light: Vec<_> = (0..2).map(|_| begin(&jobs, 1)).collect();
        assert_eq!(levels(&handle), (2, 2, 3));
        if dropped {
            drop(heavy);
        } else {
            // It came before them, so that it gives up before them.
            advance(ms(50)).await;
            assert_eq!(reason(&in_time(heavy).await), Some(Reason::QueueTimeout));
        }
        assert_eq!(levels(&handle), (4, 0, 0));
        assert!(light.iter_mut().all(|call| poll_once(call).is_pending()));
    }
    drop(inside);
}

// pitfall B26
#[tokio::test(start_paused = true)]
async fn one_that_waits_when_the_limit_is_lowered_below_its_cost_is_told_at_once() {
    let (jobs, handle) = jobs(limit(4));
    let inside = begin(&jobs, 1);
    // The first is in the way of the others; the last is behind one that stays.
    let dear = [4, 3, 4].map(|cost| tokio::spawn(begin(&jobs, cost)));
    let two = begin(&jobs, 2);
    let last = tokio::spawn(begin(&jobs, 3));
    settle().await;
    assert_eq!(levels(&handle), (1, 3, 5));
    handle.reload(bulkhead::Config { limit: 2, ..handle.config() }).unwrap();
    settle().await;
    for call in dear.into_iter().chain([last]) {
        assert!(call.is_finished(), "it waits for what there will never be");
        assert_eq!(reason(&call.await.unwrap()), Some(Reason::CostTooHigh));
    }
    assert_eq!(levels(&handle), (1, 1, 1), "the one that still fits goes on waiting");
    drop(inside);
    assert_eq!(levels(&handle), (2, 0, 0));
    // And one for whom there is room now, for who was in its way was sent away.
    drop(two);
    let inside = begin(&jobs, 1);
    handle.reload(bulkhead::Config { limit: 4, ..handle.config() }).unwrap();
    let (dear, one) = (tokio::spawn(begin(&jobs, 4)), begin(&jobs, 1));
    assert_eq!(levels(&handle), (1, 3, 2));
    handle.reload(bulkhead::Config { limit: 3, ..handle.config() }).unwrap();
    assert_eq!(levels(&handle), (2, 1, 0));
    assert_eq!(reason(&in_time(dear).await.unwrap()), Some(Reason::CostTooHigh));
    drop((inside, one));
}

#[tokio::test(start_paused = true)]
async fn whatever_ends_a_call_gives_all_its_places_back() {
    let (jobs, handle) = jobs(limit(5));
    for then in [Then::Well, Then::Badly, Then::Panic] {
        let first = tokio::spawn(made(&jobs, 4, then));
        let waits = tokio::spawn(made(&jobs, 5, then)); // comes in when it has all of them
        settle().await;
        assert_eq!(levels(&handle), (4, 1, 1));
        let ended = (in_time(first).await, in_time(waits).await);
        assert_eq!(ended.0.is_err(), matches!(then, Then::Panic));
        assert_eq!(levels(&handle), (0, 5, 0), "{then:?}");
    }
    // Dropped inside, unpolled, in line, and with places that it did not notice yet.
    let calls = [made(&jobs, 3, Then::Hang), begin(&jobs, 2), begin(&jobs, 5), begin(&jobs, 5)];
    assert_eq!(levels(&handle), (5, 0, 2));
    let [unpolled, inside, given, waits] = calls;
    drop((unpolled, inside));
    assert_eq!(levels(&handle), (5, 0, 1));
    drop(given);
    assert_eq!(levels(&handle), (5, 0, 0), "it handed them on");
    drop(waits);
    assert_eq!(levels(&handle), (0, 5, 0));
}

#[tokio::test(start_paused = true)]
async fn places_are_held_until_the_answer_is_read_if_asked_to() {
    let layer = limit(5).completion(AtTheEnd).cost(|job: &Job| job.0).build().unwrap();
    let mut service = layer.layer(service_fn(work));
    let answer = service.call(Job(4, Then::Well)).await.unwrap();
    assert_eq!(levels(&layer.handle()), (4, 1, 0));
    drop(answer);
    assert_eq!(levels(&layer.handle()), (0, 5, 0));
}

#[derive(Clone)]
struct AtTheEnd;

impl Completion<()> for AtTheEnd {
    type Response = CallGuard;

    fn wrap(&self, (): (), settle: CallGuard) -> CallGuard {
        settle
    }
}

#[tokio::test(start_paused = true)]
async fn the_newest_first_comes_in_past_an_older_one_that_needs_more() {
    let (jobs, handle) = jobs(limit(4).order(Order::NewestFirst));
    let inside = begin(&jobs, 2);
    let heavy = begin(&jobs, 3);
    let light = begin(&jobs, 1);
    assert_eq!(levels(&handle), (3, 1, 1), "it is the newest, and there is room for it");
    drop(inside);
    assert_eq!(levels(&handle), (4, 0, 0), "three for the one that waited");
    drop((heavy, light));
}

#[tokio::test(start_paused = true)]
async fn of_a_keyed_bulkhead_each_key_has_so_many_places() {
    let layer = limit(3).cost(|job: &Job| job.0).keyed(|job: &Job| match job.1 {
        Then::Hang => Cow::from("a"),
        _ => Cow::from("b"),
    });
    let layer = layer.build().unwrap();
    let jobs = Jobs::new(layer.layer(service_fn(work)));
    let two = begin(&jobs, 2);
    let waits = begin(&jobs, 2);
    let of = |key| levels(&layer.handle().key(key).unwrap());
    assert_eq!(of("a"), (2, 1, 1));
    in_time(made(&jobs, 3, Then::Well)).await.unwrap();
    assert_eq!(of("b"), (0, 3, 0));
    assert_eq!(rejected(&jobs, 4).0, Some(Reason::CostTooHigh));
    drop((two, waits));
    assert_eq!(of("a"), (0, 3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_calls_however_much_they_take() {
    let layer = limit(3).cost(|job: &Job| job.0).build().unwrap();
    let jobs = Jobs::new(layer.layer(service_fn(work)));
    let calls = [(3, Then::Well), (0, Then::Well)].map(|(cost, then)| {
        let mut call = made(&jobs, cost, then);
        assert!(poll_once(&mut call).is_pending());
        call
    });
    let waits = begin(&jobs, 1);
    let mut drained = Box::pin(layer.drain());
    assert!(poll_once(&mut drained).is_pending());
    assert_eq!(reason(&in_time(waits).await), Some(Reason::Draining));
    assert_eq!(rejected(&jobs, 0).0, Some(Reason::Draining));
    assert!(poll_once(&mut drained).is_pending());
    for call in calls {
        in_time(call).await.unwrap();
    }
    in_time(drained).await;
    assert_eq!(levels(&layer.handle()), (0, 3, 0));
}

// it has no request that could be asked
#[tokio::test(start_paused = true)]
async fn a_call_that_is_run_takes_one_place_whatever_requests_cost() {
    let layer = limit(3).cost(|job: &Job| job.0).build().unwrap();
    let call = || layer.run(|| work(Job(3, Then::Hang)));
    let mut calls = [call(), call()].map(Box::pin);
    for call in &mut calls {
        assert!(poll_once(call).is_pending());
    }
    assert_eq!(levels(&layer.handle()), (2, 1, 0));
    drop(calls);
    assert_eq!(levels(&layer.handle()), (0, 3, 0));
}
