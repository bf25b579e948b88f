//! What a request asks for.

use std::time::Duration;

use crate::core::position::Position;

/// Which side a request is for: the primary, or a replica that is fresh enough.
///
/// ```
/// use seawall::split::{Freshness, Side};
///
/// fn side(statement: &str) -> Side {
///     if statement.starts_with("select") { Side::Query(Freshness::Seen) } else { Side::Command }
/// }
/// assert_eq!(side("select 1"), Side::default());
/// assert_eq!(side("insert"), Side::Command);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Side {
    /// It changes something, or may: only the primary gets it. So is a transaction, as a whole.
    Command,
    /// It only reads.
    Query(Freshness),
}

impl Default for Side {
    fn default() -> Self {
        Self::Query(Freshness::Seen)
    }
}

/// How fresh an answer has to be.
///
/// ```
/// use seawall::Position;
/// use seawall::split::{Freshness, Side};
/// use std::time::Duration;
///
/// let search = Side::Query(Freshness::Any);
/// let report = Side::Query(Freshness::Within(Duration::from_secs(60)));
/// let list = Side::Query(Freshness::Seen); // the default
/// let after_import = Side::Query(Freshness::AtLeast(Position { era: 1, at: 42 }));
/// let balance = Side::Query(Freshness::Latest);
/// # drop([search, report, list, after_import, balance]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Freshness {
    /// Any replica will do.
    Any,
    /// Not older than this. A replica has all that the primary had when that was asked how far it is, if it has come so far
    /// itself: so its age counts from that question, and the time between [questions](super::Builder::every) adds to what is told.
    /// Ask for no less than a few of those.
    Within(Duration),
    /// Everything that the [`Session`](super::Session) of the request has written and read: read your writes, and never go
    /// back. Without a session it is [`Any`](Self::Any). The default.
    #[default]
    Seen,
    /// Everything up to this position. It is taken at its word: a position of a stranger belongs into a
    /// [`Session::of_stranger`](super::Session::of_stranger).
    AtLeast(Position),
    /// What the primary has now: it is asked itself, and nothing limits that. Its own stack should.
    Latest,
}
