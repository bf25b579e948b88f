//! Two candidates and a store: all orders of what they say, messages of any delay or none at all, processes that stop for any
//! time, clocks that differ in speed.
//!
//! The bounds: a lease of three ticks; four to six ticks in all, so that a second term begins under the eyes of the
//! first; a clock that loses a tick in four, where the drift that is allowed for is a third. Where candidates resign, they do
//! when they like, have one call in flight while they lead, and campaign again once.

use crate::core::explore::{Model, explore, holds, scale};
use crate::core::time::Tick;
use crate::leader::machine::{Heard, Input, Machine, Params, Question, Stage};

/// A lease, in ticks of the store.
const TTL: u64 = 3;

/// What is done wrong, to see that it is found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Twin {
    None,
    /// The term counts from the answer.
    FromTheAnswer,
    /// Nothing is subtracted for clocks of different speed.
    NoDrift,
    /// The lease is given back at once, whatever is in flight.
    EarlyRelease,
    /// Who has led asks for the next term in the same name.
    SameName,
}

struct World {
    twin: Twin,
    ticks: u64,
    /// Whether messages are lost, or come when nobody waits for them any more.
    loses: bool,
    /// Whether candidates resign.
    resigns: bool,
    /// Whether those that have resigned come back.
    again: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    now: u64,
    lease: Option<Lease>,
    /// Terms that the store gave.
    terms: u64,
    candidates: [Candidate; 2],
}

/// A lease as the store has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Lease {
    holder: Name,
    epoch: u64,
    ends: u64,
}

