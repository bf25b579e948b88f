//! Callers who do not wait for one another: calls come when they come, however the last one fared.
//! (A load that waits for answers before it asks again goes easy on a service that hangs, and shows
//! a better picture of it than any real crowd would.)

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use http_body_util::{BodyExt, Empty};
use hyper::{StatusCode, Uri};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::now;
use super::script::Tempo;
use super::tally::{Sample, Tally};

/// Calls a second, of each caller.
pub(crate) const RATE: f64 = 200.0;
/// An answer that comes later than this is worthless.
const PATIENCE: Duration = Duration::from_secs(1);
/// The calls come at the same random moments in every show.
const SEED: u64 = 11;

/// Who asks at one address.
#[derive(Clone)]
pub(crate) struct Caller {
    client: Client<HttpConnector, Empty<Bytes>>,
    target: Uri,
    patience: Duration,
    tally: Arc<Tally>,
}

impl Caller {
    pub(crate) fn of(address: SocketAddr, tempo: Tempo) -> Result<Self, String> {
        let target = format!("http://{address}/");
        let target = target.parse().map_err(|why| format!("{target}: {why}"))?;
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client =
            Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
        let tally = Arc::new(Tally::at(tempo));
        Ok(Self { client, target, patience: tempo.time(PATIENCE), tally })
    }

    /// An answer that comes later than this is worthless.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    pub(crate) fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }

    /// Asks once, `at` so long after the start of the show.
    async fn ask(self, at: Duration) {
        let sent = now();
        self.tally.sent();
        let answered = timeout(self.patience, async {
            let response = self.client.get(self.target).await.ok()?;
            let status = response.status();
            response.into_body().collect().await.ok()?;
            Some(status)
        });
        let good = matches!(answered.await, Ok(Some(StatusCode::OK)));
        self.tally.ended(Sample { at, took: now() - sent, good });
    }
}

/// Puts the same calls on all, from `start` on, for so long.
pub(crate) async fn put_on<const N: usize>(
    callers: [Caller; N],
    start: Instant,
    duration: Duration,
) {
    let mut calls = JoinSet::new();
    for at in arrivals(duration) {
        sleep_until(start + at).await;
        for caller in &callers {
            calls.spawn(caller.clone().ask(at));
        }
        while calls.try_join_next().is_some() {}
    }
    calls.join_all().await;
}

/// The moments of a Poisson process.
fn arrivals(duration: Duration) -> impl Iterator<Item = Duration> {
    let mut rng = Rng::with_seed(SEED);
    let mut at = 0.0;
    let end = duration.as_secs_f64();
    std::iter::from_fn(move || {
        at -= (1.0 - rng.f64()).ln() / RATE; // exponential gaps
        (at < end).then(|| Duration::from_secs_f64(at))
    })
}
