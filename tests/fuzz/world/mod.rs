//! Runs a script on a stack, and holds the stack to its rules after each thing that happens.

mod end;
mod hands;
mod rules;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use seawall::circuit_breaker::Switch;
use seawall::propagate::WithContext;
use seawall::testing::CountingWaker;
use seawall::{Deadline, Error, Reason};
use tokio::task::unconstrained;
use tokio::time::{Instant, advance};
use tower::Service;

use crate::counts::Counts;
use crate::dependency::{Dependency, Facts};
use crate::faults::Fault;
use crate::script::{self, Op, Plan, ms};
use crate::stacks::{Boxed, Draining, Stack};

const MOST_SERVICES: usize = 6;
const MOST_CALLS: usize = 24;
/// So many futures are kept after they were over: they must hold nothing.
const MOST_KEPT: usize = 4;

const HELD_OPEN: &str = "its breaker was held open all the while";
const DRAINED: &str = "a layer was drained before";

pub(crate) type Broken = Result<(), String>;

/// How often what was seen.
pub(crate) type Seen = BTreeMap<&'static str, u64>;

fn note(seen: &mut Seen, what: &'static str, times: u64) {
    *seen.entry(what).or_default() += times;
}

/// Says which rule does not hold.
fn rule(holds: bool, what: impl FnOnce() -> String) -> Broken {
    if holds { Ok(()) } else { Err(what()) }
}

/// One script from its bytes to the end. Says what broke.
pub(crate) fn run(bytes: &[u8], fault: Option<Fault>, seen: &mut Seen) -> Broken {
    let (plan, ops) = script::read(bytes);
    fastrand::seed(plan.seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|error| error.to_string())?;
    let counts = Counts::default();
    let _recorder = plan.recorded.then(|| metrics::set_default_local_recorder(&counts));
    let counts = plan.recorded.then_some(&counts);
    let ran = catch_unwind(AssertUnwindSafe(|| {
        // Without tokio's budget: all calls are polled by one task.
        runtime.block_on(unconstrained(async {
            let mut world = World::new(plan, fault, seen);
            world.run(&ops).await?;
            world.end().await?;
            counts.map_or(Ok(()), |counts| world.counted_once(counts))
        }))
    }));
    ran.unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("it panicked: {}", said.unwrap_or("without a word")))
    })
}

struct World<'a> {
    plan: Plan,
    stack: Stack,
    dependency: Dependency,
    services: Vec<Slot>,
    calls: Vec<Flying>,
    over: Vec<Calling>,
    hands: [Option<Hand>; 2],
    drains: Vec<(usize, Draining, CountingWaker)>,
    drained: bool,
    /// So many calls may be in the bulkhead: its limit, or those who were in it before a reload.
    ceiling: usize,
    /// The settings in force.
    limit: usize,
    attempts: u32,
    least_limit: Duration,
    made: u64,
    answered_well: u64,
    /// Why the last call that is over was ended by a layer, if it was.
    ended: Option<Reason>,
    seen: &'a mut Seen,
}

type Calling = Pin<Box<<Boxed as Service<WithContext<u32>>>::Future>>;

struct Slot {
    service: Boxed,
    task: CountingWaker,
    state: Asked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Never,
    Waits,
    IsReady,
}

struct Flying {
    number: u32,
    future: Calling,
    task: CountingWaker,
    /// How often the bell had been rung when it was last polled; never polled is `None`.
    heard: Option<usize>,
    began: Instant,
}

struct Hand {
    _switch: Switch,
    is_open: bool,
    number: u32,
}

impl Flying {
    fn is_woken(&self) -> bool {
        self.heard.is_none_or(|heard| self.task.wakes() > heard)
    }
}

impl Slot {
    fn new(service: Boxed) -> Self {
        Self { service, task: CountingWaker::new(), state: Asked::Never }
    }
}

/// The tests' clock, which stands still unless they move it.
#[allow(clippy::disallowed_methods)] // the one place in these tests
fn now() -> Instant {
    Instant::now()
}

impl<'a> World<'a> {
    fn new(plan: Plan, fault: Option<Fault>, seen: &'a mut Seen) -> Self {
        let (stack, dependency) = (Stack::of(&plan, fault), Dependency::new());
        let services = vec![Slot::new(stack.make(&dependency))];
        Self {
            plan,
            stack,
            dependency,
            services,
            calls: Vec::new(),
            over: Vec::new(),
            hands: [None, None],
            drains: Vec::new(),
            drained: false,
            ceiling: plan.limit as usize,
            limit: plan.limit as usize,
            attempts: plan.attempts,
            least_limit: plan.time_limit,
            made: 0,
            answered_well: 0,
            ended: None,
            seen,
        }
    }

    async fn run(&mut self, ops: &[Op]) -> Broken {
        for (nth, &op) in ops.iter().enumerate() {
            let done = match op {
                Op::Advance(time) => {
                    advance(time).await;
                    Ok(())
                }
                op => self.apply(op),
            };
            let done = done.and_then(|()| self.check());
            done.map_err(|what| format!("{what}\n  at step {nth}, {op:?}"))?;
        }
        note(self.seen, "steps", ops.len() as u64);
        Ok(())
    }

    // ===== what happens =====

