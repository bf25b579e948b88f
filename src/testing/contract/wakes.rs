//! Checks of who is woken, and that nobody wakes itself.

use tower::{Layer, Service};

use super::bench::{Bench, Checked, holds, turns};
use crate::testing::counting_waker::CountingWaker;
use crate::testing::drops::Steps;
use crate::testing::mock_service::{MockService, Ready, Reply};

impl<L, Req, Res, E, S> Bench<'_, L, Req, Res, E, S>
where
    L: Layer<MockService<Req, Res, E>, Service = S>,
    S: Service<Req>,
{
    pub(super) async fn woken_when_ready(&self) -> Checked {
        let mut trial = self.scripted(Ready::No, Reply::Answers);
        let (first, last) = (CountingWaker::new(), CountingWaker::new());
        if first.poll_ready(&mut trial.service).is_pending() {
            turns().await;
            if last.poll_ready(&mut trial.service).is_pending() {
                turns().await;
                let last =
                    self.quiet(last, |task| task.poll_ready(&mut trial.service).is_pending()).await;
                trial.handle.set_ready(Ready::Yes);
                let rung = self.is_rung(&last).await;
                holds(rung, || "whoever waits for it to be ready is never woken".into())?;
            }
            trial.handle.set_ready(Ready::Yes);
            return self.works(&mut trial.service).await;
        }
        // It waits for the inner service in the call, or rejects.
        let mut future = self.call(&mut trial.service);
        if self.poll_twice(&mut future, &first).await || last.poll(&mut future).is_ready() {
            return Ok(());
        }
        turns().await;
        let last = self.quiet(last, |task| task.poll(&mut future).is_pending()).await;
        trial.handle.set_ready(Ready::Yes);
        holds(self.is_rung(&last).await, || "a call that waits is never woken".into())?;
        self.wait("a call", future).await.map(drop)
    }

    pub(super) async fn woken_when_answered(&self) -> Checked {
        let mut trial = self.scripted(Ready::Yes, Reply::Never);
        self.ready(&mut trial.service).await?;
        let mut future = self.call(&mut trial.service);
        let (first, last) = (CountingWaker::new(), CountingWaker::new());
        if self.poll_twice(&mut future, &first).await || last.poll(&mut future).is_ready() {
            return Ok(());
        }
        turns().await;
        let last = self.quiet(last, |task| task.poll(&mut future).is_pending()).await;
        trial.handle.set_reply(Reply::Answers);
        holds(self.is_rung(&last).await, || "the caller is never woken".into())?;
        self.wait("a call", future).await.map(drop)
    }

    /// Two wait, and there is room for one again. Whoever is woken for it goes without a word.
    pub(super) async fn wake_is_handed_on(&self) -> Checked {
        let Some(clone) = self.clone else { return Ok(()) };
        let mut trial = self.trial();
        let mut flying = self.fill(&mut trial.service, &trial.handle).await;
        while flying.len() > trial.handle.in_flight() {
            drop(flying.pop()); // it waits, or was rejected
            turns().await;
        }
        let room = trial.handle.in_flight();
        let two = [clone(&trial.service), clone(&trial.service)];
        drop(trial.service); // it may have got in line, and would be woken first
        let mut waiting = Vec::new();
        for service in two {
            let mut call = Box::pin(Steps::new(service, self.request()));
            if self.gets_on(&mut call).await || trial.handle.in_flight() > room {
                return Ok(()); // nobody waits here: it is rejected, or there is room for any number
            }
            waiting.push(call);
        }
        let bells = [CountingWaker::new(), CountingWaker::new()];
        for (task, call) in bells.iter().zip(&mut waiting) {
            if task.poll(call).is_ready() {
                return Ok(());
            }
        }
        turns().await;
        drop(flying.pop());
        holds(self.is_one_rung(&[&bells[0], &bells[1]]).await, || {
            "there is room again, and nobody who waits is woken".into()
        })?;
        let gone = usize::from(bells[0].wakes() == 0);
        drop(waiting.swap_remove(gone));
        holds(self.is_rung(&bells[1 - gone]).await, || {
            "whoever was woken for the room had gone, and the next who waits is never woken".into()
        })
    }

    /// A bell that was not rung yet, and is the last that was polled with.
    async fn quiet(
        &self,
        task: CountingWaker,
        mut poll: impl FnMut(&CountingWaker) -> bool,
    ) -> CountingWaker {
        if task.wakes() == 0 {
            return task;
        }
        let task = CountingWaker::new();
        poll(&task);
        turns().await;
        task
    }

    pub(super) async fn no_busy_wakes(&self) -> Checked {
        let mut trial = self.scripted(Ready::No, Reply::Never);
        let mut wakes = Vec::new();
        for _ in 0..4 {
            let task = CountingWaker::new();
            if task.poll_ready(&mut trial.service).is_ready() {
                break; // it waits for the inner service in the call
            }
            turns().await;
            wakes.push(task.wakes());
        }
        is_quiet(&wakes, "in poll_ready, while the inner service is not ready")?;
        for ready in [Ready::No, Ready::Yes] {
            let mut trial = self.scripted(ready, Reply::Never);
            if !self.is_ready_now(&mut trial.service).await {
                continue;
            }
            let (mut future, mut wakes) = (self.call(&mut trial.service), Vec::new());
            for _ in 0..4 {
                let task = CountingWaker::new();
                if task.poll(&mut future).is_ready() {
                    break;
                }
                turns().await;
                wakes.push(task.wakes());
            }
            is_quiet(&wakes, "in a call, while the inner service does nothing")?;
        }
        Ok(())
    }
}

/// The first poll may find that something has changed meanwhile, later ones may not.
fn is_quiet(wakes: &[usize], when: &str) -> Checked {
    holds(wakes.iter().skip(1).all(|wakes| *wakes == 0), || format!("it wakes itself {when}"))
}
