//! What is to be on the disk before anybody relies on it.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::core::rng::seed;

/// Ends the name of a file that is about to replace another.
const ASIDE: &str = ".new";
/// Nobody takes so long to replace a file.
pub(in crate::log) const STALE: Duration = Duration::from_secs(60);

/// Brings a file to the disk.
pub(in crate::log) fn sync(file: &File, path: &Path) -> io::Result<()> {
    #[cfg(test)]
    spy::note(path);
    #[cfg(not(test))]
    let _ = path;
    file.sync_all()
}

/// Brings the names of the files in a folder to the disk, where that is a thing.
pub(in crate::log) fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(test)]
    spy::note(folder);
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// The folder that a file is in.
pub(in crate::log) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Makes a folder, and those that it is in, if they are not there. Their names are on the disk then.
pub(in crate::log) fn make_folder(folder: &Path) -> io::Result<()> {
    let new: Vec<_> = folder
        .ancestors()
        .filter(|path| *path != Path::new(""))
        .take_while(|path| !path.is_dir())
        .collect();
    std::fs::create_dir_all(folder)?;
    if new.is_empty() {
        // Who has made it may have crashed before its name was on the disk. If we may not, there is nothing to be done.
        let _ = sync_folder(parent(folder));
    }
    new.into_iter().try_for_each(|made| sync_folder(parent(made)))
}

/// Writes a file as a whole: after a crash there is the one before, or this one.
pub(in crate::log) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{:016x}{ASIDE}", seed())); // others may be writing the same one
    let aside = PathBuf::from(aside);
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&aside)?;
        file.write_all(bytes)?;
        sync(&file, &aside)?;
        std::fs::rename(&aside, path)
    };
    write().inspect_err(|_| drop(std::fs::remove_file(&aside)))?;
    sync_folder(parent(path))
}

/// Removes what crashes have left of [replacements](replace) of files of such names in a folder. What others may be about to
/// replace stays: what is hardly older than the file itself.
pub(in crate::log) fn clean_up(
    folder: &Path,
    is_ours: impl Fn(&str) -> bool,
    age: Duration,
) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let replaced = name.to_str().and_then(|name| {
            let (replaced, mark) = name.strip_suffix(ASIDE)?.rsplit_once('.')?;
            let is_mark = mark.len() == 16 && mark.bytes().all(|byte| byte.is_ascii_hexdigit());
            Some(replaced).filter(|name| is_mark && is_ours(name))
        });
        let Some(replaced) = replaced else { continue };
        let is_stale = age.is_zero() || {
            let latest = std::fs::metadata(folder.join(replaced))?.modified()?;
            latest.duration_since(entry.metadata()?.modified()?).is_ok_and(|by| by > age)
        };
        if is_stale {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Keeps these bytes in a file beside another one, under a name that begins so: in a new one, unless they are kept already, by one
/// who could not go on.
pub(in crate::log) fn keep(path: &Path, name: &str, bytes: &[u8]) -> io::Result<PathBuf> {
    let folder = parent(path);
    for nth in 1_u32.. {
        let name = if nth == 1 { name.to_owned() } else { format!("{name}-{nth}") };
        let kept = folder.join(name);
        match OpenOptions::new().write(true).create_new(true).open(&kept) {
            Ok(mut file) => {
                let written = file.write_all(bytes).and_then(|()| sync(&file, &kept));
                drop(file);
                written.inspect_err(|_| drop(std::fs::remove_file(&kept)))?;
                sync_folder(folder)?;
                return Ok(kept);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if holds(&kept, bytes) {
                    sync(&OpenOptions::new().append(true).open(&kept)?, &kept)?;
                    sync_folder(folder)?;
                    return Ok(kept);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Whether a file holds these bytes and no others.
fn holds(path: &Path, bytes: &[u8]) -> bool {
    let is_as_long = std::fs::metadata(path).is_ok_and(|there| there.len() == bytes.len() as u64);
    is_as_long && std::fs::read(path).is_ok_and(|there| there == bytes)
}

/// What was brought to the disk by this thread.
#[cfg(test)]
pub(in crate::log) mod spy {
    use std::cell::RefCell;
    use std::path::{Path, PathBuf};

    thread_local!(static SYNCED: RefCell<Vec<PathBuf>> = const { RefCell::new(Vec::new()) });

    pub(super) fn note(path: &Path) {
        SYNCED.with_borrow_mut(|synced| synced.push(path.to_owned()));
    }

    pub(in crate::log) fn take() -> Vec<PathBuf> {
        SYNCED.take()
    }
}
