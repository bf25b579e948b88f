//! A stack whose innermost service still fails with an error of its own.

use std::io;
use std::time::Duration;

use seawall::timeout::TimeoutLayer;
use tower::{ServiceBuilder, service_fn};

fn main() {
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new("payments", Duration::from_secs(1)))
        .service(service_fn(|amount: u32| async move { Ok::<_, io::Error>(amount) }));
    let _ = seawall::check_service(service);
}
