//! A database of three members whose positions a test sets, and a split over it.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use seawall::split::{Builder, Freshness, Member, Progress, Session, Side, Split};
use seawall::{CallError, Error, Measurement, Position, Reason, Rejected};
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceExt, service_fn};

pub(super) type Fail = Error<std::io::Error>;
pub(super) type Orders = BoxCloneSyncService<Req, Answer, Fail>;
pub(super) type SplitBuilder = Builder<Req, Answer>;

pub(super) const NAMES: [&str; 4] = ["primary", "a", "b", "c"];
pub(super) const MS: Duration = Duration::from_millis(1);

pub(super) const fn at(era: u32, at: u64) -> Position {
    Position { era, at }
}

/// A request: which side, whose, and what becomes of it.
#[derive(Clone, Debug)]
pub(super) struct Req {
    pub(super) side: Side,
    pub(super) session: Option<Session>,
    pub(super) fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Answered,
    /// The answer does not say where it is.
    Silent,
    Fails,
    Hangs,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) by: &'static str,
    pub(super) position: Option<Position>,
}

#[derive(Default)]
pub(super) struct Node {
    pub(super) progress: Mutex<Option<Progress>>,
    pub(super) position: Mutex<Position>,
    pub(super) questions: AtomicU32,
    pub(super) calls: AtomicU32,
    /// The stack of the member rejects, as an open breaker would.
    pub(super) down: Mutex<Option<Rejected>>,
}

#[derive(Clone, Default)]
pub(super) struct World(Arc<[Node; 4]>);

impl World {
    pub(super) fn node(&self, name: &str) -> &Node {
        &self.0[NAMES.iter().position(|one| *one == name).unwrap()]
    }

    /// A member is here, and says so.
    pub(super) fn set(&self, name: &str, position: Position) {
        self.progress(name, position, position);
    }

    pub(super) fn progress(&self, name: &str, position: Position, progress: impl Into<Progress>) {
        *self.node(name).position.lock().unwrap() = position;
        *self.node(name).progress.lock().unwrap() = Some(progress.into());
    }

    /// A member says nothing any more.
    pub(super) fn mute(&self, name: &str) {
        *self.node(name).progress.lock().unwrap() = None;
    }

    pub(super) fn all(&self, position: Position) -> &Self {
        for name in NAMES {
            self.set(name, position);
        }
        self
    }

    pub(super) fn calls(&self, name: &str) -> u32 {
        self.node(name).calls.load(Relaxed)
    }

    pub(super) fn questions(&self, name: &str) -> u32 {
        self.node(name).questions.load(Relaxed)
    }

    pub(super) fn builder(&self) -> SplitBuilder {
        let world = self.clone();
        Split::builder("orders")
            .side(|req: &Req| req.side)
            .session(|req| req.session.as_ref())
            .position(|answer: &Answer| answer.position)
            .positions(service_fn(move |member: Member| {
                let node = world.node(member.name());
                node.questions.fetch_add(1, Relaxed);
                let progress = *node.progress.lock().unwrap();
                async move {
                    match progress {
                        Some(progress) => Ok(progress),
                        None => std::future::pending::<Result<_, BoxError>>().await,
                    }
                }
            }))
            .replicas(["a", "b"])
    }

    #[allow(clippy::unnecessary_wraps)] // as the builder takes it
    pub(super) fn member(
        &self,
        name: &str,
    ) -> Result<BoxCloneSyncService<Req, Answer, Fail>, BoxError> {
        let world = self.clone();
        let by = *NAMES.iter().find(|one| **one == name).unwrap();
        Ok(BoxCloneSyncService::new(service_fn(move |req: Req| {
            let node = world.node(by);
            node.calls.fetch_add(1, Relaxed);
            let is_command = req.side == Side::Command;
            assert!(!is_command || by == "primary", "a command at {by}");
            let mut here = node.position.lock().unwrap();
            if is_command {
                here.at += 1;
                world.progress_of_primary(*here);
            }
            let (position, down) = (*here, node.down.lock().unwrap().clone());
            async move {
                if let Some(rejected) = down {
                    return Err(rejected.into());
                }
                match req.fate {
                    Fate::Answered => Ok(Answer { by, position: Some(position) }),
                    Fate::Silent => Ok(Answer { by, position: None }),
                    Fate::Fails => Err(Error::Inner(std::io::Error::other("reset"))),
                    Fate::Hangs => std::future::pending().await,
                }
            }
        })))
    }

    fn progress_of_primary(&self, position: Position) {
        if let Some(progress) = &mut *self.node("primary").progress.lock().unwrap() {
            *progress = position.into();
        }
    }

    pub(super) fn build(&self, builder: SplitBuilder) -> Orders {
        let (primary, replica) = (self.clone(), self.clone());
        let split = builder.primary("primary", move |name| primary.member(name));
        BoxCloneSyncService::new(split.over(move |name| replica.member(name)).unwrap())
    }

    pub(super) fn orders(&self) -> Orders {
        self.build(self.builder())
    }
}

pub(super) async fn send(
    orders: &Orders,
    side: Side,
    session: Option<&Session>,
) -> Result<Answer, Fail> {
    send_to(orders, side, session, Fate::Answered).await
}

pub(super) async fn send_to(
    orders: &Orders,
    side: Side,
    session: Option<&Session>,
    fate: Fate,
) -> Result<Answer, Fail> {
    orders.clone().oneshot(Req { side, session: session.cloned(), fate }).await
}

pub(super) async fn by(
    orders: &Orders,
    freshness: Freshness,
    session: Option<&Session>,
) -> &'static str {
    send(orders, Side::Query(freshness), session).await.unwrap().by
}

/// Why it was rejected.
#[track_caller]
pub(super) fn why(answer: Result<Answer, Fail>) -> (Reason, Measurement) {
    let error = answer.unwrap_err();
    let rejected = error.rejected().expect("a rejection");
    (rejected.reason(), rejected.measurement())
}

/// Lets questions be asked and answered.
pub(super) async fn settle() {
    tokio::time::sleep(600 * MS).await;
}
