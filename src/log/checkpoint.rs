//! How far a projection has come, kept for its next start.

use std::fmt;
use std::future::{Future, ready};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tower::BoxError;

use super::engine::disk;
use super::engine::latest::Latest;
use super::engine::reading::blocking;
use crate::core::position::Position;
use crate::shell::live::Live;

/// Keeps how far a projection has come: [`MemoryCheckpoint`], [`FileCheckpoint`], or a store of your own.
///
/// Best is a row in the database of the read model, written in the same transaction as what was applied: then every event counts
/// exactly once. With any other, events since the last checkpoint are applied again after a crash.
///
/// ```
/// use seawall::Position;
/// use seawall::log::Checkpoints;
/// use tower::BoxError;
///
/// /// A row in a table, for instance.
/// struct Row(Option<String>);
///
/// impl Checkpoints for Row {
///     async fn load(&mut self) -> Result<Option<Position>, BoxError> {
///         Ok(self.0.as_deref().map(str::parse).transpose()?)
///     }
///
///     async fn save(&mut self, position: Position) -> Result<(), BoxError> {
///         self.0 = Some(position.to_string());
///         Ok(())
///     }
/// }
/// ```
pub trait Checkpoints: Send + 'static {
    /// How far it has come; `None` if it has never begun.
    ///
    /// # Errors
    ///
    /// The store cannot be asked, or what it holds is no position.
    fn load(&mut self) -> impl Future<Output = Result<Option<Position>, BoxError>> + Send;

    /// It has come so far.
    ///
    /// # Errors
    ///
    /// It is not kept.
    fn save(&mut self, position: Position) -> impl Future<Output = Result<(), BoxError>> + Send;
}

/// Keeps nothing: a projection begins at the beginning, for read models in memory.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCheckpoint;

impl Checkpoints for NoCheckpoint {
    fn load(&mut self) -> impl Future<Output = Result<Option<Position>, BoxError>> + Send {
        ready(Ok(None))
    }

    fn save(&mut self, _: Position) -> impl Future<Output = Result<(), BoxError>> + Send {
        ready(Ok(()))
    }
}

/// A checkpoint within this process: for tests. Clones are the same.
///
/// ```
/// use seawall::Position;
/// use seawall::log::MemoryCheckpoint;
///
/// let checkpoint = MemoryCheckpoint::at(Position { era: 1, at: 40 });
/// assert_eq!(checkpoint.position(), Some(Position { era: 1, at: 40 }));
/// assert_eq!(MemoryCheckpoint::default().position(), None);
/// ```
#[derive(Clone)]
pub struct MemoryCheckpoint(Arc<Live<Option<Position>>>);

impl MemoryCheckpoint {
    /// A checkpoint that is there already.
    pub fn at(position: Position) -> Self {
        Self(Arc::new(Live::new(Some(position))))
    }

    /// Where it is.
    pub fn position(&self) -> Option<Position> {
        *self.0.get()
    }
}

impl Default for MemoryCheckpoint {
    fn default() -> Self {
        Self(Arc::new(Live::new(None)))
    }
}

impl Checkpoints for MemoryCheckpoint {
    fn load(&mut self) -> impl Future<Output = Result<Option<Position>, BoxError>> + Send {
        ready(Ok(self.position()))
    }

    fn save(&mut self, position: Position) -> impl Future<Output = Result<(), BoxError>> + Send {
        self.0.set(Some(position));
        ready(Ok(()))
    }
}

impl fmt::Debug for MemoryCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemoryCheckpoint").field(&self.position()).finish()
    }
}

/// A checkpoint in a file of its own, which is replaced as a whole: a crash or a loss of power leaves the old one or the new one.
/// So it is with several that save at the same time: one of them is there then. Of clones it is the one that began to save last: a
/// save whose future is dropped runs on to its end, and replaces nothing that was saved after it.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use seawall::Position;
/// use seawall::log::{Checkpoints, FileCheckpoint};
///
/// let path = std::env::temp_dir().join(format!("checkpoint-{}", std::process::id()));
/// let mut checkpoint = FileCheckpoint::new(&path);
/// checkpoint.save(Position { era: 1, at: 40 }).await?;
/// assert_eq!(checkpoint.load().await?, Some(Position { era: 1, at: 40 }));
///
/// std::fs::write(&path, "forty")?;
/// assert!(checkpoint.load().await.unwrap_err().to_string().contains("no checkpoint"));
/// # std::fs::remove_file(path)?;
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct FileCheckpoint {
    path: Arc<Path>,
    latest: Arc<Latest>,
}

impl FileCheckpoint {
    /// The checkpoint in this file. It need not exist yet; its folder must.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into().into(), latest: Arc::default() }
    }
}

impl Checkpoints for FileCheckpoint {
    async fn load(&mut self) -> Result<Option<Position>, BoxError> {
        let path = Arc::clone(&self.path);
        Ok(blocking(move || Ok(read(&path))).await??)
    }

    async fn save(&mut self, position: Position) -> Result<(), BoxError> {
        let (path, latest) = (Arc::clone(&self.path), Arc::clone(&self.latest));
        let turn = latest.turn();
        let write = move || {
            let replace = || disk::replace(&path, format!("{position}\n").as_bytes());
            let written = latest.write(turn, replace);
            Ok(written.map_err(|error| format!("{}: {error}", path.display())))
        };
        Ok(blocking(write).await??)
    }
}

fn read(path: &Path) -> Result<Option<Position>, String> {
    let name = path.file_name().and_then(|name| name.to_str());
    // What a crash has left does no harm: if it cannot be removed, it stays.
    let _ = disk::clean_up(disk::parent(path), |other| Some(other) == name, disk::STALE);
    match std::fs::read_to_string(path) {
        Ok(text) => match text.trim_end().parse() {
            Ok(position) => Ok(Some(position)),
            Err(wrong) => Err(format!("{} is no checkpoint: {wrong}", path.display())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}
