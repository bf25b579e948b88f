//! Checks of calls that end early, and of what they leave behind.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use futures::future::join_all;
use tower::{Layer, Service};

use super::bench::{Bench, Checked, Trial, holds, turns};
use crate::testing::bell::Bell;
use crate::testing::drops::{Steps, poll_at_most};
use crate::testing::probe::{Probe, Ready, Reply};

/// A call over an inner service that answers takes fewer polls than this.
const MOST_POLLS: u32 = 200;
/// So many callers at a time.
const CROWD: usize = 20;

impl<L, Req, Res, E, S> Bench<'_, L, Req, Res, E, S>
where
    L: Layer<Probe<Req, Res, E>, Service = S>,
    S: Service<Req>,
{
    /// One layer and one service see all drops, so that what leaks a little adds up.
    pub(super) async fn nothing_is_left_by_a_drop(&self) -> Checked {
        let room = self.room(&mut self.trial()).await;
        let mut trial = self.trial();
        for (ready, reply) in (0..9).map(|nth| (nth / 3, nth % 3)) {
            for lets_go in [false, true] {
                let mut over = false;
                for polls in 0.. {
                    if over {
                        break;
                    }
                    holds(polls < MOST_POLLS, || format!("it is not over after {polls} polls"))?;
                    trial.ledger.set_ready(Ready::After(ready));
                    trial.ledger.set_reply(Reply::After(reply));
                    let blame = |what| format!("after {polls} polls: {what}");
                    over = self.drops_after(polls, lets_go, &mut trial).await.map_err(blame)?;
                    trial.ledger.set_ready(Ready::Yes);
                    trial.ledger.set_reply(Reply::Answers);
                    self.works(&mut trial.service).await.map_err(blame)?;
                    self.at_rest(&trial.layer, &trial.ledger, 0).await.map_err(blame)?;
                }
            }
        }
        let left = self.room(&mut trial).await;
        holds(left == room, || format!("there is room for {left} calls, there was for {room}"))
    }

    /// Says whether the call was over by then.
    async fn drops_after(
        &self,
        polls: u32,
        lets_go: bool,
        trial: &mut Trial<L, S, Req, Res, E>,
    ) -> Result<bool, String> {
        let patience = self.contract.patience;
        let (dropped, kept) = match self.clone {
            Some(clone) => {
                let steps = Steps::new(clone(&trial.service), self.request());
                let steps = if lets_go { steps.lets_go() } else { steps };
                (poll_at_most(polls, patience, steps).await, 0)
            }
            // The service is still there, and may be ready.
            None => {
                let steps = Steps::new(&mut trial.service, self.request());
                (poll_at_most(polls, patience, steps).await, 1)
            }
        };
        let over = dropped.map_err(|endless| endless.to_string())?.is_some();
        self.at_rest(&trial.layer, &trial.ledger, kept).await?;
        Ok(over)
    }

    pub(super) async fn nothing_is_left_by_a_panic(&self) -> Checked {
        const PANICS: [(Ready, Reply); 5] = [
            (Ready::Panics, Reply::Answers),
            (Ready::Yes, Reply::PanicsInCall),
            (Ready::Yes, Reply::PanicsInFuture),
            (Ready::After(1), Reply::PanicsInCall),
            (Ready::After(1), Reply::PanicsInFuture),
        ];
        for (ready, reply) in PANICS {
            let blame = |what| format!("{ready:?}, {reply:?}: {what}");
            let trial = self.scripted(ready, reply);
            let call = Steps::new(trial.service, self.request());
            let call = AssertUnwindSafe(self.wait("a call", call)).catch_unwind().await;
            if let Ok(answer) = call {
                answer.map(drop).map_err(blame)?; // somebody caught it, and told it
            }
            self.at_rest(&trial.layer, &trial.ledger, 0).await.map_err(blame)?;
            trial.ledger.set_ready(Ready::Yes);
            trial.ledger.set_reply(Reply::Answers);
            // What stands behind a queue may be gone for good; the layer is not.
            let mut next = trial.layer.layer(trial.probe.clone());
            self.works(&mut next).await.map_err(blame)?;
        }
        Ok(())
    }

    pub(super) async fn no_call_after_drop(&self) -> Checked {
        for (ready, reply) in [(Ready::No, Reply::Answers), (Ready::Yes, Reply::Fails)] {
            let trial = self.scripted(ready, reply);
            let bell = Bell::new();
            let mut call = Box::pin(Steps::new(trial.service, self.request()));
            for _ in 0..3 {
                if bell.poll(&mut call).is_ready() {
                    break;
                }
                turns().await;
            }
            drop(call);
            turns().await;
            let calls = trial.ledger.calls();
            trial.ledger.set_ready(Ready::Yes);
            self.patience().await;
            let late = trial.ledger.calls() - calls;
            holds(late == 0, || format!("{late} inner calls after the caller had gone"))?;
        }
        Ok(())
    }

    pub(super) async fn all_end_over_room_for_one(&self) -> Checked {
        let mut trial = self.scripted(Ready::Yes, Reply::After(2));
        trial.ledger.set_capacity(1);
        for _ in 0..3 {
            self.works(&mut trial.service).await?;
        }
        let Some(clone) = self.clone else { return Ok(()) };
        let calls = (0..CROWD).map(|_| Steps::new(clone(&trial.service), self.request()));
        let calls = join_all(calls.collect::<Vec<_>>());
        drop(self.wait("one of many calls over an inner service with room for one", calls).await?);
        self.works(&mut trial.service).await
    }
}
