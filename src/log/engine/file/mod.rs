//! A log in files.

mod index;
mod open;
mod queue;
mod read;
mod writer;

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::{Notify, Semaphore, oneshot};
use tower::{BoxError, Service};

use self::index::Index;
use self::queue::{Job, Queue};
use crate::core::position::Position;
use crate::core::sync::Mutex;
use crate::log::config::Config;
use crate::log::engine::exclusive::{Boxed, Exclusive};
use crate::log::engine::memory::{ReadFuture, wait_for_more};
use crate::log::error::LogError;
use crate::log::record::{LONGEST_BODY, Record};
use crate::log::request::{Append, Appended, Page, Read};
use crate::shell::lock;

/// How events are written into a file, and read from it.
///
/// A pair of functions is one. Events stay for ever: what is written today must be readable by the code of next year.
///
/// ```
/// use seawall::log::Codec;
/// use tower::BoxError;
///
/// let numbers = (
///     |number: &u64| Ok::<_, BoxError>(number.to_le_bytes().to_vec()),
///     |bytes: &[u8]| Ok::<_, BoxError>(u64::from_le_bytes(bytes.try_into()?)),
/// );
/// assert_eq!(numbers.decode(&numbers.encode(&7)?)?, 7);
/// # Ok::<(), BoxError>(())
/// ```
pub trait Codec<E>: Send + Sync + 'static {
    /// The bytes of an event.
    ///
    /// # Errors
    ///
    /// It cannot be written: nothing is appended.
    fn encode(&self, event: &E) -> Result<Vec<u8>, BoxError>;

    /// The event of these bytes.
    ///
    /// # Errors
    ///
    /// It cannot be read: whoever reads the log is told, and gets no further.
    fn decode(&self, bytes: &[u8]) -> Result<E, BoxError>;
}

impl<E, W, R> Codec<E> for (W, R)
where
    W: Fn(&E) -> Result<Vec<u8>, BoxError> + Send + Sync + 'static,
    R: Fn(&[u8]) -> Result<E, BoxError> + Send + Sync + 'static,
{
    fn encode(&self, event: &E) -> Result<Vec<u8>, BoxError> {
        (self.0)(event)
    }

    fn decode(&self, bytes: &[u8]) -> Result<E, BoxError> {
        (self.1)(bytes)
    }
}

/// A log in the files of a folder, which one process has open at a time.
///
/// A thread of its own writes; appends that come at the same time are written, and brought to the disk, together. What was acknowledged
/// is there after the end of the process, whatever ended it, and after a loss of power as [`Config::sync`] says.
/// What a crash has left half written is cut off, kept beside the log, and [told](Self::cut); a file that is damaged
/// elsewhere is refused. Clones are the same log.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::log::{Append, Config, Cut, FileLog, Read};
/// use tower::{BoxError, ServiceExt};
///
/// let folder = std::env::temp_dir().join(format!("orders-{}", std::process::id()));
/// let texts = || (
///     |text: &String| Ok::<_, BoxError>(text.clone().into_bytes()),
///     |bytes: &[u8]| Ok::<_, BoxError>(String::from_utf8(bytes.to_vec())?),
/// );
/// let log = FileLog::open(&folder, texts(), Config::default()).await?;
/// log.clone().oneshot(Append::new("order-7", ["placed".to_owned()])).await?;
/// log.close().await; // who drops it does not wait for the writer
///
/// let log = FileLog::open(&folder, texts(), Config::default()).await?;
/// let cut: Option<&Cut> = log.cut();
/// assert!(cut.is_none()); // nothing was half written
/// let page = log.clone().oneshot(Read::stream("order-7")).await?;
/// assert_eq!(*page.events[0].event, "placed");
/// # log.close().await;
/// # std::fs::remove_dir_all(folder)?;
/// # Ok::<(), BoxError>(()) }).unwrap();
/// ```
pub struct FileLog<E>(Arc<Shared<E>>);

struct Shared<E> {
    files: Arc<Files>,
    codec: Arc<dyn Codec<E>>,
    config: Config,
    cut: Option<Cut>,
}

/// What the writer and its readers share.
pub(super) struct Files {
    folder: PathBuf,
    index: Mutex<Index>,
    queue: Queue,
    /// Places of appends that are not acknowledged yet.
    room: Arc<Semaphore>,
    /// Rings when there is more to read.
    more: Notify,
    /// The writer is gone, and so is its lock.
    gone: tokio::sync::watch::Sender<bool>,
}

/// What a crash had left half written at the end of a log. It was never acknowledged, or the disk has lost it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cut {
    /// The file.
    pub path: PathBuf,
    /// From where on it was cut off.
    pub offset: u64,
    /// So many bytes.
    pub bytes: u64,
    /// Where they are kept.
    pub kept: PathBuf,
    /// What was wrong there.
    pub why: &'static str,
}

