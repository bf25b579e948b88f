//! The messages of grpc.health.v1 as bytes: protobuf, and what gRPC puts before each message.
//!
//! Two messages with one field each need no generated code. What a peer sent is read with bounds, and
//! fields that are not known are skipped, as the encoding asks for.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

/// Longer messages are rejected, whoever sent them: the name of a service and a number need far less.
pub(super) const MESSAGE_CAP: usize = 4096;
/// What stands before each message: a flag and the length.
pub(super) const PREFIX: usize = 5;

/// How a service is, as a number of `HealthCheckResponse.ServingStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Serving(pub(super) u64);

impl Serving {
    pub(super) const UNKNOWN: Self = Self(0);
    pub(super) const SERVING: Self = Self(1);
    pub(super) const NOT_SERVING: Self = Self(2);
    pub(super) const SERVICE_UNKNOWN: Self = Self(3);
}

impl fmt::Display for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::UNKNOWN => f.write_str("UNKNOWN"),
            Self::SERVING => f.write_str("SERVING"),
            Self::NOT_SERVING => f.write_str("NOT_SERVING"),
            Self::SERVICE_UNKNOWN => f.write_str("SERVICE_UNKNOWN"),
            Self(other) => write!(f, "a status unknown here ({other})"),
        }
    }
}

/// Bytes that are no such message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

// ===== writing =====

/// `HealthCheckRequest { service: 1 string }`.
pub(super) fn request(service: &str) -> Bytes {
    framed(|to| {
        if !service.is_empty() {
            put_bytes(to, 1, service.as_bytes());
        }
    })
}

/// `HealthCheckResponse { status: 1 enum }`.
pub(super) fn reply(serving: Serving) -> Bytes {
    framed(|to| put_status(to, serving))
}

/// `HealthListResponse { statuses: 1 map<string, HealthCheckResponse> }`.
pub(super) fn list<'a>(all: impl Iterator<Item = (&'a str, Serving)>) -> Bytes {
    framed(|to| {
        for (name, serving) in all {
            let (mut status, mut entry) = (BytesMut::new(), BytesMut::new());
            put_status(&mut status, serving);
            put_bytes(&mut entry, 1, name.as_bytes());
            put_bytes(&mut entry, 2, &status);
            put_bytes(to, 1, &entry);
        }
    })
}

fn framed(message: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut bytes = BytesMut::zeroed(PREFIX);
    message(&mut bytes);
    let length = (bytes.len() - PREFIX) as u32;
    bytes[1..PREFIX].copy_from_slice(&length.to_be_bytes());
    bytes.freeze()
}

fn put_status(to: &mut BytesMut, serving: Serving) {
    if serving != Serving::UNKNOWN {
        put_varint(to, 1 << 3);
        put_varint(to, serving.0);
    }
}

pub(super) fn put_bytes(to: &mut BytesMut, field: u64, bytes: &[u8]) {
    put_varint(to, field << 3 | 2);
    put_varint(to, bytes.len() as u64);
    to.put_slice(bytes);
}

pub(super) fn put_varint(to: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        to.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    to.put_u8(value as u8);
}

// ===== reading =====

/// The service that a `HealthCheckRequest` asks about.
pub(super) fn read_request(message: &[u8]) -> Result<String, Malformed> {
    let mut service = "";
    for field in Fields(message) {
        match field? {
            (1, Value::Bytes(name)) => service = str::from_utf8(name).map_err(|_| Malformed)?,
            (1, _) => return Err(Malformed),
            _ => {}
        }
    }
    Ok(service.to_owned())
}

/// The status in a `HealthCheckResponse`.
pub(super) fn read_reply(message: &[u8]) -> Result<Serving, Malformed> {
    let mut serving = Serving::UNKNOWN;
    for field in Fields(message) {
        match field? {
            (1, Value::Number(number)) => serving = Serving(number),
            (1, _) => return Err(Malformed),
            _ => {}
        }
    }
    Ok(serving)
}

/// The length of a message by what stands before it; `None` until that is there as a whole.
pub(super) fn read_prefix(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let Some([compressed, length @ ..]) = bytes.first_chunk::<PREFIX>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length) as usize;
    // No encoding was offered, so a message that is compressed is no answer.
    if *compressed != 0 || length > MESSAGE_CAP { Err(Malformed) } else { Ok(Some(length)) }
}

/// The fields of a message, one after the other.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

pub(super) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Of a fixed width, which nothing here has.
    Fixed,
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<(u64, Value<'a>), Malformed> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return Err(Malformed), // groups went out with proto2
        };
        if key >> 3 == 0 { Err(Malformed) } else { Ok((key >> 3, value)) }
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The known field between fields of every type that this program does not know.
    fn among_strangers(known: &[u8]) -> Vec<u8> {
        let number = [0x10, 0xff, 0x01];
        let fixed = [0x19, 1, 2, 3, 4, 5, 6, 7, 8, 0x25, 1, 2, 3, 4];
        let bytes = [0x2a, 2, 9, 9];
        [&number[..], &fixed, known, &bytes].concat()
    }

    #[test]
    fn fields_that_are_not_known_are_skipped() {
        assert_eq!(read_reply(&among_strangers(&[0x08, 0x02])), Ok(Serving::NOT_SERVING));
        assert_eq!(read_request(&among_strangers(&[0x0a, 1, b'x'])), Ok("x".to_owned()));
        assert_eq!(read_reply(&[]), Ok(Serving::UNKNOWN));
    }

    // pitfall B30
    #[test]
    fn what_is_no_message_is_rejected() {
        let hostile: [&[u8]; 8] = [
            &[0x08],                                                          // cut off
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], // longer than all memory
            &[0x0a, 0x05, b'x'],                                           // longer than it is
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], // no end
            &[0x0b, 0x0c],                                                 // a group
            &[0x00, 0x01],                                                 // field zero
            &[0x0d, 1, 2, 3, 4],                                           // of another type
            &[0x11, 1, 2],                                                 // half a number
        ];
        for bytes in hostile {
            assert_eq!(read_reply(bytes), Err(Malformed), "{bytes:?}");
            assert_eq!(read_request(bytes), Err(Malformed), "{bytes:?}");
        }
        assert_eq!(read_request(&[0x0a, 1, 0xff]), Err(Malformed), "no text");
        assert_eq!(read_prefix(&[0, 0, 0, 0x10, 1]), Err(Malformed), "one byte too long");
        assert_eq!(read_prefix(&[0, 0, 0, 0x10, 0]), Ok(Some(MESSAGE_CAP)));
        assert_eq!(read_prefix(&[1, 0, 0, 0, 0]), Err(Malformed), "compressed");
        assert_eq!(read_prefix(&[0, 0, 0, 0]), Ok(None));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(service in ".{0,100}", number in any::<u64>()) {
            let (asked, told) = (request(&service), reply(Serving(number)));
            prop_assert_eq!(read_prefix(&asked), Ok(Some(asked.len() - PREFIX)));
            prop_assert_eq!(read_request(&asked[PREFIX..]), Ok(service));
            prop_assert_eq!(read_reply(&told[PREFIX..]), Ok(Serving(number)));
        }

        // pitfall B30
        #[test]
        fn any_bytes_at_all_are_read_or_rejected(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(service) = read_request(&bytes) {
                prop_assert!(service.len() <= bytes.len());
            }
            let _ = read_reply(&bytes); // either will do, as long as it ends
        }
    }
}
