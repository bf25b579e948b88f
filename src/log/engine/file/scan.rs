//! Reads all of a log once, and finds out what is whole, what is torn, and what is damaged. It changes nothing.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::index::{Index, Place};
use crate::log::error::LogError;
use crate::log::record::{
    MARK, Mark, Next, Record, SEGMENT_HEAD, Segment, Spot, Unread, durable_behind, next,
};

/// What a log is found to be.
#[derive(Default)]
pub(super) struct Scan {
    pub(super) index: Index,
    /// How long the last segment is, without what is torn.
    pub(super) length: u64,
    pub(super) torn: Vec<Torn>,
    /// Who wrote last let readers see what was not on the disk yet.
    shows_early: bool,
    /// It was closed, and nothing was written since.
    is_closed: bool,
}

/// What a crash has left half written.
pub(super) struct Torn {
    pub(super) segment: Segment,
    pub(super) offset: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) why: &'static str,
}

impl Scan {
    pub(super) fn of(folder: &Path) -> Result<Self, LogError> {
        let mut scan = Self { is_closed: true, ..Self::default() };
        let segments = segments(folder)?;
        for (nth, segment) in segments.iter().enumerate() {
            scan.segment(folder, *segment, segments.get(nth + 1).copied())?;
        }
        Ok(scan)
    }

    /// Whether events may be gone that a reader has seen.
    pub(super) fn may_have_lost(&self) -> bool {
        !self.torn.is_empty() || (self.shows_early && !self.is_closed)
    }

    fn segment(
        &mut self,
        folder: &Path,
        segment: Segment,
        following: Option<Segment>,
    ) -> Result<(), LogError> {
        let path = folder.join(segment.file_name());
        let bytes = std::fs::read(&path).map_err(|error| failed(&path, error))?;
        let damaged = |offset: usize, why: String| LogError::Damaged {
            path: path.clone(),
            offset: offset as u64,
            why,
        };
        let head = match Segment::read(&bytes) {
            Ok(head) => head,
            Err(Unread::Short)
                if self.may_be_torn(following) && durable_behind(&bytes, segment, 0) == 0 =>
            {
                let why = "its head breaks off";
                self.torn.push(Torn { segment, offset: 0, bytes, why });
                return Ok(());
            }
            Err(Unread::Short) => return Err(damaged(0, "its head breaks off".into())),
            Err(Unread::Foreign(why)) => {
                return Err(LogError::Foreign { path, offset: 0, why });
            }
            Err(Unread::Damaged(why)) => return Err(damaged(0, why)),
        };
        let (position, era) = (self.index.law.end + 1, self.index.era());
        if head != segment || head.first != position || head.era < era {
            let why = format!(
                "it begins at position {} in era {}, where {position} in era {era} comes next: a file is missing, or two logs are mixed",
                head.first, head.era
            );
            return Err(damaged(12, why));
        }
        self.index.segments.push(segment);
        let mut offset = SEGMENT_HEAD;
        while offset < bytes.len() {
            match next(&bytes[offset..], Spot { segment, offset: offset as u64 }) {
                Next::Record(record, length) => {
                    self.record(offset, &record, length).map_err(|why| damaged(offset, why))?;
                    self.is_closed = false;
                    offset += length;
                }
                Next::Mark(mark) => {
                    self.is_closed = mark == Mark::Closed;
                    if let Mark::Opened { shows_early } = mark {
                        self.shows_early = shows_early;
                    }
                    offset += MARK;
                }
                Next::Broken(why) => {
                    let is_durable = durable_behind(&bytes, segment, offset) > offset as u64;
                    if is_durable || !self.may_be_torn(following) {
                        return Err(damaged(offset, why.into()));
                    }
                    let bytes = bytes[offset..].to_vec();
                    self.torn.push(Torn { segment, offset: offset as u64, bytes, why });
                    break;
                }
            }
        }
        self.length = offset as u64;
        Ok(())
    }

    /// Whether the log may break off here: at its end, or where a new era went on without what was torn.
    fn may_be_torn(&self, following: Option<Segment>) -> bool {
        following
            .is_none_or(|next| next.first == self.index.law.end + 1 && next.era > self.index.era())
    }

    fn record(&mut self, offset: usize, record: &Record<'_>, length: usize) -> Result<(), String> {
        let (position, version) = (self.index.law.end + 1, self.index.version(record.stream) + 1);
        if record.first != position || record.version != version || record.events == 0 {
            return Err(format!(
                "a record has position {} and version {}, where {position} and {version} come next",
                record.first, record.version
            ));
        }
        let place = Place {
            first: position,
            offset: offset as u64,
            length: length as u32,
            events: record.events,
            segment: self.index.latest(),
        };
        let name =
            self.index.streams.get_key_value(record.stream).map(|(name, _)| Arc::clone(name));
        self.index.publish(&name.unwrap_or_else(|| record.stream.into()), version, place);
        self.index.law.end += u64::from(record.events);
        self.index.law.highest = self.index.law.highest.max(record.epoch);
        Ok(())
    }
}

/// The segments of a log, in order. Files of other names are none of ours.
fn segments(folder: &Path) -> Result<Vec<Segment>, LogError> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| failed(folder, error))? {
        let path = entry.map_err(|error| failed(folder, error))?.path();
        if path.extension().is_none_or(|ends| ends != "log") {
            continue;
        }
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(segment) = name.and_then(Segment::of_file_name) else {
            let why = "no file of a log has such a name".into();
            return Err(LogError::Foreign { path, offset: 0, why });
        };
        segments.push(segment);
    }
    segments.sort_unstable();
    Ok(segments)
}

pub(super) fn failed(path: &Path, error: io::Error) -> LogError {
    LogError::Io { path: path.to_owned(), error: Arc::new(error) }
}
