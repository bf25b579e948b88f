//! Retry, through the public API.

mod copies;
mod decisions;
mod keyed;
mod patience;
mod stacks;
mod time;
mod waits;

use seawall::propagate::NoPropagation;
use seawall::retry::{Backoff, Builder, Chosen, Cloned, RetryLayer, Unsaid};

use crate::scene::{ByWord, Log};

/// A retry of three attempts that tells what it does, waits for nothing and has no budget.
fn retry(log: &Log) -> Builder<ByWord, Unsaid, NoPropagation> {
    RetryLayer::builder("x")
        .classify(ByWord)
        .attempts(3)
        .backoff(Backoff::none())
        .no_budget()
        .observe(log.observer())
}

/// What [`retry`] builds once it was told that everything may be repeated.
type Built = RetryLayer<ByWord, Chosen<Cloned>, NoPropagation>;
