//! What time it is, for those who wait: no law of the layers asks here.

use tokio::time::Instant;

#[expect(clippy::disallowed_methods, reason = "no law reads it")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
