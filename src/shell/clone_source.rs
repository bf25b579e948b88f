//! A service to make clones of, when and only when one is needed.

use std::fmt;
use std::sync::Arc;

use crate::core::sync::Mutex;
use crate::shell::lock;

/// Holds a clone of a service that was never readied. A call that may need another attempt would
/// otherwise have to clone its service beforehand, and pay for it each time.
pub(crate) struct CloneSource<S>(Mutex<S>);

impl<S> CloneSource<S> {
    pub(crate) fn new(service: S) -> Self {
        Self(Mutex::new(service))
    }

    pub(crate) fn make(&self) -> S
    where
        S: Clone,
    {
        lock(&self.0).clone()
    }
}

#[cfg(any(feature = "endpoints", feature = "failover", feature = "shards", feature = "split"))]
impl<S> CloneSource<Option<S>> {
    /// Lets go of the service for good: whoever comes later gets none.
    pub(crate) fn retire(&self) {
        let service = lock(&self.0).take();
        drop(service); // after the unlock
    }
}

impl<S> fmt::Debug for CloneSource<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CloneSource")
    }
}

/// Where the service for a further attempt comes from.
pub(crate) enum Source<S> {
    Clone(S),
    CloneSource(Arc<CloneSource<S>>),
}

impl<S: Clone> Source<S> {
    pub(crate) fn make(&self) -> S {
        match self {
            Self::Clone(service) => service.clone(),
            Self::CloneSource(clone_source) => clone_source.make(),
        }
    }
}

/// Where a call gets the service for a further attempt from. An instance that is called once gives
/// each call a clone; one that is called again shares one clone source, so that a call which needs no
/// further attempt does not pay for cloning a whole stack.
pub(crate) enum CloneSources<S> {
    Unused,
    CalledOnce,
    Made(Arc<CloneSource<S>>),
}

impl<S: Clone> CloneSources<S> {
    pub(crate) fn source(&mut self, inner: &S) -> Source<S> {
        match self {
            Self::Unused => {
                *self = Self::CalledOnce;
                Source::Clone(inner.clone())
            }
            Self::CalledOnce => {
                let clone_source = Arc::new(CloneSource::new(inner.clone()));
                *self = Self::Made(Arc::clone(&clone_source));
                Source::CloneSource(clone_source)
            }
            Self::Made(clone_source) => Source::CloneSource(Arc::clone(clone_source)),
        }
    }
}
