//! Attempting an async call that needs `&mut` to something.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::attempts::is_refunded;
use super::future::is_last_word;
use super::guard::RetryGuard;
use super::repeat::{Attempts, BrokenOff, Failure, Next, Repeat, Time};
use super::service::Core;
use super::timing::TimeLeft;
use crate::core::classify::Classify;
use crate::core::error::{CallError, Measurement, Reason};
use crate::core::time;
use crate::shell::gate::{Judged, Stage};
use crate::shell::in_flight::{InFlight, Parked};

/// A call without a policy but that of its retries.
type RunGuard<T, C, U> = RetryGuard<T, (), (), C, U>;

/// Runs an async call, each attempt of which borrows `state` anew.
pub(crate) async fn run_with<T, C, U, State, Res, E>(
    gate: &InFlight<Core<T, (), (), C>>,
    purse: U,
    state: &mut State,
    mut run: impl AsyncFnMut(&mut State) -> Result<Res, E>,
) -> Result<Res, E>
where
    T: Repeat<U>,
    C: Classify<Res, E>,
    State: ?Sized,
    E: CallError,
{
    let draining = || gate.retry.reject(Reason::Draining, Measurement::Nothing).into();
    let Some(stripe) = gate.enter() else { return Err(draining()) };
    let mut call = RunGuard::new(stripe, Some(()), None, purse);
    let begins = call.begin(|| false);
    let (mut attempts, mut started) = (T::Attempts::FIRST, None::<Instant>);
    loop {
        if !begins || call.hold().is_stopped() {
            call.close();
            return Err(draining());
        }
        let result = {
            let mut attempt = pin!(run(state));
            poll_fn(|cx| {
                let poll = attempt.as_mut().poll(cx);
                if poll.is_pending() && call.note(Stage::Called) {
                    started.get_or_insert_with(time::now);
                }
                poll
            })
            .await
        };
        let mut time = TimeLeft { started: &mut started, attempt_context: None };
        let classification = gate.classify.classify(result.as_ref());
        let outcome =
            if result.is_ok() { classification.of_head() } else { classification.of_error() };
        let rejection = result.as_ref().err().and_then(CallError::rejected);
        if is_refunded(&outcome, rejection) {
            call.refund();
        }
        if is_last_word(&outcome) {
            gate.retry.answered(&call.purse, &Judged::now(outcome), || time.took());
            call.close();
            return result;
        }
        let rejection = result.as_ref().err().and_then(CallError::rejected);
        let draining = call.hold().is_stopped();
        let failure = Failure { outcome, rejection, copied: true, repeated: false, draining };
        let wait = match gate.retry.failed(&mut attempts, failure, &mut time, &call.purse) {
            Next::Stop => {
                call.close();
                return result;
            }
            Next::Again(wait, price) => {
                call.pay(price);
                wait
            }
        };
        drop(result);
        if !wait_for(&call, wait).await {
            let unspent = call.take_unspent();
            gate.retry.give_back(unspent, &call.purse);
            gate.retry.gave_up(&attempts, BrokenOff::Draining, &call.purse);
        }
    }
}

/// Waits so many nanoseconds. `false` if a drain ended that.
async fn wait_for<T, C, U>(call: &RunGuard<T, C, U>, nanos: u64) -> bool
where
    T: Repeat<U>,
{
    if nanos == 0 {
        return !call.hold().is_stopped();
    }
    let at = time::now().checked_add(Duration::from_nanos(nanos));
    let (mut timer, mut parked) = (pin!(at.map(sleep_until)), Parked::new());
    poll_fn(|cx| {
        let over = match timer.as_mut().as_pin_mut() {
            Some(timer) => time::poll_timer(timer, cx).is_ready(),
            None => false,
        };
        if over && !call.hold().is_stopped() {
            return Poll::Ready(true);
        }
        if call.hold().park(&mut parked, cx.waker()) { Poll::Pending } else { Poll::Ready(false) }
    })
    .await
}
