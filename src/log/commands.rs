//! The command side: reads, decides, appends.

use std::any::TypeId;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::decide::Decide;
use super::event_log::{Appendable, Readable};
use super::machine::{Expect, Fold, is_usable};
use super::meter::{CommandMeter, Fate};
use super::request::{Append, Appended, Read, check_name};
use super::service::{CommandError, Decided};
use super::snapshot::{NoSnapshots, Snapshot, Snapshots};
use crate::core::config::{ConfigError, ConfigErrors};
use crate::core::epoch::Epoch;
use crate::core::event::{EventKind, Observe, Observers};
use crate::core::origin::Origin;
use crate::core::position::Position;
use crate::shell::budget::{Budget, Withdrawal};
use crate::shell::reporter::{EventContext, Reporter};

/// The kind of it in metrics and events.
const COMMANDS: &str = "commands";
/// Default of [`CommandsBuilder::attempts`].
const ATTEMPTS: u32 = 5;
const MOST_ATTEMPTS: u32 = 1_000;

/// The command side of an event-sourced model: a tower service from commands to what was decided.
///
/// It reads the stream of a command, folds the state, [decides](Decide::decide), and appends what was decided if the stream has
/// not changed meanwhile. If it has, it reads the rest and decides again. See [`log`](crate::log) for an example.
///
/// A call that is dropped has appended all of its events or none. So has one that ends with an error of the log: who repeats the
/// command then must be able to see in the state that it was done before.
pub struct Commands<D: Decide, L, P = NoSnapshots> {
    pub(super) shared: Arc<Shared<D, P>>,
    pub(super) log: L,
}

type StreamOf<C> = Box<dyn Fn(&C) -> Arc<str> + Send + Sync>;
type FenceOf = Box<dyn Fn() -> Option<Epoch> + Send + Sync>;

pub(super) struct Shared<D: Decide, P> {
    reporter: Reporter<CommandMeter>,
    stream: StreamOf<D::Command>,
    fence: Option<FenceOf>,
    attempts: u32,
    budget: Option<Budget>,
    snapshots: P,
    every: u64,
}

type Error<D, L> = CommandError<<D as Decide>::Error, <L as Readable<<D as Decide>::Event>>::Error>;

impl<D: Decide, L: Appendable<D::Event>> Commands<D, L> {
    /// Starts to build the command side over a log: any service of [`Append`] and [`Read`].
    pub fn builder(name: impl Into<Arc<str>>, log: L) -> CommandsBuilder<D, L> {
        CommandsBuilder {
            name: name.into(),
            log,
            stream: None,
            fence: None,
            attempts: ATTEMPTS,
            budget: None,
            snapshots: NoSnapshots,
            every: 1,
            observers: Observers::default(),
            decide: PhantomData,
        }
    }
}

impl<D: Decide, L: Appendable<D::Event>, P: Snapshots<D::State>> Commands<D, L, P> {
    /// The state of a stream now, and its version.
    ///
    /// # Errors
    ///
    /// [`CommandError::Log`], [`CommandError::Stream`], [`CommandError::Broken`].
    pub async fn state(
        &mut self,
        stream: impl Into<Arc<str>>,
    ) -> Result<(D::State, u64), Error<D, L>> {
        let (stream, shared) = (stream.into(), Arc::clone(&self.shared));
        check_name(&stream).map_err(CommandError::Stream)?;
        let start = shared.load(&stream).await;
        let (fold, _) = shared.read(&mut self.log, &stream, start, None).await?;
        Ok((fold.state, fold.version))
    }

    /// The state of a stream as it was at this moment of the log, and its version: with all events up to this position, and
    /// none after it.
    ///
    /// # Errors
    ///
    /// [`CommandError::Log`], with a [`LogError`](crate::log::LogError) that says so if the log has no such moment;
    /// [`CommandError::Broken`].
    pub async fn at(
        &mut self,
        stream: impl Into<Arc<str>>,
        position: Position,
    ) -> Result<(D::State, u64), Error<D, L>> {
        let (stream, shared) = (stream.into(), Arc::clone(&self.shared));
        check_name(&stream).map_err(CommandError::Stream)?;
        // The log says what is wrong with a position. Of an earlier era it means the same, if nothing is.
        self.log.read(Read::all().after(position).most(1)).await.map_err(CommandError::Log)?;
        let (fold, _) = shared.read(&mut self.log, &stream, None, Some(position)).await?;
        Ok((fold.state, fold.version))
    }
}

/// A state to begin from.
struct Start<S> {
    fold: Fold<S>,
    /// The history that it is of.
    era: u32,
    is_snapshot: bool,
}

