//! What has passed of a body, and who has read how much of it.

use std::collections::VecDeque;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};

/// Keeping a frame of data costs at least this much, in bytes, however little is in it: a body that trickles
/// must not fill the memory with what surrounds its bytes.
const LEAST_COST: usize = 64;

/// The frames that have passed, up to a cap.
///
/// Past the cap nothing is kept but what the reader who began last has still to read; all others
/// have lost their place.
#[derive(Debug)]
pub(super) struct Tape {
    frames: VecDeque<Kept>,
    /// The place of the first of them, counted from the beginning of the body.
    first: u64,
    /// Bytes of data that have passed in all.
    bytes: u64,
    cost: usize,
    cap: usize,
    /// Those who have begun to read, in the order in which they did.
    readers: Vec<u64>,
    turns: u64,
    capped: bool,
    state: State,
    /// What the source says of what it has still to give.
    rest: SizeHint,
    rest_is_nothing: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Flowing,
    Ended,
    Failed,
}

#[derive(Debug, Clone)]
pub(super) enum Kept {
    Data(Bytes),
    Trailers(Box<HeaderMap>),
}

/// Where a reader is.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// Zero until it begins to read.
    turn: u64,
    position: u64,
    bytes: u64,
}

/// What a reader gets.
#[derive(Debug)]
pub(super) enum Read {
    Frame(Frame<Bytes>),
    End,
    /// The recording no longer holds what would come next.
    Lost,
    /// The source failed, in the hand of another reader.
    Failed,
}

impl Tape {
    pub(super) fn new(cap: usize, rest: SizeHint) -> Self {
        Self {
            frames: VecDeque::new(),
            first: 0,
            bytes: 0,
            cost: 0,
            cap,
            readers: Vec::new(),
            turns: 0,
            capped: false,
            state: State::Flowing,
            rest,
            rest_is_nothing: false,
        }
    }

    /// Whether a reader can begin at the beginning, and be sure to come to the end.
    pub(super) fn is_whole(&self) -> bool {
        !self.capped && self.state != State::Failed
    }

    /// A reader begins, unless it did: from now on it is the one who matters.
    pub(super) fn begin(&mut self, head: &mut Head) {
        if head.turn == 0 {
            self.turns += 1;
            head.turn = self.turns;
            self.readers.push(head.turn);
        }
    }

    /// A reader goes. If it was the latest, whoever began before it matters again.
    pub(super) fn leave(&mut self, head: &Head) {
        self.readers.retain(|&turn| turn != head.turn);
    }

    fn is_latest(&self, head: &Head) -> bool {
        self.readers.last() == Some(&head.turn)
    }

    /// The next frame for a reader; `None` if it has to come from the source.
    pub(super) fn read(&mut self, head: &mut Head) -> Option<Read> {
        self.begin(head);
        let Some(index) = head.position.checked_sub(self.first) else { return Some(Read::Lost) };
        if let Some(kept) = self.frames.get(index as usize) {
            let kept = kept.clone();
            head.advance(&kept);
            if self.capped && index == 0 && self.is_latest(head) {
                // Dropped under the lock, which is fine: the reader has a clone of the bytes, so
                // that nobody's code runs.
                self.frames.pop_front();
                self.first = head.position;
            }
            return Some(Read::Frame(kept.into()));
        }
        match self.state {
            State::Ended => Some(Read::End),
            State::Failed => Some(Read::Failed),
            State::Flowing if self.capped && !self.is_latest(head) => Some(Read::Lost),
            State::Flowing => None,
        }
    }

    /// There will be no other reader: what was read need not be kept.
    pub(super) const fn keep_no_more(&mut self) {
        self.capped = true;
    }

    /// The source gave `frame` to a reader who had read all that came before. What is returned is
    /// to be dropped after the unlock.
    pub(super) fn record(
        &mut self,
        head: &mut Head,
        frame: &Frame<Bytes>,
        rest: SizeHint,
        rest_is_nothing: bool,
    ) -> VecDeque<Kept> {
        (self.rest, self.rest_is_nothing) = (rest, rest_is_nothing);
        let Some(kept) = Kept::of(frame) else { return VecDeque::new() };
        self.bytes += kept.len() as u64;
        self.cost = self.cost.saturating_add(kept.cost());
        // What is known to become too much is not even begun.
        let to_come = usize::try_from(rest.lower()).unwrap_or(usize::MAX);
        self.capped |= self.cost.saturating_add(to_come) > self.cap;
        head.advance(&kept);
        if self.capped && self.is_latest(head) {
            self.first = head.position;
            return std::mem::take(&mut self.frames);
        }
        self.frames.push_back(kept);
        VecDeque::new()
    }

    pub(super) fn end(&mut self) {
        self.state = State::Ended;
        (self.rest, self.rest_is_nothing) = (SizeHint::with_exact(0), true);
    }

    pub(super) fn fail(&mut self) {
        self.state = State::Failed;
        (self.rest, self.rest_is_nothing) = (SizeHint::default(), false);
    }

    /// How much a reader has still to come.
    pub(super) fn size_hint(&self, head: &Head) -> SizeHint {
        let kept = self.bytes - head.bytes;
        let mut hint = SizeHint::new();
        hint.set_lower(kept.saturating_add(self.rest.lower()));
        if let Some(upper) = self.rest.upper() {
            hint.set_upper(kept.saturating_add(upper));
        }
        hint
    }

    /// Whether a reader has all of it.
    pub(super) fn is_read(&self, head: &Head) -> bool {
        self.rest_is_nothing && head.position == self.first + self.frames.len() as u64
    }
}

impl Head {
    fn advance(&mut self, kept: &Kept) {
        self.position += 1;
        self.bytes += kept.len() as u64;
    }
}

impl Kept {
    fn of(frame: &Frame<Bytes>) -> Option<Self> {
        match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => Some(Self::Data(data.clone())),
            (None, Some(trailers)) => Some(Self::Trailers(Box::new(trailers.clone()))),
            (None, None) => None, // a kind of frame that does not exist yet
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            Self::Trailers(_) => 0,
        }
    }

    fn cost(&self) -> usize {
        match self {
            Self::Data(data) => data.len().max(LEAST_COST),
            Self::Trailers(_) => 0, // there is one frame of them, and whoever parsed it bounded it
        }
    }
}

impl From<Kept> for Frame<Bytes> {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::Data(data) => Self::data(data),
            Kept::Trailers(trailers) => Self::trailers(*trailers),
        }
    }
}
