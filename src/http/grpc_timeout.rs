//! The `grpc-timeout` header: how long the caller will wait. HTTP servers and proxies read it too.

use std::time::Duration;

use http::HeaderValue;

/// The most digits that the protocol allows.
const MOST: u128 = 99_999_999;

/// Units from the finest, as nanoseconds and letter.
const UNITS: [(u128, char); 6] = [
    (1, 'n'),
    (1_000, 'u'),
    (1_000_000, 'm'),
    (1_000_000_000, 'S'),
    (60_000_000_000, 'M'),
    (3_600_000_000_000, 'H'),
];

/// Up to eight digits and a unit. `None` for anything else.
pub(crate) fn parse_timeout(value: &HeaderValue) -> Option<Duration> {
    let value = value.to_str().ok()?;
    let unit = value.chars().last()?;
    let digits = value.strip_suffix(unit)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos = UNITS.iter().find(|(_, letter)| *letter == unit)?.0;
    let total = digits.parse::<u128>().ok()? * nanos;
    Some(Duration::new((total / 1_000_000_000) as u64, (total % 1_000_000_000) as u32))
}

/// Writes a `grpc-timeout` in the finest unit that it fits, rounded down: the callee must not think
/// it has more time than it has. What is too long for the header (11,415 years) is cut to that.
pub(crate) fn format_timeout(timeout: Duration) -> HeaderValue {
    let nanos = timeout.as_nanos();
    let fits = UNITS.iter().find(|(unit, _)| nanos / unit <= MOST);
    let (amount, letter) = match fits {
        Some((unit, letter)) => (nanos / unit, *letter),
        None => (MOST, 'H'),
    };
    // Digits and a letter make a header value; the fallback is the shortest time there is.
    HeaderValue::try_from(format!("{amount}{letter}"))
        .unwrap_or_else(|_| HeaderValue::from_static("0n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_units_and_what_is_none() {
        let parse = |value: &'static str| parse_timeout(&HeaderValue::from_static(value));
        assert_eq!(parse("500000u"), Some(Duration::from_millis(500)));
        assert_eq!(parse("1H"), Some(Duration::from_secs(3600)));
        assert_eq!(parse("0n"), Some(Duration::ZERO));
        for nonsense in ["", "5", "S", "123456789n", "-1S", "1.5S", "1s", "5 S"] {
            assert_eq!(parse(nonsense), None, "{nonsense:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_and_never_longer(secs in any::<u64>(), nanos in 0..1_000_000_000_u32) {
            let timeout = Duration::new(secs, nanos);
            let read = parse_timeout(&format_timeout(timeout)).expect("it was written so");
            prop_assert!(read <= timeout);
            if secs < 90_000_000 {
                let lost = timeout.saturating_sub(read);
                prop_assert!(lost <= timeout / 1_000_000 + Duration::from_secs(1).min(timeout / 10));
            }
        }
    }
}
