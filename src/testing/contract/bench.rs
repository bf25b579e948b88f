//! What the checks share: layers over fresh probes, and ways to wait without hanging.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use tower::{Layer, Service, ServiceExt};

use super::{Check, Contract};
use crate::testing::counting_waker::CountingWaker;
use crate::testing::mock_service::{Breach, MockHandle, MockService, Ready, Reply};

/// So many calls at a time are counted as any number.
const MOST_ROOM: usize = 128;
/// So often every other task may run before what it did not do counts as not done.
const TURNS: u32 = 16;
/// Polls within which a call gets to its inner call.
const A_FEW: u32 = 4;
/// Whoever is woken more often while it waits for one thing is busy waiting.
const MOST_POLLS: u32 = 100_000;
/// In so many steps of sleep the patience ends.
const NAPS: u32 = 100;

const RUNS_ON: &str = "an inner call goes on that nobody waits for";

/// Or what does not hold.
pub(super) type Checked = Result<(), String>;
/// The future of a call, wherever it is.
pub(super) type Calling<S, Req> = Pin<Box<<S as Service<Req>>::Future>>;

pub(super) struct Bench<'a, L, Req, Res, E, S> {
    pub(super) contract: &'a Contract<L, Req, Res, E>,
    pub(super) clone: Option<fn(&S) -> S>,
    handles: RefCell<Vec<MockHandle>>,
}

/// One layer around one probe.
pub(super) struct Trial<L, S, Req, Res, E> {
    pub(super) layer: L,
    pub(super) probe: MockService<Req, Res, E>,
    pub(super) handle: MockHandle,
    pub(super) service: S,
}

