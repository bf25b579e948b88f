//! Reads what the index has found.

use std::fs::File;
use std::io::{Read as _, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use tower::BoxError;

use super::Codec;
use super::codec::caught;
use super::index::{Piece, Plan};
use crate::core::position::Position;
use crate::log::error::LogError;
use crate::log::record::{MARK, Next, Segment, Spot, next};
use crate::log::request::{Page, Recorded};

pub(super) fn read<E: 'static>(
    folder: &Path,
    plan: Plan,
    codec: &dyn Codec<E>,
) -> Result<Page<E>, LogError> {
    let mut reader = Reader { events: Vec::new(), plan, codec, name: Arc::from(""), is_cut: false };
    let mut open: Option<(Segment, File)> = None;
    for piece in std::mem::take(&mut reader.plan.pieces) {
        let path = folder.join(piece.of.file_name());
        let failed = |error| LogError::Io { path: path.clone(), error: Arc::new(error) };
        let file = match &mut open {
            Some((segment, file)) if *segment == piece.of => file,
            open => &mut open.insert((piece.of, File::open(&path).map_err(failed)?)).1,
        };
        let mut bytes = vec![0; piece.length as usize];
        file.seek(SeekFrom::Start(piece.offset)).map_err(failed)?;
        file.read_exact(&mut bytes).map_err(failed)?;
        if !reader.take(&path, piece, &bytes)? {
            break;
        }
    }
    let Plan { era, end, version, is_all, .. } = reader.plan;
    let is_last = is_all && !reader.is_cut;
    let last = reader.events.last().map(|recorded: &Recorded<E>| recorded.position.at);
    let end = if is_last { end } else { last.unwrap_or(end) };
    let end = Position { era, at: end };
    Ok(Page { events: reader.events, end, version, is_last })
}

struct Reader<'a, E: 'static> {
    events: Vec<Recorded<E>>,
    plan: Plan,
    codec: &'a dyn Codec<E>,
    name: Arc<str>,
    /// There is more than was asked for.
    is_cut: bool,
}

impl<E: 'static> Reader<'_, E> {
    /// `false` if that is enough.
    fn take(&mut self, path: &Path, piece: Piece, bytes: &[u8]) -> Result<bool, LogError> {
        let mut offset = 0;
        while offset < bytes.len() {
            let spot = Spot { segment: piece.of, offset: piece.offset + offset as u64 };
            let (record, length) = match next(&bytes[offset..], spot) {
                Next::Record(record, length) => (record, length),
                Next::Mark(_) => {
                    offset += MARK;
                    continue;
                }
                Next::Broken(why) => {
                    return Err(LogError::Damaged {
                        path: path.to_owned(),
                        offset: spot.offset,
                        why: why.into(),
                    });
                }
            };
            if *self.name != *record.stream {
                self.name = record.stream.into();
            }
            for (nth, event) in (0..).zip(record.each()) {
                let (at, version) = (record.first + nth, record.version + nth);
                if (if self.plan.is_of_stream { version } else { at }) <= self.plan.after {
                    continue;
                }
                if self.events.len() >= self.plan.most {
                    self.is_cut = true;
                    return Ok(false);
                }
                let event = match decode(self.codec, event) {
                    Ok(event) => event,
                    Err(_) if !self.events.is_empty() => {
                        self.is_cut = true; // what is before it is read; the next read is told
                        return Ok(false);
                    }
                    Err(error) => {
                        let (stream, error) = (Arc::clone(&self.name), Arc::new(error));
                        return Err(LogError::Codec { stream, what: "decoded", error });
                    }
                };
                self.events.push(Recorded {
                    stream: Arc::clone(&self.name),
                    version,
                    position: Position { era: self.plan.era, at },
                    event: Arc::new(event),
                });
            }
            offset += length;
        }
        Ok(true)
    }
}

/// A codec that panics cannot read the event, and that is all.
fn decode<E: 'static>(codec: &dyn Codec<E>, event: &[u8]) -> Result<E, BoxError> {
    caught(|| codec.decode(event))
}
