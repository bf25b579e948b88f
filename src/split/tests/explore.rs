//! One session, a primary, two replicas, and a failover: all orders of commands with and without an answer, replication,
//! questions, late answers and reads.

use super::super::seen::{Known, Knows, Need, PRIMARY, Seen, has};
use crate::core::explore::{Broken, Model, Report, explore, holds, scale};
use crate::core::position::Position;

const SEATS: usize = 3;
/// Commands before the failover, and after it.
const WRITES: [u64; 2] = [2, 1];

/// A rule that is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Twin {
    None,
    /// An answer to a question that was asked before covers a command too.
    AnyAnswerCovers,
    /// What says nothing is fresh.
    UnknownIsFresh,
    /// Places of different eras are compared as numbers.
    BareNumbers,
    /// A command without an answer is forgotten.
    Forgets,
    /// So is a read without a position.
    ForgetsReads,
    /// Whoever is in a later history has all that it took over of the earlier one.
    LaterIsFurther,
}

/// How many steps, and whether one of them may be a failover.
struct World(Twin, u64, bool);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    session: Seen,
    /// The primary, and the replicas: where they are.
    at: [Position; SEATS],
    /// Where era 2 left era 1.
    branch: Option<u64>,
    /// What each is known to be, the questions so far, and answers that are on their way.
    known: [Option<Known>; SEATS],
    asked: [u64; SEATS],
    on_the_way: [Option<Known>; SEATS],
    /// What the user must see: a bit for each write.
    must: u8,
    steps: u64,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A command, and whether its answer says where it is.
    Command(bool),
    /// One that did not happen, and nobody knows.
    NoCommand,
    /// Somebody else writes.
    Write,
    Replicate(usize),
    Ask(usize),
    Hear(usize),
    Read {
        replica: usize,
        says: bool,
    },
    ReadPrimary(bool),
    Failover(usize),
    Told,
}

struct View<'a>(&'a State, Twin);

impl Knows for View<'_> {
    fn known(&self, seat: u32) -> Option<Known> {
        self.0.known[seat as usize]
    }

    fn asked(&self, seat: u32) -> u64 {
        let asked = self.0.asked[seat as usize];
        if self.1 == Twin::AnyAnswerCovers { asked.saturating_sub(1) } else { asked }
    }

    fn branched(&self, from: u32, to: u32) -> Option<u64> {
        if self.1 == Twin::BareNumbers {
            return Some(u64::MAX);
        }
        // Whoever is of the new era says where it began.
        let is_heard = self.0.known.iter().flatten().any(|known| known.position.era == 2);
        self.0.branch.filter(|_| is_heard && (from, to) == (1, 2))
    }

    fn now(&self) -> u64 {
        0
    }

    fn patience(&self) -> u64 {
        1
    }

    fn asks(&self) -> bool {
        true
    }

    fn has(&self, position: Position, needed: Position) -> bool {
        (self.1 == Twin::LaterIsFurther && position.era == 2) || has(self, position, needed)
    }
}

impl State {
    /// The bit of the write that led to this place.
    fn bit(position: Position) -> u8 {
        1 << (position.at + if position.era == 1 { 0 } else { 4 })
    }

    /// All that a member has there.
    fn content(&self, position: Position) -> u8 {
        let until = |at: u64| (1_u8 << (at + 1)) - 2;
        match self.branch {
            Some(branch) if position.era == 2 => {
                let own = (branch + 1..=position.at).fold(0, |bits, at| bits | 1 << (at + 4));
                until(branch.min(position.at)) | own // it may be on its way there still
            }
            _ => until(position.at),
        }
    }

    fn may_read(&self, need: Need, replica: usize, twin: Twin) -> bool {
        let view = View(self, twin);
        match need {
            Need::Nothing => true,
            Need::Primary | Need::Lost(_) => false,
            Need::Has { position, seat } => {
                seat.is_none_or(|seat| seat as usize == replica)
                    && position.is_none_or(|needed| match self.known[replica] {
                        Some(known) => view.has(known.position, needed),
                        None => twin == Twin::UnknownIsFresh,
                    })
            }
        }
    }
}

impl Model for World {
    type State = State;
    type Step = Step;

    fn start(&self) -> State {
        State {
            session: Seen::default(),
            at: [Position { era: 1, at: 0 }; SEATS],
            branch: None,
            // The primary has been asked once, or nobody would know in which era something was written.
            known: [Some(Known { position: Position { era: 1, at: 0 }, question: 0 }), None, None],
            asked: [0; SEATS],
            on_the_way: [None; SEATS],
            must: 0,
            steps: 0,
        }
    }

