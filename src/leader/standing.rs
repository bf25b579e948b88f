//! What a candidate and those who rely on it share: whether it leads, in atomics that anybody may read.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::machine::{Change, Effect, Machine, Stage};
use super::state::State;
use crate::core::error::{Measurement, Reason};
use crate::core::event::EventKind;
use crate::core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::core::time::Tick;
use crate::shell::live::Live;
use crate::shell::meter::{Counter, Ended, Gauge, Instruments, Labels};
use crate::shell::reporter::{EventContext, Reporter};

const STATE: &str = "seawall_leader_state";
const EPOCH: &str = "seawall_leader_epoch";
const MARGIN: &str = "seawall_leader_margin_seconds";
const ASKED: &str = "seawall_leader_asked_total";

/// What came of a question, for the label `answer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    Granted,
    Held,
    Free,
    Error,
    TimedOut,
}

impl Answered {
    const ALL: [&'static str; 5] = ["granted", "held", "free", "error", "timed_out"];
}

/// What a candidate measures.
pub(super) struct LeaderMeter {
    states: [Gauge; State::ALL.len()],
    epoch: Gauge,
    margin: Gauge,
    asked: [Counter; Answered::ALL.len()],
}

impl Instruments for LeaderMeter {
    const OUTCOMES: &'static [Ended] = &[];
    const REASONS: &'static [Reason] = &[];
    const TIMES_CALLS: bool = false;

    fn new(labels: &Labels<'_>) -> Self {
        let words = State::ALL.map(State::as_str);
        Self {
            states: labels.gauges(STATE, "1 for the present state, else 0.", "state", words),
            epoch: labels.gauge(EPOCH, "The epoch of the present term, or of the last one."),
            margin: labels.gauge(MARGIN, "What was left of the term at its latest renewal."),
            asked: labels.counters(
                ASKED,
                "Questions to the store, by answer.",
                "answer",
                Answered::ALL,
            ),
        }
    }

    fn prime(&self) {
        self.asked.iter().for_each(Counter::touch);
    }

    fn level(&self) -> Option<&Gauge> {
        Some(&self.epoch)
    }
}

/// What is not read by calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct News {
    pub(super) state: State,
    /// Somebody campaigns.
    pub(super) campaigns: bool,
    /// Campaigns that have begun.
    pub(super) campaign: u64,
    /// Changes of state so far.
    pub(super) changes: u64,
}

/// Whether this process leads.
pub(super) struct Standing {
    pub(super) reporter: Reporter<LeaderMeter>,
    /// No call begins in this last part of a term, in nanoseconds.
    stop: u64,
    /// How often calls look whether there is still a term, in nanoseconds: the store may have said that there is not.
    look: u64,
    /// The end of the present term; zero where there is none.
    until: AtomicU64,
    /// Its number, or that of the last one.
    epoch: AtomicU64,
    /// When little is left of the term.
    low: AtomicU64,
    /// When somebody else's lease ends, as far as is known.
    free_at: AtomicU64,
    /// It shall lead no more.
    resigns: AtomicBool,
    /// What was begun as the leader, and is not over.
    calls: AtomicUsize,
    pub(super) news: watch::Sender<News>,
    /// Rings for whoever campaigns.
    pub(super) bell: Notify,
    /// The holder of the lease, as was last heard.
    pub(super) holder: Live<Option<Arc<str>>>,
    pub(super) last_error: Live<Option<Arc<str>>>,
}

/// A term, as somebody found it who was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) number: u64,
    pub(super) until: Tick,
}

impl Standing {
    pub(super) fn new(reporter: Reporter<LeaderMeter>, stop: u64, look: u64) -> Self {
        let news = News { state: State::Following, campaigns: false, campaign: 0, changes: 0 };
        Self {
            reporter,
            stop,
            look,
            until: AtomicU64::new(0),
            epoch: AtomicU64::new(0),
            low: AtomicU64::new(0),
            free_at: AtomicU64::new(0),
            resigns: AtomicBool::new(false),
            calls: AtomicUsize::new(0),
            news: watch::Sender::new(news),
            bell: Notify::new(),
            holder: Live::new(None),
            last_error: Live::new(None),
        }
    }

    // ----- those who rely on it -----

    /// The present term. The end is read before the number: what is found is never of an earlier term than
    /// its end.
    #[inline]
    pub(super) fn term(&self, now: Tick) -> Option<Found> {
        let until = Tick(self.until.load(Ordering::Acquire));
        (now < until).then(|| Found { number: self.epoch.load(Ordering::Acquire), until })
    }

    /// Whether there may be a term, by which no clock is read.
    #[inline]
    pub(super) fn may_lead(&self) -> bool {
        self.until.load(Ordering::Relaxed) != 0
    }

    /// The end of the term of this number, if it is the present one.
    pub(super) fn end_of(&self, number: u64, now: Tick) -> Option<Tick> {
        self.term(now).filter(|term| term.number == number).map(|term| term.until)
    }

    /// When to look again whether the term is over that ends then.
    pub(super) fn next_look(&self, end: Tick, now: Tick) -> Tick {
        end.min(now.plus(self.look))
    }

    /// Begins something as the leader, which [is over](Self::leave) once.
    #[inline]
    pub(super) fn enter(&self, now: Tick) -> Option<Found> {
        // Counted before the look: who resigns waits for whoever has not seen that.
        self.calls.fetch_add(1, Ordering::SeqCst);
        let term = self.term(now.plus(self.stop));
        if term.is_none() || self.resigns.load(Ordering::SeqCst) {
            self.leave();
            return None;
        }
        term
    }

