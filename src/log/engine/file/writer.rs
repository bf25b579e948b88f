//! The one who writes, on a thread of its own.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Files;
use super::index::{Place, path};
use super::queue::{Job, Turn};
use crate::core::epoch::Epoch;
use crate::core::position::Position;
use crate::core::time;
use crate::log::config::Fsync;
use crate::log::error::LogError;
use crate::log::machine::{Terms, Verdict};
use crate::log::record::{Record, SEGMENT_HEAD, Segment};
use crate::log::request::Appended;
use crate::shell::lock;

/// So many bytes are written together at most, and one append more.
const TOGETHER: usize = 8 << 20;

pub(super) struct Writer {
    pub(super) files: Arc<Files>,
    pub(super) file: File,
    pub(super) path: PathBuf,
    /// Which segment it is, and how long.
    pub(super) segment: u64,
    pub(super) length: u64,
    pub(super) most: u64,
    pub(super) sync: Fsync,
    /// Since when there is something that is not on the disk.
    pub(super) dirty: Option<Instant>,
    /// The folder is locked as long as this is open.
    pub(super) guard: File,
}

/// What becomes of an append once it is written.
struct Told {
    job: Job,
    answer: Result<Appended, LogError>,
    /// Where it is, if it is written, and the version of its first event.
    place: Option<(Place, u64)>,
}

impl Writer {
    /// Writes until nothing will come any more.
    pub(super) fn run(mut self) {
        loop {
            let turn = self.files.queue.turn(self.patience());
            let done = match turn {
                Turn::Write(jobs) => self.write_all(jobs),
                Turn::Idle => self.bring_to_disk(),
                Turn::Close => break,
            };
            if done.is_err() {
                break; // those who wait are answered by the closed queue
            }
        }
        if self.sync != Fsync::Never {
            let _ = self.bring_to_disk(); // nobody is left who could be told
        }
        let Self { files, file, guard, .. } = self;
        drop((file, guard));
        files.gone.send_replace(true);
    }

    /// How long it may wait for more before it has to bring to the disk what is there.
    fn patience(&self) -> Option<Duration> {
        let (Fsync::Interval(interval), Some(since)) = (self.sync, self.dirty) else { return None };
        Some(interval.saturating_sub(time::now().saturating_duration_since(since)))
    }

    fn write_all(&mut self, mut jobs: VecDeque<Job>) -> Result<(), ()> {
        while !jobs.is_empty() {
            let mut batch = Vec::new();
            let mut bytes = 0;
            while bytes < TOGETHER
                && let Some(job) = jobs.pop_front()
            {
                bytes += job.payload.len();
                batch.push(job);
            }
            let (told, end) = self.decide(batch);
            let written = self.write(&told).and_then(|()| match self.sync {
                Fsync::Batch => self.sync_now(),
                Fsync::Interval(interval) => match self.dirty {
                    Some(since) if time::now().saturating_duration_since(since) >= interval => {
                        self.sync_now()
                    }
                    _ => Ok(()),
                },
                Fsync::Never => Ok(()),
            });
            if let Err(error) = written {
                return self.fail(error, told);
            }
            self.publish(told, end);
        }
        Ok(())
    }

