//! Where everything is.

use std::collections::HashMap;
use std::sync::Arc;

use crate::core::position::Position;
use crate::log::error::LogError;
use crate::log::machine::{Law, visible};
use crate::log::record::{MARK, Segment};
use crate::log::request::{Of, Read};

/// What is read at a time at most, in bytes, however many events were asked for.
const PAGE: u64 = 4 << 20;

/// Where a record is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// The position of its first event.
    pub(super) first: u64,
    pub(super) offset: u64,
    pub(super) length: u32,
    pub(super) events: u32,
    /// The number of its segment.
    pub(super) segment: u32,
}

pub(super) type Streams = HashMap<Arc<str>, Stream>;

#[derive(Default)]
pub(super) struct Stream {
    /// The version that its next append meets: with what is on its way.
    pub(super) taken: u64,
    /// The first version of each of its records, and the number of the record.
    pub(super) records: Vec<(u64, u32)>,
    /// The version that readers see.
    pub(super) version: u64,
}

/// All records, and what the next append has to know.
#[derive(Default)]
pub(super) struct Index {
    pub(super) law: Law,
    /// In order, with their eras.
    pub(super) segments: Vec<Segment>,
    pub(super) streams: Streams,
    records: Vec<Place>,
    /// The first position that is being written.
    pub(super) under_way: Option<u64>,
}

/// What to read, where, and what is left out of it.
pub(super) struct Plan {
    pub(super) pieces: Vec<Piece>,
    /// Events up to this position or, of a stream, this version are left out.
    pub(super) after: u64,
    pub(super) is_of_stream: bool,
    pub(super) most: usize,
    pub(super) era: u32,
    /// The end of the log.
    pub(super) end: u64,
    pub(super) version: u64,
    /// The pieces are all that there is.
    pub(super) is_all: bool,
}

/// Records in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// In which segment.
    pub(super) of: Segment,
    pub(super) offset: u64,
    pub(super) length: u64,
}

impl Index {
    /// The history that is being written.
    pub(super) fn era(&self) -> u32 {
        self.segments.last().map_or(0, |segment| segment.era)
    }

    /// The number of the latest segment.
    pub(super) fn latest(&self) -> u32 {
        self.segments.len().saturating_sub(1) as u32
    }

    /// Readers see this record from now on.
    pub(super) fn publish(&mut self, stream: &Arc<str>, version: u64, place: Place) {
        let number = self.records.len() as u32;
        self.records.push(place);
        let last = version + u64::from(place.events) - 1;
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.records.push((version, number));
            stream.version = last;
            stream.taken = stream.taken.max(last);
        } else {
            let new = Stream { taken: last, records: vec![(version, number)], version: last };
            self.streams.insert(Arc::clone(stream), new);
        }
    }

    /// What the next append to a stream has to know, and where it will be.
    pub(super) fn for_append(&mut self) -> (&mut Law, &mut Streams, &mut Vec<Segment>) {
        (&mut self.law, &mut self.streams, &mut self.segments)
    }

    pub(super) fn version(&self, stream: &str) -> u64 {
        self.streams.get(stream).map_or(0, |stream| stream.version)
    }

    fn visible(&self) -> u64 {
        visible(self.law.end, self.under_way)
    }

    pub(super) fn end(&self) -> Position {
        Position { era: self.era(), at: self.visible() }
    }

    /// After which position all is read. That of an earlier era means the same in this one, up to where the next era began.
    fn after(&self, ask: &Read) -> Result<u64, LogError> {
        let log = self.end();
        let Some(asked) = ask.position().filter(|asked| asked.era < log.era) else {
            return ask.checked_after(log);
        };
        let next = self.segments.iter().find(|segment| segment.era > asked.era);
        if next.is_some_and(|next| asked.at < next.first) {
            return Ok(asked.at);
        }
        Err(LogError::OtherEra { log, asked })
    }

    /// Finds what is asked for.
    pub(super) fn plan(&self, ask: &Read) -> Result<Plan, LogError> {
        let end = self.visible();
        let mut plan = Plan {
            pieces: Vec::new(),
            after: 0,
            is_of_stream: false,
            most: ask.most,
            era: self.era(),
            end,
            version: 0,
            is_all: true,
        };
        let (mut bytes, mut events) = (0, 0);
        let mut add = |place: &Place| {
            if bytes >= PAGE || events >= ask.most {
                plan.is_all = false;
                return false;
            }
            bytes += u64::from(place.length);
            // Those of the first record may be left out.
            events += if plan.pieces.is_empty() { 1 } else { place.events as usize };
            match plan.pieces.last_mut() {
                // In between are marks, and no record, which is longer.
                Some(last)
                    if last.of == self.segments[place.segment as usize]
                        && place.offset - (last.offset + last.length) <= 2 * MARK as u64 =>
                {
                    last.length = place.offset + u64::from(place.length) - last.offset;
                }
                _ => plan.pieces.push(Piece {
                    of: self.segments[place.segment as usize],
                    offset: place.offset,
                    length: place.length.into(),
                }),
            }
            true
        };
        match &ask.of {
            Of::All { .. } => {
                let after = self.after(ask)?;
                let from = self
                    .records
                    .partition_point(|place| place.first + u64::from(place.events) - 1 <= after);
                let _ = self.records[from..].iter().all(&mut add);
                plan.after = after;
            }
            Of::Stream { name, after } => {
                if let Some(stream) = self.streams.get(name) {
                    let records = &stream.records;
                    // The last one that begins at or before what comes next.
                    let from =
                        records.partition_point(|(first, _)| first.saturating_sub(1) <= *after);
                    if *after < stream.version {
                        let rest = records[from.saturating_sub(1)..].iter();
                        let _ = rest.map(|(_, number)| &self.records[*number as usize]).all(add);
                    }
                    plan.version = stream.version;
                }
                plan.after = *after;
                plan.is_of_stream = true;
            }
        }
        Ok(plan)
    }
}
