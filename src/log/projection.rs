//! A read model: all events of a log, applied in order.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;
use tower::BoxError;

use super::checkpoint::{Checkpoints, NoCheckpoint};
use super::event_log::Readable;
use super::meter::{End, ProjectionMeter};
use super::request::{Page, Read, Recorded};
use crate::core::config::{ConfigError, ConfigErrors};
use crate::core::event::{EventKind, Observe, Observers};
use crate::core::origin::Origin;
use crate::core::position::Position;
use crate::shell::meter::Handles;
use crate::shell::reporter::{EventContext, Reporter};

/// The kind of it in metrics and events.
const PROJECTION: &str = "projection";
/// Default of [`ProjectionBuilder::batch`].
const BATCH: usize = 256;
const MOST_BATCH: usize = 100_000;
/// For how long it waits for news before it asks again.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// What a projection does with an event that cannot be applied: a poison event.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use seawall::log::{Append, MemoryLog, OnError, Projection, ProjectionError, ProjectionHandle, Recorded};
/// use tower::ServiceExt;
///
/// let log = MemoryLog::new();
/// log.clone().oneshot(Append::new("order-7", ["placed", "???", "paid"])).await?;
/// let apply = async |recorded: Recorded<&str>| match *recorded.event {
///     "???" => Err("nobody knows what that is"),
///     _ => Ok(()),
/// };
///
/// let mut careful = Projection::builder("orders", log.clone()).build()?;
/// let stopped: ProjectionError = careful.catch_up(apply).await.unwrap_err();
/// assert!(stopped.to_string().contains("1-2 (version 2 of the stream `order-7`) could not be applied"));
/// let handle: ProjectionHandle = careful.handle();
/// assert_eq!(handle.position().unwrap().at, 1);
///
/// let mut lenient = Projection::builder("orders", log).on_error(OnError::Skip).build()?;
/// assert_eq!(lenient.catch_up(apply).await?.at, 3);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnError {
    /// It stops before the event, and says so. Nothing is lost; whoever runs it again begins with this event.
    #[default]
    Stop,
    /// It passes over the event, tells its observers and metrics, and goes on.
    Skip,
}

/// Why a projection has stopped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProjectionError {
    /// An event could not be applied. The checkpoint is before it.
    #[error(
        "the event at {position} (version {version} of the stream `{stream}`) could not be applied: {error}"
    )]
    Apply {
        /// Where it is.
        position: Position,
        /// Its stream.
        stream: Arc<str>,
        /// Its number in the stream.
        version: u64,
        /// Why.
        error: BoxError,
    },
    /// The log cannot be read. A checkpoint that is ahead of the log is told here.
    #[error("the log failed: {0}")]
    Log(BoxError),
    /// The checkpoint cannot be loaded or kept.
    #[error("the checkpoint failed: {0}")]
    Checkpoint(BoxError),
}

/// Applies all events of a log in order to a read model, and keeps how far it has come.
///
/// Events are applied at least once: after a crash those since the last checkpoint are applied again, unless the checkpoint is
/// [written together](Checkpoints) with what was applied.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::log::{Append, MemoryCheckpoint, MemoryLog, Projection, Recorded};
/// use std::convert::Infallible;
/// use std::future::ready;
/// use tower::ServiceExt;
///
/// let log = MemoryLog::new();
/// log.clone().oneshot(Append::new("order-7", ["placed", "paid"])).await?;
///
/// let checkpoint = MemoryCheckpoint::default();
/// let mut list = Projection::builder("order-list", log).checkpoint(checkpoint.clone()).build()?;
/// let handle = list.handle(); // for those who must know how far it is
/// let mut rows = Vec::new();
/// let end = list.catch_up(|recorded: Recorded<&str>| {
///     rows.push(*recorded.event);
///     ready(Ok::<_, Infallible>(()))
/// });
/// let end = end.await?; // `run` goes on for ever
/// assert_eq!((rows, handle.position(), checkpoint.position()), (vec!["placed", "paid"], Some(end), Some(end)));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct Projection<L, C = NoCheckpoint> {
    log: L,
    checkpoint: C,
    batch: usize,
    on_error: OnError,
    standing: Arc<Standing>,
}

struct Standing {
    reporter: Reporter<ProjectionMeter>,
    position: watch::Sender<Option<Position>>,
}

