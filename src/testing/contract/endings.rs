//! Checks of calls that end early, and of what they leave behind.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use futures::future::join_all;
use tower::{Layer, Service, ServiceExt};

use super::bench::{Bench, Checked, Trial, holds, turns};
use crate::testing::counting_waker::CountingWaker;
use crate::testing::drops::{Steps, poll_at_most};
use crate::testing::mock_service::{MockHandle, MockService, Ready, Reply};

/// A call over an inner service that answers takes fewer polls than this.
const MOST_POLLS: u32 = 200;
/// So many callers at a time.
const CROWD: u32 = 20;

/// How the inner service treats a call that comes to a bad end.
#[derive(Debug, Clone, Copy)]
struct Ending {
    at_first: (Ready, Reply),
    /// Once the call waits for it.
    then: Option<(Ready, Reply)>,
    /// The caller goes while it waits.
    drops: bool,
}

const fn ends(ready: Ready, reply: Reply) -> Ending {
    Ending { at_first: (ready, reply), then: None, drops: false }
}

const fn waits(at_first: (Ready, Reply), then: (Ready, Reply)) -> Ending {
    Ending { at_first, then: Some(then), drops: false }
}

/// What is looked at afterwards: the service that met the end, or another of the same layer.
#[derive(Debug, Clone, Copy)]
enum Looks {
    Same,
    Another,
}

