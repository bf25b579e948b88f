//! Building a split, or replicas alone.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower::{BoxError, Service};

use super::ask::{Ask, Asker, Member, Progress, ask};
use super::knowledge::Knowledge;
use super::plan::{Common, Name, Readers, Rules, Writer};
use super::replicas::Replicas;
use super::service::Split;
use super::session::Session;
use super::side::Side;
use super::sides::Sides;
use super::spill::Spill;
use crate::core::config::{ConfigError, ConfigErrors};
use crate::core::error::CallError;
use crate::core::event::{Observe, Observers};
use crate::core::origin::Origin;
use crate::core::position::Position;
use crate::core::request::Propagate;
use crate::core::time::nanos;
use crate::shell::reporter::Reporter;
use crate::shell::set::{Refused, Set, Shared};
use crate::shell::task::Task;

/// The kind of this set: the metric label `layer`.
const LAYER: &str = "split";
/// The most replicas.
const MOST: usize = 64;
const PATIENCE: Duration = Duration::from_millis(50);
const MOST_PATIENCE: Duration = Duration::from_secs(10);
const MOST_WAITING: u32 = 1_024;
const EVERY: Duration = Duration::from_millis(250);
const LEAST_EVERY: Duration = Duration::from_millis(1);
const TIMEOUT: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(3_600);
const UNCERTAIN_FOR: Duration = Duration::from_secs(10);
const SPILL: u32 = 20;

/// Builds a [`Split`] or [`Replicas`]: what requests ask for, who is how far, and the services of the members.
#[must_use = "call `over`"]
pub struct Builder<Req, Res, P = ()> {
    name: Arc<str>,
    replicas: Vec<Arc<str>>,
    primary: P,
    rules: Rules<Req, Res>,
    ask: Option<Ask>,
    every: Duration,
    timeout: Duration,
    patience: Duration,
    most_waiting: u32,
    uncertain_for: Duration,
    spill: u32,
    observers: Observers,
}

/// What is common to both sides, and the replicas.
type Made<S, Req, Res> = (Arc<Common<Req, Res>>, Set<Readers<Req, Res>, S>);

/// The primary of a split that is being built.
pub struct Primary<F> {
    name: Arc<str>,
    make: F,
}

impl<Req, Res> Builder<Req, Res> {
    pub(super) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            replicas: Vec::new(),
            primary: (),
            rules: Rules { side: None, session: None, position: None, propagate: None },
            ask: None,
            every: EVERY,
            timeout: TIMEOUT,
            patience: PATIENCE,
            most_waiting: MOST_WAITING,
            uncertain_for: UNCERTAIN_FOR,
            spill: SPILL,
            observers: Observers::default(),
        }
    }

    /// The name and the service of the primary, which `make` makes: a client with layers of its own around it. All commands go
    /// there, and the queries that the budget pays for.
    pub fn primary<W, F>(self, name: impl Into<Arc<str>>, make: F) -> Builder<Req, Res, Primary<F>>
    where
        F: Fn(&str) -> Result<W, BoxError> + Send + Sync + 'static,
    {
        Builder {
            name: self.name,
            replicas: self.replicas,
            primary: Primary { name: name.into(), make },
            rules: self.rules,
            ask: self.ask,
            every: self.every,
            timeout: self.timeout,
            patience: self.patience,
            most_waiting: self.most_waiting,
            uncertain_for: self.uncertain_for,
            spill: self.spill,
            observers: self.observers,
        }
    }
}