impl<L> Projection<L> {
    /// Starts to build a projection of a log: any service of [`Read`].
    pub fn builder(name: impl Into<Arc<str>>, log: L) -> ProjectionBuilder<L> {
        ProjectionBuilder {
            name: name.into(),
            log,
            checkpoint: NoCheckpoint,
            batch: BATCH,
            on_error: OnError::Stop,
            observers: Observers::default(),
        }
    }
}

impl<L, C: Checkpoints> Projection<L, C> {
    /// Sees how far it is.
    pub fn handle(&self) -> ProjectionHandle {
        ProjectionHandle { standing: Arc::clone(&self.standing) }
    }

    /// Applies all that there is and all that comes, from the checkpoint on. It ends only with an error, or by being dropped.
    ///
    /// Returns why it has stopped. It may be run again, and then begins at its checkpoint.
    pub async fn run<E, F, Fut, X>(&mut self, mut apply: F) -> ProjectionError
    where
        L: Readable<E>,
        F: FnMut(Recorded<E>) -> Fut,
        Fut: Future<Output = Result<(), X>>,
        X: Into<BoxError>,
    {
        loop {
            if let Err(error) = self.follow(&mut apply, true).await {
                return error;
            }
        }
    }

    /// Applies all that there is, from the checkpoint on, and returns how far that is.
    ///
    /// # Errors
    ///
    /// Why it has stopped before.
    pub async fn catch_up<E, F, Fut, X>(
        &mut self,
        mut apply: F,
    ) -> Result<Position, ProjectionError>
    where
        L: Readable<E>,
        F: FnMut(Recorded<E>) -> Fut,
        Fut: Future<Output = Result<(), X>>,
        X: Into<BoxError>,
    {
        self.follow(&mut apply, false).await
    }

    async fn follow<E, F, Fut, X>(
        &mut self,
        apply: &mut F,
        is_endless: bool,
    ) -> Result<Position, ProjectionError>
    where
        L: Readable<E>,
        F: FnMut(Recorded<E>) -> Fut,
        Fut: Future<Output = Result<(), X>>,
        X: Into<BoxError>,
    {
        let mut after = self.checkpoint.load().await.map_err(ProjectionError::Checkpoint)?;
        let wait = if is_endless { PATIENCE } else { Duration::ZERO };
        loop {
            let ask = Read::all().after(after).most(self.batch).wait(wait);
            let page = self.log.read(ask).await.map_err(|e| ProjectionError::Log(e.into()))?;
            let (end, is_last) = (page.end, page.is_last);
            let applied = self.apply(apply, page, after).await;
            let reached = match &applied {
                Ok(()) => Some(end),
                Err((before, _)) => *before,
            };
            if let Some(position) = reached.filter(|_| reached != after) {
                self.checkpoint.save(position).await.map_err(ProjectionError::Checkpoint)?;
            }
            applied.map_err(|(_, error)| error)?;
            after = Some(end);
            self.standing.reached(end, is_last);
            if is_last && !is_endless {
                return Ok(end);
            }
        }
    }

    /// Applies a page. An error comes with how far it got.
    async fn apply<E, F, Fut, X>(
        &mut self,
        apply: &mut F,
        page: Page<E>,
        mut before: Option<Position>,
    ) -> Result<(), (Option<Position>, ProjectionError)>
    where
        F: FnMut(Recorded<E>) -> Fut,
        Fut: Future<Output = Result<(), X>>,
        X: Into<BoxError>,
    {
        for recorded in page.events {
            let position = recorded.position;
            let (stream, version) = (Arc::clone(&recorded.stream), recorded.version);
            if let Err(error) = apply(recorded).await {
                if self.on_error == OnError::Stop {
                    self.standing.count(End::Failed);
                    let error = error.into();
                    let error = ProjectionError::Apply { position, stream, version, error };
                    return Err((before, error));
                }
                self.standing.count(End::Skipped);
                let skipped = EventKind::EventSkipped { position };
                self.standing.reporter.tell_now(EventContext::default(), skipped);
            } else {
                self.standing.count(End::Applied);
            }
            before = Some(position);
            self.standing.position.send_replace(before);
        }
        Ok(())
    }
}

impl Standing {
    fn count(&self, how: End) {
        self.reporter.meter(|handles| handles.increment(handles.own.applied(how)));
    }