impl<'a, L, Req, Res, E, S> Bench<'a, L, Req, Res, E, S>
where
    L: Layer<MockService<Req, Res, E>, Service = S>,
    S: Service<Req>,
{
    pub(super) fn new(contract: &'a Contract<L, Req, Res, E>, clone: Option<fn(&S) -> S>) -> Self {
        Self { contract, clone, handles: RefCell::default() }
    }

    pub(super) async fn run(&self, check: Check) -> Checked {
        // Boxed, for together they are large.
        match check {
            Check::OnlyReadyIsCalled => Box::pin(self.only_ready_is_called()).await,
            Check::CloneReservesNothing => Box::pin(self.clone_reserves_nothing()).await,
            Check::ReadinessIsKept => Box::pin(self.readiness_is_kept()).await,
            Check::ReservationIsGivenBack => Box::pin(self.reservation_is_given_back()).await,
            Check::ReadyErrorIsTold => Box::pin(self.ready_error_is_told()).await,
            Check::AnswersArePassedOn => Box::pin(self.answers_are_passed_on()).await,
            Check::OneCallEach => Box::pin(self.one_call_each()).await,
            Check::NoCallAfterDrop => Box::pin(self.no_call_after_drop()).await,
            Check::NoCallRunsOn => Box::pin(self.no_call_runs_on()).await,
            Check::NothingIsLeftByADrop => Box::pin(self.nothing_is_left_by_a_drop()).await,
            Check::NothingIsLeftByAFailure => Box::pin(self.nothing_is_left_by_a_failure()).await,
            Check::NothingIsLeftByAPanic => Box::pin(self.nothing_is_left_by_a_panic()).await,
            Check::WokenWhenReady => Box::pin(self.woken_when_ready()).await,
            Check::WokenWhenAnswered => Box::pin(self.woken_when_answered()).await,
            Check::WakeIsHandedOn => Box::pin(self.wake_is_handed_on()).await,
            Check::NoBusyWakes => Box::pin(self.no_busy_wakes()).await,
            Check::NoReservationWhileWaiting => Box::pin(self.all_end_over_room_for_one()).await,
            Check::NotPolledAfterReady => Box::pin(self.not_polled_after_ready()).await,
            Check::DrivesReadiness => Box::pin(self.drives_readiness()).await,
            Check::LetsGoAtOnce => Box::pin(self.lets_go_at_once()).await,
        }
    }

    /// What was done to all probes so far, and how that came about.
    pub(super) fn breaches(&self) -> Vec<(Breach, &'static str)> {
        let handles = self.handles.borrow();
        let all = handles.iter().flat_map(|handle| {
            let told = |breach| match breach {
                Breach::CalledUnready => {
                    handle.unready().unwrap_or("an inner instance was called unready")
                }
                Breach::PolledAfterReady => {
                    "the future of an inner call was polled after it had answered"
                }
            };
            handle.breaches().into_iter().map(move |breach| (breach, told(breach)))
        });
        all.collect()
    }

    /// Gives what only time gives back the time to come back.
    pub(super) async fn refill(&self) {
        if let Some(refill) = self.contract.refill {
            turns().await;
            sleep(refill).await;
        }
    }

    /// How long a call may take, if so many want one.
    pub(super) fn patience_of(&self, calls: u32) -> Duration {
        let spent = self.contract.refill.unwrap_or_default();
        self.contract.patience.saturating_add(spent.saturating_mul(calls))
    }

    pub(super) fn trial(&self) -> Trial<L, S, Req, Res, E> {
        let (handle, probe) = MockService::new(self.contract.exchange.clone());
        self.handles.borrow_mut().push(handle.clone());
        let layer = (self.contract.make)();
        let service = layer.layer(probe.clone());
        Trial { layer, probe, handle, service }
    }

    pub(super) fn scripted(&self, ready: Ready, reply: Reply) -> Trial<L, S, Req, Res, E> {
        let trial = self.trial();
        trial.handle.set_ready(ready);
        trial.handle.set_reply(reply);
        trial
    }

    pub(super) fn request(&self) -> Req {
        self.contract.exchange.request()
    }

    pub(super) fn call(&self, service: &mut S) -> Calling<S, Req> {
        Box::pin(service.call(self.request()))
    }

    /// Waits for it, but not for ever, be it asleep or busy: paused time stands still for the busy.
    pub(super) async fn wait<T>(
        &self,
        what: &str,
        future: impl Future<Output = T>,
    ) -> Result<T, String> {
        self.wait_for_all(what, 1, future).await
    }

    /// The same for what so many calls wait for, which may have to follow one another.
    pub(super) async fn wait_for_all<T>(
        &self,
        what: &str,
        calls: u32,
        future: impl Future<Output = T>,
    ) -> Result<T, String> {
        let (mut future, mut left) = (pin!(future), MOST_POLLS);
        let bounded = poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => {
                left -= 1;
                Poll::Pending
            }
        });
        let ended = timeout(self.patience_of(calls), bounded).await;
        ended.map_err(|_| format!("{what} hangs"))?.ok_or_else(|| format!("{what} spins"))
    }

    pub(super) async fn ready(&self, service: &mut S) -> Checked {
        let ready = self.wait("poll_ready", service.ready()).await?;
        ready.map(drop).map_err(|_| "poll_ready failed over an inner service that is well".into())
    }

    /// Over an inner service that is well, a call is answered well.
    pub(super) async fn works(&self, service: &mut S) -> Checked {
        self.refill().await;
        self.ready(service).await?;
        let answer = self.wait("a call", service.call(self.request())).await?;
        answer.map(drop).map_err(|_| "a call failed over an inner service that is well".into())
    }

    /// Polls, lets everybody else have a turn, and polls again.
    pub(super) async fn poll_twice(
        &self,
        future: &mut Calling<S, Req>,
        task: &CountingWaker,
    ) -> bool {
        let over = task.poll(future).is_ready();
        turns().await;
        over || (task.wakes() > 0 && task.poll(future).is_ready())
    }

    /// Polls a few times, with turns for everybody else in between. Whether it is over by then.
    pub(super) async fn gets_on<F: Future + Unpin>(&self, call: &mut F) -> bool {
        for _ in 0..A_FEW {
            if CountingWaker::new().poll(call).is_ready() {
                return true;
            }
            turns().await;
        }
        false
    }

    /// Whether the bell is rung before the patience ends.
    pub(super) async fn is_rung(&self, task: &CountingWaker) -> bool {
        self.is_one_rung(&[task]).await
    }

    /// Whether one of them is.
    pub(super) async fn is_one_rung(&self, bells: &[&CountingWaker]) -> bool {
        turns().await;
        let rung = || bells.iter().any(|task| task.wakes() > 0);
        let mut naps = 0;
        while !rung() && naps < NAPS {
            sleep(self.patience_of(1) / NAPS).await;
            naps += 1;
        }
        rung()
    }

    /// Nothing is held and nothing is in flight.
    pub(super) async fn at_rest(&self, layer: &L, handle: &MockHandle, kept: usize) -> Checked {
        turns().await;
        holds(handle.in_flight() == 0, || RUNS_ON.into())?;
        holds(handle.reserved() <= kept, || "an inner reservation is held by nobody".into())?;
        let in_flight = (self.contract.in_flight)(layer);
        holds(in_flight == 0, || format!("{in_flight} calls are in flight by its own count"))
    }

    /// How many calls the inner service has at a time before the layer lets no more through.
    pub(super) async fn room(&self, service: &mut S, handle: &MockHandle) -> usize {
        let flying = self.fill(service, handle).await;
        let room = handle.in_flight();
        drop(flying);
        room
    }

    /// Calls that are in flight, until the layer lets no more through.
    pub(super) async fn fill(&self, service: &mut S, handle: &MockHandle) -> Vec<Calling<S, Req>> {
        self.refill().await;
        handle.set_ready(Ready::Yes);
        handle.set_reply(Reply::Never);
        let (mut flying, task) = (Vec::new(), CountingWaker::new());
        while flying.len() < MOST_ROOM && self.is_ready_now(service).await {
            let mut future = self.call(service);
            let over = self.poll_twice(&mut future, &task).await;
            flying.push(future);
            if over || handle.in_flight() < flying.len() {
                break;
            }
        }
        flying
    }

    /// Whether it is ready now, or after everybody had a turn.
    pub(super) async fn is_ready_now(&self, service: &mut S) -> bool {
        let task = CountingWaker::new();
        if let Poll::Ready(ready) = task.poll_ready(service) {
            return ready.is_ok();
        }
        turns().await;
        matches!(task.poll_ready(service), Poll::Ready(Ok(())))
    }

    pub(super) async fn patience(&self) {
        turns().await;
        sleep(self.patience_of(1)).await;
        turns().await;
    }
}

/// Or says what does not hold.
pub(super) fn holds(it_does: bool, what: impl FnOnce() -> String) -> Checked {
    if it_does { Ok(()) } else { Err(what()) }
}

/// Lets every other task run, without time passing.
pub(super) async fn turns() {
    for _ in 0..TURNS {
        yield_now().await;
    }
}