    /// Gives each append its positions, or refuses it.
    fn decide(&mut self, batch: Vec<Job>) -> (Vec<Told>, u64) {
        let mut told = Vec::with_capacity(batch.len());
        let (mut segment, mut length) = (self.segment, self.length);
        let mut index = lock(&self.files.index);
        let era = index.era;
        index.under_way = Some(index.law.end + 1);
        for job in batch {
            let mut version = index.streams.get(&job.stream).map_or(0, |stream| stream.taken);
            let terms = Terms { expect: job.expect, events: job.events.into(), fence: job.fence };
            let (answer, place) = match index.law.append(&mut version, terms) {
                Verdict::Conflict { at } => (Appended::Conflict { at }, None),
                Verdict::Fenced { highest } => {
                    (Appended::Fenced { highest: Epoch::new(highest) }, None)
                }
                Verdict::Stored { after, last, version } => {
                    let position = Position { era, at: last };
                    let place = (job.events > 0).then(|| {
                        let first = version - u64::from(job.events) + 1;
                        let size = record(&job, after + 1, first).length();
                        if length >= self.most {
                            (segment, length) = (after + 1, SEGMENT_HEAD as u64);
                        }
                        let place = Place {
                            first: after + 1,
                            segment,
                            offset: length,
                            length: size as u32,
                            events: job.events,
                        };
                        length += size as u64;
                        (place, first)
                    });
                    if place.is_some() {
                        index.streams.entry(Arc::clone(&job.stream)).or_default().taken = version;
                    }
                    (Appended::Stored { position, version }, place)
                }
            };
            told.push(Told { job, answer: Ok(answer), place });
        }
        let end = index.law.end;
        drop(index);
        (told, end)
    }

    fn write(&mut self, told: &[Told]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for Told { job, place, .. } in told {
            let Some((place, version)) = place else { continue };
            if place.segment != self.segment {
                self.flush(&mut bytes)?;
                self.begin(place.segment)?;
            }
            record(job, place.first, *version).write(&mut bytes);
        }
        self.flush(&mut bytes)
    }

    fn flush(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        self.dirty.get_or_insert_with(time::now);
        bytes.clear();
        Ok(())
    }

    /// The next segment. The last one is whole on the disk before.
    fn begin(&mut self, first: u64) -> io::Result<()> {
        self.sync_now()?; // even if the settings say never: only the end of a log may be torn
        let era = lock(&self.files.index).era;
        let path = path(&self.files.folder, first);
        self.file = create(&self.files.folder, &path, Segment { era, first })?;
        (self.path, self.segment, self.length) = (path, first, SEGMENT_HEAD as u64);
        Ok(())
    }

    fn sync_now(&mut self) -> io::Result<()> {
        if self.dirty.take().is_some() {
            self.file.sync_data()?;
        }
        Ok(())
    }

    fn bring_to_disk(&mut self) -> Result<(), ()> {
        self.sync_now().or_else(|error| self.fail(error, Vec::new()))
    }

    /// What a disk has failed to write may be there or not: nothing more is written until the log is opened anew.
    fn fail(&mut self, error: io::Error, told: Vec<Told>) -> Result<(), ()> {
        let failed = LogError::Io { path: self.path.clone(), error: Arc::new(error) };
        self.files.queue.close_because(&failed.to_string());
        for told in told {
            let _ = told.job.answer.send(Err(failed.clone())); // they may have gone
        }
        if let Turn::Write(jobs) = self.files.queue.turn(Some(Duration::ZERO)) {
            for job in jobs {
                let _ = job.answer.send(Err(failed.clone()));
            }
        }
        Err(())
    }

    /// What is written is to be seen, and told.
    fn publish(&self, told: Vec<Told>, end: u64) {
        let mut index = lock(&self.files.index);
        for Told { job, place, .. } in &told {
            if let Some((place, version)) = place {
                index.publish(&job.stream, *version, *place);
            }
        }
        debug_assert_eq!(index.law.end, end);
        index.under_way = None;
        drop(index);
        self.files.more.notify_waiters();
        for told in told {
            let _ = told.job.answer.send(told.answer); // they may have gone
        }
    }
}

fn record(job: &Job, first: u64, version: u64) -> Record<'_> {
    Record {
        first,
        version,
        epoch: job.fence,
        events: job.events,
        stream: &job.stream,
        payload: &job.payload,
    }
}

/// A new segment with nothing in it.
pub(super) fn create(folder: &Path, path: &Path, segment: Segment) -> io::Result<File> {
    let mut file = OpenOptions::new().append(true).create_new(true).open(path)?;
    file.write_all(&segment.head())?;
    file.sync_all()?;
    sync_folder(folder)?;
    Ok(file)
}

/// Brings the names of the files in a folder to the disk, where that is a thing.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}
