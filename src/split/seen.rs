//! What one user has seen: a pure machine. Positions, questions and times are arguments.
//!
//! Questions how far a member is are numbered, so that it is known which of them came after something happened: the
//! answer covers that. No clock is read for it.

use crate::core::position::Position;

/// How far a member said it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Known {
    pub(super) position: Position,
    /// The number of the question that this answers; 0 if it was not asked.
    pub(super) question: u64,
}

/// The seat of the primary; those of the replicas follow.
pub(super) const PRIMARY: u32 = 0;

/// What is known of the members.
pub(super) trait Knows {
    fn known(&self, seat: u32) -> Option<Known>;

    /// The number of the last question that this member was asked.
    fn asked(&self, seat: u32) -> u64;

    /// Where the history of `to` left that of `from`; `None` if nobody knows.
    fn branched(&self, from: u32, to: u32) -> Option<u64>;

    /// Nanoseconds since any moment.
    fn now(&self) -> u64;

    /// For so many of them something unknown counts.
    fn patience(&self) -> u64;

    /// Whether the primary is asked at all.
    fn asks(&self) -> bool;

    /// Whether a member at `position` has everything up to `needed`.
    fn has(&self, position: Position, needed: Position) -> bool {
        has(self, position, needed)
    }
}

/// That a member is in a later history is not enough: it may be on its way there still, for numbers go on where the
/// earlier one was left.
pub(super) fn has<K: Knows + ?Sized>(members: &K, position: Position, needed: Position) -> bool {
    let is_continued = needed.era == position.era
        || (needed.era < position.era
            && members.branched(needed.era, position.era).is_some_and(|at| needed.at <= at));
    is_continued && needed.at <= position.at
}

/// Something of unknown position: an answer to a later question covers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Unknown {
    /// Of this member.
    seat: u32,
    /// The last question before it was over.
    after: u64,
    /// When it counts no more.
    until: u64,
    /// How far the primary was known to be before.
    least: Option<Position>,
}

/// How long something stays unknown that came with a token: until it is first used.
const AT_FIRST_USE: Unknown =
    Unknown { seat: PRIMARY, after: u64::MAX, until: u64::MAX, least: None };

/// What a session knows of its user.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Seen {
    position: Option<Position>,
    /// The same in earlier histories, where it is not known whether the present one has it.
    older: Option<Position>,
    /// Something of unknown position after this one, in a history that was left since: nobody can say that it is there.
    gone: Option<Position>,
    /// A command that may have happened, or happened at an unknown position.
    written: Option<Unknown>,
    /// A read at an unknown position.
    read: Option<Unknown>,
    /// A stranger said so, before the primary was asked this question.
    stranger: Option<u64>,
}

/// What a replica must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Nothing,
    /// All up to a position, and perhaps to be one that was read from.
    Has {
        position: Option<Position>,
        seat: Option<u32>,
    },
    /// Only the primary can answer.
    Primary,
    /// It is in no history that is left.
    Lost(Position),
}

impl Unknown {
    /// Besides one that there was before: the place before both counts.
    fn new(seat: u32, before: Option<Self>, members: &impl Knows) -> Self {
        let until = members.now().saturating_add(members.patience());
        let least = members.known(PRIMARY).map(|known| known.position);
        let least = before.and_then(|before| before.least).or(least);
        Self { seat, after: members.asked(seat), until, least }
    }

    /// Where the primary was before, if another history has begun since.
    fn was_left(&self, known: Known) -> Option<Position> {
        self.least.filter(|least| least.era < known.position.era)
    }
}

impl Seen {
    pub(super) fn of_token(position: Option<Position>, is_uncertain: bool, trusted: bool) -> Self {
        Self {
            position,
            written: is_uncertain.then_some(AT_FIRST_USE),
            stranger: (!trusted && position.is_some()).then_some(u64::MAX),
            ..Self::default()
        }
    }

    pub(super) fn position(&self) -> Option<Position> {
        self.position
    }

    /// The first place that the present history may lack, or how far was seen.
    pub(super) fn first_in_doubt(&self) -> Option<Position> {
        self.older.or(self.position)
    }

    /// Whether a command may have happened that nobody knows the position of.
    pub(super) fn is_uncertain(&self) -> bool {
        self.written.is_some() || self.older.is_some()
    }

    /// A command may have happened, and nobody knows where.
    pub(super) fn written(&mut self, members: &impl Knows) {
        self.written = Some(Unknown::new(PRIMARY, self.written, members));
    }

    /// Something was read from this member, which was at least at `least` before.
    pub(super) fn read(&mut self, seat: u32, least: Option<Position>, members: &impl Knows) {
        if let Some(least) = least {
            self.raise(least);
        }
        // Two members of unknown position: only the primary has what both have.
        let seat = match self.read {
            Some(other) if other.seat != seat => PRIMARY,
            _ => seat,
        };
        self.read = Some(Unknown::new(seat, self.read, members));
    }

