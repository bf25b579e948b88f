//! One source for several readers, who poll it one at a time.
//!
//! What the source gave is kept by a *tape*, behind the lock. The source itself is lent out to be
//! polled, for it is foreign code and may do what it likes; meanwhile the others wait. It is polled
//! with a waker that wakes all who wait, so that nobody depends on the one who polled it last.

use std::sync::Arc;
use std::task::{Wake, Waker};

use crate::core::sync::Mutex;
use crate::shell::lock;
use crate::shell::waiters::{Waiters, WakerSlot};

/// A source, what it gave, and who waits for more.
pub(crate) struct Relay<T, S> {
    held: Mutex<Held<T, S>>,
    wakers: Arc<WakeAll>,
}

struct Held<T, S> {
    tape: T,
    source: Source<S>,
}

enum Source<S> {
    Here(S),
    /// In somebody's hand; and who came meanwhile. A wake of the source may have come before they
    /// could hear it, so they look again when it is back.
    Lent(Vec<Waker>),
    Gone,
}

/// What a reader finds.
pub(crate) enum Visit<'a, T, S, R> {
    /// What it looked for.
    Found(R),
    /// The source, to be polled.
    Loan(Loan<'a, T, S>),
    /// Somebody else is polling the source.
    Lent,
    /// The source is no more.
    Gone,
}

/// The source, in the hand of one reader. If it is dropped, the source is gone.
pub(crate) struct Loan<'a, T, S> {
    relay: &'a Relay<T, S>,
    source: Option<S>,
}

/// Wakes all who wait.
#[derive(Default)]
struct WakeAll(Mutex<Waiters>);

// ===== impl Relay =====

impl<T, S> Relay<T, S> {
    pub(crate) fn new(tape: T, source: S) -> Self {
        let held = Mutex::new(Held { tape, source: Source::Here(source) });
        Self { held, wakers: Arc::default() }
    }

    /// Looks at the tape. `look` runs under the lock.
    pub(crate) fn with<R>(&self, look: impl FnOnce(&mut T) -> R) -> R {
        look(&mut lock(&self.held).tape)
    }

    /// Looks at the tape, and borrows the source if that gives nothing. If it is lent, `waker` is
    /// woken when it is back.
    pub(crate) fn visit<R>(
        &self,
        waker: &Waker,
        look: impl FnOnce(&mut T) -> Option<R>,
    ) -> Visit<'_, T, S, R> {
        let mut held = lock(&self.held);
        if let Some(found) = look(&mut held.tape) {
            return Visit::Found(found);
        }
        match std::mem::replace(&mut held.source, Source::Lent(Vec::new())) {
            Source::Here(source) => Visit::Loan(Loan { relay: self, source: Some(source) }),
            Source::Lent(mut missed) => {
                if !missed.iter().any(|known| known.will_wake(waker)) {
                    missed.push(waker.clone());
                }
                held.source = Source::Lent(missed);
                Visit::Lent
            }
            Source::Gone => {
                held.source = Source::Gone;
                Visit::Gone
            }
        }
    }

    /// Leaves a waker, to be woken by the source and by other readers. To be called before the last
    /// look.
    pub(crate) fn wait(&self, slot: &mut WakerSlot, waker: Waker) {
        let replaced = lock(&self.wakers.0).wait(slot, waker);
        drop(replaced); // after the unlock
    }

    /// Waits no longer.
    pub(crate) fn leave(&self, slot: &mut WakerSlot) {
        if slot.is_taken() {
            let left = lock(&self.wakers.0).leave(slot);
            drop(left); // after the unlock
        }
    }

    /// What the source is to be polled with.
    pub(crate) fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.wakers))
    }

    /// Makes all who wait look again.
    pub(crate) fn ring(&self) {
        self.wakers.ring();
    }

    fn put(&self, source: Source<S>, note: impl FnOnce(&mut T)) {
        let mut held = lock(&self.held);
        note(&mut held.tape);
        let before = std::mem::replace(&mut held.source, source);
        drop(held);
        if let Source::Lent(missed) = before {
            missed.into_iter().for_each(Waker::wake);
        }
    }
}

impl<T, S> Loan<'_, T, S> {
    /// The source. `None` never happens: a loan has it until it ends.
    pub(crate) fn source(&mut self) -> Option<&mut S> {
        self.source.as_mut()
    }

    /// Gives the source back, and notes what it gave.
    pub(crate) fn give_back(mut self, note: impl FnOnce(&mut T)) {
        if let Some(source) = self.source.take() {
            self.relay.put(Source::Here(source), note);
        }
    }

    /// The source gives nothing more.
    pub(crate) fn end(mut self, note: impl FnOnce(&mut T)) {
        let source = self.source.take();
        self.relay.put(Source::Gone, note);
        drop(source); // after the unlock
    }
}

impl<T, S> Drop for Loan<'_, T, S> {
    fn drop(&mut self) {
        if self.source.is_some() {
            // Polling it panicked.
            self.relay.put(Source::Gone, |_| ());
            self.relay.ring();
        }
    }
}

// ===== impl WakeAll =====

impl WakeAll {
    fn ring(&self) {
        let wakers = lock(&self.0).take_all();
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Wake for WakeAll {
    fn wake(self: Arc<Self>) {
        self.ring();
    }
}
