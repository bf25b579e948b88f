//! The one who writes, on a thread of its own.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Files;
use super::index::{Place, Stream};
use super::open::FolderLock;
use super::queue::{Job, Turn};
use super::scan::failed;
use crate::core::epoch::Epoch;
use crate::core::position::Position;
use crate::core::time;
use crate::log::config::Fsync;
use crate::log::engine::disk;
use crate::log::error::LogError;
use crate::log::machine::{Terms, Verdict};
use crate::log::record::{Mark, Record, SEGMENT_HEAD, Segment, Spot};
use crate::log::request::Appended;
use crate::shell::lock;

/// So many bytes are written together at most, and one append more.
const TOGETHER: usize = 8 << 20;

pub(super) struct Writer {
    pub(super) files: Arc<Files>,
    pub(super) file: File,
    pub(super) path: PathBuf,
    /// Which segment it is, its number, how long it is, and how much of it is on the disk.
    pub(super) segment: Segment,
    pub(super) number: u32,
    pub(super) length: u64,
    pub(super) durable: u64,
    pub(super) most: u64,
    pub(super) sync: Fsync,
    /// Since when there is something that is not on the disk.
    pub(super) dirty: Option<Instant>,
    /// The folder is locked as long as this is open.
    pub(super) _guard: FolderLock,
}

/// What becomes of an append once it is written.
struct Told {
    job: Job,
    answer: Result<Appended, LogError>,
    /// Where it is, if it is written, and the version of its first event.
    place: Option<(Place, u64)>,
}

impl Writer {
    /// Writes until nothing will come any more. However it ends, nobody is left waiting.
    pub(super) fn run(self) {
        let files = Arc::clone(&self.files);
        // What wakes those who wait is foreign code.
        let ended = catch_unwind(AssertUnwindSafe(|| self.work()));
        let ended = ended
            .unwrap_or_else(|_| Err(LogError::Closed { why: "its writer has panicked".into() }));
        if let Err(error) = &ended {
            files.queue.close_because(&error.to_string());
            for job in files.queue.rest() {
                let _ = job.answer.send(Err(error.clone())); // they may have gone
            }
        }
        files.gone.send_replace(Some(ended));
        files.more.notify_waiters(); // who waits for more is told that none will come
    }

    fn work(mut self) -> Result<(), LogError> {
        loop {
            match self.files.queue.turn(self.patience()) {
                Turn::Write(jobs) => self.write_all(jobs)?,
                Turn::Idle => self.checked(Self::bring_to_disk)?,
                Turn::Close => return self.checked(Self::end),
            }
        }
    }

    /// What a disk has failed to write may be there or not: nothing more is written until the log is opened anew.
    fn checked(&mut self, step: impl FnOnce(&mut Self) -> io::Result<()>) -> Result<(), LogError> {
        step(self).map_err(|error| failed(&self.path, error))
    }

    /// How long it may wait for more before it has to bring to the disk what is there.
    fn patience(&self) -> Option<Duration> {
        let (Fsync::Interval(interval), Some(since)) = (self.sync, self.dirty) else { return None };
        Some(interval.saturating_sub(time::now().saturating_duration_since(since)))
    }

    fn write_all(&mut self, mut jobs: VecDeque<Job>) -> Result<(), LogError> {
        while !jobs.is_empty() {
            let mut batch = Vec::new();
            let mut bytes = 0;
            while bytes < TOGETHER
                && let Some(job) = jobs.pop_front()
            {
                bytes += job.payload.len();
                batch.push(job);
            }
            let told = self.decide(batch);
            if let Err(error) = self.checked(|writer| writer.write(&told)) {
                let waiting = told.into_iter().map(|told| told.job).chain(jobs);
                for job in waiting {
                    let _ = job.answer.send(Err(error.clone())); // they may have gone
                }
                return Err(error);
            }
            self.publish(told);
        }
        Ok(())
    }

