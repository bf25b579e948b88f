//! A breaker for balancers: not ready, instead of rejecting.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::{Sleep, sleep_until};

use super::engine::shared::Admission;
use super::engine::step::Pass;
use super::policy::{BreakerPermit, BreakerPolicy};
use crate::core::error::Rejected;
use crate::core::outcome::Outcome;
use crate::core::request::{CallContext, NoPropagation};
use crate::core::time::{self, poll_timer};
use crate::shell::gate::{self, Reserve};
use crate::shell::waiters::WakerSlot;

/// Makes services that are not ready while the circuit is open; see
/// [`CircuitBreakerLayer::backpressure`](super::CircuitBreakerLayer::backpressure).
pub type BackpressureLayer<C, F, K = NoPropagation> =
    gate::BackpressureLayer<BreakerPolicy<F>, C, K>;

/// Is ready while the circuit lets a call through, and holds the right to that call meanwhile.
///
/// Each instance that is ready holds one permit, which it gives back when it is dropped. A permit
/// of an earlier state has lapsed; the call that finds it so asks again, and only if it is rejected
/// then does this service answer with a rejection. Needs no `Clone`.
pub type Backpressure<S, C, F, K = NoPropagation> = gate::Backpressure<S, BreakerPolicy<F>, C, K>;

/// A right to a call to come, or a wait for the circuit to change.
#[derive(Debug, Default)]
pub struct Reservation {
    pass: Option<Pass>,
    /// Rings when the break is over.
    timer: Option<Pin<Box<Sleep>>>,
    slot: WakerSlot,
}

impl<F> BreakerPolicy<F> {
    fn reserve(&self, reservation: &mut Reservation) -> Admission {
        let admission = self.shared.admit();
        if let Admission::Pass(pass) = &admission {
            reservation.pass = Some(*pass);
            reservation.timer = None;
            self.shared.leave(&mut reservation.slot);
        }
        admission
    }

    /// Gives a pass back that is of an earlier state, and returns any other.
    fn valid(&self, reservation: &mut Reservation) -> Option<Pass> {
        let pass = reservation.pass.take()?;
        if pass.epoch == self.shared.epoch() {
            return Some(pass);
        }
        self.shared.give_back(pass);
        None
    }
}

impl<F: Send + Sync + 'static> Reserve for BreakerPolicy<F> {
    type Reservation = Reservation;

    fn poll_reserve(&self, reservation: &mut Reservation, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            reservation.pass = self.valid(reservation);
            if reservation.pass.is_some() {
                return Poll::Ready(());
            }
            let Admission::Rejected(_) = self.reserve(reservation) else { return Poll::Ready(()) };
            // What changed before there was a waker would wake nobody: so leave one, and ask again.
            self.shared.park(&mut reservation.slot, cx.waker());
            let Admission::Rejected(rejection) = self.reserve(reservation) else {
                return Poll::Ready(());
            };
            let at = self.shared.common.reporter.clock.instant(rejection.until);
            if at.is_some_and(|at| at <= time::now()) {
                continue; // its break has just ended
            }
            reservation.timer = at.map(|at| Box::pin(sleep_until(at)));
            let timer = reservation.timer.as_mut();
            if !timer.is_some_and(|timer| poll_timer(timer.as_mut(), cx).is_ready()) {
                return Poll::Pending;
            }
        }
    }

    fn redeem(
        &self,
        reservation: &mut Reservation,
        call: Option<&mut CallContext>,
    ) -> Result<BreakerPermit, Rejected> {
        self.shared.leave(&mut reservation.slot);
        match self.valid(reservation).map_or_else(|| self.shared.admit(), Admission::Pass) {
            Admission::Pass(pass) => Ok(BreakerPermit::new(pass).with_upload(call)),
            Admission::Rejected(rejection) => Err(self.shared.reject(rejection)),
        }
    }

    fn fail(&self, reservation: &mut Reservation, outcome: &Outcome) {
        if let Some(pass) = reservation.pass.take() {
            self.shared.settle(&pass, outcome);
        }
    }

    /// An unused pass was no call, so nobody is told of one.
    fn release(&self, reservation: &mut Reservation) {
        if let Some(pass) = reservation.pass.take() {
            self.shared.give_back(pass);
        }
        self.shared.leave(&mut reservation.slot);
    }
}
