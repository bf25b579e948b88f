//! What a status tells in detail: `grpc-status-details-bin`.

use std::time::Duration;

use http::HeaderMap;

use super::proto::{Fields, Malformed, Value};

/// Longer details are not looked at, whoever sent them.
const DETAILS_CAP: usize = 16 * 1024;

/// The delay of a `google.rpc.RetryInfo` in the details of a status. What cannot be read is none.
pub(super) fn retry_delay(headers: &HeaderMap) -> Option<Duration> {
    let encoded = headers.get("grpc-status-details-bin")?.as_bytes();
    if encoded.len() > DETAILS_CAP {
        return None;
    }
    let status = base64(encoded)?;
    details(&status).filter_map(|any| in_any(any).ok().flatten()).max()
}

/// The details in a `google.rpc.Status { details: 3 repeated Any }`, up to what cannot be read.
pub(super) fn details(status: &[u8]) -> impl Iterator<Item = &[u8]> {
    Fields(status).map_while(Result::ok).filter_map(|field| match field {
        (3, Value::Bytes(any)) => Some(any),
        _ => None,
    })
}

/// What is in an `Any { type_url: 1 string, value: 2 bytes }`, if it is of this type.
pub(super) fn any_of<'a>(any: &'a [u8], of: &[u8]) -> Result<Option<&'a [u8]>, Malformed> {
    let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
    for field in Fields(any) {
        match field? {
            (1, Value::Bytes(bytes)) => name = bytes,
            (2, Value::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    Ok((name.rsplit(|byte| *byte == b'/').next() == Some(of)).then_some(value))
}

/// The delay of a `RetryInfo { retry_delay: 1 Duration }`, if it is one.
fn in_any(any: &[u8]) -> Result<Option<Duration>, Malformed> {
    let Some(value) = any_of(any, b"google.rpc.RetryInfo")? else { return Ok(None) };
    let mut delay = None;
    for field in Fields(value) {
        if let (1, Value::Bytes(bytes)) = field? {
            delay = duration(bytes)?;
        }
    }
    Ok(delay)
}

/// `Duration { seconds: 1 int64, nanos: 2 int32 }`; `None` if it is negative.
fn duration(bytes: &[u8]) -> Result<Option<Duration>, Malformed> {
    let (mut seconds, mut nanos) = (0, 0);
    for field in Fields(bytes) {
        match field? {
            (1, Value::Number(number)) => seconds = number,
            (2, Value::Number(number)) => nanos = number,
            _ => {}
        }
    }
    // Negative numbers are those above what is positive: two's complement.
    let valid = i64::try_from(seconds).is_ok() && nanos < 1_000_000_000;
    Ok(valid.then(|| Duration::new(seconds, nanos as u32)))
}

/// The bytes of base64, with padding or without (the encoding of binary metadata).
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    if text.len() - end > 2 || end % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(end * 3 / 4);
    let (mut bits, mut held) = (0_u32, 0);
    for byte in &text[..end] {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(six);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    Some(bytes)
}

/// Bytes as base64 without padding.
pub(super) fn base64_of(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..=three.len() {
            let six = bits >> (18 - 6 * at) & 0x3f;
            text.push(char::from(DIGITS[six as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn told(details: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status-details-bin", HeaderValue::from_str(details).expect("a value"));
        retry_delay(&headers)
    }

    // field F10, pitfall B30: with padding or without.
    #[test]
    fn the_delay_of_a_retry_info_is_read() {
        let details =
            "CA4SBGJ1c3kaMQoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIFCgMIpAI";
        assert_eq!(told(details), Some(Duration::from_secs(292)));
        assert_eq!(told(&format!("{details}=")), Some(Duration::from_secs(292)));
        let fraction =
            "CA4SABo2Cih0eXBlLmdvb2dsZWFwaXMuY29tL2dvb2dsZS5ycGMuUmV0cnlJbmZvEgoKCAikAhCA4esX";
        assert_eq!(told(fraction), Some(Duration::from_millis(292_050)));
    }

    #[test]
    fn base64_comes_back_as_it_went() {
        for length in 0..=64_u8 {
            let bytes: Vec<u8> = (0..length).map(|nth| nth.wrapping_mul(37) ^ 0xa5).collect();
            assert_eq!(base64(base64_of(&bytes).as_bytes()), Some(bytes));
        }
        assert_eq!(base64_of(b"\xfb\xff\xfe light"), "+//+IGxpZ2h0");
    }

    #[test]
    fn what_cannot_be_read_is_no_hint() {
        for garbage in ["", "=", "AAAAA", "CA4aMQ", "!!!!", "Gv//////////AQ", "CA4SBGJ1c3k"] {
            assert_eq!(told(garbage), None, "{garbage:?}");
        }
        assert_eq!(told(&"A".repeat(DETAILS_CAP + 1)), None);
    }
}
