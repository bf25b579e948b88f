//! What one user has seen, from request to request.

use std::fmt;
use std::sync::Arc;

use super::seen::{Knows, Need, Seen};
use crate::core::config::{ConfigError, ConfigErrors};
use crate::core::position::Position;
use crate::shell::locked::Locked;

/// What one user has written and read, so that later queries see it: read your writes, and never go back.
///
/// Put one into each request of the user, or a clone of it: clones are one session. Between requests it travels as a
/// [`token`](Self::token), in a cookie or a header. It is of one [`Split`](super::Split): another has positions of its own.
///
/// A command whose answer was lost may have happened. The session is *uncertain* then: its queries go to the primary, until that
/// has said how far it is to a later question, or the time of [`uncertain_for`](super::Builder::uncertain_for) is over. So
/// it is after a command whose answer says no position.
///
/// ```
/// use seawall::Position;
/// use seawall::split::Session;
///
/// let session = Session::new();
/// assert_eq!(session.token(), "0");
/// session.seen(Position { era: 1, at: 42 });
/// assert_eq!(session.token(), "1-42");
///
/// // From another service of ours, which is wrong if this is no token: a 400.
/// assert_eq!(Session::from_token("1-42")?.position(), session.position());
/// assert!(Session::from_token("1-42; admin").is_err());
/// // From a browser: what is no token says nothing.
/// assert_eq!(Session::of_stranger("1-42; admin").position(), None);
/// # Ok::<(), seawall::ConfigErrors>(())
/// ```
#[derive(Clone, Default)]
pub struct Session(Arc<Locked<Seen>>);

/// What follows the position of a session that is uncertain.
const UNCERTAIN: char = '~';
/// What stands for no position.
const NOTHING: &str = "0";
/// No token is longer.
const LONGEST: usize = 32;

impl Session {
    /// Of a user who has seen nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A session as a [token](Self::token) says, of somebody who can be trusted.
    ///
    /// # Errors
    ///
    /// It is no token: whoever sent it is to blame, as with the status 400 of HTTP.
    pub fn from_token(token: &str) -> Result<Self, ConfigErrors> {
        let seen = parse(token, true).ok_or_else(|| {
            let shown: String = token.chars().take(LONGEST).collect();
            ConfigErrors::of(vec![ConfigError::new("token", shown, FORM)])
        })?;
        Ok(Self(Arc::new(Locked::new(seen))))
    }

    /// A session as a [token](Self::token) says, that came from outside. What is no token is ignored, and a position beyond
    /// that of the primary counts as that: the primary is asked, once the token is used. So nobody can send all of his queries
    /// to the primary by a token from the future.
    pub fn of_stranger(token: &str) -> Self {
        Self(Arc::new(Locked::new(parse(token, false).unwrap_or_default())))
    }

    /// What was seen, as text for a cookie or a header: at most 32 characters out of digits, `-` and `~`.
    ///
    /// Take it once the answer is there. A read whose answer says no position counts for later queries of this value,
    /// and not beyond the token.
    pub fn token(&self) -> String {
        let (position, is_uncertain) =
            self.0.with(|seen| (seen.first_in_doubt(), seen.is_uncertain()));
        let mut token =
            position.map_or_else(|| NOTHING.to_owned(), |position| position.to_string());
        if is_uncertain {
            token.push(UNCERTAIN);
        }
        token
    }

    /// How far was seen.
    pub fn position(&self) -> Option<Position> {
        self.0.with(|seen| seen.position())
    }

    /// Whether a command may have happened that nobody knows the position of.
    pub fn is_uncertain(&self) -> bool {
        self.0.with(|seen| seen.is_uncertain())
    }

    /// Everything up to `position` was seen: somewhere else, for instance.
    pub fn seen(&self, position: Position) {
        self.0.with(|seen| seen.raise(position));
    }

    pub(super) fn need(&self, knows: &impl Knows) -> Need {
        self.0.with(|seen| seen.need(knows))
    }

    pub(super) fn told(&self, knows: &impl Knows) {
        self.0.with(|seen| seen.told(knows));
    }

    pub(super) fn written(&self, knows: &impl Knows) {
        self.0.with(|seen| seen.written(knows));
    }

    pub(super) fn read(&self, seat: u32, least: Option<Position>, knows: &impl Knows) {
        self.0.with(|seen| seen.read(seat, least, knows));
    }
}

/// What is accepted.
const FORM: &str = "`0` or `era-at`, with a `~` at the end or not, such as `1-42`";

fn parse(token: &str, trusted: bool) -> Option<Seen> {
    if token.len() > LONGEST {
        return None;
    }
    let (place, is_uncertain) = match token.strip_suffix(UNCERTAIN) {
        Some(place) => (place, true),
        None => (token, false),
    };
    let position = match place {
        NOTHING => None,
        place => Some(place.parse::<Position>().ok()?),
    };
    Some(Seen::of_token(position, is_uncertain, trusted))
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Session").field(&self.token()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_read_back_and_is_short() {
        for position in [None, Some(Position { era: u32::MAX, at: u64::MAX })] {
            for is_uncertain in [false, true] {
                let seen = Seen::of_token(position, is_uncertain, true);
                let token = Session(Arc::new(Locked::new(seen))).token();
                assert!(token.len() <= LONGEST, "{token}");
                let back = Session::from_token(&token).unwrap();
                assert_eq!((back.position(), back.is_uncertain()), (position, is_uncertain));
            }
        }
    }

    #[test]
    fn garbage_is_refused_or_ignored() {
        let long = "1-1".repeat(1_000);
        for token in ["", "~", "1", "0~~", "1-2-3", "1-2 ", "-1", "ü-1", &long] {
            let wrong = Session::from_token(token).unwrap_err().to_string();
            assert!(wrong.contains("era-at") && wrong.len() < 200, "{wrong}");
            assert_eq!(Session::of_stranger(token).token(), "0");
        }
    }
}