impl<D: Decide, P: Snapshots<D::State>> Shared<D, P> {
    pub(super) async fn run<L: Appendable<D::Event>>(
        &self,
        mut log: L,
        command: D::Command,
    ) -> Result<Decided<D::Event>, Error<D, L>> {
        let stream = (self.stream)(&command);
        check_name(&stream).map_err(CommandError::Stream)?;
        let mut start = self.load(&stream).await;
        let mut paid = Vec::new();
        let mut attempt = 1;
        loop {
            let (fold, end) = self.read(&mut log, &stream, start.take(), None).await?;
            let events = D::decide(&fold.state, &command).map_err(CommandError::Declined)?;
            if events.is_empty() {
                return Ok(Decided { events: Vec::new(), version: fold.version, position: end });
            }
            let events: Vec<_> = events.into_iter().map(Arc::new).collect();
            let ask = Append::shared(Arc::clone(&stream), events.clone())
                .expect(if fold.version == 0 { Expect::NoStream } else { Expect::At(fold.version) })
                .fence(self.fence.as_ref().and_then(|fence| fence()));
            match log.append(ask).await.map_err(CommandError::Log)? {
                Appended::Stored { position, version } => {
                    self.settle(paid);
                    self.save(&stream, fold, &events, position).await;
                    return Ok(Decided { events, version, position });
                }
                Appended::Fenced { highest } => return Err(CommandError::Fenced { highest }),
                Appended::Conflict { at } => {
                    self.reporter.meter(|handles| handles.increment(&handles.own.conflicts));
                    let conflict = CommandError::Conflict { attempts: attempt, at };
                    if attempt >= self.attempts {
                        return Err(conflict);
                    }
                    if let Some(budget) = &self.budget {
                        paid.push(budget.withdraw().ok_or(conflict)?);
                    }
                    let decided = EventKind::DecidedAgain { attempt: attempt + 1 };
                    self.reporter.tell_now(EventContext::default(), decided);
                    // What was read stays true unless the log has been restored to an earlier state.
                    start = (at > fold.version).then_some(Start {
                        fold,
                        era: end.era,
                        is_snapshot: false,
                    });
                    attempt += 1;
                }
            }
        }
    }

    /// A command is done: its further attempts have helped, and cost nothing.
    fn settle(&self, paid: Vec<Withdrawal>) {
        if let Some(budget) = &self.budget {
            budget.deposit();
            for price in paid {
                price.give_back(budget);
            }
        }
    }

    async fn load(&self, stream: &str) -> Option<Start<D::State>> {
        match self.snapshots.load(stream).await {
            Ok(Some(found)) if is_usable(found.code, D::CODE) => {
                let Snapshot { state, version, position, .. } = found;
                Some(Start { fold: Fold { state, version }, era: position.era, is_snapshot: true })
            }
            Ok(Some(_)) => {
                self.count(Fate::Dropped);
                None
            }
            Ok(None) => None,
            Err(_) => {
                self.count(Fate::Failed);
                None
            }
        }
    }

    /// Keeps the state after these events, if it is one that is kept.
    async fn save(
        &self,
        stream: &str,
        fold: Fold<D::State>,
        events: &[Arc<D::Event>],
        position: Position,
    ) {
        let version = fold.version + events.len() as u64;
        if fold.version / self.every == version / self.every {
            return;
        }
        let state = events.iter().fold(fold.state, |state, event| D::evolve(state, event));
        let snapshot = Snapshot { state, version, position, code: D::CODE };
        let is_saved = self.snapshots.save(stream, snapshot).await.is_ok();
        self.count(if is_saved { Fate::Saved } else { Fate::Failed });
    }

    fn count(&self, used: Fate) {
        if TypeId::of::<P>() != TypeId::of::<NoSnapshots>() {
            self.reporter.meter(|handles| handles.increment(handles.own.snapshots(used)));
        }
    }

