//! What the error of a client proves: that nothing of the request was sent, that the server promises
//! not to have touched it, or that time ran out.
//!
//! Errors of hyper and tonic are known by what they print: a client that is built on other crates
//! should not have to compile these. Where a later version prints something else, nothing is proven,
//! which is the safe side.

use std::error::Error as StdError;
use std::fmt::{self, Write as _};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use crate::core::error::causes;
use crate::core::outcome::Outcome;

/// A request that nobody acted on, and that says nothing of who did not.
pub(super) const UNTOUCHED: Outcome =
    Outcome { retryable: Outcome::TRANSIENT.retryable, ..Outcome::IGNORE }.unsent();

/// How errors begin that say that the request did not leave.
const NEVER_LEFT: [&str; 2] = [
    // No connection came about: the name, the connection, or TLS.
    "hyper_util::client::legacy::Error(Connect",
    // hyper's connector, and tonic's.
    "ConnectError(",
];

/// How hyper's error begins that the body of a request broke off. What caused that is on the other side:
/// in a proxy the connection of its caller, who must not decide what counts as unsent.
const BODY_BROKE_OFF: [&str; 1] = ["hyper::Error(User(Body"];

/// How errors begin that say that time ran out: of tonic, and of tokio and tower.
const TIMED_OUT: [&str; 2] = ["TimeoutExpired(", "Elapsed("];

/// Whether a client proves that nothing of a request was sent.
pub(super) fn never_left(error: &(dyn StdError + 'static)) -> bool {
    of_the_client(error).any(|cause| {
        // An unreachable host or network is not among them: a connection that was up ends so too,
        // when its route is gone for long enough.
        let rejected = cause.downcast_ref().is_some_and(|error: &io::Error| {
            matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::AddrNotAvailable)
        });
        rejected || begins(cause, &NEVER_LEFT)
    })
}

/// Whether a server of HTTP/2 promises that it did not process a request: `REFUSED_STREAM` (RFC 9113
/// §8.7), or a `GOAWAY` that names an earlier stream (§6.8). h2 gives a `GOAWAY` as the error of those
/// streams only that come after the last one it names, and of those that were opened later.
pub(super) fn is_untouched(error: &(dyn StdError + 'static)) -> bool {
    of_the_client(error).filter_map(|cause| cause.downcast_ref()).any(|error: &h2::Error| {
        let rejected = error.reason() == Some(h2::Reason::REFUSED_STREAM);
        error.is_remote() && (error.is_go_away() || rejected)
    })
}

/// Whether an error says that time ran out.
pub(super) fn is_timeout(error: &(dyn StdError + 'static)) -> bool {
    causes(error).any(|cause| {
        #[cfg(feature = "reqwest")]
        if cause.downcast_ref().is_some_and(reqwest::Error::is_timeout) {
            return true;
        }
        let of_io = |error: &io::Error| error.kind() == ErrorKind::TimedOut;
        cause.downcast_ref().is_some_and(of_io) || begins(cause, &TIMED_OUT)
    })
}

/// The address that hyper's connector failed to reach.
#[cfg_attr(not(feature = "reqwest"), allow(dead_code))]
pub(super) fn unreached(error: &(dyn StdError + 'static)) -> Option<SocketAddr> {
    causes(error).find_map(|cause| {
        let shown = Beginning::of(cause);
        let (_, rest) = shown.text().strip_prefix("ConnectError(\"")?.split_once("\", ")?;
        rest.split(", ").next()?.trim_end_matches(')').parse().ok()
    })
}

/// An error and its causes, as far as they are about the connection to the server.
fn of_the_client<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    causes(error).take_while(|cause| !begins(*cause, &BODY_BROKE_OFF))
}

fn begins(error: &(dyn StdError + 'static), with: &[&str]) -> bool {
    let shown = Beginning::of(error);
    with.iter().any(|with| shown.text().starts_with(with))
}

/// The beginning of what an error shows of itself; no more of it is made.
struct Beginning {
    bytes: [u8; 128],
    length: usize,
}

impl Beginning {
    fn of(error: &(dyn StdError + 'static)) -> Self {
        let mut beginning = Self { bytes: [0; 128], length: 0 };
        let _ = write!(beginning, "{error:?}"); // it is an error where there is more
        beginning
    }

    fn text(&self) -> &str {
        str::from_utf8(&self.bytes[..self.length]).unwrap_or_default()
    }
}

impl fmt::Write for Beginning {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut fits = text.len().min(self.bytes.len() - self.length);
        while !text.is_char_boundary(fits) {
            fits -= 1;
        }
        self.bytes[self.length..self.length + fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.length += fits;
        if fits < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct ConnectError(&'static str, SocketAddr);

    impl fmt::Debug for ConnectError {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_tuple("ConnectError").field(&self.0).field(&self.1).finish()
        }
    }

    impl fmt::Display for ConnectError {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl StdError for ConnectError {}

    // field F18
    #[test]
    fn the_address_that_was_not_reached_is_read() {
        let address = SocketAddr::from(([127, 0, 0, 1], 80));
        let error = io::Error::other(ConnectError("tcp connect error", address));
        assert_eq!(unreached(&error), Some(address));
        assert!(never_left(&error));
        assert_eq!(unreached(&io::Error::other("ConnectError(\"x\", 1.1.1.1:80)")), None);
    }

    #[test]
    fn a_long_error_is_cut_between_characters() {
        let long = io::Error::other("ü".repeat(200));
        assert!(Beginning::of(&long).text().ends_with('ü'));
    }
}