    /// Something is over that was begun as the leader.
    #[inline]
    pub(super) fn leave(&self) {
        if self.calls.fetch_sub(1, Ordering::SeqCst) == 1 && self.resigns.load(Ordering::SeqCst) {
            self.bell.notify_one();
        }
    }

    /// When somebody else's term ends, if that is known and lies ahead.
    pub(super) fn retry_after(&self, now: Tick) -> Option<Duration> {
        let left = Tick(self.free_at.load(Ordering::Relaxed)).since(now);
        (left > 0).then(|| Duration::from_nanos(left))
    }

    pub(super) fn state(&self, now: Tick) -> State {
        match self.term(now) {
            Some(_) if self.resigns.load(Ordering::Relaxed) => State::Resigning,
            Some(_) if self.low.load(Ordering::Relaxed) <= now.0 => State::Expiring,
            Some(_) => State::Leading,
            // It knows of a term that there is none any more.
            None => match self.news.borrow().state {
                over @ (State::Resigning | State::Resigned) => over,
                State::Following | State::Leading | State::Expiring => State::Following,
            },
        }
    }

    // ----- resigning -----

    /// Whoever campaigns shall lead no more. The number of the campaign; `None` if there is none.
    pub(super) fn resign(&self) -> Option<u64> {
        let mut campaign = None;
        self.news.send_if_modified(|news| {
            if news.campaigns {
                self.resigns.store(true, Ordering::SeqCst);
                campaign = Some(news.campaign);
            }
            false
        });
        self.bell.notify_one();
        campaign
    }

    pub(super) fn resigns(&self) -> bool {
        self.resigns.load(Ordering::SeqCst)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.calls.load(Ordering::SeqCst) == 0
    }

    /// A campaign begins.
    pub(super) fn begin(&self) {
        self.news.send_modify(|news| {
            self.resigns.store(false, Ordering::SeqCst);
            news.campaigns = true;
            news.campaign += 1;
        });
    }

    /// It has ended. A term that is left goes on to its end.
    pub(super) fn end(&self) {
        self.news.send_modify(|news| news.campaigns = false);
    }

    // ----- the candidate -----

    /// The machine was stepped.
    pub(super) fn publish(&self, machine: &Machine, now: Tick, effect: Effect) {
        match machine.term() {
            Some((number, until)) => {
                if self.epoch.load(Ordering::Relaxed) != number {
                    self.until.store(0, Ordering::Release); // nobody finds the old end with the new number
                    self.epoch.store(number, Ordering::Release);
                }
                self.low.store(machine.low().0, Ordering::Relaxed);
                self.until.store(until.0, Ordering::Release);
            }
            None => self.until.store(0, Ordering::Release),
        }
        let state = match machine.stage() {
            Stage::Leading if machine.is_low(now) => State::Expiring,
            Stage::Leading => State::Leading,
            Stage::Resigned => State::Resigned,
            Stage::Following | Stage::Adopting => State::Following,
            Stage::Resigning | Stage::Ending | Stage::Releasing => State::Resigning,
        };
        let mut before = None;
        self.news.send_if_modified(|news| {
            let changes = news.state != state;
            before = changes.then_some(news.state);
            news.changes += u64::from(changes);
            news.state = state;
            changes
        });
        self.reporter.meter(|handles| {
            for (one, gauge) in State::ALL.iter().zip(&handles.own.states) {
                handles.set(gauge, f64::from(u8::from(*one == state)));
            }
            #[allow(clippy::cast_precision_loss)] // gauges are floats
            handles.set(&handles.own.epoch, machine.epoch() as f64);
        });
        if let Some(from) = before {
            let cause = cause(effect, from, state);
            let context = EventContext { key: None, seq: self.news.borrow().changes };
            self.reporter.tell(
                context,
                now,
                EventKind::Changed {
                    from: from.as_str(),
                    to: state.as_str(),
                    cause,
                    measurement: Measurement::Nothing,
                },
            );
        }
    }

    /// A question was answered, or was not. `left` is what was left of the term when it was renewed.
    pub(super) fn answered(&self, how: Answered, left: Option<u64>) {
        self.reporter.meter(|handles| {
            handles.increment(&handles.own.asked[how as usize]);
            if let Some(left) = left {
                handles.set(&handles.own.margin, Duration::from_nanos(left).as_secs_f64());
            }
        });
    }

    /// Nobody has the lease.
    pub(super) fn nobody_holds(&self) {
        self.free_at.store(0, Ordering::Relaxed);
        self.holder.set(None);
    }

    /// Somebody has the lease.
    pub(super) fn held_by(&self, holder: &Arc<str>, free_at: Tick) {
        self.free_at.store(free_at.0, Ordering::Relaxed);
        if self.holder.get().as_ref().as_ref() != Some(holder) {
            self.holder.set(Some(Arc::clone(holder)));
        }
    }
}

/// Why the state changed.
fn cause(effect: Effect, from: State, to: State) -> &'static str {
    match (effect.change, from, to) {
        (Some(Change::Acquired), ..) => "acquired",
        (Some(Change::Lost), ..) => "lost",
        (Some(Change::Resigned), ..) => "resigned",
        (None, _, State::Expiring) => "not_renewed",
        (None, State::Expiring, State::Leading) => "renewed",
        (None, _, State::Leading | State::Following) if from != State::Expiring => "started",
        (None, _, State::Resigned) => "released",
        (Some(Change::Expired) | None, ..) => "expired",
    }
}
