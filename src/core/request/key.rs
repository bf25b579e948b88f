//! Whose a request is, for layers that keep something for each key.

use std::borrow::Cow;

/// Finds the key of a request: the host it goes to, the tenant it comes from.
///
/// A closure `Fn(&Req) -> Cow<'_, str>` is one, and almost always enough. A type of your own can be
/// named, and need not allocate where the key has to be put together.
///
/// ```
/// use seawall::keyed::ExtractKey;
/// use seawall::circuit_breaker::CircuitBreakerLayer;
///
/// struct Query { shard: u8, primary: bool }
///
/// /// One key for each of the replicas of a database.
/// struct ByReplica;
///
/// impl ExtractKey<Query> for ByReplica {
///     fn with_key<T>(&self, query: &Query, read: impl FnOnce(&str) -> T) -> T {
///         let digits = [b'a' + query.shard % 26, if query.primary { b'1' } else { b'2' }];
///         read(std::str::from_utf8(&digits).unwrap_or_default())
///     }
/// }
///
/// let layer = CircuitBreakerLayer::builder("replicas").keyed_by(ByReplica).build()?;
/// # drop(layer);
/// # Ok::<(), seawall::ConfigErrors>(())
/// ```
pub trait ExtractKey<Req> {
    /// Hands the key of `request` to `read`, once, and returns what it returns.
    fn with_key<T>(&self, request: &Req, read: impl FnOnce(&str) -> T) -> T;
}

impl<Req, F> ExtractKey<Req> for F
where
    F: Fn(&Req) -> Cow<'_, str>,
{
    #[inline]
    fn with_key<T>(&self, request: &Req, read: impl FnOnce(&str) -> T) -> T {
        read(&self(request))
    }
}
