//! The service of commands.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use thiserror::Error;
use tower::Service;

use super::commands::Commands;
use super::decide::Decide;
use super::engine::exclusive::{Boxed, Exclusive};
use super::error::LogError;
use super::event_log::{Appendable, Readable};
use super::snapshot::Snapshots;
use crate::core::epoch::Epoch;
use crate::core::position::Position;

/// What a command has led to.
pub struct Decided<E> {
    /// What has happened: none if there was nothing to do.
    pub events: Vec<Arc<E>>,
    /// The version of the stream after them.
    pub version: u64,
    /// How far the log was written: whoever reads at this position or later sees what the command has done.
    pub position: Position,
}

impl<E: fmt::Debug> fmt::Debug for Decided<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decided")
            .field("events", &self.events)
            .field("version", &self.version)
            .field("position", &self.position)
            .finish()
    }
}

impl<E> Clone for Decided<E> {
    fn clone(&self) -> Self {
        Self { events: self.events.clone(), version: self.version, position: self.position }
    }
}

/// Why a command was not carried out.
///
/// ```
/// use seawall::log::{CommandError, LogError};
///
/// /// What the caller is told over HTTP.
/// fn status(error: &CommandError<String, LogError>) -> u16 {
///     match error {
///         CommandError::Declined(_) => 422,
///         CommandError::Conflict { .. } => 409,
///         CommandError::Fenced { .. } => 421, // somebody else leads
///         _ => 503,
///     }
/// }
///
/// let declined = CommandError::Declined("too little money".to_owned());
/// assert_eq!((status(&declined), declined.to_string().as_str()), (422, "declined: too little money"));
/// ```
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum CommandError<D, L> {
    /// [`decide`](Decide::decide) has declined it. Nothing was appended.
    #[error("declined: {0}")]
    Declined(D),
    /// Other commands of the stream got through first, each time. Nothing was appended.
    #[error(
        "decided {attempts} times, and each time another command of the stream was first: it is at version {at} now"
    )]
    Conflict {
        /// How often it was decided.
        attempts: u32,
        /// The version of the stream.
        at: u64,
    },
    /// A later leader has appended. Nothing was appended.
    #[error("fenced: epoch {highest} has appended to this log")]
    Fenced {
        /// Its epoch.
        highest: Epoch,
    },
    /// The name of the stream is none. Nothing was appended.
    #[error(transparent)]
    Stream(LogError),
    /// The log failed: if that was at the append, all events may have been appended, or none.
    #[error("the log failed: {0}")]
    Log(L),
    /// The log has a gap before this version of the stream.
    #[error(
        "the log is broken: events are missing before version {version} of the stream `{stream}`"
    )]
    Broken {
        /// The stream.
        stream: Arc<str>,
        /// The version that should be later.
        version: u64,
    },
}

impl<D, L, P> Service<D::Command> for Commands<D, L, P>
where
    D: Decide,
    L: Appendable<D::Event>,
    P: Snapshots<D::State>,
{
    type Response = Decided<D::Event>;
    type Error = CommandError<D::Error, <L as Readable<D::Event>>::Error>;
    type Future = ResponseFuture<Self::Response, Self::Error>;

    /// Always ready: each question waits for the log inside of the call.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, command: D::Command) -> Self::Future {
        let (shared, log) = (Arc::clone(&self.shared), self.log.clone());
        ResponseFuture(Exclusive::new(Box::pin(async move { shared.run(log, command).await })))
    }
}

/// The future of a command.
pub struct ResponseFuture<T, E>(Boxed<Result<T, E>>);

impl<T, E> Unpin for ResponseFuture<T, E> {}

impl<T, E> Future for ResponseFuture<T, E> {
    type Output = Result<T, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, E>> {
        self.0.get().as_mut().poll(cx)
    }
}

impl<T, E> fmt::Debug for ResponseFuture<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
