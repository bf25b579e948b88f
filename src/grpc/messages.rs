//! Reading the messages of a body one by one.

use std::fmt;
use std::pin::Pin;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue};
use http_body::Body;
use http_body_util::BodyExt;
use tower::BoxError;

use super::proto::{PREFIX, read_prefix};
use crate::error::causes;

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

/// Reads a `grpc-message`, in which all but printable ASCII stands as `%` and two digits of hex. What is not
/// well formed is left as it is, and what is no text is replaced, as the protocol asks for.
pub(super) fn read_message(value: &HeaderValue) -> String {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).map(|digit| digit as u8);
    let mut rest = value.as_bytes();
    let mut bytes = Vec::with_capacity(rest.len());
    while let [first, after @ ..] = rest {
        match (first, after) {
            (b'%', [high, low, after @ ..]) if digit(high).is_some() && digit(low).is_some() => {
                bytes.push(digit(high).unwrap_or(0) << 4 | digit(low).unwrap_or(0));
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Writes a `grpc-message`.
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
    use proptest::prelude::*;

    // field S4
    #[test]
    fn messages_are_percent_encoded() {
        let read = |value: &'static str| read_message(&HeaderValue::from_static(value));
        assert_eq!(read("service%20%C3%BCber%0Alast"), "service \u{fc}ber\nlast");
        assert_eq!(read("100% sure, 5%, %zz, %4"), "100% sure, 5%, %zz, %4");
        assert_eq!(read("%ff"), "\u{fffd}");
        assert_eq!(write_message("50% \u{fc}ber\n"), "50%25 %C3%BCber%0A");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(text in ".{0,60}") {
            prop_assert_eq!(read_message(&write_message(&text)), text);
        }
    }
}
