//! Trailers that are the end of a body, as grpc-web sends them.

use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue};

/// What stands before each message: a flag and the length.
const PREFIX: usize = 5;
/// The flag of a message that is the trailers.
const IS_TRAILERS: u8 = 0x80;
/// Longer trailers are not kept, whoever sent them.
const TRAILERS_CAP: usize = 16 * 1024;

/// Watches the body of an answer go by, and keeps the trailers that are its last message, as grpc-web
/// [has it](https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md).
///
/// For [`ClassifyTrailers::in_body`](crate::http::ClassifyTrailers::in_body). Of messages it keeps nothing but how long
/// they are.
///
/// ```
/// use http::HeaderMap;
/// use seawall::Outcome;
/// use seawall::http::{OnTrailers, ClassifyTrailers, TrailersInBody};
///
/// /// A classify of one's own, of answers in grpc-web too.
/// #[derive(Clone)]
/// struct ByLastMessage;
///
/// impl ClassifyTrailers for ByLastMessage {
///     fn classify(&self, trailers: Option<&HeaderMap>) -> Outcome {
///         match trailers.and_then(|trailers| trailers.get("grpc-status")) {
///             Some(status) if status == "0" => Outcome::SUCCESS,
///             _ => Outcome::TRANSIENT,
///         }
///     }
///
///     fn in_body(&self, head: &HeaderMap) -> Option<TrailersInBody> {
///         TrailersInBody::of_grpc_web(head)
///     }
/// }
///
/// let completion = OnTrailers::new(ByLastMessage); // and then: `.completion(completion)`
/// # let _ = completion;
/// let mut head = HeaderMap::new();
/// assert!(ByLastMessage.in_body(&head).is_none());
/// head.insert("content-type", "application/grpc-web+proto".parse().unwrap());
/// assert!(ByLastMessage.in_body(&head).is_some());
/// ```
#[derive(Debug, Clone)]
pub struct TrailersInBody {
    text: Option<Base64>,
    prefix: [u8; PREFIX],
    /// Bytes of the prefix that are there.
    have: usize,
    /// Bytes of the message that are to come.
    left: usize,
    trailers: Option<Vec<u8>>,
}

impl TrailersInBody {
    /// Of an answer whose `content-type` says that it is grpc-web, in binary or as text.
    pub fn of_grpc_web(head: &HeaderMap) -> Option<Self> {
        let kind = head.get(CONTENT_TYPE)?.to_str().ok()?.trim_start();
        let rest = kind.get(..20).filter(|it| it.eq_ignore_ascii_case("application/grpc-web"));
        rest?;
        let text = kind.get(20..25).is_some_and(|rest| rest.eq_ignore_ascii_case("-text"));
        let text = text.then(Base64::default);
        Some(Self { text, prefix: [0; PREFIX], have: 0, left: 0, trailers: None })
    }

    /// A piece of the body goes by.
    pub(super) fn see(&mut self, piece: &[u8]) {
        match self.text.take() {
            None => self.read(piece),
            Some(mut text) => {
                for letter in piece {
                    if let Some((bytes, count)) = text.push(*letter) {
                        self.read(&bytes[..count]);
                    }
                }
                self.text = Some(text);
            }
        }
    }

    fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                let part = self.left.min(bytes.len());
                if let Some(trailers) = &mut self.trailers
                    && trailers.len() + part <= TRAILERS_CAP
                {
                    trailers.extend_from_slice(&bytes[..part]);
                }
                (self.left, bytes) = (self.left - part, &bytes[part..]);
                continue;
            }
            let part = (PREFIX - self.have).min(bytes.len());
            self.prefix[self.have..self.have + part].copy_from_slice(&bytes[..part]);
            (self.have, bytes) = (self.have + part, &bytes[part..]);
            if self.have == PREFIX {
                let [flag, length @ ..] = self.prefix;
                (self.have, self.left) = (0, u32::from_be_bytes(length) as usize);
                self.trailers = (flag & IS_TRAILERS != 0).then(Vec::new);
            }
        }
    }

    /// The trailers, if the last message was them and is whole.
    pub(super) fn trailers(&self) -> Option<HeaderMap> {
        let text = self.trailers.as_deref().filter(|_| self.left == 0 && self.have == 0)?;
        let mut trailers = HeaderMap::new();
        for line in text.split(|byte| *byte == b'\n') {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
            if let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
            {
                trailers.append(name, value);
            }
        }
        Some(trailers)
    }
}

/// Four letters to three bytes, padded wherever the sender ended a piece.
#[derive(Debug, Clone, Default)]
struct Base64 {
    letters: [u8; 4],
    have: usize,
}

impl Base64 {
    fn push(&mut self, letter: u8) -> Option<([u8; 3], usize)> {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => u8::MAX,
            _ => return None, // line breaks
        };
        self.letters[self.have] = value;
        self.have = (self.have + 1) % 4;
        if self.have != 0 {
            return None;
        }
        // Padding stands at the end.
        let count = match self.letters {
            [.., u8::MAX, u8::MAX] => 1,
            [.., u8::MAX] => 2,
            _ => 3,
        };
        let [a, b, c, d] = self.letters.map(|value| if value == u8::MAX { 0 } else { value });
        Some(([a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d], count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: &str, body: &[u8], piece: usize) -> Option<HeaderMap> {
        let mut head = HeaderMap::new();
        head.insert(CONTENT_TYPE, kind.parse().expect("a value"));
        let mut web = TrailersInBody::of_grpc_web(&head).expect("grpc-web");
        body.chunks(piece).for_each(|piece| web.see(piece));
        web.trailers()
    }

    const BODY: &[u8] = b"\0\0\0\0\x03one\x80\0\0\0\x20grpc-status:14\r\ngrpc-message: no";

    #[test]
    fn trailers_are_found_however_the_body_is_cut() {
        for piece in 1..=BODY.len() {
            let trailers = of("application/grpc-web+proto", BODY, piece).expect("trailers");
            assert_eq!(trailers["grpc-status"], "14");
            assert_eq!(trailers["grpc-message"], "no");
        }
        assert_eq!(of("application/grpc-web", &BODY[..BODY.len() - 1], 7), None, "cut");
        assert_eq!(of("application/grpc-web", &BODY[..8], 7), None, "no trailers");
    }

    #[test]
    fn text_is_read_too_with_padding_anywhere() {
        // The message and the trailers were encoded apart.
        let text = b"AAAAAANvbmU=gAAAABBncnBjLXN0YXR1czoxNA0K";
        for piece in [1, 3, 5, text.len()] {
            let trailers = of("application/grpc-web-text+proto", text, piece).expect("trailers");
            assert_eq!(trailers["grpc-status"], "14");
        }
    }

    #[test]
    fn what_is_no_grpc_web_is_not_watched() {
        let mut head = HeaderMap::new();
        for kind in ["application/grpc", "application/grpc+proto", "text/html", ""] {
            head.insert(CONTENT_TYPE, kind.parse().expect("a value"));
            assert!(TrailersInBody::of_grpc_web(&head).is_none(), "{kind}");
        }
        assert!(TrailersInBody::of_grpc_web(&HeaderMap::new()).is_none());
    }
}
