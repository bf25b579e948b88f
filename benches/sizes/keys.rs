//! A hundred thousand breakers, one for each key; and as many rate limits.

use std::borrow::Cow;
use std::time::Duration;

use seawall::circuit_breaker::{CircuitBreakerLayer, KeyedCircuitBreakerHandle};
use seawall::rate_limit::RateLimitLayer;
use tower::{Service, ServiceBuilder};

use crate::measure::{grouped, held, nanos};
use crate::{Fail, call, nine_in_ten};

const SIZES: [usize; 3] = [10, 1_000, 100_000];
const TURNS: usize = 200;
/// Calls in a turn.
const CALLS: usize = 1_000;
/// How far apart those keys are that are called one after the other: a prime, so that all have their
/// turn, and far enough for caches to be of no help in a large table.
const STRIDE: usize = 7_919;

/// The key, and a number whose tenths fail.
type Request = (&'static str, u64);

pub(crate) fn table() {
    println!(
        "| a breaker for each of so many keys | bytes a key | the same, once it failed | bytes in all, all well \
         | the same key again: ns a call | another key each time: ns a call \
         | a new key, one at rest goes: ns a call | a new key, none can go: ns a call |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for size in SIZES {
        let names = names(size + TURNS * CALLS);
        let (known, new) = names.split_at(size);
        let before = held();
        let (mut service, handle) = keyed(size);
        for key in known {
            assert_eq!(call(&mut service, (*key, 0)), 1);
        }
        let bytes = held() - before;
        assert_eq!(handle.len(), size);

        let mut at = 0;
        let same = cost(&mut service, || known[size / 2]);
        let another = cost(&mut service, || {
            at = (at + STRIDE) % size;
            known[at]
        });
        let mut newcomers = new.iter();
        let evicting = cost(&mut service, || newcomers.next().expect("enough of them"));
        assert!(handle.key(known[0]).is_none() && handle.len() == size, "they made room");

        let (overflowing, failed) = crowded(known, new);
        println!(
            "| {} | {} | {} | {} | {same:.0} | {another:.0} | {evicting:.0} | {overflowing:.0} |",
            grouped(size),
            bytes / size,
            failed / size,
            grouped(bytes),
        );
    }
}

pub(crate) fn limits() {
    println!(
        "| a rate limit for each of so many keys | bytes a key | the same key again: ns a call \
         | another key each time: ns a call | a new key, none can go: ns a call |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: |");
    for size in SIZES {
        let names = names(size + TURNS * CALLS);
        let (known, new) = names.split_at(size);
        let before = held();
        let limit = 1_000_000_000;
        let layer = RateLimitLayer::builder("bench")
            .limit(limit)
            .period(Duration::from_secs(3600)) // what is used up does not come back
            .keyed(|request: &Request| Cow::Borrowed(request.0))
            .max_keys(size)
            .build()
            .expect("it is valid");
        let handle = layer.handle();
        let mut service =
            ServiceBuilder::new().layer(layer).service_fn(|(_, request)| nine_in_ten(request));
        for key in known {
            assert_eq!(call(&mut service, (*key, 0)), 1);
        }
        let bytes = held() - before;
        assert_eq!(handle.len(), size);
        let mut at = 0;
        let same = cost(&mut service, || known[size / 2]);
        let another = cost(&mut service, || {
            at = (at + STRIDE) % size;
            known[at]
        });
        let mut newcomers = new.iter();
        let overflowing = cost(&mut service, || newcomers.next().expect("enough of them"));
        assert!(known.iter().all(|key| handle.key(key).is_some()), "nobody made room");
        println!(
            "| {} | {} | {same:.0} | {another:.0} | {overflowing:.0} |",
            grouped(size),
            bytes / size
        );
    }
}

/// A call with a new key when every key has seen a failure, so that none is forgotten for it; and
/// the bytes of them all.
fn crowded(known: &'static [&'static str], new: &'static [&'static str]) -> (f64, usize) {
    let before = held();
    let (mut service, handle) = keyed(known.len());
    for key in known {
        assert_eq!(call(&mut service, (*key, 9)), 0);
    }
    let bytes = held() - before;
    let mut newcomers = new.iter();
    let time = cost(&mut service, || newcomers.next().expect("enough of them"));
    assert!(known.iter().all(|key| handle.key(key).is_some()), "nobody made room");
    (time, bytes)
}

fn cost<S>(service: &mut S, mut key: impl FnMut() -> &'static str) -> f64
where
    S: Service<Request, Response = u64>,
{
    let mut turn = |service: &mut S| {
        let sum: u64 = (0..CALLS).map(|_| call(service, (key(), 0))).sum();
        assert_eq!(sum, CALLS as u64, "the work was done");
    };
    nanos(TURNS, CALLS, service, &mut turn, |_| {})
}

fn keyed(
    most: usize,
) -> (impl Service<Request, Response = u64, Error = Fail>, KeyedCircuitBreakerHandle) {
    let layer = CircuitBreakerLayer::builder("bench")
        .keyed(|request: &Request| Cow::Borrowed(request.0))
        .max_keys(most)
        .build()
        .expect("it is valid");
    let handle = layer.handle();
    (ServiceBuilder::new().layer(layer).service_fn(|(_, request)| nine_in_ten(request)), handle)
}

/// Names of hosts, for as long as the program runs.
fn names(count: usize) -> &'static [&'static str] {
    let name = |number| &*format!("host-{number:07}.example.com").leak();
    (0..count).map(name).collect::<Vec<_>>().leak()
}
