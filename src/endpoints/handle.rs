//! Seeing and steering a set of endpoints from outside.

use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tower::discover::{Change, Discover};

use super::endpoint::Endpoint;
use super::error::AdoptError;
use super::roster::{Roster, shrinks};
use super::service::checked;
use super::source::{Resolve, Source};
use crate::core::epoch::Epoch;
use crate::core::event::EventKind;
use crate::core::origin::Origin;
use crate::core::time;
use crate::shell::reporter::EventContext;
use crate::shell::set::Shared;

/// Inspects and controls one set of endpoints: shows how each stands, puts another list in force. Cheap to clone.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::endpoints::{Endpoints, EndpointsHandle, Snapshot, State};
/// use seawall::Error;
/// use std::convert::Infallible;
/// use tower::service_fn;
///
/// let search = Endpoints::builder("search")
///     .members(["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"])
///     .over(|_| Ok(service_fn(|query: u64| async move { Ok::<_, Error<Infallible>>(query) })))?;
/// let handle: EndpointsHandle = search.handle();
/// handle.adopt(["10.0.0.2:80", "10.0.0.3:80", "10.0.0.4:80"])?; // one went, one joined
/// assert!(handle.adopt(["10.0.0.4:80"]).is_err()); // a fault of the discovery, more likely than not
///
/// let all: Vec<Snapshot> = handle.endpoints();
/// assert_eq!((all[2].endpoint.name(), all[2].state), ("10.0.0.4:80", State::SlowStart));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct EndpointsHandle {
    shared: Arc<dyn Steered>,
}

/// How an endpoint stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// Which one.
    pub endpoint: Endpoint,
    /// Whether it is used.
    pub state: State,
    /// Calls in flight.
    pub in_flight: u32,
    /// Average latency of its answers, from the first time a call was pending, if one was.
    pub latency: Option<Duration>,
}

/// Whether an endpoint is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// It has its share of the calls.
    Active,
    /// It is new, or has returned from an ejection, and gets more and more calls.
    SlowStart,
    /// It was worse than its peers, and gets a call from time to time, to find out how it is.
    Ejected,
}

/// A source that says so often in a row that most endpoints are gone means it.
const MEANT: u32 = 3;
/// A discovery that says so for as long means it.
const MEANT_AFTER: Duration = Duration::from_secs(30);

/// How often the age of the last good list is shown.
const AGES: Duration = Duration::from_secs(1);

type Boxed<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// What a handle needs, whatever the endpoints' services are.
pub(super) trait Steered: Send + Sync {
    fn origin(&self) -> &Origin;
    fn endpoints(&self) -> Vec<Snapshot>;
    fn in_flight(&self) -> usize;
    fn adopt(&self, members: Vec<Endpoint>, anyway: bool) -> Result<(), AdoptError>;
    /// The last good list is so old; and why there is no better one, if it was asked for.
    fn source_age(&self, age: Duration, failed: Option<&str>);
    fn settled(&self) -> Boxed<'_>;
    fn drain(&self) -> Boxed<'_>;
}

impl<C: Send + Sync, K: Send + Sync, S: Send> Steered for Shared<Roster<C, K>, S> {
    fn origin(&self) -> &Origin {
        &self.reporter.origin
    }

    fn endpoints(&self) -> Vec<Snapshot> {
        let table = self.table();
        let all = table.plan.members.iter().zip(&table.plan.loads);
        let snapshot = |(endpoint, load): (&Endpoint, &Arc<super::load::Load>)| Snapshot {
            endpoint: endpoint.clone(),
            state: match (load.is_ejected(), table.plan.is_ramping(load)) {
                (true, _) => State::Ejected,
                (_, true) => State::SlowStart,
                _ => State::Active,
            },
            in_flight: load.in_flight(),
            latency: load.latency().map(Duration::from_nanos),
        };
        all.map(snapshot).collect()
    }

    fn in_flight(&self) -> usize {
        self.in_flight()
    }

    fn adopt(&self, members: Vec<Endpoint>, anyway: bool) -> Result<(), AdoptError> {
        let members = checked(self.origin(), members, Vec::new())?;
        if *self.table().plan.all == *members {
            return Ok(()); // as it is
        }
        // Of a subset more may be gone by chance: it is the list that counts.
        self.adopt(true, |present: &Roster<C, K>| {
            if !anyway {
                shrinks(&present.all, &members)?;
            }
            let common = Arc::clone(&present.common);
            Ok::<_, AdoptError>(Roster::new(common, members.clone(), Some(present)))
        })?;
        let table = self.table();
        table.plan.compare_first(table.plan.common.now());
        self.reporter.meter(|handles| self.set_levels(handles));
        let members = u32::try_from(table.plan.members.len()).unwrap_or(u32::MAX);
        let context = EventContext { key: None, seq: table.plan.version.get() };
        self.reporter.tell_now(context, EventKind::EndpointsAdopted { members });
        Ok(())
    }