    fn apply(&mut self, op: Op) -> Broken {
        let at = |arg: u8, all: usize| usize::from(arg) % all.max(1);
        match op {
            Op::Call(arg) => self.call(at(arg, self.services.len()), arg),
            Op::PoliteCall(arg) => {
                let at = at(arg, self.services.len());
                self.poll_ready(at)?;
                if self.services.get(at).is_some_and(|slot| slot.state == Asked::IsReady) {
                    self.call(at, arg);
                }
            }
            Op::PollReady(arg) => self.poll_ready(at(arg, self.services.len()))?,
            Op::PollWoken => self.poll_woken()?,
            Op::PollAnyway(arg) => {
                let at = at(arg, self.calls.len());
                if let Some(call) = self.calls.get_mut(at) {
                    let (number, was_woken) = (call.number, call.is_woken());
                    call.task = CountingWaker::new();
                    let over = self.poll(at)?;
                    // One who waits for the inner service in front of a layer that is full by now is
                    // not told of that until the inner service is ready.
                    let late = Some(Reason::DeadlineExceeded);
                    let may =
                        self.drained || self.ended == Some(Reason::Full) || self.ended == late;
                    rule(was_woken || !over || may, || {
                        format!("call {number} was over, and not woken")
                    })?;
                    note(self.seen, "polled unasked", u64::from(!was_woken));
                }
            }
            Op::DropCall(arg) => {
                let at = at(arg, self.calls.len());
                if at < self.calls.len() {
                    self.calls.remove(at);
                    note(self.seen, "dropped", 1);
                }
            }
            Op::DropAll => self.calls.clear(),
            Op::Advance(_) => {}
            Op::Answers(answers) => self.dependency.set_answers(answers),
            Op::Readiness(readiness) => self.dependency.set_readiness(readiness),
            Op::Capacity(capacity) => self.dependency.set_capacity(capacity),
            Op::Release => self.dependency.release(),
            Op::CloneService(arg) => {
                let from = self.services.get(at(arg, self.services.len()));
                let clone = from.map(|slot| Slot::new(slot.service.clone()));
                self.services.extend(clone.filter(|_| self.services.len() < MOST_SERVICES));
            }
            Op::DropService(arg) => {
                let at = at(arg, self.services.len());
                if at < self.services.len() {
                    self.services.remove(at);
                }
            }
            Op::NewService => {
                if self.services.len() < MOST_SERVICES {
                    self.services.push(Slot::new(self.stack.make(&self.dependency)));
                }
            }
            Op::Switch(arg) => self.switch(arg),
            Op::Reset => {
                if let Some(breaker) = self.stack.breaker.of(0) {
                    breaker.reset();
                }
            }
            Op::Drain(arg) => self.drain(at(arg, self.stack.layers.len())),
            turn => self.turn(turn),
        }
        Ok(())
    }

    fn call(&mut self, at: usize, arg: u8) {
        if self.calls.len() >= MOST_CALLS {
            return;
        }
        let number = self.dependency.books().facts.len() as u32;
        let barred = if self.drained {
            Some(DRAINED)
        } else {
            self.is_held_open(number).then_some(HELD_OPEN)
        };
        let Some(slot) = self.services.get_mut(at) else { return };
        let facts = Facts { most: self.attempts, barred, ..Facts::default() };
        self.dependency.books().facts.push(facts);
        let request = if self.plan.propagates && arg >= 128 {
            WithContext::new(number, Deadline::after(ms(u64::from(arg - 128))))
        } else {
            WithContext::from(number)
        };
        slot.state = Asked::Never;
        let future = Box::pin(slot.service.call(request));
        self.calls.push(Flying {
            number,
            future,
            task: CountingWaker::new(),
            heard: None,
            began: now(),
        });
        self.made += 1;
        note(self.seen, "calls", 1);
        note(self.seen, barred.unwrap_or("not barred"), 1);
    }

    fn poll_ready(&mut self, at: usize) -> Broken {
        let Some(slot) = self.services.get_mut(at) else { return Ok(()) };
        slot.task = CountingWaker::new();
        match slot.task.poll_ready(&mut slot.service) {
            Poll::Ready(Ok(())) => slot.state = Asked::IsReady,
            Poll::Pending => {
                rule(slot.state != Asked::IsReady, || "it was ready, and is not any more".into())?;
                slot.state = Asked::Waits;
                note(self.seen, "not ready", 1);
            }
            Poll::Ready(Err(error)) => {
                // It is dead for good, says tower.
                *slot = Slot::new(self.stack.make(&self.dependency));
                let failed = self.dependency.books().readiness_failed;
                let inner = matches!(error, Error::Inner(_));
                rule(failed && inner, || format!("poll_ready rejected: {error}"))?;
                note(self.seen, "poll_ready failed", 1);
            }
        }
        Ok(())
    }

    fn poll_woken(&mut self) -> Broken {
        let mut at = 0;
        while at < self.calls.len() {
            if !self.calls[at].is_woken() || !self.poll(at)? {
                at += 1;
            }
        }
        Ok(())
    }

    /// Says whether it is over, and gone from the calls.
    fn poll(&mut self, at: usize) -> Result<bool, String> {
        let call = &mut self.calls[at];
        call.heard = Some(call.task.wakes());
        let waker = call.task.waker();
        let Poll::Ready(answer) = call.future.as_mut().poll(&mut Context::from_waker(&waker))
        else {
            return Ok(false);
        };
        let call = self.calls.remove(at);
        self.may_answer(&call, &answer)?;
        if self.over.len() >= MOST_KEPT {
            drop(self.over.remove(0));
        }
        self.over.push(call.future);
        Ok(true)
    }
}