impl<E: Send + Sync + 'static> FileLog<E> {
    /// Opens the log in this folder, or begins one there.
    ///
    /// # Errors
    ///
    /// [`LogError::Config`], [`LogError::Locked`] if another process or another `FileLog` has it open, [`LogError::Foreign`] of
    /// files that are no log or one of a later version, [`LogError::Damaged`], [`LogError::Io`].
    pub async fn open(
        folder: impl AsRef<Path>,
        codec: impl Codec<E>,
        config: Config,
    ) -> Result<Self, LogError> {
        config.validate().map_err(LogError::Config)?;
        let (folder, settings) = (folder.as_ref().to_owned(), config.clone());
        let opening = tokio::task::spawn_blocking(move || open::open(&folder, &settings));
        let (files, cut) = opening.await.map_err(|ended| LogError::Closed {
            why: format!("it could not be opened: {ended}").into(),
        })??;
        Ok(Self(Arc::new(Shared { files, codec: Arc::new(codec), config, cut })))
    }
}

impl<E> FileLog<E> {
    /// What was cut off when it was opened; `None` if it was whole.
    pub fn cut(&self) -> Option<&Cut> {
        self.0.cut.as_ref()
    }

    /// The position of its last event.
    pub fn end(&self) -> Position {
        lock(&self.0.files.index).end()
    }

    /// Writes what was appended so far, brings it to the disk, and lets go of the files. Further appends are refused;
    /// what was read can be read on.
    pub async fn close(&self) {
        let files = &self.0.files;
        files.queue.close();
        let _ = files.gone.subscribe().wait_for(|gone| *gone).await; // the sender is ours
    }
}

impl<E> Drop for Shared<E> {
    fn drop(&mut self) {
        self.files.queue.close(); // the writer finishes what it has, and ends
    }
}

impl<E: Send + Sync + 'static> Service<Append<E>> for FileLog<E> {
    type Response = Appended;
    type Error = LogError;
    type Future = AppendFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), LogError>> {
        Poll::Ready(Ok(()))
    }

    /// Once the future is polled and there is room, the append is on its way: dropping the future does not take it back.
    fn call(&mut self, ask: Append<E>) -> Self::Future {
        let log = self.clone(); // the log stays open until it is written
        AppendFuture(Exclusive::new(Box::pin(async move { log.append(ask).await })))
    }
}

impl<E: Send + Sync + 'static> FileLog<E> {
    async fn append(&self, ask: Append<E>) -> Result<Appended, LogError> {
        ask.check()?;
        let Shared { files, codec, config, .. } = &*self.0;
        let mut payload = Vec::new();
        for event in ask.events() {
            let bytes = codec.encode(event).map_err(|error| LogError::Codec {
                stream: ask.stream_name(),
                what: "encoded",
                error: Arc::new(error),
            })?;
            Record::add(&mut payload, &bytes);
            let most = config.max_append.min(LONGEST_BODY - 1024);
            if payload.len() > most {
                return Err(LogError::TooLarge { bytes: payload.len(), most });
            }
        }
        let room = Arc::clone(&files.room).acquire_owned().await;
        let (answer, answers) = oneshot::channel();
        files.queue.push(Job {
            stream: ask.stream_name(),
            events: ask.events().len() as u32,
            payload,
            expect: ask.expected(),
            fence: ask.epoch().map_or(0, crate::core::epoch::Epoch::get),
            answer,
            room: room.ok(),
        })?;
        answers.await.unwrap_or_else(|_| Err(files.queue.closed()))
    }

    fn read(&self, ask: &Read) -> Result<Page<E>, LogError> {
        let Shared { files, codec, .. } = &*self.0;
        let plan = lock(&files.index).plan(ask)?;
        read::read(&files.folder, plan, &**codec)
    }
}

impl<E: Send + Sync + 'static> Service<Read> for FileLog<E> {
    type Response = Page<E>;
    type Error = LogError;
    type Future = ReadFuture<E>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), LogError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, ask: Read) -> Self::Future {
        let log = self.clone();
        ReadFuture::of(async move {
            let once = || {
                let (log, ask) = (log.clone(), ask.clone());
                async move {
                    let read = tokio::task::spawn_blocking(move || log.read(&ask));
                    read.await.map_err(|ended| LogError::Closed {
                        why: format!("a read has ended: {ended}").into(),
                    })?
                }
            };
            let page = once().await?;
            if !page.events.is_empty() || ask.patience().is_zero() {
                return Ok(page);
            }
            wait_for_more(&log.0.files.more, &ask, once).await
        })
    }
}

/// The answer to an [`Append`].
pub struct AppendFuture(Boxed<Result<Appended, LogError>>);

impl Future for AppendFuture {
    type Output = Result<Appended, LogError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.get().as_mut().poll(cx)
    }
}

impl fmt::Debug for AppendFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppendFuture").finish_non_exhaustive()
    }
}

impl<E> Clone for FileLog<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<E> fmt::Debug for FileLog<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileLog")
            .field("folder", &self.0.files.folder)
            .field("end", &self.end())
            .field("config", &self.0.config)
            .finish()
    }
}
