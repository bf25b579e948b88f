//! A log, as those who use it see it.

use std::future::Future;

use tower::{BoxError, Service, ServiceExt};

use super::request::{Append, Appended, Page, Read};

/// A log of events `E`: any service of [`Read`].
pub trait Readable<E>: Clone + Send + 'static {
    /// What goes wrong.
    type Error: Into<BoxError> + Send + 'static;

    /// Asks a clone of it.
    fn read(
        &self,
        ask: Read,
    ) -> impl Future<Output = Result<Page<E>, Self::Error>> + Send + 'static;
}

/// A log to which events `E` can be appended: any service of [`Append`] too.
pub trait Appendable<E>: Readable<E> {
    /// Asks a clone of it.
    fn append(
        &self,
        ask: Append<E>,
    ) -> impl Future<Output = Result<Appended, Self::Error>> + Send + 'static;
}

impl<E, L> Readable<E> for L
where
    L: Service<Read, Response = Page<E>, Error: Into<BoxError> + Send + 'static, Future: Send>
        + Clone
        + Send
        + 'static,
{
    type Error = L::Error;

    fn read(&self, ask: Read) -> impl Future<Output = Result<Page<E>, L::Error>> + Send + 'static {
        self.clone().oneshot(ask)
    }
}

impl<E, L> Appendable<E> for L
where
    E: Send + Sync + 'static,
    L: Readable<E>
        + Service<Append<E>, Response = Appended, Error = <L as Readable<E>>::Error, Future: Send>,
{
    fn append(
        &self,
        ask: Append<E>,
    ) -> impl Future<Output = Result<Appended, <L as Readable<E>>::Error>> + Send + 'static {
        self.clone().oneshot(ask)
    }
}
