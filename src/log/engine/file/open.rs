//! Opens a log: cuts off what a crash has left, begins a new era where something may be gone, and brings to the disk what is
//! about to be shown.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fs4::{FileExt, TryLockError};
use tokio::sync::{Notify, watch};

use super::queue::Queue;
use super::scan::{Scan, Torn, failed};
use super::writer::{Writer, create};
use super::{Cut, Files};
use crate::core::sync::Mutex;
use crate::log::config::{Config, Fsync};
use crate::log::engine::disk;
use crate::log::error::LogError;
use crate::log::record::{Mark, SEGMENT_HEAD, Segment};

const LOCK: &str = "lock";

pub(in crate::log) fn open(
    folder: &Path,
    config: &Config,
) -> Result<(Arc<Files>, Vec<Cut>), LogError> {
    disk::make_folder(folder).map_err(|error| failed(folder, error))?;
    let guard = take_lock(folder)?;
    disk::clean_up(folder, |name| Segment::of_file_name(name).is_some(), Duration::ZERO)
        .map_err(|error| failed(folder, error))?;
    let mut scan = Scan::of(folder)?;
    let kept: Result<Vec<_>, _> = scan.torn.iter().map(|torn| keep(folder, torn)).collect();
    let kept = kept?;
    let last = scan.index.segments.last().copied().filter(|_| !scan.may_have_lost());
    let segment = last.unwrap_or_else(|| Segment {
        first: scan.index.law.end + 1,
        era: scan.torn.iter().map(|torn| torn.segment.era).fold(scan.index.era(), u32::max) + 1,
    });
    let path = folder.join(segment.file_name());
    let prepared = if last.is_some() {
        reopen(&path).and_then(|file| disk::sync_folder(folder).map(|()| file))
    } else {
        // Where the log went on before is on the disk, too, before it goes on in another era. What is torn stays until then.
        let before = scan.index.segments.last().map(|last| folder.join(last.file_name()));
        before.map_or(Ok(()), |path| reopen(&path).map(drop)).and_then(|()| create(&path, segment))
    };
    let file = prepared.map_err(|error| failed(&path, error))?;
    for torn in &scan.torn {
        cut_off(folder, torn)?;
    }
    if last.is_none() {
        scan.index.segments.push(segment);
        scan.length = SEGMENT_HEAD as u64;
    }
    let number = scan.index.latest();
    let files = Arc::new(Files {
        folder: folder.to_owned(),
        index: Mutex::new(scan.index),
        queue: Queue::new(config.queue, config.queue_bytes as usize),
        more: Notify::new(),
        gone: watch::Sender::new(None),
    });
    let mut writer = Writer {
        files: Arc::clone(&files),
        file,
        path,
        segment,
        number,
        length: scan.length,
        durable: scan.length,
        most: config.segment,
        sync: config.sync,
        dirty: None,
        _guard: guard,
    };
    let shows_early = config.sync != Fsync::Batch;
    writer
        .mark(Mark::Opened { shows_early })
        .and_then(|()| writer.sync_now())
        .map_err(|error| failed(&writer.path, error))?;
    let thread = std::thread::Builder::new().name("seawall-log".into());
    thread.spawn(move || writer.run()).map_err(|error| failed(folder, error))?;
    Ok((files, kept))
}

/// The one writer of a folder.
pub(super) struct FolderLock(File);

/// Closing the file alone would not do: a process that another thread is just starting has a copy of it, and would hold
/// the lock until it runs.
impl Drop for FolderLock {
    fn drop(&mut self) {
        let _ = FileExt::unlock(&self.0);
    }
}

fn take_lock(folder: &Path) -> Result<FolderLock, LogError> {
    let path = folder.join(LOCK);
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(|error| failed(&path, error))?;
    match FileExt::try_lock(&file) {
        Ok(()) => Ok(FolderLock(file)),
        Err(TryLockError::WouldBlock) => Err(LogError::Locked { path }),
        Err(TryLockError::Error(error)) => Err(failed(&path, error)),
    }
}

/// Who wrote it may have crashed before it was on the disk.
fn reopen(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().append(true).open(path)?;
    disk::sync(&file, path)?;
    Ok(file)
}

/// Keeps a torn end beside the log.
fn keep(folder: &Path, torn: &Torn) -> Result<Cut, LogError> {
    let Torn { segment, offset, bytes, why } = torn;
    let path = folder.join(segment.file_name());
    let name = format!("{}.cut-at-{offset}", segment.file_name());
    let kept = disk::keep(&path, &name, bytes).map_err(|error| failed(&path, error))?;
    Ok(Cut { path, offset: *offset, bytes: bytes.len() as u64, kept, why })
}

/// Cuts a torn end off. If that was all of a segment, the segment goes.
fn cut_off(folder: &Path, torn: &Torn) -> Result<(), LogError> {
    let path = folder.join(torn.segment.file_name());
    let cut = || {
        if torn.offset == 0 {
            std::fs::remove_file(&path)?;
            return disk::sync_folder(folder);
        }
        let file = OpenOptions::new().write(true).open(&path)?;
        file.set_len(torn.offset)?;
        disk::sync(&file, &path)
    };
    cut().map_err(|error| failed(&path, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::engine::disk::spy;
    use std::path::PathBuf;

    fn config() -> Config {
        Config { sync: Fsync::Never, ..Config::default() }
    }

    fn close(files: &Files) {
        files.queue.close();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut gone = files.gone.subscribe();
        let ended = runtime.block_on(gone.wait_for(Option::is_some)).unwrap().clone();
        ended.unwrap().unwrap();
    }

    /// What is brought to the disk before anybody sees it.
    fn synced(folder: &Path) -> Vec<PathBuf> {
        spy::take();
        let (files, _) = open(folder, &config()).unwrap();
        let synced = spy::take();
        close(&files);
        synced
    }

    #[test]
    fn what_is_shown_is_on_the_disk() {
        let name = format!("seawall-open-{}", std::process::id());
        let within = std::env::temp_dir().join(name);
        let folder = within.join("new").join("orders");
        let first = folder.join("00000000000000000001.log");

        // Each folder that is made, by its name in the one that it is in; then the segment, by its own.
        let made = synced(&folder);
        for path in [&folder, &within.join("new"), &within, &std::env::temp_dir()] {
            assert!(made.contains(path), "{path:?}: {made:?}");
        }
        // What was there: by a process that may have crashed before it was on the disk.
        let found = synced(&folder);
        for path in [&first, &folder, &within.join("new")] {
            assert!(found.contains(path), "{path:?}: {found:?}");
        }
        // And what is torn: what is before it, what is kept of it, and where it is cut off.
        let length = std::fs::metadata(&first).unwrap().len();
        OpenOptions::new().write(true).open(&first).unwrap().set_len(length - 1).unwrap();
        let cut = synced(&folder);
        let kept = folder.join(format!("00000000000000000001.log.cut-at-{}", length - 28));
        assert!(cut.contains(&kept) && cut.contains(&folder), "{cut:?}");
        assert_eq!(cut.iter().filter(|path| **path == first).count(), 2, "{cut:?}");

        // What a crash has left of a segment that was about to be made goes.
        let aside = folder.join("00000000000000000009.log.0123456789abcdef.new");
        std::fs::write(&aside, "half").unwrap();
        synced(&folder);
        assert!(!aside.exists());
        std::fs::remove_dir_all(within).unwrap();
    }
}