    /// Folds the events of a stream, from where it begins, up to a position or to the end. Returns the state, and the end of
    /// the log that it is of.
    async fn read<L: Readable<D::Event>>(
        &self,
        log: &mut L,
        stream: &Arc<str>,
        mut start: Option<Start<D::State>>,
        until: Option<Position>,
    ) -> Result<(Fold<D::State>, Position), Error<D, L>> {
        let mut fold = Fold::default();
        loop {
            let version = start.as_ref().map_or(fold.version, |start| start.fold.version);
            let ask = Read::stream(Arc::clone(stream)).after_version(version);
            let page = log.read(ask).await.map_err(CommandError::Log)?;
            if let Some(start) = start.take() {
                // It may be of events that this log does not have.
                let is_of_it = start.era == page.end.era && version <= page.version;
                if start.is_snapshot {
                    self.count(if is_of_it { Fate::Used } else { Fate::Dropped });
                }
                if !is_of_it {
                    continue;
                }
                fold = start.fold;
            }
            for recorded in page.events {
                if until.is_some_and(|until| recorded.position.at > until.at) {
                    return Ok((fold, page.end));
                }
                let next = fold.take(recorded.version, |state| D::evolve(state, &recorded.event));
                let broken = || CommandError::Broken {
                    stream: Arc::clone(stream),
                    version: recorded.version,
                };
                fold = next.ok_or_else(broken)?;
            }
            if page.is_last {
                return Ok((fold, page.end));
            }
        }
    }
}

impl<D: Decide, L: Clone, P> Clone for Commands<D, L, P> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), log: self.log.clone() }
    }
}

impl<D: Decide, L, P> fmt::Debug for Commands<D, L, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commands")
            .field("name", &self.shared.reporter.origin.name())
            .field("attempts", &self.shared.attempts)
            .finish_non_exhaustive()
    }
}

/// Builds a [`Commands`].
#[must_use = "call `build`"]
pub struct CommandsBuilder<D: Decide, L, P = NoSnapshots> {
    name: Arc<str>,
    log: L,
    stream: Option<StreamOf<D::Command>>,
    fence: Option<FenceOf>,
    attempts: u32,
    budget: Option<Budget>,
    snapshots: P,
    every: u64,
    observers: Observers,
    decide: PhantomData<fn() -> D>,
}

impl<D: Decide, L, P> CommandsBuilder<D, L, P> {
    /// Which stream a command is about. It must be said.
    pub fn stream<N: Into<Arc<str>>>(
        mut self,
        stream: impl Fn(&D::Command) -> N + Send + Sync + 'static,
    ) -> Self {
        self.stream = Some(Box::new(move |command| stream(command).into()));
        self
    }

    /// Appends in the name of a leader or owner: the log refuses what comes after a later one's. It is asked before each append.
    pub fn fence(mut self, epoch: impl Fn() -> Option<Epoch> + Send + Sync + 'static) -> Self {
        self.fence = Some(Box::new(epoch));
        self
    }

    /// How often a command is decided at most: 1 to 1,000. Each conflict means that another command of the stream has got
    /// through. By default 5.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Further attempts are paid out of this [`retry::Budget`](crate::retry::Budget). By default only [`attempts`](Self::attempts)
    /// bounds them.
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = Some(budget);
        self
    }

    /// Keeps a snapshot in `store` whenever so many events were appended to a stream: at least 1.
    pub fn snapshots<Q: Snapshots<D::State>>(
        self,
        store: Q,
        every: u64,
    ) -> CommandsBuilder<D, L, Q> {
        let Self { name, log, stream, fence, attempts, budget, observers, decide, .. } = self;
        CommandsBuilder {
            name,
            log,
            stream,
            fence,
            attempts,
            budget,
            snapshots: store,
            every,
            observers,
            decide,
        }
    }

    /// Reports every conflict after which it decides again to `observer`. May be called more than once.
    pub fn observe(mut self, observer: impl Observe + 'static) -> Self {
        self.observers.add(observer);
        self
    }

    /// The command side.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings.
    pub fn build(self) -> Result<Commands<D, L, P>, ConfigErrors> {
        let origin = Origin::new(COMMANDS, self.name);
        let mut problems = Vec::new();
        if !(1..=MOST_ATTEMPTS).contains(&self.attempts) {
            problems.push(ConfigError::new("attempts", self.attempts, "1 to 1000"));
        }
        if self.every == 0 {
            problems.push(ConfigError::new("snapshots.every", self.every, "at least 1"));
        }
        match self.stream {
            Some(stream) if problems.is_empty() => {
                let shared = Shared {
                    reporter: Reporter::new(origin, self.observers),
                    stream,
                    fence: self.fence,
                    attempts: self.attempts,
                    budget: self.budget,
                    snapshots: self.snapshots,
                    every: self.every,
                };
                Ok(Commands { shared: Arc::new(shared), log: self.log })
            }
            stream => {
                if stream.is_none() {
                    let accepted = "a function from a command to the name of its stream";
                    problems.push(ConfigError::new("stream", (), accepted));
                }
                Err(ConfigErrors::of(problems).of_policy(&origin))
            }
        }
    }
}

impl<D: Decide, L, P> fmt::Debug for CommandsBuilder<D, L, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandsBuilder")
            .field("name", &self.name)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}
