//! What time it is, for those who wait: no layer asks here.

use tokio::time::Instant;

#[expect(clippy::disallowed_methods, reason = "no layer reads it")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
