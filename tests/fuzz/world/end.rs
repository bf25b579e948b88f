//! The end of a script: all is made well, and then nothing may be left.

use std::time::Duration;

use tokio::time::advance;

use super::{Asked, Broken, Slot, World, note, now, rule};
use crate::counts::Counts;
use crate::dependency::Facts;
use crate::script::{Answers, Readiness};
use crate::stacks::KEYS;

/// A call that is not over so long after all is well again hangs.
const PATIENCE: Duration = Duration::from_secs(10);
/// So long after all is well again, calls are answered well.
const RECOVERY: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(10);

const GOOD: (&str, &str) = ("outcome", "success");

impl World<'_> {
    pub(super) async fn end(&mut self) -> Broken {
        let heal = |what| format!("{what}\n  after all was well again");
        self.dependency.set_readiness(Readiness::Ready);
        self.dependency.set_answers(Answers::Well);
        self.hands = [None, None];
        self.lift_bars();
        // Those that wait have to be woken; the others would keep what they reserved.
        self.services.retain(|slot| slot.state == Asked::Waits);
        self.all_end().await.map_err(heal)?;
        self.at_rest().map_err(heal)?;
        self.recovers().await.map_err(heal)?;
        self.at_rest().map_err(heal)
    }

    /// Whatever is in flight is woken and ends, without anybody asking again.
    async fn all_end(&mut self) -> Broken {
        let until = now() + PATIENCE;
        loop {
            self.poll_woken()?;
            let woken = |slot: &Slot| slot.task.wakes() > 0;
            while let Some(at) = self.services.iter().position(woken) {
                self.poll_ready(at)?;
                if self.services[at].state != Asked::Waits {
                    self.services.remove(at);
                }
            }
            self.drains_end()?;
            self.check()?;
            if self.calls.is_empty() && self.services.is_empty() && self.drains.is_empty() {
                return Ok(());
            }
            rule(now() < until, || self.what_hangs())?;
            advance(STEP).await;
        }
    }

    fn what_hangs(&self) -> String {
        let calls: Vec<_> = self.calls.iter().map(|call| call.number).collect();
        let (services, drains) = (self.services.len(), self.drains.len());
        format!("calls {calls:?}, {services} of poll_ready and {drains} drains hang")
    }

    fn drains_end(&mut self) -> Broken {
        let mut at = 0;
        while let Some((layer, drain, task)) = self.drains.get_mut(at) {
            if task.wakes() > 0 && task.poll(drain).is_ready() {
                let in_flight = (self.stack.layers[*layer].in_flight)();
                rule(in_flight == 0, || format!("drained, with {in_flight} in flight"))?;
                drop(self.drains.remove(at));
                note(self.seen, "waited for a drain", 1);
            } else {
                at += 1;
            }
        }
        Ok(())
    }

    /// Nothing is in flight, waits or is reserved.
    fn at_rest(&mut self) -> Broken {
        self.over.clear();
        self.check()?; // nobody is left, so that it allows nothing
        let books = self.dependency.books();
        rule(books.alive + books.reserved == 0, || {
            format!("{} inner calls and {} reservations are left", books.alive, books.reserved)
        })
    }

    /// Calls are answered well again, of each key; or never, if it was drained.
    async fn recovers(&mut self) -> Broken {
        let until = now() + RECOVERY;
        for key in 0..KEYS {
            loop {
                while self.dependency.books().facts.len() as u32 % KEYS != key {
                    self.dependency.books().facts.push(Facts::default()); // of no call
                }
                self.services.push(Slot::new(self.stack.make(&self.dependency)));
                self.call(0, 0);
                self.services.clear();
                let before = self.answered_well;
                self.all_end().await?;
                if self.answered_well > before || self.drained {
                    break;
                }
                rule(now() < until, || format!("it does not recover in {RECOVERY:?}"))?;
                advance(5 * STEP).await;
            }
        }
        Ok(())
    }

    /// By its own count the outermost layer heard of each call once, and no layer of more calls than
    /// the one outside it, but for those who classify the dependency: to them readiness that failed is a
    /// call too, also where nobody called.
    pub(super) fn counted_once(&mut self, counts: &Counts) -> Broken {
        let unready = self.dependency.books().unready;
        let entered = |layer: &str, name: &str| {
            let labels = [("layer", layer), ("name", name)];
            let good = counts.sum("seawall_calls_total", &[&labels[..], &[GOOD]].concat());
            let passed = counts.sum("seawall_calls_total", &labels);
            (passed + counts.sum("seawall_rejections_total", &labels), good)
        };
        let (layer, name) = &self.stack.outermost;
        let (all, good) = entered(layer, name);
        let (made, well) = (self.made, self.answered_well);
        let classifies = |label: &str| matches!(label, "circuit_breaker" | "health");
        let unready = |label: &str| if classifies(label) { unready } else { 0 };
        let exact = made..=made + unready(layer);
        rule(exact.contains(&all), || format!("{layer} counted {all} calls of {made}"))?;
        rule(good == well, || format!("{layer} counted {good} good calls of {well}"))?;
        for pair in self.stack.layers.windows(2) {
            let [(outer, _), (inner, _)] = [&pair[0], &pair[1]].map(|one| entered(one.label, name));
            rule(inner <= outer + unready(pair[1].label) || pair[0].label == "retry", || {
                format!("{} counted {outer} calls, {} in it {inner}", pair[0].label, pair[1].label)
            })?;
        }
        note(self.seen, "counted", 1);
        Ok(())
    }
}
