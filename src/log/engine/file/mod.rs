//! A log in files.

mod codec;
mod index;
mod open;
mod queue;
mod read;
mod scan;
mod writer;

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::{Notify, oneshot, watch};
use tower::Service;

pub use self::codec::Codec;
use self::codec::caught;
use self::index::Index;
use self::queue::{Job, Queue};
use crate::core::position::Position;
use crate::core::sync::Mutex;
use crate::log::config::Config;
use crate::log::engine::exclusive::{Boxed, Exclusive};
use crate::log::engine::reading::{ReadFuture, blocking, read_within};
use crate::log::error::LogError;
use crate::log::record::{LONGEST_BODY, Record};
use crate::log::request::{Append, Appended, Page, Read};
use crate::shell::lock;

/// A log in the files of a folder, which one process has open at a time.
///
/// A thread of its own writes; appends that come at the same time are written, and brought to the disk, together. What was acknowledged
/// is there after the end of the process, whatever ended it, and after a loss of power as [`Config::sync`] says.
/// What a crash has left half written is cut off, kept beside the log, and [told](Self::cuts); a file whose damage is in what was
/// on the disk is refused, as far as what is behind it can tell. If its last file is deleted, nothing can. Clones are the same log.
///
/// # Eras
///
/// Where events may be gone that somebody has seen, a new [era](Position) begins: whenever something was cut off, and after a
/// crash of a log that is not [synced before it is acknowledged](crate::log::Fsync::Batch). A position of an earlier era is good up to where
/// the next one began, and an error after that: a checkpoint or a token that knows more than the log is told, even once
/// the log has grown past it.
///
/// # Closing
///
/// Dropping the last clone, and the last future of it, closes the log as [`close`](Self::close) does, but waits for nothing, and tells
/// nobody if the last events do not reach the disk.
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
/// log.close().await?; // who drops it does not wait for the writer
///
/// let log = FileLog::open(&folder, texts(), Config::default()).await?;
/// let cuts: &[Cut] = log.cuts();
/// assert!(cuts.is_empty()); // nothing was half written
/// let page = log.clone().oneshot(Read::stream("order-7")).await?;
/// assert_eq!(*page.events[0].event, "placed");
/// # log.close().await?;
/// # std::fs::remove_dir_all(folder)?;
/// # Ok::<(), BoxError>(()) }).unwrap();
/// ```
pub struct FileLog<E>(Arc<Shared<E>>);

struct Shared<E> {
    files: Arc<Files>,
    codec: Arc<dyn Codec<E>>,
    config: Config,
    cuts: Vec<Cut>,
}

/// What the writer and its readers share.
pub(super) struct Files {
    folder: PathBuf,
    index: Mutex<Index>,
    queue: Queue,
    /// Rings when there is more to read.
    more: Notify,
    /// How it ended, once the writer is gone, and so is its lock.
    gone: watch::Sender<Option<Result<(), LogError>>>,
}

/// What a crash had left half written at the end of a file. It was never acknowledged, or the disk has lost it.
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
    /// files that are no log or one of a later version, [`LogError::Damaged`], [`LogError::Io`], [`LogError::Runtime`] outside of a runtime.
    ///
    /// # Cancellation
    ///
    /// Can be dropped at any time: the log is closed again as soon as it is open.
    pub async fn open(
        folder: impl AsRef<Path>,
        codec: impl Codec<E>,
        config: Config,
    ) -> Result<Self, LogError> {
        config.validate().map_err(LogError::Config)?;
        let folder = folder.as_ref().to_owned();
        // All that holds the lock is made in here, and goes with what nobody waits for any more.
        let opening = move || {
            let (files, cuts) = open::open(&folder, &config)?;
            Ok(Self(Arc::new(Shared { files, codec: Arc::new(codec), config, cuts })))
        };
        blocking(opening).await
    }
}

impl<E> FileLog<E> {
    /// What was cut off when it was opened, in order: nothing if it was whole. After several crashes it may be more than one, where each
    /// came before the log had gone on.
    pub fn cuts(&self) -> &[Cut] {
        &self.0.cuts
    }

    /// The position of its last event.
    pub fn end(&self) -> Position {
        lock(&self.0.files.index).end()
    }

    /// Writes what was appended so far, brings it to the disk, however it is [synced](Config::sync), and lets go of the files.
    /// Further appends are refused, and so are reads that would [wait](Read::wait) for more; what is there can be read. It can be
    /// called more than once.
    ///
    /// # Errors
    ///
    /// Some of what was appended may not be on the disk: the last `fsync`, or a write before it, has failed.
    ///
    /// # Cancellation
    ///
    /// Can be dropped: the log is closed all the same.
    pub async fn close(&self) -> Result<(), LogError> {
        let files = &self.0.files;
        files.queue.close();
        let mut gone = files.gone.subscribe();
        let ended = gone.wait_for(Option::is_some).await; // the sender is ours
        ended.ok().and_then(|ended| ended.clone()).unwrap_or_else(|| Err(files.queue.closed()))
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
            let bytes = caught(|| codec.encode(event)).map_err(|error| LogError::Codec {
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
        let room = files.queue.room(payload.len()).await;
        let (answer, answers) = oneshot::channel();
        files.queue.push(Job {
            stream: ask.stream_name(),
            events: ask.events().len() as u32,
            payload,
            expect: ask.expected(),
            fence: ask.epoch().map_or(0, crate::core::epoch::Epoch::get),
            answer,
            room,
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
            let read = || {
                let (log, ask) = (log.clone(), ask.clone());
                blocking(move || log.read(&ask))
            };
            let files = &log.0.files;
            let gone = || files.gone.borrow().is_some().then(|| files.queue.closed());
            read_within(ask.patience(), &files.more, gone, read).await
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