    fn source_age(&self, age: Duration, failed: Option<&str>) {
        self.reporter.meter(|handles| handles.own.source_age.set(age.as_secs_f64()));
        if let Some(why) = failed {
            let why = Arc::from(why);
            let context = EventContext { key: Some(&why), seq: 0 };
            self.reporter.tell_now(context, EventKind::SourceFailed { age });
        }
    }

    fn settled(&self) -> Boxed<'_> {
        let before = self.table().plan.version.get().saturating_sub(1);
        Box::pin(self.settled(Epoch::new(before)))
    }

    fn drain(&self) -> Boxed<'_> {
        Box::pin(self.drain())
    }
}

impl EndpointsHandle {
    pub(super) fn new(shared: Arc<dyn Steered>) -> Self {
        Self { shared }
    }

    /// The kind and the name.
    pub fn origin(&self) -> &Origin {
        self.shared.origin()
    }

    /// The endpoints in force, and how each stands.
    pub fn endpoints(&self) -> Vec<Snapshot> {
        self.shared.endpoints()
    }

    /// The calls that were made and are not over, also to endpoints that are gone from the list.
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight()
    }

    /// Puts another list in force, at once for all clones. Calls in flight end where they are. Endpoints that are in
    /// both lists keep their service, with all that its layers know; that of one that is gone is dropped, where a clone
    /// has just used it with that clone's next call. The same list again changes nothing.
    ///
    /// # Errors
    ///
    /// The list is invalid, lacks more than half of the endpoints, or the service of a new one could not be made. Then
    /// the present one stays in force.
    pub fn adopt<E: Into<Endpoint>>(
        &self,
        members: impl IntoIterator<Item = E>,
    ) -> Result<(), AdoptError> {
        self.shared.adopt(members.into_iter().map(Into::into).collect(), false)
    }

    /// The same for a list that may lack any number of the endpoints.
    ///
    /// # Errors
    ///
    /// As for [`adopt`](Self::adopt), but for the number of endpoints.
    pub fn adopt_anyway<E: Into<Endpoint>>(
        &self,
        members: impl IntoIterator<Item = E>,
    ) -> Result<(), AdoptError> {
        self.shared.adopt(members.into_iter().map(Into::into).collect(), true)
    }

    /// Asks a [`Source`] for the list again and again, and adopts what it says. Never returns; drop it, or the task that
    /// it is spawned on, to end that.
    ///
    /// What the source gives is taken as [`adopt`](Self::adopt) takes it: an error, an empty list, or one that lacks more
    /// than half of the endpoints leaves the last good one in force, with an event
    /// [`SourceFailed`](crate::EventKind::SourceFailed) that says how old that is, and as its [key](crate::Event::key) why. A source
    /// that hangs has failed after its [time limit](Source::time_limit). If the source says three times in a
    /// row that more than half are gone, it is believed: all were replaced.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use seawall::endpoints::{Endpoints, Source};
    /// use seawall::Error;
    /// use std::convert::Infallible;
    /// use tower::service_fn;
    ///
    /// let source = Source::dns("localhost:8080");
    /// let search = Endpoints::builder("search")
    ///     .members(source.load().await?)
    ///     .over(|_| Ok(service_fn(|query: u64| async move { Ok::<_, Error<Infallible>>(query) })))?;
    /// let following = tokio::spawn({
    ///     let handle = search.handle();
    ///     async move { handle.follow(source).await }
    /// });
    /// // … until the client is not needed any more:
    /// following.abort();
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(()) }).unwrap();
    /// ```
    pub async fn follow<R: Resolve>(&self, source: Source<R>) {
        let (mut good, mut shrunk, mut asked) = (time::now(), 0, None);
        loop {
            self.aging(good, sleep(source.pause())).await;
            let answer = self.aging(good, source.ask(&mut asked)).await;
            let adopted = answer.and_then(|members| {
                let mut adopted = self.adopt(members.iter().cloned());
                shrunk = if is_shrunk(&adopted) { shrunk + 1 } else { 0 };
                if shrunk >= MEANT {
                    (adopted, shrunk) = (self.adopt_anyway(members), 0);
                }
                Ok(adopted?)
            });
            let failed = adopted.err().map(|error| {
                if !error.is::<AdoptError>() {
                    shrunk = 0; // not in a row
                }
                error.to_string()
            });
            if failed.is_none() {
                good = time::now();
            }
            self.source_age(good, failed.as_deref());
        }
    }

    /// What comes of a future, while the gauge shows that a list gets older.
    async fn aging<F: Future>(&self, good: Instant, future: F) -> F::Output {
        let mut future = pin!(future);
        loop {
            match timeout(AGES, future.as_mut()).await {
                Ok(output) => return output,
                Err(_) => self.source_age(good, None),
            }
        }
    }

    fn source_age(&self, good: Instant, failed: Option<&str>) {
        self.shared.source_age(time::now().saturating_duration_since(good), failed);
    }

    /// Follows a [`Discover`](https://docs.rs/tower/0.5/tower/discover/trait.Discover.html) of tower's that tells of endpoints which come and go, until it
    /// ends. A change that cannot be taken is taken with a later one, and gives an event
    /// [`SourceFailed`](crate::EventKind::SourceFailed). If more than half of the endpoints are gone for 30 seconds, the
    /// discovery is believed: all were replaced.
    ///
    /// # Errors
    ///
    /// That of the discovery, after what came before it was adopted. The last good list stays in force.
    pub async fn follow_discover<D>(&self, discover: D) -> Result<(), D::Error>
    where
        D: Discover<Service = Endpoint>,
        D::Key: Ord,
    {
        let (mut discover, mut known) = (pin!(discover), BTreeMap::new());
        let (mut good, mut shrunk_since) = (time::now(), None);
        loop {
            let first = poll_fn(|cx| discover.as_mut().poll_discover(cx));
            let since = shrunk_since.map(|since| time::now().saturating_duration_since(since));
            let left = since.map_or(Duration::MAX, |since| MEANT_AFTER.saturating_sub(since));
            let mut news = self.aging(good, timeout(left, first)).await.ok();
            let (mut has_changed, mut end) = (news.is_none(), None);
            while let Some(change) = news.take() {
                match change {
                    Some(Ok(Change::Insert(key, endpoint))) => drop(known.insert(key, endpoint)),
                    Some(Ok(Change::Remove(key))) => drop(known.remove(&key)),
                    Some(Err(error)) => end = Some(Err(error)),
                    None => end = Some(Ok(())),
                }
                if end.is_some() {
                    break; // it is not asked again
                }
                has_changed = true;
                // What comes together is adopted together.
                let waits = &mut Context::from_waker(Waker::noop());
                if let Poll::Ready(more) = discover.as_mut().poll_discover(waits) {
                    news = Some(more);
                }
            }
            if has_changed {
                let (members, now) = (|| known.values().cloned(), time::now());
                let mut adopted = self.adopt(members());
                if is_shrunk(&adopted) {
                    let since = *shrunk_since.get_or_insert(now);
                    if now.saturating_duration_since(since) >= MEANT_AFTER {
                        adopted = self.adopt_anyway(members());
                        // If it could not be: from the start.
                        shrunk_since = adopted.is_err().then_some(now);
                    }
                } else {
                    shrunk_since = None;
                }
                if adopted.is_ok() {
                    good = now;
                }
                let failed = adopted.err().map(|error| error.to_string());
                self.source_age(good, failed.as_deref());
            }
            if let Some(end) = end {
                if end.is_err() {
                    self.source_age(good, Some("the discovery failed"));
                }
                return end;
            }
        }
    }

    /// Returns when no call is in flight that was made before the list in force was adopted: what is gone from it may be
    /// stopped. A call is in flight until its answer is there (not the end of its body), or until its future is dropped.
    pub async fn settled(&self) {
        self.shared.settled().await;
    }

    /// Rejects all further calls, for good, and returns when no call is in flight. May be dropped and asked again;
    /// calls are rejected all the same.
    pub async fn drain(&self) {
        self.shared.drain().await;
    }
}

const fn is_shrunk(adopted: &Result<(), AdoptError>) -> bool {
    matches!(adopted, Err(AdoptError::Shrunk { .. }))
}

impl fmt::Debug for EndpointsHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointsHandle").field("origin", self.origin()).finish_non_exhaustive()
    }
}
