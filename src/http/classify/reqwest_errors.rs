//! What an error of reqwest proves. It is read here and not beside reqwest's client, because such errors are among the
//! causes of others too, where [`of_error`](super::of_error) must not take the connection of a redirect for the first.

use std::error::Error as StdError;
use std::net::IpAddr;

use http::HeaderMap;
use reqwest::Error;

use super::of_status;
use super::proof::{self, UNTOUCHED};
use crate::core::error::{Rejected, causes};
use crate::core::outcome::{Outcome, Sent};

/// What it means; the table is at [`of_error`](crate::reqwest::of_error).
pub(crate) fn of_reqwest_error(error: &Error) -> Outcome {
    if let Some(status) = error.status() {
        return of_status(status, &HeaderMap::new());
    }
    if error.is_builder() {
        return Outcome::IGNORE.unsent();
    }
    if error.is_redirect() {
        return Outcome::FAILURE;
    }
    let outcome = if proof::is_untouched(error) {
        UNTOUCHED
    } else {
        Rejected::find(error).map_or(Outcome::TRANSIENT, Outcome::of_rejection)
    };
    // What the last hop proves of itself says nothing of those before it.
    let outcome = Outcome { sent: Sent::Unknown, ..outcome };
    if error.is_connect() && is_of_first_hop(error) { outcome.unsent() } else { outcome }
}

/// Whether an error proves that nobody acted on the request, if it had one hop only.
pub(crate) fn never_connected(error: &(dyn StdError + 'static)) -> bool {
    let of_reqwest = |cause: &Error| cause.is_connect();
    proof::is_untouched(error)
        || proof::never_left(error)
        || causes(error).any(|cause| cause.downcast_ref().is_some_and(of_reqwest))
}

fn is_of_first_hop(error: &Error) -> bool {
    let (Some(url), Some(unreached)) = (error.url(), proof::unreached(error)) else { return false };
    let host = url.host_str().unwrap_or_default();
    let is_named = match host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        Ok(address) => unreached.ip() == address,
        // RFC 6761 §6.3: it is never any other machine.
        Err(_) => host.eq_ignore_ascii_case("localhost") && unreached.ip().is_loopback(),
    };
    is_named && url.port_or_known_default() == Some(unreached.port())
}
