//! Checks of who is woken, and that nobody wakes itself.

use tower::{Layer, Service};

use super::bench::{Bench, Checked, holds, turns};
use crate::testing::bell::Bell;
use crate::testing::probe::{Probe, Ready, Reply};

impl<L, Req, Res, E, S> Bench<'_, L, Req, Res, E, S>
where
    L: Layer<Probe<Req, Res, E>, Service = S>,
    S: Service<Req>,
{
    pub(super) async fn woken_when_ready(&self) -> Checked {
        let mut trial = self.scripted(Ready::No, Reply::Answers);
        let (first, last) = (Bell::new(), Bell::new());
        if first.poll_ready(&mut trial.service).is_pending() {
            turns().await;
            if last.poll_ready(&mut trial.service).is_pending() {
                turns().await;
                let last =
                    self.quiet(last, |bell| bell.poll_ready(&mut trial.service).is_pending()).await;
                trial.ledger.set_ready(Ready::Yes);
                let rung = self.is_rung(&last).await;
                holds(rung, || "whoever waits for it to be ready is never woken".into())?;
            }
            trial.ledger.set_ready(Ready::Yes);
            return self.works(&mut trial.service).await;
        }
        // It waits for the inner service in the call, or refuses.
        let mut future = self.call(&mut trial.service);
        if self.poll_twice(&mut future, &first).await || last.poll(&mut future).is_ready() {
            return Ok(());
        }
        turns().await;
        let last = self.quiet(last, |bell| bell.poll(&mut future).is_pending()).await;
        trial.ledger.set_ready(Ready::Yes);
        holds(self.is_rung(&last).await, || "a call that waits is never woken".into())?;
        self.wait("a call", future).await.map(drop)
    }

    pub(super) async fn woken_when_answered(&self) -> Checked {
        let mut trial = self.scripted(Ready::Yes, Reply::Never);
        self.ready(&mut trial.service).await?;
        let mut future = self.call(&mut trial.service);
        let (first, last) = (Bell::new(), Bell::new());
        if self.poll_twice(&mut future, &first).await || last.poll(&mut future).is_ready() {
            return Ok(());
        }
        turns().await;
        let last = self.quiet(last, |bell| bell.poll(&mut future).is_pending()).await;
        trial.ledger.set_reply(Reply::Answers);
        holds(self.is_rung(&last).await, || "the caller is never woken".into())?;
        self.wait("a call", future).await.map(drop)
    }

    /// A bell that was not rung yet, and is the last that was polled with.
    async fn quiet(&self, bell: Bell, mut poll: impl FnMut(&Bell) -> bool) -> Bell {
        if bell.rings() == 0 {
            return bell;
        }
        let bell = Bell::new();
        poll(&bell);
        turns().await;
        bell
    }

    pub(super) async fn no_busy_wakes(&self) -> Checked {
        let mut trial = self.scripted(Ready::No, Reply::Never);
        let mut rings = Vec::new();
        for _ in 0..4 {
            let bell = Bell::new();
            if bell.poll_ready(&mut trial.service).is_ready() {
                break; // it waits for the inner service in the call
            }
            turns().await;
            rings.push(bell.rings());
        }
        is_quiet(&rings, "in poll_ready, while the inner service is not ready")?;
        for ready in [Ready::No, Ready::Yes] {
            let mut trial = self.scripted(ready, Reply::Never);
            if !self.is_ready_now(&mut trial.service).await {
                continue;
            }
            let (mut future, mut rings) = (self.call(&mut trial.service), Vec::new());
            for _ in 0..4 {
                let bell = Bell::new();
                if bell.poll(&mut future).is_ready() {
                    break;
                }
                turns().await;
                rings.push(bell.rings());
            }
            is_quiet(&rings, "in a call, while the inner service does nothing")?;
        }
        Ok(())
    }
}

/// The first poll may find that something has changed meanwhile, later ones may not.
fn is_quiet(rings: &[usize], when: &str) -> Checked {
    holds(rings.iter().skip(1).all(|rings| *rings == 0), || format!("it wakes itself {when}"))
}
