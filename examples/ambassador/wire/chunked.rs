//! The chunked transfer coding, as it is read (RFC 9112 §7.1).

use bytes::{Buf, Bytes, BytesMut};
use hyper::HeaderMap;

use super::head::{self, Malformed};

/// A line with the size of a chunk and its extensions, of which nobody here knows any.
const LINE: usize = 4 * 1024;

/// How far a body has been read.
#[derive(Debug, Default)]
pub(crate) enum Chunked {
    #[default]
    Size,
    Data(u64),
    /// The end of the line after the data.
    Gap,
    Trailers,
}

/// What was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Data(Bytes),
    End(Option<HeaderMap>),
}

impl Chunked {
    /// Takes the next piece out of what has arrived; `None` if more has to arrive.
    pub(crate) fn next(&mut self, input: &mut BytesMut) -> Result<Option<Piece>, Malformed> {
        loop {
            match self {
                Self::Size => {
                    let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
                        return if input.len() > LINE { Err(Malformed::CHUNK) } else { Ok(None) };
                    };
                    let size = size(&input[..end]).ok_or(Malformed::CHUNK)?;
                    input.advance(end + 1);
                    *self = if size == 0 { Self::Trailers } else { Self::Data(size) };
                }
                Self::Data(_) if input.is_empty() => return Ok(None),
                Self::Data(left) => {
                    let part = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                    *left -= part as u64;
                    if *left == 0 {
                        *self = Self::Gap;
                    }
                    return Ok(Some(Piece::Data(input.split_to(part).freeze())));
                }
                Self::Gap => match &input[..] {
                    [b'\r', b'\n', ..] => {
                        input.advance(2);
                        *self = Self::Size;
                    }
                    [] | [b'\r'] => return Ok(None),
                    _ => return Err(Malformed::CHUNK),
                },
                Self::Trailers => {
                    let trailers = head::trailers(input)?;
                    let some = |trailers: HeaderMap| (!trailers.is_empty()).then_some(trailers);
                    return Ok(trailers.map(|trailers| Piece::End(some(trailers))));
                }
            }
        }
    }
}

/// What a line without its line feed says.
fn size(line: &[u8]) -> Option<u64> {
    let line = line.strip_suffix(b"\r")?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, rest) = line.split_at(digits);
    let extends = rest.trim_ascii_start().first().is_none_or(|byte| *byte == b';');
    if !extends || rest.contains(&b'\r') {
        return None;
    }
    // More than fit into 64 bits are rejected, and so is no digit at all.
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