impl<Req, Res, P> Builder<Req, Res, P> {
    /// The names of the replicas: 1 to 64.
    pub fn replicas<N: Into<Arc<str>>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        self.replicas = names.into_iter().map(Into::into).collect();
        self
    }

    /// Which side a request is for, and how fresh an answer it needs. By default each is a query that needs what its session has
    /// [seen](super::Freshness::Seen): a split must be told.
    ///
    /// This and the other closures are called on the way of each request, some more than once, so they should be a few loads of memory.
    pub fn side(mut self, side: impl Fn(&Req) -> Side + Send + Sync + 'static) -> Self {
        self.rules.side = Some(Box::new(side));
        self
    }

    /// The session of the user that a request is from, if it has one. By default none has.
    pub fn session<F>(mut self, session: F) -> Self
    where
        F: for<'r> Fn(&'r Req) -> Option<&'r Session> + Send + Sync + 'static,
    {
        self.rules.session = Some(Box::new(session));
        self
    }

    /// The position that an answer says: of a command, that of its commit, taken after it; of a query, that of what was
    /// read. By default none does; then members are [asked](Self::positions) after the answer.
    pub fn position<F>(mut self, position: F) -> Self
    where
        F: Fn(&Res) -> Option<Position> + Send + Sync + 'static,
    {
        self.rules.position = Some(Box::new(position));
        self
    }

    /// Whom to ask how far each member is: a service from a [`Member`] to its [`Position`]. It is asked in the background, one
    /// question to each member at a time, and again [after a while](Self::every), or in 5 ms while a query waits. By default
    /// nobody is, and only answers tell.
    pub fn positions<A>(mut self, service: A) -> Self
    where
        A: Service<Member, Error: Into<BoxError>, Response: Into<Progress>> + Clone + Send,
        A: 'static,
        A::Future: Send,
    {
        self.ask = Some(ask(service));
        self
    }

    /// How often a member is asked: 1 ms to 1 h. 250 ms by default.
    pub const fn every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// How long an answer to that may take: 1 ms to 1 h. 1 s by default.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long a query waits for a replica that is fresh enough, if none is: up to 10 s, and at most half of what is left until the
    /// [deadline](Self::propagate) of the call. 50 ms by default.
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// How many wait at a time. Further ones do without. 1,024 by default.
    pub const fn max_waiting(mut self, most: u32) -> Self {
        self.most_waiting = most;
        self
    }

    /// For how long a session is uncertain at most, after a command whose position nobody knows: up to 1 h. 10 s by default.
    pub const fn uncertain_for(mut self, time: Duration) -> Self {
        self.uncertain_for = time;
        self
    }

    /// How many of 100 queries the primary takes at most, because no replica is fresh enough: 0 to 100, and unless it is 0,
    /// 10 each second besides. 20 by default. What asks for [`Latest`](super::Freshness::Latest) is not counted.
    pub const fn spill(mut self, percent: u32) -> Self {
        self.spill = percent;
        self
    }

    /// Reads the deadline from each request, so that nobody waits past it.
    pub fn propagate(mut self, propagate: impl Propagate<Req> + Send + Sync + 'static) -> Self {
        self.rules.propagate = Some(Box::new(propagate));
        self
    }

    /// Reports events to `observer`. May be called more than once.
    pub fn observe(mut self, observer: impl Observe + 'static) -> Self {
        self.observers.add(observer);
        self
    }

    fn problems(&self, primary: Option<&str>) -> Vec<ConfigError> {
        let mut problems = Vec::new();
        if !(1..=MOST).contains(&self.replicas.len()) {
            let accepted = format!("1 to {MOST} replicas");
            problems.push(ConfigError::new("replicas", self.replicas.len(), accepted));
        }
        for (nth, name) in self.replicas.iter().enumerate() {
            if name.is_empty() {
                problems.push(ConfigError::new("replicas", name, "names that are not empty"));
            } else if self.replicas[..nth].contains(name) || primary == Some(&**name) {
                problems.push(ConfigError::new("replicas", name, "each name once"));
            }
        }
        if primary.is_some_and(str::is_empty) {
            problems.push(ConfigError::new("primary", "", "a name that is not empty"));
        }
        for (field, time) in [("every", self.every), ("timeout", self.timeout)] {
            if !(LEAST_EVERY..=LONGEST).contains(&time) {
                problems.push(ConfigError::new(field, time, "1 ms to 1 h"));
            }
        }
        if self.patience > MOST_PATIENCE {
            problems.push(ConfigError::new("patience", self.patience, "up to 10 s"));
        }
        if self.uncertain_for > LONGEST {
            problems.push(ConfigError::new("uncertain_for", self.uncertain_for, "up to 1 h"));
        }
        if self.spill > 100 {
            problems.push(ConfigError::new("spill", self.spill, "0 to 100 percent"));
        }
        problems
    }

    /// What is common to both sides, and the replicas.
    fn readers<S, F>(
        self,
        origin: Origin,
        primary: Arc<str>,
        make: F,
    ) -> Result<Made<S, Req, Res>, ConfigErrors>
    where
        F: Fn(&str) -> Result<S, BoxError> + Send + Sync + 'static,
    {
        let reporter = Arc::new(Reporter::new(origin, self.observers));
        let names = std::iter::once(primary).chain(self.replicas.iter().cloned()).collect();
        let uncertain_for = nanos(self.uncertain_for);
        let asks = self.ask.is_some();
        let knowledge = Arc::new(Knowledge::new(names, reporter.clock, uncertain_for, asks));
        let asker = {
            let (knowledge, reporter) = (Arc::clone(&knowledge), Arc::clone(&reporter));
            let (ask, every, timeout) = (self.ask.map(Arc::new), self.every, self.timeout);
            move || {
                let (knowledge, reporter) = (Arc::clone(&knowledge), Arc::clone(&reporter));
                Some(Asker { knowledge, reporter, ask: ask.clone()?, every, timeout })
            }
        };
        let common = Arc::new(Common {
            rules: self.rules,
            knowledge,
            reporter: Arc::clone(&reporter),
            spill: Spill::percent(self.spill),
            patience: nanos(self.patience),
            most_waiting: self.most_waiting,
            every: self.every,
            task: Task::new(asks),
            asker: Box::new(asker),
        });
        let members = self.replicas.into_iter().map(Name).collect();
        let readers = Readers { members, common: Arc::clone(&common) };
        let make = move |member: &Name| make(&member.0);
        match Shared::new(reporter, Box::new(make), readers) {
            Ok(shared) => Ok((common, Set::new(Arc::new(shared)))),
            Err(refused) => Err(not_made(&refused, &common.reporter.origin)),
        }
    }
}