type Name = (usize, u8);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Candidate {
    machine: Machine,
    /// How often it has changed its name.
    names: u8,
    on_the_way: Option<Message>,
    /// A message that its sender has given up.
    astray: Option<Message>,
    /// A call that was begun as the leader of this term.
    call: Option<u64>,
    /// The latest term in which it led.
    led: u64,
    is_back: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Message {
    Question(Question, Name),
    Answer(Heard),
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Tick,
    /// A candidate looks at its clock.
    Look(usize),
    /// A question reaches the store.
    Arrive(usize),
    /// So does one that was given up.
    ArriveAstray(usize),
    /// An answer reaches its candidate.
    Return(usize),
    /// A candidate gives up a question.
    GiveUp(usize),
    Begin(usize),
    End(usize),
    Resign(usize),
    /// A candidate that has resigned campaigns again.
    Again(usize),
}

impl World {
    fn params(&self) -> Params {
        let drift = if self.twin == Twin::NoDrift { 0 } else { 333_333 };
        Params { ttl: TTL, renew: 1, retry: 1, drift }
    }

    /// The second candidate's clock loses a tick in four.
    fn clock(who: usize, now: u64) -> Tick {
        Tick(if who == 0 { now } else { now - now / 4 })
    }

    fn step(&self, state: &mut State, who: usize, input: Input) -> Result<(), String> {
        let now = Self::clock(who, state.now);
        let candidate = &mut state.candidates[who];
        let effect = candidate.machine.step(&self.params(), now, 0, input);
        if effect.rename {
            candidate.names += u8::from(self.twin != Twin::SameName);
            candidate.astray = candidate.on_the_way.take().or(candidate.astray);
        }
        if let Some(question) = effect.ask {
            let name = (who, candidate.names);
            let held = state.lease.filter(|lease| lease.holder == name).map(|lease| lease.epoch);
            if question == Question::Release && held.is_some() {
                holds(candidate.call != held, "L4: it gave back what a call relied on")?;
            }
            let message = Message::Question(question, name);
            if let Some(given_up) = candidate.on_the_way.replace(message) {
                candidate.astray = Some(given_up);
            }
        }
        let term = candidate.machine.term();
        if let Some((epoch, _)) = term {
            holds(epoch >= candidate.led, "L2: terms grow")?;
            candidate.led = epoch;
        }
        if self.twin == Twin::EarlyRelease && candidate.machine.stage() == Stage::Resigning {
            return self.step(state, who, Input::Idle);
        }
        Ok(())
    }

    /// What a right store does with a question.
    fn store(state: &mut State, question: Question, name: Name) -> Heard {
        let now = state.now;
        state.lease = state.lease.filter(|lease| now < lease.ends);
        match (question, state.lease) {
            (Question::Acquire, None) => {
                state.terms += 1;
                state.lease = Some(Lease { holder: name, epoch: state.terms, ends: now + TTL });
                Heard::Granted { epoch: state.terms, ttl: TTL }
            }
            (Question::Acquire, Some(lease)) if lease.holder == name => Heard::Ours,
            (Question::Renew, Some(lease)) if lease.holder == name => {
                state.lease = Some(Lease { ends: now + TTL, ..lease });
                Heard::Granted { epoch: lease.epoch, ttl: TTL }
            }
            (Question::Release, Some(lease)) if lease.holder == name => {
                state.lease = None;
                Heard::Free
            }
            (_, Some(lease)) => Heard::Theirs(Some(lease.ends - now)),
            (Question::Renew | Question::Release, None) => Heard::Free,
        }
    }

    fn acts(state: &State, who: usize) -> bool {
        let term = state.candidates[who].machine.term();
        term.is_some_and(|(_, until)| Self::clock(who, state.now) < until)
    }
}

impl Model for World {
    type State = State;
    type Step = Step;

    fn start(&self) -> State {
        let candidate = Candidate {
            machine: Machine::new(Tick::ZERO),
            names: 0,
            on_the_way: None,
            astray: None,
            call: None,
            led: 0,
            is_back: false,
        };
        State { now: 0, lease: None, terms: 0, candidates: [candidate.clone(), candidate] }
    }

    fn steps(&self, state: &State) -> Vec<Step> {
        let mut steps = vec![Step::Tick];
        for (who, candidate) in state.candidates.iter().enumerate() {
            let now = Self::clock(who, state.now);
            let at = candidate.machine.stage();
            if candidate.machine.wake(now) <= now {
                steps.push(Step::Look(who));
            }
            match candidate.on_the_way {
                Some(Message::Question(..)) => steps.push(Step::Arrive(who)),
                Some(Message::Answer(_)) => steps.push(Step::Return(who)),
                None => {}
            }
            if candidate.on_the_way.is_some() && self.loses {
                steps.push(Step::GiveUp(who));
            }
            if let Some(Message::Question(..)) = candidate.astray {
                steps.push(Step::ArriveAstray(who));
            }
            if candidate.call.is_some() {
                steps.push(Step::End(who));
            } else if Self::acts(state, who) && at == Stage::Leading && self.resigns {
                steps.push(Step::Begin(who));
            }
            if self.resigns && at != Stage::Resigned {
                steps.push(Step::Resign(who));
            }
            if self.again && at == Stage::Resigned && candidate.names == 0 && !candidate.is_back {
                steps.push(Step::Again(who));
            }
        }
        steps
    }

    fn take(&self, state: &mut State, step: &Step) -> Result<(), String> {
        match *step {
            Step::Tick => {
                state.now += 1;
                Ok(())
            }
            Step::Look(who) => self.step(state, who, Input::Time),
            Step::Arrive(who) => {
                if let Some(Message::Question(question, name)) = state.candidates[who].on_the_way {
                    let heard = Self::store(state, question, name);
                    state.candidates[who].on_the_way = Some(Message::Answer(heard));
                }
                Ok(())
            }
            Step::ArriveAstray(who) => {
                if let Some(Message::Question(question, name)) = state.candidates[who].astray.take()
                {
                    Self::store(state, question, name);
                }
                Ok(())
            }
            Step::Return(who) => {
                let Some(Message::Answer(heard)) = state.candidates[who].on_the_way.take() else {
                    return Ok(());
                };
                if self.twin == Twin::FromTheAnswer {
                    let now = Self::clock(who, state.now);
                    state.candidates[who].machine.pretend_that_it_asked_at(now);
                }
                self.step(state, who, Input::Heard(heard))
            }
            Step::GiveUp(who) => {
                let given_up = state.candidates[who].on_the_way.take();
                if let Some(Message::Question(..)) = given_up {
                    state.candidates[who].astray = given_up;
                }
                self.step(state, who, Input::Heard(Heard::Nothing))
            }
            Step::Begin(who) => {
                state.candidates[who].call = state.candidates[who].machine.term().map(|it| it.0);
                Ok(())
            }
            Step::End(who) => {
                state.candidates[who].call = None;
                let at = state.candidates[who].machine.stage();
                if matches!(at, Stage::Resigning | Stage::Ending) {
                    self.step(state, who, Input::Idle)
                } else {
                    Ok(())
                }
            }
            Step::Again(who) => {
                let now = Self::clock(who, state.now);
                let candidate = &mut state.candidates[who];
                candidate.is_back = true;
                if candidate.machine.again(now) {
                    candidate.names += u8::from(self.twin != Twin::SameName);
                }
                candidate.astray = candidate.on_the_way.take().or(candidate.astray);
                Ok(())
            }
            Step::Resign(who) => {
                self.step(state, who, Input::Resign)?;
                let candidate = &state.candidates[who];
                let is_idle = candidate.call.is_none();
                if is_idle && candidate.machine.stage() == Stage::Resigning {
                    return self.step(state, who, Input::Idle);
                }
                Ok(())
            }
        }
    }

    fn check(&self, state: &State) -> Result<(), String> {
        holds(!(Self::acts(state, 0) && Self::acts(state, 1)), "L1: two act")
    }

    fn is_within(&self, state: &State) -> bool {
        state.now < self.ticks
    }
}

fn world(twin: Twin, ticks: u64, loses: bool, resigns: bool) -> World {
    World { twin, ticks: ticks + u64::from(scale()) - 1, loses, resigns, again: loses && resigns }
}

// pitfalls B41, B42, B43
#[test]
fn at_no_time_do_two_lead() {
    for (loses, ticks, least) in [(false, 6, 100_000), (true, 4, 100_000)] {
        let report = explore(&world(Twin::None, ticks, loses, false)).unwrap();
        println!("loses: {loses}, {ticks} ticks: {report}");
        assert!(report.states > least, "{report}");
    }
}

// pitfall B45
#[test]
fn nothing_is_in_flight_when_a_lease_is_given_back() {
    for (loses, ticks, least) in [(false, 3, 50_000), (true, 1, 1_000)] {
        let report = explore(&world(Twin::None, ticks, loses, true)).unwrap();
        println!("loses: {loses}, {ticks} ticks: {report}");
        assert!(report.states > least, "{report}");
    }
}

#[test]
fn each_shortcut_is_found_out() {
    let twins = [
        (Twin::FromTheAnswer, 6, false, false, "L1"),
        (Twin::FromTheAnswer, 4, true, false, "L1"),
        (Twin::NoDrift, 6, false, false, "L1"),
        (Twin::EarlyRelease, 6, false, true, "L4"),
        (Twin::SameName, 2, true, true, "L1"),
    ];
    for (twin, ticks, loses, resigns, law) in twins {
        let broken = explore(&world(twin, ticks, loses, resigns));
        let broken = broken.expect_err(&format!("{twin:?} is not found out"));
        println!("{twin:?}: {} after {} steps", broken.why, broken.trace.len());
        assert!(broken.why.starts_with(law), "{twin:?}: {broken:?}");
    }
}
