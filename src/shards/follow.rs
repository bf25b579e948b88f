//! A router that goes by the maps that somebody else makes.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::{Stream, StreamExt};
use tokio::time::timeout;
use tower::discover::{Change, Discover};

use super::error::AdoptError;
use super::handle::ShardsHandle;
use super::map::Map;
use super::member::Member;
use crate::core::config::ConfigErrors;
use crate::core::epoch::Epoch;
use crate::core::time;

/// While nothing is said, the age of the last good map is told so often.
const TELL_AGE: Duration = Duration::from_secs(5);

/// When the last good map came.
struct Age<'a> {
    handle: &'a ShardsHandle,
    good: tokio::time::Instant,
}

impl<'a> Age<'a> {
    fn new(handle: &'a ShardsHandle) -> Self {
        Self { handle, good: time::now() }
    }

    /// What came is in force, or not.
    fn came(&mut self, is_good: bool) {
        if is_good {
            self.good = time::now();
        }
        self.tell(!is_good);
    }

    fn tell(&self, has_failed: bool) {
        let age = time::now().saturating_duration_since(self.good);
        self.handle.shared().source_age(age, has_failed);
    }
}

impl ShardsHandle {
    /// Adopts the maps that come, until they end. To end it before that, drop it or the task that it is spawned on.
    ///
    /// They are taken as [`adopt`](Self::adopt) takes them. The map in force again is a good sign of the source, and changes nothing. An
    /// error, a map that is earlier or another one of the same epoch, one that lacks more than half of the members, or of which a
    /// member's service cannot be made: the last good map stays, and an event [`SourceFailed`](crate::EventKind::SourceFailed) says how old
    /// its word is, as does the metric `seawall_shards_source_age_seconds`. An error does not end it, so that a source may recover.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use seawall::shards::{Key, MapSource, Shards};
    /// use seawall::Error;
    /// use std::convert::Infallible;
    /// use tower::service_fn;
    ///
    /// # let path = std::env::temp_dir().join("seawall-doc-follow.json");
    /// # std::fs::write(&path, r#"{"rule": "hashed", "epoch": 7, "members": [{"name": "a"}]}"#)?;
    /// let source = MapSource::file(path, |text| serde_json::from_str(text));
    /// let orders = Shards::builder("orders")
    ///     .key(|order: &u64| Key::from(*order))
    ///     .map(source.load().await?)
    ///     .over(|_| Ok(service_fn(|order: u64| async move { Ok::<_, Error<Infallible>>(order) })))?;
    /// let following = tokio::spawn({
    ///     let handle = orders.handle();
    ///     async move { handle.follow(source.maps()).await }
    /// });
    /// // … until the client is not needed any more:
    /// following.abort();
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(()) }).unwrap();
    /// ```
    pub async fn follow<E>(&self, maps: impl Stream<Item = Result<Map, E>>) {
        let (mut maps, mut age) = (pin!(maps), Age::new(self));
        loop {
            match timeout(TELL_AGE, maps.next()).await {
                Ok(Some(map)) => age.came(map.is_ok_and(|map| self.takes(map).is_ok())),
                Ok(None) => return,
                Err(_) => age.tell(false),
            }
        }
    }

    /// Follows a [`Discover`](https://docs.rs/tower/0.5/tower/discover/trait.Discover.html) of tower's that tells of members which come and go,
    /// until it ends. `map` makes a map of those there are, of the epoch after the present one.
    ///
    /// What comes together is adopted together, and what cannot be adopted comes with the next change, as for [`follow`](Self::follow).
    ///
    /// A discovery has no epochs, so each router counts its own: two that hear of changes in another order go by other maps of the same epoch.
    /// That is good enough for caches. Who owns data takes its maps from one directory.
    ///
    /// # Errors
    ///
    /// That of the discovery, after what came before it was adopted. The last good map stays in force.
    pub async fn follow_discover<D>(
        &self,
        discover: D,
        map: impl Fn(Epoch, Vec<Member>) -> Result<Map, ConfigErrors>,
    ) -> Result<(), D::Error>
    where
        D: Discover<Service = Member>,
        D::Key: Ord,
    {
        let (mut discover, mut known) = (pin!(discover), BTreeMap::new());
        let mut age = Age::new(self);
        loop {
            let Ok(first) =
                timeout(TELL_AGE, poll_fn(|cx| discover.as_mut().poll_discover(cx))).await
            else {
                age.tell(false);
                continue;
            };
            let (mut news, mut has_changed, mut end) = (Some(first), false, None);
            while let Some(change) = news.take() {
                match change {
                    Some(Ok(Change::Insert(key, member))) => drop(known.insert(key, member)),
                    Some(Ok(Change::Remove(key))) => drop(known.remove(&key)),
                    Some(Err(error)) => end = Some(Err(error)),
                    None => end = Some(Ok(())),
                }
                if end.is_some() {
                    break; // it is not asked again
                }
                has_changed = true;
                let waits = &mut Context::from_waker(Waker::noop());
                if let Poll::Ready(more) = discover.as_mut().poll_discover(waits) {
                    news = Some(more);
                }
            }
            if has_changed {
                let map = map(self.epoch().next(), known.values().cloned().collect());
                age.came(map.is_ok_and(|map| self.takes(map).is_ok()));
            }
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// Adopts a map, unless it is in force already.
    fn takes(&self, map: Map) -> Result<(), AdoptError> {
        if self.map().is_same(&map) { Ok(()) } else { self.adopt(map) }
    }
}