impl<Req, Res> Builder<Req, Res> {
    /// The service of each replica, which `make` makes: a client with layers of its own around it, so that each has a circuit
    /// breaker, limits and metrics for itself.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with names and settings; or the service of a replica could not be made.
    pub fn over<S, F>(self, make: F) -> Result<Replicas<S, Req, Res>, ConfigErrors>
    where
        S: Service<Req, Response = Res> + Clone,
        S::Error: CallError,
        F: Fn(&str) -> Result<S, BoxError> + Send + Sync + 'static,
    {
        let origin = Origin::new(LAYER, Arc::clone(&self.name));
        ConfigErrors::none_of(self.problems(None)).map_err(|wrong| wrong.of_policy(&origin))?;
        let (common, readers) = self.readers(origin, Arc::from(""), make)?;
        Ok(Replicas { sides: Sides { writer: None, readers, common } })
    }
}

impl<Req, Res, W, P> Builder<Req, Res, Primary<P>>
where
    P: Fn(&str) -> Result<W, BoxError> + Send + Sync + 'static,
{
    /// The service of each replica, which `make` makes: a client with layers of its own around it, so that each has a circuit
    /// breaker, limits and metrics for itself.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with names and settings; or the service of a member could not be made.
    pub fn over<S, F>(self, make: F) -> Result<Split<W, S, Req, Res>, ConfigErrors>
    where
        W: Service<Req, Response = Res, Error = S::Error> + Clone,
        S: Service<Req, Response = Res> + Clone,
        S::Error: CallError,
        F: Fn(&str) -> Result<S, BoxError> + Send + Sync + 'static,
    {
        let origin = Origin::new(LAYER, Arc::clone(&self.name));
        let mut problems = self.problems(Some(&self.primary.name));
        if self.rules.side.is_none() {
            let accepted = "a function from a request to its `Side`";
            problems.push(ConfigError::new("side", (), accepted));
        }
        ConfigErrors::none_of(problems).map_err(|wrong| wrong.of_policy(&origin))?;
        let Self { name, replicas, primary, rules, ask, every, timeout, patience, .. } = self;
        let Self { most_waiting, uncertain_for, spill, observers, .. } = self;
        let Primary { name: primary_name, make: make_primary } = primary;
        let replicas_alone = Builder {
            name,
            replicas,
            primary: (),
            rules,
            ask,
            every,
            timeout,
            patience,
            most_waiting,
            uncertain_for,
            spill,
            observers,
        };
        let (common, readers) = replicas_alone.readers(origin, Arc::clone(&primary_name), make)?;
        let writer = Writer { member: [Name(primary_name)], common: Arc::clone(&common) };
        let make = move |member: &Name| make_primary(&member.0);
        let reporter = Arc::clone(&common.reporter);
        let shared = Shared::new(reporter, Box::new(make), writer)
            .map_err(|refused| not_made(&refused, &common.reporter.origin))?;
        let writer = Some(Set::new(Arc::new(shared)));
        Ok(Split { sides: Sides { writer, readers, common } })
    }
}

fn not_made(refused: &Refused, origin: &Origin) -> ConfigErrors {
    let problems = match refused {
        Refused::Member { name, error } => {
            let accepted = format!("a service, and not the error: {error}");
            vec![ConfigError::new("over", &**name, accepted)]
        }
        Refused::Shrunk { .. } => Vec::new(), // there is none before the first
    };
    ConfigErrors::of(problems).of_policy(origin)
}

impl<Req, Res, P> fmt::Debug for Builder<Req, Res, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("replicas", &self.replicas)
            .finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for Primary<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Primary").field(&self.name).finish()
    }
}
