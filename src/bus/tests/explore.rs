//! A topic with room for two events, a subscriber of each kind, and publishers that wait: all orders.
//!
//! The bounds: four events of two keys, two ticks, a patience of one. Publishers may give up; the topic may close at the end.

use crate::bus::machine::{Closed, Held, Keyed, Published, Taken, Topic, WhenSlow};
use crate::core::explore::{Model, explore, holds};
use crate::core::time::Tick;

const CAPACITY: usize = 2;
const PATIENCE: u64 = 1;
const MOST: u8 = 4;
/// So many ticks.
const LONGEST: u64 = 1;

/// What is done wrong, to see that it is found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Twin {
    None,
    /// Gaps are not told.
    HiddenGap,
    /// Who holds is overrun.
    NoHold,
    /// Who holds is never cut off.
    Endless,
    /// A publisher that waits gives its place in the line up at each try.
    NoLine,
    /// All events are given to the one who wants the newest.
    NotTheNewest,
}

struct World(Twin);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Item {
    /// In which order publishing began.
    begun: u8,
    key: char,
}

impl Keyed for Item {
    fn key(&self) -> &str {
        if self.key == 'a' { "a" } else { "b" }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    topic: Topic<Item>,
    now: u64,
    begun: u8,
    /// Publishers that wait: since when (none: what they wait for has moved on, and they are woken), their place, their event.
    held: Vec<(Option<u64>, u64, Item)>,
    /// What was published, in order.
    log: Vec<Item>,
    /// The next number of each reader, and whether it was told that it is over.
    next: [u64; 3],
    over: [Option<Closed>; 3],
    is_closed: bool,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Publish(char),
    /// A publisher that waits looks again.
    Again(usize),
    GiveUp(usize),
    Take(usize),
    Tick,
    Close,
}

const LOSE: usize = 0;
const HOLD: usize = 1;
const LATEST: usize = 2;

impl World {
    fn publish(
        state: &mut State,
        item: Item,
        since: u64,
        ticket: Option<u64>,
    ) -> Result<(), String> {
        match state.topic.publish(item, ticket, Tick(state.now)) {
            Published::Done { number, .. } => {
                state.log.push(item);
                state.held.iter_mut().for_each(|held| held.0 = None);
                holds(number == state.log.len() as u64, "numbers have no gap")?;
                let overtaken = state.held.iter().any(|(_, _, waits)| waits.begun < item.begun);
                holds(!overtaken, "nobody is overtaken in the line")
            }
            Published::Held(event, Held { ticket, .. }) => {
                let waited = state.now - since;
                holds(
                    waited < PATIENCE || state.held.iter().any(|held| held.2.begun < item.begun),
                    "nobody who is first waits for longer than the patience of one who does not read",
                )?;
                state.held.push((Some(since), ticket, event));
                state.held.sort_unstable_by_key(|held| held.2.begun);
                Ok(())
            }
            Published::Closed(_) => holds(state.is_closed, "only a closed topic refuses"),
        }
    }

    fn received(&self, state: &mut State, reader: usize) -> Result<(), String> {
        let mut taken = state.topic.take(reader);
        if self.0 == Twin::HiddenGap && matches!(taken, Taken::Gap { .. }) {
            taken = state.topic.take(reader);
        }
        let end = state.log.len() as u64 + 1;
        match taken {
            Taken::Event { number, event } => {
                let place = usize::try_from(number - 1).unwrap();
                holds(state.log.get(place) == Some(&event), "an event keeps its number")?;
                if reader == LATEST {
                    holds(number >= state.next[reader], "in order")?;
                    let newer = state.log[place + 1..].iter().any(|later| later.key == event.key);
                    holds(!newer, "the newest of its key")?;
                } else {
                    holds(number == state.next[reader], "in order, and none is passed over")?;
                }
                state.next[reader] = number + 1;
                if reader == HOLD {
                    state.held.iter_mut().for_each(|held| held.0 = None);
                }
            }
            Taken::Gap { from, to } => {
                holds(reader == LOSE || reader == HOLD, "there is room for all keys")?;
                holds(
                    from == state.next[reader] && from <= to && to < end,
                    "a gap is what is lost",
                )?;
                holds(
                    reader == LOSE || state.now >= PATIENCE,
                    "who holds loses nothing before it is cut off",
                )?;
                state.next[reader] = to + 1;
            }
            Taken::Nothing => {
                holds(
                    reader == LATEST || state.next[reader] == end,
                    "nothing only when all is read",
                )?;
            }
            Taken::Closed(why) => {
                let all_read = reader == LATEST || state.next[reader] == end;
                match why {
                    Closed::Bus => holds(state.is_closed && all_read, "closed when all is read")?,
                    Closed::TooSlow => holds(reader == HOLD, "only who holds is cut off")?,
                }
                state.over[reader] = Some(why);
            }
        }
        Ok(())
    }
}

impl Model for World {
    type State = State;
    type Step = Step;

