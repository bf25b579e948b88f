//! A value that is replaced while calls go by it: each call goes by one, and whoever replaces it can wait
//! until no call goes by an earlier one.
//!
//! Each value has a gate of its own. The one in force is open; whoever finds a closed one takes the next.

#![cfg_attr(not(feature = "shards"), allow(dead_code, reason = "some sets do not change"))]

use std::sync::Arc;

use tokio::sync::Notify;

use crate::core::sync::Mutex;
use crate::core::sync::atomic::{AtomicBool, Ordering};
use crate::shell::in_flight::InFlight;
use crate::shell::live::Live;
use crate::shell::lock;

/// Values that follow one another.
pub(crate) struct Epochs<T> {
    present: Live<InFlight<T>>,
    /// Earlier ones, until none of their calls is in flight when another follows.
    earlier: Mutex<Vec<Arc<InFlight<T>>>>,
    replaced: Notify,
    drained: AtomicBool,
}

impl<T> Epochs<T> {
    pub(crate) fn new(first: T) -> Self {
        Self {
            present: Live::new(InFlight::new(first)),
            earlier: Mutex::default(),
            replaced: Notify::new(),
            drained: AtomicBool::new(false),
        }
    }

    /// The one in force.
    pub(crate) fn present(&self) -> Arc<InFlight<T>> {
        self.present.get()
    }

    /// Puts `next` in the place of `present`, and lets no further call go by that. `false`, if another came
    /// in between.
    pub(crate) fn replace(&self, present: &Arc<InFlight<T>>, next: T) -> bool {
        let next = InFlight::new(next);
        let mut earlier = lock(&self.earlier); // whoever replaces holds it
        if !Arc::ptr_eq(&self.present(), present) {
            drop(earlier); // before what was made for nothing
            return false;
        }
        if self.is_drained() {
            next.stop(); // nobody waits in it yet
        }
        self.present.replace(present, next);
        let done = extract(&mut earlier, |calls| calls.in_flight() == 0);
        earlier.push(Arc::clone(present));
        drop(earlier);
        present.stop(); // wakes those who wait: after the unlock
        self.replaced.notify_waiters();
        drop(done);
        true
    }

    /// Calls that were made and are not over, by whichever value.
    pub(crate) fn in_flight(&self) -> usize {
        let earlier: usize = lock(&self.earlier).iter().map(|calls| calls.in_flight()).sum();
        earlier + self.present().in_flight()
    }

    /// Returns when a value is in force of which `is_past` is not true any more, and no call is in flight that
    /// goes by one of which it is.
    pub(crate) async fn settled(&self, is_past: impl Fn(&T) -> bool) {
        loop {
            let replaced = self.replaced.notified(); // before the look, or it could come in between
            if !is_past(self.present().policy()) {
                break;
            }
            replaced.await;
        }
        let is_past = |calls: &&Arc<InFlight<T>>| is_past(calls.policy());
        let past: Vec<_> = lock(&self.earlier).iter().filter(is_past).cloned().collect();
        for calls in past {
            calls.stop(); // if whoever replaced it has not come to that yet
            calls.emptied().await;
        }
    }

    /// Lets no further call in, for good, and returns when none is in flight.
    pub(crate) async fn drain(&self) {
        let all: Vec<_> = {
            let earlier = lock(&self.earlier);
            self.drained.store(true, Ordering::Relaxed);
            earlier.iter().cloned().chain([self.present()]).collect()
        };
        for calls in &all {
            calls.stop();
        }
        for calls in all {
            calls.emptied().await;
        }
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.drained.load(Ordering::Relaxed)
    }
}

/// Takes out what `is_one`.
fn extract<T>(all: &mut Vec<T>, is_one: impl Fn(&T) -> bool) -> Vec<T> {
    let (out, left) = std::mem::take(all).into_iter().partition(is_one);
    *all = left;
    out
}
