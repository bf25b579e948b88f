//! Checks of what is called, when, and how often.

use std::collections::VecDeque;
use std::task::Poll;

use tower::{Layer, Service, ServiceExt};

use super::bench::{Bench, Calling, Checked, holds, turns};
use crate::testing::counting_waker::CountingWaker;
use crate::testing::mock_service::{MockHandle, MockService, Ready, Reply};

#[derive(Debug, Clone, Copy)]
enum Move {
    Ready,
    Call,
    /// Goes on with a clone, and keeps the original until the end.
    Clone,
    /// Goes on with a clone, and drops the original.
    Replace,
}

const MOVES: [Move; 4] = [Move::Ready, Move::Call, Move::Clone, Move::Replace];
/// All sequences of so many moves.
const LENGTH: u32 = 4;
/// What is called without having been polled has to poll the inner service before it calls that.
const CALLS_UNREADY: fn() -> String =
    || "called without being polled ready, it called the inner service so, too".into();

impl<L, Req, Res, E, S> Bench<'_, L, Req, Res, E, S>
where
    L: Layer<MockService<Req, Res, E>, Service = S>,
    S: Service<Req>,
{
    /// What is wrong the probe writes down.
    pub(super) async fn only_ready_is_called(&self) -> Checked {
        let Some(clone) = self.clone else {
            let mut trial = self.trial();
            self.works(&mut trial.service).await?;
            return self.works(&mut trial.service).await;
        };
        for nth in 0..MOVES.len().pow(LENGTH) {
            let mut trial = self.trial();
            let mut kept = VecDeque::new();
            for at in 0..LENGTH {
                let service = &mut trial.service;
                match MOVES[nth / MOVES.len().pow(at) % MOVES.len()] {
                    Move::Ready | Move::Call if !self.is_ready_now(service).await => break,
                    Move::Ready => {}
                    Move::Call => {
                        let future = self.call(service);
                        drop(self.wait("a call", future).await?);
                    }
                    Move::Clone => {
                        let copy = clone(service);
                        kept.push_back(std::mem::replace(service, copy));
                    }
                    Move::Replace => *service = clone(service),
                }
            }
        }
        Ok(())
    }

    pub(super) async fn clone_reserves_nothing(&self) -> Checked {
        let Some(clone) = self.clone else { return Ok(()) };
        let mut trial = self.trial();
        self.ready(&mut trial.service).await?;
        let reserved = trial.handle.reserved();
        let mut copy = clone(&trial.service);
        holds(trial.handle.reserved() == reserved, || "readiness was cloned".into())?;
        drop(trial.service);
        let calls = trial.handle.breaches().len();
        self.works(&mut copy).await?;
        holds(trial.handle.breaches().len() == calls, || {
            "a clone of a ready service took itself for ready".into()
        })
    }

    pub(super) async fn readiness_is_kept(&self) -> Checked {
        let mut trial = self.trial();
        self.ready(&mut trial.service).await?;
        let reserved = trial.handle.reserved();
        // Room for what is reserved, and no more: whoever gives it back does not get it again.
        trial.handle.set_ready(Ready::No);
        for _ in 0..2 {
            holds(self.is_ready_now(&mut trial.service).await, || {
                "it was ready, and without a call it is not any more".into()
            })?;
            holds(trial.handle.reserved() <= reserved.max(1), || "it reserved twice".into())?;
        }
        trial.handle.set_ready(Ready::Yes);
        self.works(&mut trial.service).await
    }

    pub(super) async fn reservation_is_given_back(&self) -> Checked {
        let mut trial = self.trial();
        self.ready(&mut trial.service).await?;
        drop(trial.service);
        self.at_rest(&trial.layer, &trial.handle, 0).await
    }

    pub(super) async fn ready_error_is_told(&self) -> Checked {
        for at_first in [Ready::Fails, Ready::No] {
            let mut trial = self.scripted(at_first, Reply::Answers);
            let task = CountingWaker::new();
            let asked = task.poll_ready(&mut trial.service);
            turns().await;
            let failed = match asked {
                Poll::Ready(Err(_)) => true,
                Poll::Ready(Ok(())) => {
                    let future = self.call(&mut trial.service);
                    self.fails_once_inner_fails(future, &trial.handle).await?
                }
                Poll::Pending => {
                    trial.handle.set_ready(Ready::Fails);
                    let ready = self.wait("poll_ready", trial.service.ready()).await?;
                    if ready.is_err() {
                        continue;
                    }
                    let future = self.call(&mut trial.service);
                    self.fails_once_inner_fails(future, &trial.handle).await?
                }
            };
            holds(failed, || "the inner service failed in poll_ready, the call did not".into())?;
        }
        Ok(())
    }

    /// Whether the call fails, by itself or because the inner service does from now on.
    async fn fails_once_inner_fails(
        &self,
        mut future: Calling<S, Req>,
        handle: &MockHandle,
    ) -> Result<bool, String> {
        if let Poll::Ready(answer) = CountingWaker::new().poll(&mut future) {
            return Ok(answer.is_err());
        }
        turns().await;
        handle.set_ready(Ready::Fails);
        Ok(self.wait("a call", future).await?.is_err())
    }

    pub(super) async fn answers_are_passed_on(&self) -> Checked {
        for (reply, is_good) in
            [(Reply::Answers, true), (Reply::After(2), true), (Reply::Fails, false)]
        {
            let mut trial = self.scripted(Ready::Yes, reply);
            self.ready(&mut trial.service).await?;
            let future = self.call(&mut trial.service);
            let answer = self.wait("a call", future).await?;
            holds(answer.is_ok() == is_good, || {
                format!(
                    "{reply:?} of the inner service became a call that went {}",
                    if is_good { "wrong" } else { "well" }
                )
            })?;
        }
        Ok(())
    }

    pub(super) async fn one_call_each(&self) -> Checked {
        let most = self.contract.inner_calls;
        for (reply, most) in [(Reply::Answers, 1), (Reply::After(2), 1), (Reply::Fails, most)] {
            let mut trial = self.scripted(Ready::Yes, reply);
            self.ready(&mut trial.service).await?;
            let future = self.call(&mut trial.service);
            drop(self.wait("a call", future).await?);
            self.patience().await;
            let calls = trial.handle.calls();
            holds(calls <= most, || format!("{calls} inner calls for one ({reply:?})"))?;
        }
        Ok(())
    }

    pub(super) async fn not_polled_after_ready(&self) -> Checked {
        let mut trial = self.scripted(Ready::Yes, Reply::After(1));
        self.works(&mut trial.service).await?;
        let mut trial = self.scripted(Ready::Yes, Reply::Fails);
        self.ready(&mut trial.service).await?;
        let future = self.call(&mut trial.service);
        self.wait("a call", future).await.map(drop)
    }

    pub(super) async fn drives_readiness(&self) -> Checked {
        let mut trial = self.scripted(Ready::No, Reply::Answers);
        let (task, mut future) = (CountingWaker::new(), self.call(&mut trial.service));
        holds(trial.handle.breaches().is_empty(), CALLS_UNREADY)?;
        holds(!self.poll_twice(&mut future, &task).await, || "it did not wait".into())?;
        trial.handle.set_ready(Ready::Yes);
        let answer = self.wait("a call", future).await?;
        holds(answer.is_ok(), || "it failed".into())?;
        holds(trial.handle.breaches().is_empty(), CALLS_UNREADY)
    }

    pub(super) async fn lets_go_at_once(&self) -> Checked {
        for reply in [Reply::After(1), Reply::Fails] {
            let mut trial = self.scripted(Ready::Yes, reply);
            self.ready(&mut trial.service).await?;
            let mut future = self.call(&mut trial.service);
            drop(self.wait("a call", &mut future).await?);
            drop(trial.service);
            self.at_rest(&trial.layer, &trial.handle, 0).await?;
        }
        Ok(())
    }
}
