//! A thousand clones of a service: servers clone one for each connection, or for each request.

use seawall::stack;
use tower::{Layer, Service, service_fn};

use crate::measure::{allocations, held, nanos};
use crate::{call, echo};

const CLONES: usize = 1_000;
const TURNS: usize = 400;
/// Calls in a turn.
const CALLS: usize = 1_000;

pub(crate) fn table() {
    let layer = stack::client("bench").cloned().build().expect("it is valid");
    let mut service = layer.layer(service_fn(echo));
    let only = cost(&mut service);

    let mut clones = Vec::with_capacity(CLONES);
    let (blocks, bytes) = (allocations(), held());
    clones.extend((0..CLONES).map(|_| service.clone()));
    let (blocks, bytes) = (allocations() - blocks, held() - bytes);
    clones.clear();
    let cloning = nanos(
        TURNS,
        CLONES,
        &mut clones,
        |clones| clones.extend((0..CLONES).map(|_| service.clone())),
        Vec::clear,
    );
    clones.extend((0..CLONES).map(|_| service.clone()));
    let with_others = cost(&mut service);
    let in_turn = nanos(
        TURNS,
        CLONES,
        &mut clones,
        |clones| {
            let sum: u64 = clones.iter_mut().map(|clone| call(clone, 0)).sum();
            assert_eq!(sum, CLONES as u64, "the work was done");
        },
        |_| {},
    );

    println!("| a thousand clones of the default stack | |");
    println!("| --- | ---: |");
    println!("| to make one | {cloning:.1} ns |");
    println!("| allocations, for all | {blocks} |");
    println!("| bytes on the heap, for all | {bytes} |");
    println!("| bytes of one | {} |", size_of_val(&service));
    println!("| a call through the only one | {only:.1} ns |");
    println!("| a call through one, a thousand others alive | {with_others:.1} ns |");
    println!("| a call through each in turn | {in_turn:.1} ns |");
}

fn cost<S: Service<u64, Response = u64>>(service: &mut S) -> f64 {
    let turn = |service: &mut S| {
        let sum: u64 = (0..CALLS).map(|_| call(service, 0)).sum();
        assert_eq!(sum, CALLS as u64, "the work was done");
    };
    nanos(TURNS, CALLS, service, turn, |_| {})
}