    fn reached(&self, end: Position, is_last: bool) {
        self.position.send_replace(Some(end));
        let level = |handles: &Handles<'_, ProjectionMeter>| {
            handles.set(&handles.own.position, end.at as f64);
            handles.set(&handles.own.behind, f64::from(u8::from(!is_last)));
        };
        self.reporter.meter.with(level, level);
    }
}

impl<L, C> fmt::Debug for Projection<L, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Projection")
            .field("name", &self.standing.reporter.origin.name())
            .field("position", &*self.standing.position.borrow())
            .finish_non_exhaustive()
    }
}

/// Sees how far a projection is. Clones are the same.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use seawall::log::{Append, Appended, MemoryLog, Projection, Recorded};
/// use std::convert::Infallible;
/// use tower::ServiceExt;
///
/// let log = MemoryLog::new();
/// let mut list = Projection::builder("order-list", log.clone()).build()?;
/// let handle = list.handle();
/// let running = tokio::spawn(async move {
///     list.run(async |_: Recorded<String>| Ok::<_, Infallible>(())).await // into a table
/// });
///
/// let placed = log.oneshot(Append::new("order-7", ["placed".to_owned()])).await?;
/// let Appended::Stored { position, .. } = placed else { panic!("{placed:?}") };
/// handle.reached(position).await; // now a reader of the list finds the order
/// running.abort();
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct ProjectionHandle {
    standing: Arc<Standing>,
}

impl ProjectionHandle {
    /// How far it is: every event up to here is applied, or was skipped. `None` before it has read anything.
    pub fn position(&self) -> Option<Position> {
        *self.standing.position.borrow()
    }

    /// Waits until it has come so far. For ever, if that is of another era. Put a timeout around it.
    pub async fn reached(&self, position: Position) {
        let mut watch = self.standing.position.subscribe();
        // The sender is ours: it is never gone.
        let _ = watch.wait_for(|at| at.is_some_and(|at| position <= at)).await;
    }
}

impl fmt::Debug for ProjectionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProjectionHandle")
            .field("name", &self.standing.reporter.origin.name())
            .field("position", &self.position())
            .finish()
    }
}

/// Builds a [`Projection`].
#[must_use = "call `build`"]
pub struct ProjectionBuilder<L, C = NoCheckpoint> {
    name: Arc<str>,
    log: L,
    checkpoint: C,
    batch: usize,
    on_error: OnError,
    observers: Observers,
}

impl<L, C> ProjectionBuilder<L, C> {
    /// Keeps how far it has come there. By default nowhere: it begins at the beginning each time.
    pub fn checkpoint<K: Checkpoints>(self, checkpoint: K) -> ProjectionBuilder<L, K> {
        let Self { name, log, batch, on_error, observers, .. } = self;
        ProjectionBuilder { name, log, checkpoint, batch, on_error, observers }
    }

    /// The checkpoint is kept after so many events, and whenever it has caught up: 1 to 100,000. By default 256.
    pub fn batch(mut self, events: usize) -> Self {
        self.batch = events;
        self
    }

    /// What it does with an event that cannot be applied. By default it stops.
    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    /// Reports every event that it skips to `observer`. May be called more than once.
    pub fn observe(mut self, observer: impl Observe + 'static) -> Self {
        self.observers.add(observer);
        self
    }

    /// The projection.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings.
    pub fn build(self) -> Result<Projection<L, C>, ConfigErrors> {
        let origin = Origin::new(PROJECTION, self.name);
        if !(1..=MOST_BATCH).contains(&self.batch) {
            let wrong = ConfigError::new("batch", self.batch, "1 to 100000");
            return Err(ConfigErrors::of(vec![wrong]).of_policy(&origin));
        }
        let reporter = Reporter::new(origin, self.observers);
        let standing = Standing { reporter, position: watch::Sender::new(None) };
        Ok(Projection {
            log: self.log,
            checkpoint: self.checkpoint,
            batch: self.batch,
            on_error: self.on_error,
            standing: Arc::new(standing),
        })
    }
}

impl<L, C> fmt::Debug for ProjectionBuilder<L, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProjectionBuilder")
            .field("name", &self.name)
            .field("batch", &self.batch)
            .field("on_error", &self.on_error)
            .finish_non_exhaustive()
    }
}
