//! Reading the messages of a body one by one.

use std::fmt;
use std::pin::Pin;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use http_body::Body;
use http_body_util::BodyExt;
use tower::BoxError;

use super::proto::{PREFIX, read_prefix};
use crate::core::error::causes;

/// The messages of a body. Keeps no more than one of them and one frame of the body.
pub(super) struct Messages<B> {
    body: Pin<Box<B>>,
    buffer: BytesMut,
    trailers: Option<HeaderMap>,
}

impl<B> Messages<B>
where
    B: Body<Error: Into<BoxError>>,
{
    pub(super) fn of(body: B) -> Self {
        Self { body: Box::pin(body), buffer: BytesMut::new(), trailers: None }
    }

    /// The next message; `None` at the end of the body, after which there are the
    /// [trailers](Self::trailers), if any came.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, String> {
        loop {
            let length = read_prefix(&self.buffer).map_err(|_| "sent no message".to_owned())?;
            if let Some(length) = length
                && self.buffer.len() >= PREFIX + length
            {
                self.buffer.advance(PREFIX);
                return Ok(Some(self.buffer.split_to(length).freeze()));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(mut data) => {
                        while data.has_remaining() {
                            let chunk = data.chunk();
                            self.buffer.extend_from_slice(chunk);
                            data.advance(chunk.len());
                        }
                    }
                    Err(frame) => self.trailers = frame.into_trailers().ok(),
                },
                Some(Err(error)) => return Err(told(error)),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err("ended within a message".to_owned()),
            }
        }
    }

    pub(super) fn trailers(&self) -> Option<&HeaderMap> {
        self.trailers.as_ref()
    }
}

impl<B> fmt::Debug for Messages<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages").finish_non_exhaustive()
    }
}

/// An error with what caused it: clients wrap, and their own words alone tell nothing.
pub(super) fn told(error: impl Into<BoxError>) -> String {
    let error = error.into();
    let mut said = String::new();
    for cause in causes(&*error) {
        let cause = cause.to_string();
        if !said.contains(&cause) {
            said.push_str(if said.is_empty() { "" } else { ": " });
            said.push_str(&cause);
        }
    }
    said
}

// ===== the words beside a code =====

/// Writes a `grpc-message`, in which all but printable ASCII stands as `%` and two digits of hex.
pub(super) fn write_message(text: &str) -> HeaderValue {
    use fmt::Write as _;

    let mut written = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte != b'%' && (b' '..=b'~').contains(&byte) {
            written.push(char::from(byte));
        } else {
            let _ = write!(written, "%{byte:02X}"); // to a string: it cannot fail
        }
    }
    HeaderValue::try_from(written).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    // field S4
    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(write_message("50% \u{fc}ber\n"), "50%25 %C3%BCber%0A");
        assert_eq!(write_message("circuit_open"), "circuit_open");
    }
}