    fn steps(&self, state: &State) -> Vec<Step> {
        let mut steps = Vec::new();
        let primary = state.at[0];
        let most = WRITES[0] + if primary.era == 2 { WRITES[1] } else { 0 };
        if primary.at < most.min(3) {
            steps.extend([Step::Command(true), Step::Command(false), Step::Write]);
        }
        if self.2 {
            steps.push(Step::NoCommand);
        }
        for seat in 0..SEATS {
            if seat > 0 {
                let at = state.at[seat];
                let follows = at.era == primary.era && at.at < primary.at;
                let changes = at.era < primary.era && state.branch.is_some_and(|b| at.at <= b);
                if follows || changes {
                    steps.push(Step::Replicate(seat));
                }
                steps.push(Step::Read { replica: seat, says: true });
                steps.push(Step::Read { replica: seat, says: false });
                if self.2 && state.branch.is_none() {
                    steps.push(Step::Failover(seat));
                }
            }
            if state.on_the_way[seat].is_some() {
                steps.push(Step::Hear(seat));
            } else if state.asked[seat] < 2 {
                steps.push(Step::Ask(seat));
            }
        }
        steps.extend([Step::ReadPrimary(true), Step::ReadPrimary(false), Step::Told]);
        steps
    }

    fn take(&self, state: &mut State, step: &Step) -> Result<(), String> {
        let twin = self.0;
        let before = state.clone();
        let view = View(&before, twin);
        state.steps += 1;
        match *step {
            Step::Command(says) => {
                state.at[0].at += 1;
                state.must |= State::bit(state.at[0]);
                if says {
                    state.session.raise(state.at[0]);
                } else if twin != Twin::Forgets {
                    state.session.written(&view);
                }
            }
            Step::NoCommand => state.session.written(&view),
            Step::Write => state.at[0].at += 1,
            Step::Replicate(seat) => {
                if state.at[seat].era < state.at[0].era {
                    state.at[seat].era = state.at[0].era;
                } else {
                    state.at[seat].at += 1;
                }
            }
            Step::Ask(seat) => {
                state.asked[seat] += 1;
                let known = Known { position: state.at[seat], question: state.asked[seat] };
                state.on_the_way[seat] = Some(known);
            }
            Step::Hear(seat) => state.known[seat] = state.on_the_way[seat].take(),
            Step::Read { replica, says } => {
                let need = state.session.need(&view);
                if !before.may_read(need, replica, twin) {
                    return Ok(());
                }
                let content = state.content(state.at[replica]);
                holds(content & state.must == state.must, "what was seen or written is there")?;
                state.must |= content;
                if says {
                    state.session.raise(state.at[replica]);
                } else if twin != Twin::ForgetsReads {
                    let least = before.known[replica].map(|known| known.position);
                    state.session.read(replica as u32, least, &view);
                }
            }
            Step::ReadPrimary(says) => {
                if matches!(state.session.need(&view), Need::Lost(_)) {
                    return Ok(()); // it is told instead
                }
                let content = state.content(state.at[0]);
                // A failover that nobody has heard of is told by a later query.
                let is_new =
                    before.known[0].is_none_or(|known| known.position.era < state.at[0].era);
                let is_there = content & state.must == state.must;
                holds(is_there || is_new && state.branch.is_some(), "the primary has all")?;
                state.must |= content;
                if says {
                    state.session.raise(state.at[0]);
                } else {
                    state.session.read(PRIMARY, None, &view);
                }
            }
            Step::Failover(seat) => {
                state.branch = Some(state.at[seat].at);
                state.at[seat].era = 2;
                state.at[0] = state.at[seat];
            }
            Step::Told => {
                if let Need::Lost(_) = state.session.need(&view) {
                    state.session.told(&view);
                    state.must &= state.content(state.at[0]);
                }
            }
        }
        Ok(())
    }

    fn check(&self, _: &State) -> Result<(), String> {
        Ok(())
    }

    fn is_within(&self, state: &State) -> bool {
        state.steps < self.1
    }
}

fn look(twin: Twin, depth: u64, fails_over: bool) -> Result<Report, Broken> {
    explore(&World(twin, depth, fails_over))
}

// pitfalls B61, B62, B64: R1, R2, R6
#[test]
fn no_order_shows_a_user_less_than_he_has_written_and_read() {
    for (depth, fails_over) in [(5, true), (7, false)] {
        let report = look(Twin::None, depth + u64::from(scale()), fails_over).unwrap();
        println!("split, a session, {fails_over}: {report}");
        assert!(report.states > 10_000, "{report}");
    }
}

#[test]
fn weaker_rules_are_caught() {
    for twin in [
        Twin::AnyAnswerCovers,
        Twin::UnknownIsFresh,
        Twin::BareNumbers,
        Twin::Forgets,
        Twin::ForgetsReads,
        Twin::LaterIsFurther,
    ] {
        let fails_over = matches!(twin, Twin::BareNumbers | Twin::LaterIsFurther);
        let broken = look(twin, 8, fails_over).map(|report| report.to_string());
        let broken = broken.expect_err(&format!("{twin:?} is not seen"));
        println!("{twin:?}: in {} steps", broken.trace.len());
    }
}