impl<L, Req, Res, E, S> Bench<'_, L, Req, Res, E, S>
where
    L: Layer<MockService<Req, Res, E>, Service = S>,
    S: Service<Req>,
{
    /// One layer and one service see all drops, so that what leaks a little adds up.
    pub(super) async fn nothing_is_left_by_a_drop(&self) -> Checked {
        let room = self.room_at_first().await;
        let mut trial = self.trial();
        for (ready, reply) in (0..9).map(|nth| (nth / 3, nth % 3)) {
            for lets_go in [false, true] {
                let mut over = false;
                for polls in 0.. {
                    if over {
                        break;
                    }
                    holds(polls < MOST_POLLS, || format!("it is not over after {polls} polls"))?;
                    trial.handle.set_ready(Ready::After(ready));
                    trial.handle.set_reply(Reply::After(reply));
                    let blame = |what| format!("after {polls} polls: {what}");
                    self.refill().await;
                    over = self.drops_after(polls, lets_go, &mut trial).await.map_err(blame)?;
                    trial.handle.set_ready(Ready::Yes);
                    trial.handle.set_reply(Reply::Answers);
                    self.works(&mut trial.service).await.map_err(blame)?;
                    self.at_rest(&trial.layer, &trial.handle, 0).await.map_err(blame)?;
                }
            }
        }
        self.has_room(&mut trial.service, &trial.handle, room).await
    }

    async fn room_at_first(&self) -> usize {
        let mut trial = self.trial();
        self.room(&mut trial.service, &trial.handle).await
    }

    async fn has_room(&self, service: &mut S, handle: &MockHandle, room: usize) -> Checked {
        let left = self.room(service, handle).await;
        holds(left == room, || format!("there is room for {left} calls, there was for {room}"))
    }

    /// Says whether the call was over by then.
    async fn drops_after(
        &self,
        polls: u32,
        lets_go: bool,
        trial: &mut Trial<L, S, Req, Res, E>,
    ) -> Result<bool, String> {
        let patience = self.patience_of(1);
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
        self.at_rest(&trial.layer, &trial.handle, kept).await?;
        Ok(over)
    }

    /// A layer may learn from a failure, and reject: then nobody can say what is left.
    pub(super) async fn nothing_is_left_by_a_failure(&self) -> Checked {
        const FAILURES: [Ending; 5] = [
            ends(Ready::Fails, Reply::Answers),
            ends(Ready::Yes, Reply::Fails),
            ends(Ready::After(1), Reply::Fails),
            waits((Ready::No, Reply::Answers), (Ready::Fails, Reply::Answers)),
            waits((Ready::Yes, Reply::Never), (Ready::Yes, Reply::Fails)),
        ];
        self.nothing_is_left_by(&FAILURES, true).await
    }

    pub(super) async fn nothing_is_left_by_a_panic(&self) -> Checked {
        const PANICS: [Ending; 8] = [
            ends(Ready::Panics, Reply::Answers),
            ends(Ready::Yes, Reply::PanicsInCall),
            ends(Ready::Yes, Reply::PanicsInFuture),
            ends(Ready::After(1), Reply::PanicsInCall),
            ends(Ready::After(1), Reply::PanicsInFuture),
            waits((Ready::No, Reply::Answers), (Ready::Panics, Reply::Answers)),
            waits((Ready::Yes, Reply::Never), (Ready::Yes, Reply::PanicsInFuture)),
            Ending { drops: true, ..ends(Ready::Yes, Reply::PanicsInDrop) },
        ];
        self.nothing_is_left_by(&PANICS, false).await
    }

    async fn nothing_is_left_by(&self, endings: &[Ending], may_reject: bool) -> Checked {
        let room = self.room_at_first().await;
        for ending in endings {
            for looks in [Looks::Same, Looks::Another] {
                let blame = |what| {
                    let Ending { at_first: (ready, reply), then, drops } = ending;
                    let then = then.map(|then| format!(", then {then:?}")).unwrap_or_default();
                    let dropped = if *drops { ", dropped" } else { "" };
                    format!("{ready:?}, {reply:?}{then}{dropped}: {what}")
                };
                let left = self.is_left_by(*ending, looks, room, may_reject);
                Box::pin(left).await.map_err(blame)?;
            }
        }
        Ok(())
    }

    /// One trial for each, so that a breaker does not open over many of them.
    async fn is_left_by(
        &self,
        ending: Ending,
        looks: Looks,
        room: usize,
        may_reject: bool,
    ) -> Checked {
        let mut trial = self.scripted(ending.at_first.0, ending.at_first.1);
        self.refill().await;
        let handle = trial.handle.clone();
        let kept = match self.clone {
            Some(clone) => {
                self.meets(ending, &handle, clone(&trial.service)).await?;
                0
            }
            None => {
                self.meets(ending, &handle, &mut trial.service).await?;
                1
            }
        };
        handle.set_ready(Ready::Yes);
        handle.set_reply(Reply::Answers);
        self.at_rest(&trial.layer, &handle, kept).await?;
        match looks {
            Looks::Another => {
                drop(trial.service); // it may be ready, and hold what that takes
                let mut another = trial.layer.layer(trial.probe.clone());
                self.is_as_before(&mut another, &handle, room, may_reject).await
            }
            // What failed in poll_ready is gone for good, and so may be what stands behind a queue.
            Looks::Same => {
                self.refill().await;
                if self.wait("poll_ready", trial.service.ready()).await?.is_err() {
                    return Ok(());
                }
                self.is_as_before(&mut trial.service, &handle, room, may_reject).await
            }
        }
    }

    async fn is_as_before(
        &self,
        service: &mut S,
        handle: &MockHandle,
        room: usize,
        may_reject: bool,
    ) -> Checked {
        self.refill().await;
        self.ready(service).await?;
        let called = handle.calls();
        let answer = self.wait("a call", service.call(self.request())).await?;
        if answer.is_err() && may_reject && handle.calls() == called {
            return Ok(());
        }
        holds(answer.is_ok(), || "a call failed over an inner service that is well".into())?;
        self.has_room(service, handle, room).await
    }

    /// One call that comes to this end. What it panics with is of no interest: it is scripted.
    async fn meets<T>(&self, ending: Ending, handle: &MockHandle, service: T) -> Checked
    where
        T: Service<Req>,
    {
        let call = async {
            let mut call = Box::pin(Steps::new(service, self.request()));
            if self.gets_on(&mut call).await {
                return Ok(());
            }
            if let Some((ready, reply)) = ending.then {
                handle.set_ready(ready);
                handle.set_reply(reply);
            }
            if ending.drops {
                return Ok(()); // with the call
            }
            self.wait("a call", call).await.map(drop)
        };
        let met = AssertUnwindSafe(call).catch_unwind().await;
        // Later drops are no part of the script.
        handle.set_reply(Reply::Answers);
        met.unwrap_or(Ok(()))
    }

    pub(super) async fn no_call_after_drop(&self) -> Checked {
        for (ready, reply) in [(Ready::No, Reply::Answers), (Ready::Yes, Reply::Fails)] {
            let trial = self.scripted(ready, reply);
            let task = CountingWaker::new();
            let mut call = Box::pin(Steps::new(trial.service, self.request()));
            for _ in 0..3 {
                if task.poll(&mut call).is_ready() {
                    break;
                }
                turns().await;
            }
            drop(call);
            turns().await;
            let calls = trial.handle.calls();
            trial.handle.set_ready(Ready::Yes);
            self.patience().await;
            let late = trial.handle.calls() - calls;
            holds(late == 0, || format!("{late} inner calls after the caller had gone"))?;
        }
        Ok(())
    }

    /// The inner service never answers, so a call that is nobody's any more cannot end by itself.
    pub(super) async fn no_call_runs_on(&self) -> Checked {
        for ready in [Ready::Yes, Ready::After(1)] {
            let trial = self.scripted(ready, Reply::Never);
            let mut call = Box::pin(Steps::new(trial.service, self.request()));
            self.gets_on(&mut call).await;
            drop(call);
            turns().await;
            let left = trial.handle.in_flight();
            holds(left == 0, || format!("{left} inner calls run on after the caller had gone"))?;

            // A layer may lose patience before its caller does.
            let trial = self.scripted(ready, Reply::Never);
            let call = Box::pin(Steps::new(trial.service, self.request()));
            let ended = self.wait("a call", call).await.is_ok();
            turns().await;
            let left = trial.handle.in_flight();
            let how = if ended { "was answered" } else { "had waited in vain, and gone" };
            holds(left == 0, || format!("{left} inner calls run on after the caller {how}"))?;
        }
        Ok(())
    }

    pub(super) async fn all_end_over_room_for_one(&self) -> Checked {
        let mut trial = self.scripted(Ready::Yes, Reply::After(2));
        trial.handle.set_capacity(1);
        let blame = |what| format!("over an inner service with room for one, {what}");
        for _ in 0..3 {
            self.works(&mut trial.service).await.map_err(blame)?;
        }
        let Some(clone) = self.clone else { return Ok(()) };
        let calls = (0..CROWD).map(|_| Steps::new(clone(&trial.service), self.request()));
        let calls = join_all(calls.collect::<Vec<_>>());
        drop(self.wait_for_all("one of many calls", CROWD, calls).await.map_err(blame)?);
        self.works(&mut trial.service).await.map_err(blame)
    }
}