    /// Gives each append its positions, or refuses it.
    fn decide(&mut self, batch: Vec<Job>) -> Vec<Told> {
        let mut told = Vec::with_capacity(batch.len());
        let mut length = self.length;
        let mut index = lock(&self.files.index);
        let era = index.era();
        index.under_way = Some(index.law.end + 1);
        let (law, streams, segments) = index.for_append();
        for job in batch {
            let stream = streams.get_mut(&job.stream);
            let mut version = stream.as_ref().map_or(0, |stream| stream.taken);
            let terms = Terms { expect: job.expect, events: job.events.into(), fence: job.fence };
            let (answer, place) = match law.append(&mut version, terms) {
                Verdict::Conflict { at } => (Appended::Conflict { at }, None),
                Verdict::Fenced { highest } => {
                    (Appended::Fenced { highest: Epoch::new(highest) }, None)
                }
                Verdict::Stored { after, last, version } => {
                    let place = (job.events > 0).then(|| {
                        let first = version - u64::from(job.events) + 1;
                        let size = record(&job, after + 1, first).length();
                        if length >= self.most {
                            segments.push(Segment { era, first: after + 1 });
                            length = SEGMENT_HEAD as u64;
                        }
                        let place = Place {
                            first: after + 1,
                            offset: length,
                            length: size as u32,
                            events: job.events,
                            segment: segments.len() as u32 - 1,
                        };
                        length += size as u64;
                        (place, first)
                    });
                    match stream {
                        Some(stream) => stream.taken = version,
                        None if place.is_some() => {
                            let new = Stream { taken: version, ..Stream::default() };
                            streams.insert(Arc::clone(&job.stream), new);
                        }
                        None => {}
                    }
                    let position = Position { era, at: last };
                    (Appended::Stored { position, version }, place)
                }
            };
            told.push(Told { job, answer: Ok(answer), place });
        }
        drop(index);
        told
    }

    fn write(&mut self, told: &[Told]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for Told { job, place, .. } in told {
            let Some((place, version)) = place else { continue };
            if place.segment != self.number {
                self.flush(&mut bytes)?;
                self.begin(place.first)?;
            }
            let spot = Spot { segment: self.segment, offset: place.offset };
            record(job, place.first, *version).write(&mut bytes, spot, self.durable);
        }
        self.flush(&mut bytes)?;
        match (self.sync, self.dirty) {
            (Fsync::Batch, _) => self.bring_to_disk(),
            (Fsync::Interval(interval), Some(since))
                if time::now().saturating_duration_since(since) >= interval =>
            {
                self.bring_to_disk()
            }
            _ => Ok(()),
        }
    }

    fn flush(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        if self.dirty.is_none() {
            self.dirty = Some(time::now());
        }
        bytes.clear();
        Ok(())
    }

    /// The next segment. The last one is whole on the disk before.
    fn begin(&mut self, first: u64) -> io::Result<()> {
        self.sync_now()?; // even if the settings say never: only the end of a log may be torn
        let segment = Segment { first, ..self.segment };
        let path = self.files.folder.join(segment.file_name());
        self.file = create(&path, segment)?;
        (self.path, self.segment, self.number) = (path, segment, self.number + 1);
        (self.length, self.durable) = (SEGMENT_HEAD as u64, SEGMENT_HEAD as u64);
        Ok(())
    }

    pub(super) fn sync_now(&mut self) -> io::Result<()> {
        if self.dirty.take().is_some() {
            self.file.sync_data()?;
            self.durable = self.length;
        }
        Ok(())
    }

    /// Brings what is written to the disk, and writes that it is there.
    fn bring_to_disk(&mut self) -> io::Result<()> {
        if self.dirty.is_none() {
            return Ok(());
        }
        self.sync_now()?;
        self.mark(Mark::Synced)?;
        self.dirty = None; // what is lost with a mark is known without it
        Ok(())
    }

    /// Whatever the settings say, what was closed is on the disk: the last mark, too.
    fn end(&mut self) -> io::Result<()> {
        self.dirty.get_or_insert_with(time::now);
        self.sync_now()?;
        self.mark(Mark::Closed)?;
        self.sync_now()
    }

    pub(super) fn mark(&mut self, mark: Mark) -> io::Result<()> {
        let mut bytes = Vec::new();
        let spot = Spot { segment: self.segment, offset: self.length };
        mark.write(&mut bytes, spot, self.durable);
        self.flush(&mut bytes)
    }

    /// What is written is to be seen, and told.
    fn publish(&self, told: Vec<Told>) {
        let mut index = lock(&self.files.index);
        for Told { job, place, .. } in &told {
            if let Some((place, version)) = place {
                index.publish(&job.stream, *version, *place);
            }
        }
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

/// A new segment with nothing in it. Its head is whole, or it is not there.
pub(super) fn create(path: &Path, segment: Segment) -> io::Result<File> {
    disk::replace(path, &segment.head())?;
    OpenOptions::new().append(true).open(path)
}
