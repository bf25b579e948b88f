//! The table of contenders.
//!
//! A new row is a function that returns a [`Row`]; a new contender is one more `.peer(…)` on it, and
//! ours is `.ours(…)`. A row without ours is not measured.

mod breaker;
mod bulkhead;
mod endpoints;
mod hedge;
mod rate_limit;
mod retry;
mod stack;
mod timeout;

use std::time::Duration;

use crate::drive::{Expect, Fork, Holding};

/// Longer than any measurement takes, and shorter than a timer wheel's horizon.
pub const LONG: Duration = Duration::from_secs(3600);

/// The name of our column.
pub const OURS: &str = "seawall";

/// Every row, in the order in which it is printed.
pub fn all() -> Vec<Row> {
    vec![
        timeout::at_once(),
        timeout::pending_once(),
        retry::not_taken(),
        breaker::closed(),
        breaker::cloned_per_call(),
        breaker::open(),
        bulkhead::free(),
        bulkhead::full(),
        rate_limit::within(),
        endpoints::ten(),
        endpoints::ten_pending(),
        hedge::not_hedged(),
        stack::four(),
        stack::four_recorded(),
        stack::client(),
        stack::client_pending(),
        stack::client_recorded(),
    ]
}

/// One pattern, and everybody who knows it.
pub struct Row {
    /// A word for the command line.
    pub key: &'static str,
    /// What is measured.
    pub title: &'static str,
    pub holding: Holding,
    pub expect: Expect,
    /// What our time may be, as a multiple of another's.
    pub target: Target,
    /// Whether it is measured on two threads too.
    pub scales: bool,
    pub contenders: Vec<Contender>,
}

/// One column of one row.
pub struct Contender {
    pub name: &'static str,
    /// Calls in a batch, if the usual number would take too long.
    pub calls: Option<u64>,
    make: Box<dyn Fn() -> Fork>,
}

/// What our cost may be.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// So many times the best peer's.
    Best(f64),
    /// So many times this contender's.
    Of(f64, &'static str),
    None,
}

impl Row {
    pub fn new(key: &'static str, title: &'static str) -> Self {
        Self {
            key,
            title,
            holding: Holding::Kept,
            expect: Expect::Answers,
            target: Target::None,
            scales: false,
            contenders: Vec::new(),
        }
    }

    pub fn at_most(mut self, target: Target) -> Self {
        self.target = target;
        self
    }

    /// Calls are rejected in this row.
    pub fn rejects(mut self) -> Self {
        self.expect = Expect::HandleError;
        self
    }

    pub fn cloned_per_call(mut self) -> Self {
        self.holding = Holding::ClonedPerCall;
        self
    }

    /// The row is measured on two threads too.
    pub fn scales(mut self) -> Self {
        self.scales = true;
        self
    }

    pub fn ours(self, make: impl Fn() -> Fork + 'static) -> Self {
        self.peer(OURS, make)
    }

    pub fn peer(mut self, name: &'static str, make: impl Fn() -> Fork + 'static) -> Self {
        self.contenders.push(Contender { name, calls: None, make: Box::new(make) });
        self
    }

    /// A peer that knows this only if it was built for it.
    pub fn peer_if(
        self,
        built: bool,
        name: &'static str,
        make: impl Fn() -> Fork + 'static,
    ) -> Self {
        if built { self.peer(name, make) } else { self }
    }

    /// The contender added last is so slow that a batch of its is only so many calls.
    pub fn in_batches_of(mut self, calls: u64) -> Self {
        self.contenders.last_mut().expect("follows a contender").calls = Some(calls);
        self
    }

    /// Whether we have what this row is about.
    pub fn has_ours(&self) -> bool {
        self.contenders.iter().any(|contender| contender.name == OURS)
    }
}

impl Contender {
    /// A new policy, and a way to call it.
    pub fn fork(&self) -> Fork {
        (self.make)()
    }
}