    fn start(&self) -> State {
        let mut topic = Topic::new(CAPACITY);
        let hold = match self.0 {
            Twin::NoHold => WhenSlow::Lose,
            Twin::Endless => WhenSlow::Hold(std::time::Duration::MAX),
            _ => WhenSlow::Hold(std::time::Duration::from_nanos(PATIENCE)),
        };
        let latest = if self.0 == Twin::NotTheNewest { WhenSlow::Lose } else { WhenSlow::Latest };
        assert_eq!([WhenSlow::Lose, hold, latest].map(|when| topic.subscribe(when)), [0, 1, 2]);
        State {
            topic,
            now: 0,
            begun: 0,
            held: Vec::new(),
            log: Vec::new(),
            next: [1; 3],
            over: [None; 3],
            is_closed: false,
        }
    }

    fn steps(&self, state: &State) -> Vec<Step> {
        let mut steps = vec![Step::Tick];
        if state.begun < MOST {
            steps.extend([Step::Publish('a'), Step::Publish('b')]);
        }
        steps.extend((0..state.held.len()).flat_map(|n| [Step::Again(n), Step::GiveUp(n)]));
        steps.extend((0..3).filter(|reader| state.over[*reader].is_none()).map(Step::Take));
        if !state.is_closed && state.begun == MOST {
            steps.push(Step::Close);
        }
        steps
    }

    fn take(&self, state: &mut State, step: &Step) -> Result<(), String> {
        match *step {
            Step::Publish(key) => {
                state.begun += 1;
                let (item, now) = (Item { begun: state.begun, key }, state.now);
                Self::publish(state, item, now, None)
            }
            Step::Again(nth) => {
                let (since, ticket, item) = state.held.remove(nth);
                let since = since.unwrap_or(state.now);
                if self.0 == Twin::NoLine {
                    state.topic.leave(ticket);
                    return Self::publish(state, item, since, None);
                }
                Self::publish(state, item, since, Some(ticket))
            }
            Step::GiveUp(nth) => {
                let (_, ticket, _) = state.held.remove(nth);
                state.topic.leave(ticket);
                Ok(())
            }
            Step::Take(reader) => self.received(state, reader),
            Step::Tick => {
                state.now += 1;
                Ok(())
            }
            Step::Close => {
                state.is_closed = true;
                state.topic.close();
                Ok(())
            }
        }
    }

    fn check(&self, state: &State) -> Result<(), String> {
        for reader in [LOSE, HOLD] {
            let unread = state.log.len() as u64 + 1 - state.next[reader];
            let lag = state.topic.lag(reader);
            holds(lag <= unread, "the lag is what is not read")?;
        }
        holds(state.topic.lag(LATEST) <= CAPACITY as u64, "one of each key is kept")
    }

    fn is_within(&self, state: &State) -> bool {
        state.now <= LONGEST
    }
}

// pitfall B65
#[test]
fn nothing_is_hidden_doubled_or_out_of_order_whoever_is_slow() {
    let report = explore(&World(Twin::None)).unwrap_or_else(|broken| panic!("{broken:?}"));
    assert!(report.states > 10_000, "{report:?}");
}

#[test]
fn each_weaker_law_is_found_out() {
    for (twin, why) in [
        (Twin::HiddenGap, "none is passed over"),
        (Twin::NoHold, "who holds loses nothing"),
        (Twin::Endless, "nobody who is first waits"),
        (Twin::NoLine, "nobody who is first waits"),
        (Twin::NotTheNewest, "newest of its key"),
    ] {
        let Err(broken) = explore(&World(twin)) else { panic!("{twin:?} is not found out") };
        assert!(broken.why.contains(why), "{twin:?}: {}", broken.why);
    }
}

#[test]
fn the_newest_of_too_many_keys_is_a_gap() {
    let mut topic = Topic::new(1);
    let reader = topic.subscribe(WhenSlow::Latest);
    for key in ['a', 'b'] {
        topic.publish(Item { begun: 0, key }, None, Tick::ZERO);
    }
    assert_eq!(topic.take(reader), Taken::Gap { from: 1, to: 1 });
    assert!(matches!(topic.take(reader), Taken::Event { number: 2, .. }));
    assert_eq!(topic.take(reader), Taken::Nothing);
}
