//! Building an owner's guard, and putting it around services.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::handle::OwnsHandle;
use super::policy::{Guard, Owner};
use super::standing::Standing;
use crate::core::config::{ConfigError, ConfigErrors};
use crate::core::event::{Observe, Observers};
use crate::core::origin::Origin;
use crate::core::request::NoPropagation;
use crate::core::sync::atomic::AtomicUsize;
use crate::shards::key::Key;
use crate::shards::machine::MoveRecord;
use crate::shards::map::Map;
use crate::shell::gate::{GateLayer, Unclassified};
use crate::shell::live::Live;
use crate::shell::reporter::Reporter;
use crate::shell::waiters::Wakers;

/// The kind of this layer: the metric label `layer`.
use crate::core::hint::OWNS as LAYER;
/// How long a write waits while its key moves.
const MAX_HOLD: Duration = Duration::from_secs(5);
/// How many of them.
const MOST_HELD: usize = 1_000;
/// The most that can be asked for.
const LIMIT_OF_HELD: usize = 1_000_000;

/// The owner's side of a map: refuses keys that are not its own, with a [hint](super::super::Hint) whose they are, and holds writes
/// whose keys [move](super::super::Move) to somebody else.
///
/// Routers may go by an old map; an owner that checks makes that harmless. Put it into the server of each member. Over HTTP
/// a refusal is `421 Misdirected Request`, over gRPC `FAILED_PRECONDITION`.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::shards::{Key, Map, OwnsLayer};
/// use seawall::{Error, Reason};
/// use std::convert::Infallible;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// let map = Map::directory(7, ["orders-0", "orders-1"], [("acme", "orders-1")])?;
/// let owns = OwnsLayer::builder("orders", "orders-0").key(|tenant: &&str| Key::from(*tenant)).map(map).build()?;
/// let server = ServiceBuilder::new()
///     .layer(owns)
///     .map_err(Error::Inner)
///     .service(service_fn(|_: &str| async { Ok::<_, Infallible>("written") }));
///
/// let Err(Error::Rejected(why)) = server.oneshot("acme").await else { panic!("it is not ours") };
/// assert_eq!(why.reason(), Reason::NotOwner);
/// assert_eq!(why.hint().map(ToString::to_string).as_deref(), Some("orders-1; epoch=7"));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub type OwnsLayer<K = (), W = (), P = NoPropagation> = GateLayer<Guard<K, W>, Unclassified, P>;

impl OwnsLayer {
    /// Starts to build the guard of the member `owner`. The `name` goes into errors, events and metrics.
    pub fn builder(name: impl Into<Arc<str>>, owner: impl Into<Arc<str>>) -> OwnsBuilder {
        let settings = Settings {
            name: name.into(),
            owner: owner.into(),
            moving: None,
            closed: false,
            max_hold: MAX_HOLD,
            most_held: MOST_HELD,
            observers: Observers::default(),
        };
        OwnsBuilder { settings, key: (), is_write: (), map: (), propagate: NoPropagation }
    }
}

impl<K, W, P> OwnsLayer<K, W, P> {
    /// Inspects and controls it: shows the map, adopts another, holds writes for a move.
    pub fn handle(&self) -> OwnsHandle {
        OwnsHandle::new(Arc::clone(&self.policy().owner))
    }
}

/// Builds an [`OwnsLayer`]: first the [key](Self::key) and the [map](Self::map).
#[must_use = "call `build`"]
#[derive(Clone)]
pub struct OwnsBuilder<K = (), W = (), M = (), P = NoPropagation> {
    settings: Settings,
    key: K,
    is_write: W,
    map: M,
    propagate: P,
}

#[derive(Clone)]
struct Settings {
    name: Arc<str>,
    owner: Arc<str>,
    moving: Option<(Map, MoveRecord)>,
    closed: bool,
    max_hold: Duration,
    most_held: usize,
    observers: Observers,
}

/// Every request is a write.
type AllWrite<Req> = fn(&Req) -> bool;

impl<M, P> OwnsBuilder<(), (), M, P> {
    /// What decides whose a request is: as in the [router](super::super::Builder::key).
    pub fn key<Req, K>(self, key: K) -> OwnsBuilder<K, AllWrite<Req>, M, P>
    where
        K: for<'r> Fn(&'r Req) -> Key<'r>,
    {
        let Self { settings, map, propagate, .. } = self;
        OwnsBuilder { settings, key, is_write: |_| true, map, propagate }
    }
}