    /// Everything up to `position` was seen.
    pub(super) fn raise(&mut self, position: Position) {
        match self.position {
            Some(seen) if position.era > seen.era => {
                // The first that may be lost is what is told.
                self.older = self.older.or(Some(seen));
                self.position = Some(position);
            }
            Some(seen) if position.era < seen.era || position.at <= seen.at => {}
            _ => self.position = Some(position),
        }
    }

    /// What a replica must have now. Learns what has become known meanwhile.
    pub(super) fn need(&mut self, members: &impl Knows) -> Need {
        let primary = members.known(PRIMARY);
        self.clamp(primary, members);
        if let Some(known) = primary {
            let left = |unknown: Option<Unknown>| {
                let unknown = unknown.filter(|one| one.until > members.now());
                unknown.and_then(|one| one.was_left(known))
            };
            self.gone = self.gone.or(left(self.written)).or(left(self.read));
        }
        if let Some(Need::Lost(lost)) = self.fate(primary, members) {
            return Need::Lost(lost); // whatever else is unknown
        }
        if self.is_unknown(primary, members) {
            return Need::Primary;
        }
        let seat = match self.read {
            None => None,
            Some(read) => match members.known(read.seat) {
                Some(known) if known.question > read.after => {
                    self.raise(known.position);
                    self.read = None;
                    None
                }
                _ if members.now() >= read.until => {
                    self.read = None;
                    None
                }
                _ if read.seat == PRIMARY => return Need::Primary,
                _ => Some(read.seat),
            },
        };
        if let Some(need) = self.fate(primary, members) {
            return need;
        }
        // Whoever is still in a history that was left may go on in it alone, so the present one is needed at least.
        let present = primary.filter(|_| members.asks()).map(|known| known.position.era);
        let position = match (self.position, present) {
            (Some(seen), Some(era)) if seen.era < era => Some(Position { era, ..seen }),
            (seen, present) => seen.or(present.map(|era| Position { era, at: 0 })),
        };
        match (position, seat) {
            (None, None) => Need::Nothing,
            (position, seat) => Need::Has { position, seat },
        }
    }

    /// What it was told of is over: it goes on in the history that there is.
    pub(super) fn told(&mut self, members: &impl Knows) {
        let present = members.known(PRIMARY).map_or(0, |known| known.position.era);
        (self.older, self.gone) = (None, None);
        for unknown in [&mut self.written, &mut self.read].into_iter().flatten() {
            unknown.least = None;
        }
        self.position = self.position.filter(|position| position.era >= present);
    }

    /// Whether a command is of unknown position still.
    fn is_unknown(&mut self, primary: Option<Known>, members: &impl Knows) -> bool {
        let Some(written) = self.written else { return false };
        if written == AT_FIRST_USE {
            self.written(members);
            return true;
        }
        match primary {
            Some(known) if known.question > written.after => {
                self.written = None;
                self.raise(known.position);
                false
            }
            _ if members.now() >= written.until => {
                self.written = None;
                false
            }
            _ => true,
        }
    }

    /// A stranger has seen no more than there is.
    fn clamp(&mut self, primary: Option<Known>, members: &impl Knows) {
        let (Some(after), Some(seen)) = (self.stranger, self.position) else { return };
        if after == u64::MAX {
            self.stranger = Some(members.asked(PRIMARY));
        }
        let Some(known) = primary else { return };
        if seen.era < known.position.era || seen <= known.position {
            self.stranger = None; // a place where somebody can have been
        } else if known.question > after {
            (self.stranger, self.position) = (None, Some(known.position));
        }
    }

    /// Whether the present history has what was seen in another; `None` if it does, or if there is none.
    fn fate(&mut self, primary: Option<Known>, members: &impl Knows) -> Option<Need> {
        if let Some(gone) = self.gone {
            return Some(Need::Lost(gone));
        }
        let present = primary.map(|known| known.position.era);
        let newest = self.position.map(|position| position.era).max(present)?;
        if let Some(older) = self.older {
            if let Some(need) = Self::fate_of(older, newest, present, members) {
                return Some(need);
            }
            self.older = None;
        }
        let seen = self.position?;
        if self.stranger.is_some() {
            return Some(Need::Primary); // it may be of the future
        }
        Self::fate_of(seen, newest, present, members)
    }

    fn fate_of(
        seen: Position,
        newest: u32,
        present: Option<u32>,
        members: &impl Knows,
    ) -> Option<Need> {
        if seen.era >= newest {
            return None;
        }
        match members.branched(seen.era, newest) {
            Some(at) if seen.at <= at => None,
            // The primary has not been asked since, and would know.
            None if members.asks() && present.is_none_or(|present| present < newest) => {
                Some(Need::Primary)
            }
            _ => Some(Need::Lost(seen)),
        }
    }
}
