//! Where lists of endpoints come from, time and again.

use std::fmt;
use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;
use tower::BoxError;

use super::endpoint::Endpoint;

/// Says which endpoints there are. It may block: it is asked on a thread for such things.
///
/// A closure `Fn() -> Result<Vec<Endpoint>, BoxError>` is one.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::endpoints::{Endpoint, Resolve, Source};
/// use tower::BoxError;
///
/// /// Addresses in a variable of the environment, with commas between them.
/// struct Variable(&'static str);
///
/// impl Resolve for Variable {
///     fn resolve(&self) -> Result<Vec<Endpoint>, BoxError> {
///         let list = std::env::var(self.0).unwrap_or_else(|_| "10.0.0.1:80,10.0.0.2:80".into());
///         Ok(list.split(',').map(Endpoint::from).collect())
///     }
/// }
///
/// let source = Source::new(Variable("SEARCH_ENDPOINTS"));
/// assert_eq!(source.load().await?.len(), 2);
/// # Ok::<(), BoxError>(()) }).unwrap();
/// ```
pub trait Resolve: Send + Sync + 'static {
    /// The endpoints there are now.
    ///
    /// # Errors
    ///
    /// They are not known. The last ones stay in force.
    fn resolve(&self) -> Result<Vec<Endpoint>, BoxError>;
}

impl<F> Resolve for F
where
    F: Fn() -> Result<Vec<Endpoint>, BoxError> + Send + Sync + 'static,
{
    fn resolve(&self) -> Result<Vec<Endpoint>, BoxError> {
        self()
    }
}

/// A [`Resolve`] that is asked time and again, for [`EndpointsHandle::follow`](super::EndpointsHandle::follow).
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::endpoints::Source;
///
/// let path = std::env::temp_dir().join("seawall-doc-endpoints");
/// std::fs::write(&path, "# search\n10.0.0.1:80\n10.0.0.2:80 weight=4 zone=eu-1a name=large\n")?;
/// let endpoints = Source::file(&path).load().await?;
/// assert_eq!((endpoints[1].name(), endpoints[1].address()), ("large", "10.0.0.2:80"));
///
/// std::fs::write(&path, "10.0.0.1:80\n10.0.0")?; // half written
/// assert!(Source::file(&path).load().await.is_err());
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(()) }).unwrap();
/// ```
#[must_use = "load it, or follow it"]
pub struct Source<R = Box<dyn Resolve>> {
    resolve: Arc<R>,
    interval: Duration,
    time_limit: Duration,
}

/// A source that is being asked.
pub(super) type Asked = JoinHandle<Result<Vec<Endpoint>, BoxError>>;

/// How long a source may take.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// Between two look-ups of a name. What the system's resolver knows of lifetimes it does not say.
const DNS_INTERVAL: Duration = Duration::from_secs(30);
/// Between two reads of a file.
const FILE_INTERVAL: Duration = Duration::from_secs(5);
/// Intervals are longer or shorter by up to a tenth, so that clients do not ask all at once.
const JITTER: f64 = 0.1;

impl Source {
    /// The addresses of a name, `host:port`, by the resolver of the system, every 30 s.
    pub fn dns(host: impl Into<String>) -> Self {
        let host = host.into();
        let resolve = move || -> Result<Vec<Endpoint>, BoxError> {
            let mut addresses: Vec<_> =
                host.to_socket_addrs()?.map(|address| Endpoint::new(address.to_string())).collect();
            addresses.sort_unstable_by(|one, other| one.name().cmp(other.name()));
            addresses.dedup();
            Ok(addresses)
        };
        Source::boxed(resolve, DNS_INTERVAL)
    }

    /// The lines of a file, every 5 s: an address each, then `name=`, `weight=` and `zone=` as there is need. Blank lines
    /// and what follows a `#` do not count. A file that does not end with the end of a line is half written, and an error.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let resolve = move || parse(&std::fs::read_to_string(&path)?);
        Source::boxed(resolve, FILE_INTERVAL)
    }

    fn boxed(resolve: impl Resolve, interval: Duration) -> Self {
        Self { resolve: Arc::new(Box::new(resolve)), interval, time_limit: TIME_LIMIT }
    }
}

impl<R: Resolve> Source<R> {
    /// A source of your own, which is asked every 30 s.
    pub fn new(resolve: R) -> Self {
        Self { resolve: Arc::new(resolve), interval: DNS_INTERVAL, time_limit: TIME_LIMIT }
    }

    /// How often it is asked: up to a tenth more or less, and at least a millisecond apart.
    pub fn every(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// How long it may take: 10 s by default. What takes longer has failed; its thread goes on, and it is not asked again
    /// before that has answered.
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Asks it once, on a thread for what blocks.
    ///
    /// # Errors
    ///
    /// That of the source, or it panicked, or took longer than its [time limit](Self::time_limit).
    pub async fn load(&self) -> Result<Vec<Endpoint>, BoxError> {
        self.ask(&mut None).await
    }

    /// The same, or waits again for the answer that was not there in time before.
    pub(super) async fn ask(&self, asked: &mut Option<Asked>) -> Result<Vec<Endpoint>, BoxError> {
        let resolve = || {
            let resolve = Arc::clone(&self.resolve);
            tokio::task::spawn_blocking(move || resolve.resolve())
        };
        let answer = timeout(self.time_limit, asked.get_or_insert_with(resolve)).await;
        let answer = answer.map_err(|_| format!("no answer within {:?}", self.time_limit))?;
        *asked = None;
        answer?
    }

    /// Until it is asked again.
    pub(super) fn pause(&self) -> Duration {
        let factor = 1.0 + JITTER * (2.0 * fastrand::f64() - 1.0);
        let seconds = self.interval.as_secs_f64() * factor;
        let pause = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        pause.max(Duration::from_millis(1))
    }
}

impl<R> fmt::Debug for Source<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("interval", &self.interval).finish_non_exhaustive()
    }
}

impl Resolve for Box<dyn Resolve> {
    fn resolve(&self) -> Result<Vec<Endpoint>, BoxError> {
        (**self).resolve()
    }
}

fn parse(text: &str) -> Result<Vec<Endpoint>, BoxError> {
    if !text.ends_with('\n') {
        return Err("the last line has no end: the file is empty, or half written".into());
    }
    let mut endpoints = Vec::new();
    for (nth, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(address) = words.next() else { continue };
        let wrong = |word: &str| -> BoxError {
            format!("line {}: {word:?}: name=…, weight=1 to 100, zone=…", nth + 1).into()
        };
        let (mut name, mut weight, mut zone) = (address, 1, None);
        for word in words {
            match word.split_once('=') {
                Some(("name", value)) => name = value,
                Some(("weight", value)) => weight = value.parse().map_err(|_| wrong(word))?,
                Some(("zone", value)) => zone = Some(value),
                _ => return Err(wrong(word)),
            }
        }
        let endpoint = Endpoint::named(name, address).weight(weight);
        endpoints.push(match zone {
            Some(zone) => endpoint.zone(zone),
            None => endpoint,
        });
    }
    Ok(endpoints)
}