impl<K, W, M, P> OwnsBuilder<K, W, M, P> {
    /// Which requests write. Others are answered while their key moves. By default all do.
    ///
    /// What reads may be answered from the data as it was before the move until this owner has [heard](OwnsHandle::heard) of the
    /// commit, though the new owner may have confirmed writes by then. Where that is too old, let it count as a write.
    pub fn writes<Req, W2>(self, is_write: W2) -> OwnsBuilder<K, W2, M, P>
    where
        K: for<'r> Fn(&'r Req) -> Key<'r>,
        W2: Fn(&Req) -> bool,
    {
        let Self { settings, key, map, propagate, .. } = self;
        OwnsBuilder { settings, key, is_write, map, propagate }
    }

    /// Whose each key is, at first: what the directory says.
    pub fn map(self, map: Map) -> OwnsBuilder<K, W, Map, P> {
        let Self { settings, key, is_write, propagate, .. } = self;
        OwnsBuilder { settings, key, is_write, map, propagate }
    }

    /// Begins with a move to the map `next`, of which the directory says `read`, as an owner does that starts again. If that is
    /// [`Moving`](MoveRecord::Moving) it holds from its first call on, as after [`hold`](OwnsHandle::hold); if it is
    /// [`Committed`](MoveRecord::Committed) it begins by the new map.
    ///
    /// ```
    /// use seawall::shards::{Key, Map, MoveRecord, OwnsLayer};
    ///
    /// // As it is read from the directory when the process starts.
    /// let (map, next) = (Map::hashed(7, ["a", "b"])?, Map::hashed(8, ["a", "b", "c"])?);
    /// let owns = OwnsLayer::builder("orders", "a")
    ///     .key(|order: &u64| Key::from(*order))
    ///     .map(map)
    ///     .moving(next, MoveRecord::Moving)
    ///     .build()?;
    /// assert_eq!(owns.handle().holding(), Some(8.into()));
    /// # Ok::<(), seawall::ConfigErrors>(())
    /// ```
    pub fn moving(mut self, next: Map, read: MoveRecord) -> Self {
        self.settings.moving = Some((next, read));
        self
    }

    /// Begins closed: all calls wait, reads too, until [`open`](OwnsHandle::open) says what the directory says. For an owner that
    /// serves before it has read that, whatever map it has at hand.
    pub const fn closed(mut self) -> Self {
        self.settings.closed = true;
        self
    }

    /// How long a write waits while its key moves: longer than zero. 5 s by default.
    pub const fn max_hold(mut self, max_hold: Duration) -> Self {
        self.settings.max_hold = max_hold;
        self
    }

    /// How many writes wait while their keys move: up to 1,000,000; 1,000 by default. Further ones are refused with
    /// [`Moving`](crate::Reason::Moving).
    pub const fn most_held(mut self, most_held: usize) -> Self {
        self.settings.most_held = most_held;
        self
    }

    /// Reads the caller's [epoch](crate::propagate::CallContext::epoch), which a refusal then names beside its own.
    pub fn propagate<P2>(self, propagate: P2) -> OwnsBuilder<K, W, M, P2> {
        let Self { settings, key, is_write, map, .. } = self;
        OwnsBuilder { settings, key, is_write, map, propagate }
    }

    /// Reports events to `observer`. May be called more than once.
    pub fn observe(mut self, observer: impl Observe + 'static) -> Self {
        self.settings.observers.add(observer);
        self
    }
}

impl<K, W, P> OwnsBuilder<K, W, Map, P> {
    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings. That the owner is no member of the map is not: it owns nothing then.
    pub fn build(self) -> Result<OwnsLayer<K, W, P>, ConfigErrors> {
        let Settings { name, owner, moving, closed, max_hold, most_held, observers } =
            self.settings;
        let origin = Origin::new(LAYER, name);
        let mut problems = Vec::new();
        if owner.is_empty() {
            problems.push(ConfigError::new("owner", &owner, "the name of a member"));
        }
        if max_hold.is_zero() {
            problems.push(ConfigError::new("max_hold", max_hold, "longer than zero"));
        }
        if most_held > LIMIT_OF_HELD {
            let accepted = format!("0 to {LIMIT_OF_HELD}");
            problems.push(ConfigError::new("most_held", most_held, accepted));
        }
        ConfigErrors::none_of(problems).map_err(|wrong| wrong.of_policy(&origin))?;
        let owner = Owner {
            reporter: Reporter::new(origin, observers),
            me: owner,
            live: Live::new(Standing::new(self.map, moving, closed)),
            version: AtomicUsize::new(0),
            most_held,
            max_hold,
            held: AtomicUsize::new(0),
            wakers: Wakers::default(),
            changed: Notify::new(),
        };
        let guard = Guard { owner: Arc::new(owner), key: self.key, is_write: self.is_write };
        Ok(OwnsLayer::make(guard, Unclassified, self.propagate))
    }
}

impl<K, W, M, P> std::fmt::Debug for OwnsBuilder<K, W, M, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OwnsBuilder")
            .field("name", &self.settings.name)
            .field("owner", &self.settings.owner)
            .finish_non_exhaustive()
    }
}
