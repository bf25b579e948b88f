//! Opens a log: reads all of it once, cuts off what a crash has left, refuses what is damaged.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs4::{FileExt, TryLockError};
use tokio::sync::{Notify, Semaphore, watch};

use super::index::{Index, Place, path};
use super::queue::Queue;
use super::writer::{Writer, create};
use super::{Cut, Files};
use crate::core::sync::Mutex;
use crate::log::config::Config;
use crate::log::error::LogError;
use crate::log::record::{Next, Record, SEGMENT_HEAD, Segment, Unread, holds_a_record};

const LOCK: &str = "lock";
/// The first history.
const ERA: u32 = 1;

pub(super) fn open(folder: &Path, config: &Config) -> Result<(Arc<Files>, Option<Cut>), LogError> {
    std::fs::create_dir_all(folder).map_err(|error| at(folder, error))?;
    let guard = take_lock(folder)?;
    let segments = segments(folder)?;
    let mut scan = Scan { index: Index::new(ERA), cut: None };
    let mut last = None;
    for (nth, first) in segments.iter().enumerate() {
        let is_last = nth + 1 == segments.len();
        if let Some(length) = scan.segment(folder, *first, is_last, nth == 0)? {
            last = Some((*first, length));
        }
    }
    let Scan { index, cut } = scan;
    let (segment, length) = last.unwrap_or((index.law.end + 1, SEGMENT_HEAD as u64));
    let path = path(folder, segment);
    let file = if last.is_some() {
        OpenOptions::new().append(true).open(&path)
    } else {
        create(folder, &path, Segment { era: index.era, first: segment })
    };
    let file = file.map_err(|error| at(&path, error))?;
    let files = Arc::new(Files {
        folder: folder.to_owned(),
        index: Mutex::new(index),
        queue: Queue::default(),
        room: Arc::new(Semaphore::new(config.queue)),
        more: Notify::new(),
        gone: watch::Sender::new(false),
    });
    let writer = Writer {
        files: Arc::clone(&files),
        file,
        path,
        segment,
        length,
        most: config.segment,
        sync: config.sync,
        dirty: None,
        guard,
    };
    let thread = std::thread::Builder::new().name("seawall-log".into());
    thread.spawn(move || writer.run()).map_err(|error| at(folder, error))?;
    Ok((files, cut))
}

fn at(path: &Path, error: io::Error) -> LogError {
    LogError::Io { path: path.to_owned(), error: Arc::new(error) }
}

fn take_lock(folder: &Path) -> Result<File, LogError> {
    let path = folder.join(LOCK);
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(|error| at(&path, error))?;
    match FileExt::try_lock(&file) {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LogError::Locked { path }),
        Err(TryLockError::Error(error)) => Err(at(&path, error)),
    }
}

/// The first position of each segment, in order. Files of other names are none of ours.
fn segments(folder: &Path) -> Result<Vec<u64>, LogError> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| at(folder, error))? {
        let name = entry.map_err(|error| at(folder, error))?.file_name();
        let Some(number) = name.to_str().and_then(|name| name.strip_suffix(".log")) else {
            continue;
        };
        match number.parse() {
            Ok(first) if number.len() == 20 => segments.push(first),
            _ => {
                let (path, why) = (folder.join(&name), "no file of a log has such a name".into());
                return Err(LogError::Foreign { path, offset: 0, why });
            }
        }
    }
    segments.sort_unstable();
    Ok(segments)
}

struct Scan {
    index: Index,
    cut: Option<Cut>,
}

impl Scan {
    /// Takes a segment in. Returns its length; `None` of one that a crash has left without a head.
    fn segment(
        &mut self,
        folder: &Path,
        first: u64,
        is_last: bool,
        is_first: bool,
    ) -> Result<Option<u64>, LogError> {
        let path = path(folder, first);
        let bytes = std::fs::read(&path).map_err(|error| at(&path, error))?;
        let damaged = |offset: usize, why: String| LogError::Damaged {
            path: path.clone(),
            offset: offset as u64,
            why,
        };
        let head = match Segment::read(&bytes) {
            Ok(head) => head,
            Err(Unread::Short) if is_last => {
                self.cut_off(folder, &path, &bytes, 0, "its head breaks off")?;
                std::fs::remove_file(&path).map_err(|error| at(&path, error))?;
                return Ok(None);
            }
            Err(Unread::Short) => return Err(damaged(bytes.len(), "it breaks off".into())),
            Err(Unread::Foreign(why)) => {
                return Err(LogError::Foreign { path, offset: 0, why });
            }
            Err(Unread::Damaged(why)) => return Err(damaged(0, why)),
        };
        if is_first {
            self.index.era = head.era;
        }
        let next = self.index.law.end + 1;
        if head.first != first || head.first != next || head.era < self.index.era {
            let why = format!(
                "it begins at position {} in era {}, where {next} in era {} comes next: a file is missing, or two logs are mixed",
                head.first, head.era, self.index.era
            );
            return Err(damaged(12, why));
        }
        self.index.era = head.era;
        let mut offset = SEGMENT_HEAD;
        while offset < bytes.len() {
            match Record::next(&bytes[offset..]) {
                Next::Record(record, length) => {
                    self.record(first, offset, &record, length)
                        .map_err(|why| damaged(offset, why))?;
                    offset += length;
                }
                Next::Broken(why) => {
                    if !is_last || holds_a_record(&bytes[offset + 1..]) {
                        return Err(damaged(offset, why.into()));
                    }
                    self.cut_off(folder, &path, &bytes, offset, why)?;
                    break;
                }
            }
        }
        Ok(Some(offset as u64))
    }

    fn record(
        &mut self,
        segment: u64,
        offset: usize,
        record: &Record<'_>,
        length: usize,
    ) -> Result<(), String> {
        let (next, version) = (self.index.law.end + 1, self.index.version(record.stream) + 1);
        if record.first != next || record.version != version || record.events == 0 {
            return Err(format!(
                "a record has position {} and version {}, where {next} and {version} come next",
                record.first, record.version
            ));
        }
        let events = record.events;
        let place =
            Place { first: next, segment, offset: offset as u64, length: length as u32, events };
        let name =
            self.index.streams.get_key_value(record.stream).map(|(name, _)| Arc::clone(name));
        self.index.publish(&name.unwrap_or_else(|| record.stream.into()), version, place);
        self.index.law.end += u64::from(events);
        self.index.law.highest = self.index.law.highest.max(record.epoch);
        Ok(())
    }

    /// Cuts a torn end off, and keeps it beside the log.
    fn cut_off(
        &mut self,
        folder: &Path,
        path: &Path,
        bytes: &[u8],
        offset: usize,
        why: &'static str,
    ) -> Result<(), LogError> {
        let torn = &bytes[offset..];
        let kept: PathBuf = {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or(LOCK);
            folder.join(format!("{name}.cut-at-{offset}"))
        };
        let keep = || {
            let mut file = File::create(&kept)?;
            file.write_all(torn)?;
            file.sync_all()?;
            let file = OpenOptions::new().write(true).open(path)?;
            file.set_len(offset as u64)?;
            file.sync_all()
        };
        keep().map_err(|error| at(path, error))?;
        let (path, offset, bytes) = (path.to_owned(), offset as u64, torn.len() as u64);
        self.cut = Some(Cut { path, offset, bytes, kept, why });
        Ok(())
    }
}
