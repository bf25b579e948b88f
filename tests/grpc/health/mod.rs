//! grpc.health.v1, beside tonic's own.

mod asking;
mod hostile;
mod telling;

use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, Stream};
use http_body_util::Full;
use seawall::health::{HealthLayer, HealthUpdate, Status, Watch};
use tokio::sync::watch;
use tonic::body::Body;
use tonic::transport::Channel;
use tower::ServiceExt;
use tower::util::MapRequest;

/// Long for a loopback, and no more than a way out of a test that hangs.
const PATIENCE: Duration = Duration::from_secs(60);

type Asked = http::Request<Full<Bytes>>;

/// A channel that sends our requests.
fn asking(channel: Channel) -> MapRequest<Channel, fn(Asked) -> http::Request<Body>> {
    channel.map_request(|request| request.map(Body::new))
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it hangs")
}

async fn becomes(watch: &mut Watch, status: Status) {
    in_time(async {
        while watch.status() != status {
            watch.changed().await.expect("the check has ended");
        }
    })
    .await;
}

/// A dependency that says how it is, by hand.
struct Spoken {
    says: watch::Sender<HealthUpdate>,
    layer: HealthLayer,
}

impl Spoken {
    /// Up, and heard to be.
    async fn new(name: &str) -> Self {
        let says = watch::Sender::new(HealthUpdate::Up);
        let heard = says.clone();
        let layer = HealthLayer::builder(name).initial(Status::Down);
        let layer = layer.subscribe(move || words(heard.subscribe())).build().unwrap();
        becomes(&mut layer.handle().watch(), Status::Up).await;
        Self { says, layer }
    }

    /// Returns once it has been heard.
    async fn say(&self, told: HealthUpdate, status: Status) {
        let mut watch = self.layer.handle().watch();
        self.says.send_replace(told);
        becomes(&mut watch, status).await;
    }
}

fn words(mut heard: watch::Receiver<HealthUpdate>) -> impl Stream<Item = HealthUpdate> {
    heard.mark_changed();
    stream::unfold(heard, |mut heard| async {
        heard.changed().await.ok()?;
        let told = heard.borrow_and_update().clone();
        Some((told, heard))
    })
}
