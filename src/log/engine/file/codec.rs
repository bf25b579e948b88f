//! How an event becomes bytes.

use std::panic::{AssertUnwindSafe, catch_unwind};

use tower::BoxError;

/// How events are written into a file, and read from it.
///
/// A pair of functions is one. Events stay for ever: what is written today must be readable by the code of next year.
///
/// ```
/// use seawall::log::Codec;
/// use tower::BoxError;
///
/// let numbers = (
///     |number: &u64| Ok::<_, BoxError>(number.to_le_bytes().to_vec()),
///     |bytes: &[u8]| Ok::<_, BoxError>(u64::from_le_bytes(bytes.try_into()?)),
/// );
/// assert_eq!(numbers.decode(&numbers.encode(&7)?)?, 7);
/// # Ok::<(), BoxError>(())
/// ```
pub trait Codec<E>: Send + Sync + 'static {
    /// The bytes of an event.
    ///
    /// # Errors
    ///
    /// It cannot be written: nothing is appended.
    fn encode(&self, event: &E) -> Result<Vec<u8>, BoxError>;

    /// The event of these bytes.
    ///
    /// # Errors
    ///
    /// It cannot be read: whoever reads the log is told, and gets no further.
    fn decode(&self, bytes: &[u8]) -> Result<E, BoxError>;
}

impl<E, W, R> Codec<E> for (W, R)
where
    W: Fn(&E) -> Result<Vec<u8>, BoxError> + Send + Sync + 'static,
    R: Fn(&[u8]) -> Result<E, BoxError> + Send + Sync + 'static,
{
    fn encode(&self, event: &E) -> Result<Vec<u8>, BoxError> {
        (self.0)(event)
    }

    fn decode(&self, bytes: &[u8]) -> Result<E, BoxError> {
        (self.1)(bytes)
    }
}

/// A codec that panics says that it cannot.
pub(super) fn caught<T>(codes: impl FnOnce() -> Result<T, BoxError>) -> Result<T, BoxError> {
    catch_unwind(AssertUnwindSafe(codes)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Err(format!("the codec panicked: {}", text.unwrap_or("it did not say why")).into())
    })
}
