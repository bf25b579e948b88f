//! How an append is written: one record, with its length, a checksum, and all of its events. Pure.
//!
//! ```text
//! segment   magic "seawalog" | format u32 | era u32 | first position u64 | checksum u32
//! record    mark u32 | length of the body u32 | checksum of length and body u32 | body
//! body      first position u64 | first version u64 | epoch u64 | events u32 | length of the name u32 | name
//!           | for each event: length u32, bytes
//! ```
//!
//! All numbers are little-endian. The format of a record is that of its segment.

use crate::parts::crc32c::crc32c;

pub(super) const MAGIC: [u8; 8] = *b"seawalog";
/// The format of what is written. Later ones are refused.
pub(super) const FORMAT: u32 = 1;
pub(super) const SEGMENT_HEAD: usize = 28;
const MARK: u32 = 0x6c61_7773;
/// Mark, length and checksum.
pub(super) const RECORD_HEAD: usize = 12;
const BODY_HEAD: usize = 32;
/// No body is longer.
pub(super) const LONGEST_BODY: usize = (512 << 20) - 1;

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) era: u32,
    pub(super) first: u64,
}

/// Why a segment cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unread {
    /// There is less than a head.
    Short,
    Foreign(String),
    Damaged(String),
}

impl Segment {
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
        let magic = &bytes[..bytes.len().min(MAGIC.len())];
        if magic != &MAGIC[..magic.len()] {
            return Err(Unread::Foreign("it does not begin like a log of seawall".into()));
        }
        let Some(head) = bytes.get(..SEGMENT_HEAD) else { return Err(Unread::Short) };
        let format = number(head, 8);
        if format > FORMAT {
            let why =
                format!("it has the format {format}, and {FORMAT} is the latest that is known");
            return Err(Unread::Foreign(why));
        }
        if crc32c(&head[..24]) != number(head, 24) || format == 0 {
            return Err(Unread::Damaged("the checksum of its head is wrong".into()));
        }
        Ok(Self { era: number(head, 12), first: long(head, 16) })
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
    /// What is there is no whole record.
    Broken(&'static str),
}

impl<'a> Record<'a> {
    /// So many bytes it takes.
    pub(super) const fn length(&self) -> usize {
        RECORD_HEAD + BODY_HEAD + self.stream.len() + self.payload.len()
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend(MARK.to_le_bytes());
        out.extend(((self.length() - RECORD_HEAD) as u32).to_le_bytes());
        out.extend([0; 4]);
        out.extend(self.first.to_le_bytes());
        out.extend(self.version.to_le_bytes());
        out.extend(self.epoch.to_le_bytes());
        out.extend(self.events.to_le_bytes());
        out.extend((self.stream.len() as u32).to_le_bytes());
        out.extend(self.stream.as_bytes());
        out.extend(self.payload);
        let crc = checksum(&out[start + 4..start + 8], &out[start + RECORD_HEAD..]);
        out[start + 8..start + RECORD_HEAD].copy_from_slice(&crc.to_le_bytes());
    }

    /// What these bytes begin with.
    pub(super) fn next(bytes: &'a [u8]) -> Next<'a> {
        let Some(head) = bytes.get(..RECORD_HEAD) else {
            return Next::Broken("a record breaks off");
        };
        if number(head, 0) != MARK {
            return Next::Broken("there is no record");
        }
        let length = number(head, 4) as usize;
        if !(BODY_HEAD..=LONGEST_BODY).contains(&length) {
            return Next::Broken("a record has a length that none has");
        }
        let Some(body) = bytes.get(RECORD_HEAD..RECORD_HEAD + length) else {
            return Next::Broken("a record breaks off");
        };
        if checksum(&head[4..8], body) != number(head, 8) {
            return Next::Broken("the checksum of a record is wrong");
        }
        let named = number(body, 28) as usize;
        let stream = body.get(BODY_HEAD..BODY_HEAD.saturating_add(named));
        let Some(stream) = stream.and_then(|name| std::str::from_utf8(name).ok()) else {
            return Next::Broken("the stream of a record has no name");
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
            return Next::Broken("a record does not hold the events that it says");
        }
        Next::Record(record, RECORD_HEAD + length)
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

/// Whether there is a whole record anywhere in these bytes: if so, what is before it is damaged, and is no torn end.
pub(super) fn holds_a_record(bytes: &[u8]) -> bool {
    let mark = MARK.to_le_bytes();
    let starts = bytes.windows(mark.len()).enumerate().filter(|(_, four)| **four == mark);
    starts.into_iter().any(|(at, _)| matches!(Record::next(&bytes[at..]), Next::Record(..)))
}

/// Of length and body, so that a wrong length is not believed either.
fn checksum(length: &[u8], body: &[u8]) -> u32 {
    crc32c(body) ^ crc32c(length).rotate_left(7)
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
