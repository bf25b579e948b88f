//! A bulkhead for balancers and connection loops: not ready, instead of rejecting.

use std::task::{Context, Poll};

use super::limiter::Entry;
use super::policy::{Bounded, Permit};
use crate::core::error::Rejected;
use crate::core::outcome::Outcome;
use crate::core::request::{CallContext, NoPropagation};
use crate::shell::cost::One;
use crate::shell::gate::{self, Policy, Reserve, Unclassified};
use crate::shell::queue::{Standing, Ticket};

/// Makes services that are not ready while the bulkhead is full; see
/// [`BulkheadLayer::backpressure`](super::BulkheadLayer::backpressure).
pub type BackpressureLayer<F, K = NoPropagation> =
    gate::BackpressureLayer<Bounded<F, One>, Unclassified, K>;

/// Is ready once it has a permit, which it holds until it is called or dropped.
///
/// Each instance waits in the one queue of its bulkhead, in turn, for as long as it takes. Needs no
/// `Clone`.
pub type Backpressure<S, F, K = NoPropagation> =
    gate::Backpressure<S, Bounded<F, One>, Unclassified, K>;

/// A turn in the queue, or a permit that is held for a call to come.
#[derive(Debug, Default)]
pub enum Reservation {
    #[default]
    None,
    Queued(Ticket),
    Held,
}

impl<F: Send + Sync + 'static> Reserve for Bounded<F, One> {
    type Reservation = Reservation;

    fn poll_reserve(&self, reservation: &mut Reservation, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            *reservation = match reservation {
                Reservation::Held => return Poll::Ready(()),
                Reservation::Queued(ticket) => match self.limiter().look(ticket, cx.waker()) {
                    Standing::Placed => Reservation::Held,
                    Standing::Waiting => return Poll::Pending,
                    Standing::Expired | Standing::Barred => Reservation::None,
                },
                Reservation::None => match self.limiter().stand() {
                    Entry::Inside => Reservation::Held,
                    Entry::Queued(ticket) => Reservation::Queued(ticket),
                    // A million wait before it.
                    Entry::Full(_) | Entry::TooDear(_) => return Poll::Ready(()),
                },
            };
        }
    }

    fn redeem(
        &self,
        reservation: &mut Reservation,
        _: Option<&mut CallContext>,
    ) -> Result<Permit, Rejected> {
        if matches!(reservation, Reservation::Held) {
            *reservation = Reservation::None;
        } else if !self.limiter().enter(1) {
            return Err(self.full()); // called without having been ready
        }
        Ok(Permit::new(1))
    }

    fn fail(&self, reservation: &mut Reservation, _: &Outcome) {
        self.release(reservation);
    }

    fn release(&self, reservation: &mut Reservation) {
        match std::mem::take(reservation) {
            Reservation::None => {}
            Reservation::Queued(ticket) => self.limiter().give_up(&ticket, 1),
            Reservation::Held => self.give_back(Permit::new(1)),
        }
    }
}
