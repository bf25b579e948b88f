//! What travels with a request of reqwest.

use std::time::Duration;

use reqwest::Request;

use crate::request::{Call, Carry, Deadline};

/// Carries the deadline of a call as reqwest's own timeout of the request.
///
/// What a caller sets with `RequestBuilder::timeout` is the deadline of the whole, repetitions
/// included; each layer cuts it to what is left. reqwest counts the reading of the body in, so that
/// the deadline holds for a body that is read after the layers are done; so does the
/// deadline of the [ready-made stack](crate::reqwest::client). No other limit of a
/// [timeout](crate::timeout) is written, for it ends with the head of the answer. The number of the
/// attempt, and what is measured, are not carried. A timeout of the client is not seen, and what a call
/// waits in the queue of a bulkhead is not taken off.
#[derive(Debug, Clone, Copy, Default)]
pub struct InTimeout;

impl Carry<Request> for InTimeout {
    fn read(&self, request: &Request) -> Call {
        // A timeout begins when the request is sent, which is now.
        let deadline = request.timeout().map(|timeout| Deadline::after(*timeout));
        Call { deadline, unsigned: true, ..Call::default() }
    }

    fn write(&self, request: &mut Request, call: &Call) {
        let left = call.body_deadline().map(|deadline| deadline.remaining());
        *request.timeout_mut() = left.filter(|left| *left < Duration::MAX);
    }
}
