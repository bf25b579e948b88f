//! How an append is written: one record, with its length, checksums, and all of its events. Pure.
//!
//! ```text
//! segment   magic "seawalog" | format u32 | era u32 | first position u64 | checksum u32
//! record    head | body | length of the body u32
//! head      length of the body u32 | kind u32 | durable u64 | checksum of the body u32 | checksum of the head u32
//! body      first position u64 | first version u64 | epoch u64 | events u32 | length of the name u32 | name
//!           | for each event: length u32, bytes
//! ```
//!
//! All numbers are little-endian. `durable` says how many bytes of the segment were on the disk when the record was written. So
//! what is broken before them is damage, and what is broken behind the last of them may be what a crash has torn. A record
//! without a body is a [`Mark`].
//!
//! The checksum of a head covers where it is: a copy of a record in the payload of another is none. The length stands at the
//! end too, so that the last record is found from the end of the file, whatever is broken before it.

use crate::parts::crc32c::crc32c;

pub(super) const MAGIC: [u8; 8] = *b"seawalog";
/// The format of what is written. Later ones are refused.
pub(super) const FORMAT: u32 = 1;
pub(super) const SEGMENT_HEAD: usize = 28;
const HEAD: usize = 24;
const TAIL: usize = 4;
const BODY_HEAD: usize = 32;
/// So many bytes a mark takes: fewer than half of the shortest record.
pub(super) const MARK: usize = HEAD + TAIL;
/// No body is longer.
pub(super) const LONGEST_BODY: usize = (512 << 20) - 1;

/// What a segment says of itself, and what its file is called by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Segment {
    /// The position of its first event.
    pub(super) first: u64,
    pub(super) era: u32,
}

/// Why a segment cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unread {
    /// There is less than a head, or nothing but zeros.
    Short,
    Foreign(String),
    Damaged(String),
}

impl Segment {
    pub(super) fn file_name(self) -> String {
        match self.era {
            1 => format!("{:020}.log", self.first),
            era => format!("{:020}-{era}.log", self.first),
        }
    }

    /// `None` if no segment has such a name.
    pub(super) fn of_file_name(name: &str) -> Option<Self> {
        let stem = name.strip_suffix(".log")?;
        let (first, era) = stem.split_once('-').unwrap_or((stem, "1"));
        let segment = Self { first: first.parse().ok()?, era: era.parse().ok()? };
        (segment.file_name() == name).then_some(segment)
    }

    pub(super) fn head(self) -> Vec<u8> {
        let mut head = Vec::with_capacity(SEGMENT_HEAD);
        head.extend(MAGIC);
        head.extend(FORMAT.to_le_bytes());
        head.extend(self.era.to_le_bytes());
        head.extend(self.first.to_le_bytes());
        head.extend(crc32c(&head).to_le_bytes());
        head
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, Unread> {
        let head = &bytes[..bytes.len().min(SEGMENT_HEAD)];
        if head.iter().all(|byte| *byte == 0) {
            return Err(Unread::Short);
        }
        let magic = &head[..head.len().min(MAGIC.len())];
        if magic != &MAGIC[..magic.len()] {
            return Err(Unread::Foreign("it does not begin like a log of seawall".into()));
        }
        if head.len() < SEGMENT_HEAD {
            return Err(Unread::Short);
        }
        let format = number(head, 8);
        if format > FORMAT {
            let why =
                format!("it has the format {format}, and {FORMAT} is the latest that is known");
            return Err(Unread::Foreign(why));
        }
        if crc32c(&head[..24]) != number(head, 24) || format == 0 {
            return Err(Unread::Damaged("the checksum of its head is wrong".into()));
        }
        Ok(Self { first: long(head, 16), era: number(head, 12) })
    }
}

/// Where a record is, or will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) segment: Segment,
    pub(super) offset: u64,
}

/// What is written between appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// All before it is on the disk.
    Synced,
    /// The log was opened. If readers see events before these are on the disk, who has seen them may know more than what a
    /// loss of power leaves.
    Opened { shows_early: bool },
    /// The log was closed, and all of it was on the disk.
    Closed,
}

impl Mark {
    const ALL: [Self; 4] = [
        Self::Synced,
        Self::Opened { shows_early: false },
        Self::Opened { shows_early: true },
        Self::Closed,
    ];

    /// Its kind; 0 is an append.
    const fn kind(self) -> u32 {
        match self {
            Self::Synced => 1,
            Self::Opened { shows_early: false } => 2,
            Self::Opened { shows_early: true } => 3,
            Self::Closed => 4,
        }
    }

