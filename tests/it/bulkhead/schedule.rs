//! Random schedules against a model that keeps a list of who is inside and who waits.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use proptest::prelude::*;
use seawall::Reason;
use seawall::bulkhead::{BulkheadLayer, Order};
use tokio::time::advance;
use tower::Layer;

use super::{End, Placed, filling, permit};
use crate::scene::{ms, now, reason};

const MAX_WAIT: u64 = 10;

#[derive(Debug, Clone)]
enum Step {
    Call,
    End(prop::sample::Index, End),
    Drop(prop::sample::Index),
    Advance(u64),
    Limit(u32),
}

fn steps() -> impl Strategy<Value = Step> {
    let which = any::<prop::sample::Index>;
    let end = prop::sample::select(vec![End::Well, End::Badly, End::Panic]);
    prop_oneof![
        5 => Just(Step::Call),
        4 => (which(), end).prop_map(|(which, end)| Step::End(which, end)),
        2 => which().prop_map(Step::Drop),
        1 => (0..MAX_WAIT + 3).prop_map(Step::Advance),
        1 => (1_u32..5).prop_map(Step::Limit),
    ]
}

/// Who should be where.
#[derive(Debug)]
struct Model {
    limit: usize,
    queue: usize,
    newest_first: bool,
    inside: Vec<usize>,
    /// With the end of their patience.
    waiting: Vec<(usize, u64)>,
}

impl Model {
    /// Returns whether it was rejected.
    fn call(&mut self, id: usize, now: u64) -> bool {
        if self.inside.len() < self.limit && self.waiting.is_empty() {
            self.inside.push(id);
        } else if self.waiting.len() < self.queue {
            self.waiting.push((id, now + MAX_WAIT));
        } else {
            return true;
        }
        false
    }

    fn gone(&mut self, id: usize) {
        self.inside.retain(|inside| *inside != id);
        self.waiting.retain(|(waiting, _)| *waiting != id);
        self.let_in();
    }

    fn let_in(&mut self) {
        while self.inside.len() < self.limit && !self.waiting.is_empty() {
            let next = if self.newest_first { self.waiting.len() - 1 } else { 0 };
            self.inside.push(self.waiting.remove(next).0);
        }
    }

    /// Returns those whose patience has ended.
    fn advance(&mut self, now: u64) -> Vec<usize> {
        let over = |(_, until): &(usize, u64)| *until <= now;
        let gone = self.waiting.iter().filter(|waiting| over(waiting)).map(|(id, _)| *id).collect();
        self.waiting.retain(|waiting| !over(waiting));
        gone
    }
}

/// Polls a call, twice if it is over: a future that was ready once stays silent (a double poll).
fn poll(call: &mut Placed) -> Option<Result<Option<Reason>, ()>> {
    match catch_unwind(AssertUnwindSafe(|| call.poll())) {
        Ok(None) => None,
        Ok(Some(ended)) => {
            assert_eq!(call.poll(), None, "ready twice");
            Some(Ok(reason(&ended)))
        }
        Err(_) => Some(Err(())),
    }
}

async fn run(limit: u32, queue: u32, order: Order, script: Vec<Step>) {
    let layer = BulkheadLayer::builder("x").limit(limit).queue(queue).order(order);
    let layer = layer.max_wait(ms(MAX_WAIT)).build().unwrap();
    let handle = layer.handle();
    let (calls, inner) = filling();
    let service = layer.layer(inner);
    let mut model = Model {
        limit: limit as usize,
        queue: queue as usize,
        newest_first: order == Order::NewestFirst,
        inside: Vec::new(),
        waiting: Vec::new(),
    };
    let mut all: Vec<Option<Placed>> = Vec::new();
    let began = now();
    for step in script {
        let at = u64::try_from(began.elapsed().as_millis()).unwrap();
        let mut ended = Vec::new();
        match step {
            Step::Call => {
                let id = all.len();
                let mut call = permit(&service);
                let told = poll(&mut call);
                let full = Some(Ok(Some(Reason::Full)));
                assert_eq!(told, if model.call(id, at) { full } else { None });
                all.push(told.is_none().then_some(call));
            }
            Step::End(which, end) if !model.inside.is_empty() => {
                let id = model.inside[which.index(model.inside.len())];
                all[id].as_mut().unwrap().end(end);
                ended.push((id, if end == End::Panic { Err(()) } else { Ok(None) }));
            }
            Step::Drop(which) if !all.is_empty() => {
                let id = which.index(all.len());
                if all[id].take().is_some() {
                    model.gone(id);
                }
            }
            Step::Advance(by) => {
                advance(ms(by)).await;
                let gone = model.advance(at + by);
                ended.extend(gone.into_iter().map(|id| (id, Ok(Some(Reason::QueueTimeout)))));
            }
            Step::Limit(limit) => {
                let mut config = handle.config();
                config.limit = limit;
                handle.reload(config).unwrap();
                model.limit = limit as usize;
                model.let_in();
            }
            Step::End(..) | Step::Drop(_) => {}
        }
        for (id, how) in ended {
            assert_eq!(poll(all[id].as_mut().unwrap()), Some(how));
            // It is over, though its future is still there; unless it panicked.
            if how.is_err() {
                all[id] = None;
            }
            model.gone(id);
            assert_eq!(handle.in_flight() as usize, model.inside.len());
            all[id] = None;
        }
        for (id, call) in all.iter_mut().enumerate() {
            let Some(call) = call else { continue };
            assert_eq!(poll(call), None);
            assert_eq!(call.is_alive(), model.inside.contains(&id), "{id} in {model:?}");
        }
        assert_eq!(calls.alive(), model.inside.len());
        assert_eq!(handle.in_flight() as usize, model.inside.len());
        assert_eq!(handle.queued() as usize, model.waiting.len());
        assert_eq!(layer.in_flight(), model.inside.len() + model.waiting.len());
        assert!(calls.most() <= 4, "above every limit there was");
    }
    drop(all);
    assert_eq!((handle.in_flight(), handle.queued(), layer.in_flight()), (0, 0, 0));
    assert_eq!(handle.available(), handle.limit());
}

proptest! {
    // pitfalls B11, B12
    #[test]
    fn places_are_neither_lost_nor_doubled(
        limit in 1_u32..5,
        queue in 0_u32..6,
        newest_first in any::<bool>(),
        script in prop::collection::vec(steps(), 0..120),
    ) {
        let order = if newest_first { Order::NewestFirst } else { Order::OldestFirst };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(run(limit, queue, order, script));
        runtime.shutdown_timeout(Duration::ZERO);
    }
}
