//! Where maps come from, time and again.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use futures::stream::unfold;
use tokio::time::sleep;
use tower::BoxError;

use super::map::Map;
use crate::shell::locked::Locked;

/// How often it is asked, by default.
const INTERVAL: Duration = Duration::from_secs(5);
/// Intervals are longer or shorter by up to a tenth, so that routers do not ask all at once.
const JITTER: f64 = 0.1;

type Load = dyn Fn() -> Result<Map, BoxError> + Send + Sync;

/// A file, or whatever else says which map is in force, that is asked time and again: for [`ShardsHandle::follow`](super::ShardsHandle::follow).
///
/// With the feature `serde` a [`Map`] is read from any format that serde knows. This is all there can be in it:
///
/// ```
/// use seawall::shards::Map;
///
/// let hashed: Map = serde_json::from_str(r#"{
///     "rule": "hashed",
///     "epoch": 7,
///     "members": [{"name": "orders-0"}, {"name": "orders-1", "weight": 2}],
///     "fill": "rendezvous",
///     "pinned": [{"key": "acme", "owner": "orders-1"}, {"key": 4711, "owner": "orders-0"}],
///     "slots": [{"slot": 17, "owner": "orders-0"}]
/// }"#)?; // `fill` is "fine_rendezvous" or "maglev" too; `slots` are those that a plan has moved
/// let ranged: Map = serde_json::from_str(r#"{
///     "rule": "ranged",
///     "epoch": 7,
///     "ranges": [{"to": "m", "owner": "names-a-l"}, {"from": "m", "owner": "names-m-z"}]
/// }"#)?; // `from` is in it, `to` is not; numbers are keys too
/// let geo: Map = serde_json::from_str(r#"{
///     "rule": "geo",
///     "epoch": 7,
///     "members": [{"name": "eu-0", "zone": "eu"}, {"name": "us-0", "zone": "us"}],
///     "regions": [{"name": "de", "zones": ["eu"], "resident": true}, {"zones": ["us", "eu"]}]
/// }"#)?; // the region without a name is that of all other keys
/// let shuffled: Map = serde_json::from_str(r#"{
///     "rule": "shuffled",
///     "epoch": 7,
///     "members": [{"name": "w-0"}, {"name": "w-1"}, {"name": "w-2"}],
///     "each": 2,
///     "secret": "000102030405060708090a0b0c0d0e0f"
/// }"#)?;
/// assert_eq!(hashed.owner("acme").name(), "orders-1");
/// assert_eq!(ranged.owner("lovelace").name(), "names-a-l");
/// # drop((geo, shuffled));
/// # Ok::<(), serde_json::Error>(())
/// ```
///
/// Anything else in it, and everything that is wrong with a map, is an error that says so. Write the next one beside the file, and rename
/// it: a file that is half written is not taken, but for that its format has to have an end, as JSON has and TOML has not.
#[must_use = "load it, or follow it"]
pub struct MapSource {
    load: Arc<Load>,
    interval: Duration,
}

impl MapSource {
    /// A function that says which map is in force: it reads it from a directory. It may block: it is asked on a thread for such
    /// things, every 5 s.
    pub fn new<E: Into<BoxError>>(
        load: impl Fn() -> Result<Map, E> + Send + Sync + 'static,
    ) -> Self {
        Self { load: Arc::new(move || load().map_err(Into::into)), interval: INTERVAL }
    }

    /// A file that is read every 5 s. What is in it is parsed again when it has changed.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use seawall::shards::MapSource;
    ///
    /// let path = std::env::temp_dir().join("seawall-doc-map.json");
    /// let source = MapSource::file(&path, |text| serde_json::from_str(text));
    /// std::fs::write(&path, r#"{"rule": "hashed", "epoch": 7, "members": [{"name": "a"}, {"name": "b"}]}"#)?;
    /// assert_eq!(source.load().await?.epoch().get(), 7);
    /// std::fs::write(&path, r#"{"rule": "hashed", "epoch": 8, "members": [{"na"#)?; // half written
    /// assert!(source.load().await.is_err());
    /// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(()) }).unwrap();
    /// ```
    pub fn file<E: Into<BoxError>>(
        path: impl Into<PathBuf>,
        parse: impl Fn(&str) -> Result<Map, E> + Send + Sync + 'static,
    ) -> Self {
        let (path, last) = (path.into(), Locked::<Option<(String, Map)>>::default());
        Self::new(move || -> Result<Map, BoxError> {
            let text = std::fs::read_to_string(&path)?;
            let known = last.with(|last| {
                last.as_ref().filter(|(before, _)| *before == text).map(|(_, map)| map.clone())
            });
            if let Some(map) = known {
                return Ok(map);
            }
            let map = parse(&text).map_err(Into::into)?;
            let before = last.with(|last| last.replace((text, map.clone())));
            drop(before); // after the unlock
            Ok(map)
        })
    }

    /// How often it is asked: up to a tenth more or less, and at least a millisecond apart.
    pub const fn every(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Asks it once, on a thread for what blocks.
    ///
    /// # Errors
    ///
    /// That of the source, or it panicked.
    pub async fn load(&self) -> Result<Map, BoxError> {
        let load = Arc::clone(&self.load);
        tokio::task::spawn_blocking(move || load()).await?
    }

    /// What it says, again and again, without an end: at once, and then each time that the interval is over.
    pub fn maps(self) -> impl Stream<Item = Result<Map, BoxError>> + Send {
        unfold((self, false), |(source, is_again)| async move {
            if is_again {
                sleep(source.pause()).await;
            }
            Some((source.load().await, (source, true)))
        })
    }

    /// Until it is asked again.
    fn pause(&self) -> Duration {
        let factor = 1.0 + JITTER * (2.0 * fastrand::f64() - 1.0);
        let seconds = self.interval.as_secs_f64() * factor;
        let pause = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        pause.max(Duration::from_millis(1))
    }
}

impl fmt::Debug for MapSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapSource").field("interval", &self.interval).finish_non_exhaustive()
    }
}