    pub(super) fn write(self, out: &mut Vec<u8>, spot: Spot, durable: u64) {
        let start = out.len();
        out.extend([0; HEAD]);
        seal(out, start, self.kind(), spot, durable);
    }
}

/// The start of a record, if it is whole.
#[derive(Debug, Clone, Copy)]
struct Head {
    length: usize,
    kind: u32,
    durable: u64,
    body: u32,
}

impl Head {
    /// With what surrounds it.
    const fn whole(self) -> usize {
        HEAD + self.length + TAIL
    }

    fn read(head: &[u8], spot: Spot) -> Option<Self> {
        let head = head.get(..HEAD)?;
        let length = number(head, 0) as usize;
        if guard(&head[..HEAD - 4], spot) != number(head, HEAD - 4) || length > LONGEST_BODY {
            return None;
        }
        let (kind, durable, body) = (number(head, 4), long(head, 8), number(head, 16));
        Some(Self { length, kind, durable, body })
    }

    /// The head that this one was before one of its bytes was damaged, if that is what has happened to it.
    fn mended(head: &[u8], spot: Spot) -> Option<Self> {
        let mut head: [u8; HEAD] = head.get(..HEAD)?.try_into().ok()?;
        for at in 0..HEAD {
            let was = head[at];
            for byte in 0..=u8::MAX {
                head[at] = byte;
                if let Some(mended) = Self::read(&head, spot) {
                    return Some(mended);
                }
            }
            head[at] = was;
        }
        None
    }
}

/// One append, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) first: u64,
    /// The version of its first event.
    pub(super) version: u64,
    pub(super) epoch: u64,
    pub(super) events: u32,
    pub(super) stream: &'a str,
    /// Each with its length before it.
    pub(super) payload: &'a [u8],
}

/// What comes next in a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<'a> {
    /// A record of so many bytes.
    Record(Record<'a>, usize),
    Mark(Mark),
    /// What is there is no whole record.
    Broken(&'static str),
}

/// What these bytes, which are at this spot, begin with.
pub(super) fn next(bytes: &[u8], spot: Spot) -> Next<'_> {
    if bytes.len() < HEAD {
        return Next::Broken("a record breaks off");
    }
    let Some(head) = Head::read(bytes, spot) else { return Next::Broken("there is no record") };
    let Some(whole) = bytes.get(..head.whole()) else {
        return Next::Broken("a record breaks off");
    };
    let (body, tail) = whole[HEAD..].split_at(head.length);
    if crc32c(body) != head.body || number(tail, 0) as usize != head.length {
        return Next::Broken("the checksum of a record is wrong");
    }
    if head.kind > 0 {
        let mark = Mark::ALL.into_iter().find(|mark| mark.kind() == head.kind);
        return match mark.filter(|_| body.is_empty()) {
            Some(mark) => Next::Mark(mark),
            None => Next::Broken("a record is of a kind that none is"),
        };
    }
    match Record::read(body) {
        Ok(record) => Next::Record(record, head.whole()),
        Err(why) => Next::Broken(why),
    }
}

/// How many bytes of a segment were on the disk, as far as what is behind a broken record can tell. It goes from head to head,
/// and to the last record from the end. Only where neither gets it further does it look at the bytes in between, which may be those of
/// events: for a head that speaks of what is broken, and what comes behind its record. It is a reason to refuse, and never where a log goes on.
pub(super) fn durable_behind(bytes: &[u8], segment: Segment, broken: usize) -> u64 {
    let last = last(bytes, segment, broken);
    let mut durable = last.map_or(0, |head| head.durable);
    let mut at = broken;
    while let Some(rest) = bytes.get(at..) {
        let spot = Spot { segment, offset: at as u64 };
        let Some(head) = Head::read(rest, spot).or_else(|| Head::mended(rest, spot)) else { break };
        durable = durable.max(head.durable);
        at += head.whole();
    }
    if last.is_none() && durable <= broken as u64 {
        return sought(bytes, segment, at, broken).map_or(durable, |head| head.durable);
    }
    durable
}

