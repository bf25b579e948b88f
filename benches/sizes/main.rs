//! What things cost when there are many of them: calls in a window, keys in a table, callers in a
//! line, clones of a service. What should not grow is shown small and large, in one process.
//!
//! `cargo bench --bench sizes` prints Markdown; words after `--` choose tables by a part of their name.
#![allow(clippy::expect_used)] // a bench that cannot go on should stop
#![allow(clippy::disallowed_methods)] // a bench reads the clock

mod clones;
mod keys;
mod line;
mod measure;
mod windows;

use std::future::{Ready, ready};
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use seawall::Error;
use tower::Service;

const TABLES: [(&str, fn()); 5] = [
    ("windows", windows::table),
    ("keys", keys::table),
    ("limits", keys::limits),
    ("line", line::table),
    ("clones", clones::table),
];

fn main() {
    let words: Vec<_> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    for (name, table) in TABLES {
        if words.is_empty() || words.iter().any(|word| name.contains(word.as_str())) {
            table();
            println!();
        }
    }
}

/// What a call fails with that was meant to.
#[derive(Debug, Clone, Copy)]
struct Broken;

type Fail = Error<Broken>;

fn echo(request: u64) -> Ready<Result<u64, Fail>> {
    ready(Ok(request + 1))
}

/// Every tenth call fails.
fn nine_in_ten(request: u64) -> Ready<Result<u64, Fail>> {
    if request % 10 == 9 { ready(Err(Error::Inner(Broken))) } else { echo(request) }
}

/// Calls a service whose answers are there at once; zero if it rejected.
#[inline]
fn call<Req, S: Service<Req, Response = u64>>(service: &mut S, request: Req) -> u64 {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready(), "always ready");
    match pin!(service.call(black_box(request))).poll(&mut cx) {
        Poll::Ready(answer) => answer.unwrap_or(0),
        Poll::Pending => panic!("it answers at once"),
    }
}