/// The head of a whole record behind `after` which says that what is broken was on the disk. Behind the record there is another
/// head, or less than one.
fn sought(bytes: &[u8], segment: Segment, after: usize, broken: usize) -> Option<Head> {
    (after + 1..bytes.len().saturating_sub(MARK - 1)).find_map(|at| {
        let (rest, offset) = (&bytes[at..], at as u64);
        if long(rest, 8) <= broken as u64 || long(rest, 8) > offset {
            return None; // most bytes say neither
        }
        let head = Head::read(rest, Spot { segment, offset })?;
        let behind = rest.get(head.whole()..)?;
        let spot = Spot { segment, offset: offset + head.whole() as u64 };
        let is_followed = behind.len() < HEAD || Head::read(behind, spot).is_some();
        let is_whole = !matches!(next(rest, Spot { segment, offset }), Next::Broken(_));
        (is_followed && is_whole).then_some(head)
    })
}

/// The head of the last record, if it is whole and behind this offset.
fn last(bytes: &[u8], segment: Segment, after: usize) -> Option<Head> {
    let tail = bytes.get(bytes.len().checked_sub(TAIL)?..)?;
    let length = number(tail, 0) as usize;
    let at = bytes.len().checked_sub(HEAD + TAIL)?.checked_sub(length)?;
    let head = Head::read(&bytes[at..], Spot { segment, offset: at as u64 })?;
    (at > after && head.length == length).then_some(head)
}

impl<'a> Record<'a> {
    /// So many bytes it takes.
    pub(super) const fn length(&self) -> usize {
        HEAD + BODY_HEAD + self.stream.len() + self.payload.len() + TAIL
    }

    pub(super) fn write(&self, out: &mut Vec<u8>, spot: Spot, durable: u64) {
        let start = out.len();
        out.reserve(self.length());
        out.extend([0; HEAD]);
        out.extend(self.first.to_le_bytes());
        out.extend(self.version.to_le_bytes());
        out.extend(self.epoch.to_le_bytes());
        out.extend(self.events.to_le_bytes());
        out.extend((self.stream.len() as u32).to_le_bytes());
        out.extend(self.stream.as_bytes());
        out.extend(self.payload);
        seal(out, start, 0, spot, durable);
    }

    fn read(body: &'a [u8]) -> Result<Self, &'static str> {
        let named = body.get(..BODY_HEAD).map_or(0, |head| number(head, 28) as usize);
        let stream = body.get(BODY_HEAD..BODY_HEAD.saturating_add(named));
        let Some(stream) = stream.and_then(|name| std::str::from_utf8(name).ok()) else {
            return Err("the stream of a record has no name");
        };
        let record = Self {
            first: long(body, 0),
            version: long(body, 8),
            epoch: long(body, 16),
            events: number(body, 24),
            stream,
            payload: &body[BODY_HEAD + named..],
        };
        if record.each().count() != record.events as usize {
            return Err("a record does not hold the events that it says");
        }
        Ok(record)
    }

    /// The bytes of each event.
    pub(super) fn each(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut rest = self.payload;
        std::iter::from_fn(move || {
            let length = rest.get(..4)?;
            let event = rest.get(4..4 + number(length, 0) as usize)?;
            rest = &rest[4 + event.len()..];
            Some(event)
        })
    }

    /// Adds an event to what will be a payload.
    pub(super) fn add(payload: &mut Vec<u8>, event: &[u8]) {
        payload.extend((event.len() as u32).to_le_bytes());
        payload.extend(event);
    }
}

/// Fills the head of the record that begins at `start` in, and ends it.
fn seal(out: &mut Vec<u8>, start: usize, kind: u32, spot: Spot, durable: u64) {
    let (head, body) = out[start..].split_at_mut(HEAD);
    let length = (body.len() as u32).to_le_bytes();
    head[..4].copy_from_slice(&length);
    head[4..8].copy_from_slice(&kind.to_le_bytes());
    head[8..16].copy_from_slice(&durable.to_le_bytes());
    head[16..20].copy_from_slice(&crc32c(body).to_le_bytes());
    let guarded = guard(&head[..HEAD - 4], spot);
    head[HEAD - 4..].copy_from_slice(&guarded.to_le_bytes());
    out.extend(length);
}

/// The checksum of a head, and of where it is.
fn guard(head: &[u8], spot: Spot) -> u32 {
    let mut all = [0; HEAD - 4 + 20];
    all[..HEAD - 4].copy_from_slice(head);
    all[HEAD - 4..HEAD + 4].copy_from_slice(&spot.offset.to_le_bytes());
    all[HEAD + 4..HEAD + 12].copy_from_slice(&spot.segment.first.to_le_bytes());
    all[HEAD + 12..].copy_from_slice(&spot.segment.era.to_le_bytes());
    crc32c(&all)
}

fn number(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}

fn long(bytes: &[u8], at: usize) -> u64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(eight)
}
