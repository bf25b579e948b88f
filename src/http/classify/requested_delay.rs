//! How long a server asks us to stay away.

use std::time::{Duration, UNIX_EPOCH};

use http::HeaderMap;
use http::header::{DATE, HeaderName, RETRY_AFTER};

use crate::core::time;

/// From this number of seconds on a reset is a point in time, and below it a span: no server asks
/// for thirty years of patience.
const EPOCH_LIKE: Duration = Duration::from_secs(1_000_000_000);
/// From this number on a point in time is told in milliseconds: as seconds it is the year 33658.
const EPOCH_MILLIS: Duration = Duration::from_secs(1_000_000_000_000);
/// `Retry-After` in milliseconds, as Azure and others send it.
const IN_MILLIS: [&str; 2] = ["retry-after-ms", "x-ms-retry-after-ms"];

/// How long the server asks us to stay away: its [`Retry-After`](retry_after) or
/// `retry-after-ms`, `x-ms-retry-after-ms`, or else the reset of a rate limit that has nothing left.
///
/// Understands the `RateLimit` header (`"default";r=0;t=50` and the older `remaining=0, reset=50`), and
/// each pair of headers whose names tell a limit's `remaining` and its `reset`, such as
/// `RateLimit-Remaining` with `RateLimit-Reset`, `X-RateLimit-Remaining-Tokens` with
/// `X-RateLimit-Reset-Tokens`, and `X-Rate-Limit-Remaining` with `X-Rate-Limit-Reset`.
///
/// | a reset | is |
/// | --- | --- |
/// | `50`, `1.5` | seconds from now |
/// | `1s`, `6m0s`, `350ms` | a span |
/// | `1700000000`, `1700000000000` | seconds, milliseconds since 1970 |
/// | `2026-01-27T12:00:05Z` | a date (RFC 3339) |
///
/// A point in time counts from the `Date` of the answer, or from our own clock if it has none. Of several
/// limits with nothing left the longest reset counts, of several headers `Retry-After` the first.
/// Fractions are kept: asking earlier than told is never right. What cannot be read is no `Retry-After`. There is no upper bound here; whoever follows a `Retry-After` has
/// one.
///
/// ```
/// use http::{HeaderMap, HeaderValue};
/// use seawall::http::requested_delay;
/// use std::time::Duration;
///
/// let mut headers = HeaderMap::new();
/// headers.insert("ratelimit", HeaderValue::from_static(r#""default";r=0;t=50"#));
/// assert_eq!(requested_delay(&headers), Some(Duration::from_secs(50)));
/// headers.insert("retry-after", HeaderValue::from_static("3"));
/// assert_eq!(requested_delay(&headers), Some(Duration::from_secs(3)));
/// ```
pub fn requested_delay(headers: &HeaderMap) -> Option<Duration> {
    let millis = IN_MILLIS.iter().flat_map(|name| headers.get_all(*name));
    let millis = millis.filter_map(|value| decimal(value.to_str().ok()?.trim()));
    let asked = millis.map(|thousands| thousands.div_ceil(1000)).max();
    let asked = asked.map(duration).max(retry_after(headers));
    asked.or_else(|| rate_limit(headers).max(pairs(headers)))
}

/// What a `Retry-After` header says (RFC 9110 §10.2.3): seconds, with decimals as some servers send
/// them, or a date. If there are several, the first.
///
/// A date counts from the `Date` of the same answer, or from our own clock if there is none; one in the
/// past is no time at all. What is neither is `None`: there is no `Retry-After`.
///
/// ```
/// use http::{Response, header::RETRY_AFTER};
/// use seawall::http::retry_after;
/// use std::time::Duration;
///
/// let busy = Response::builder().status(503).header(RETRY_AFTER, "120").body(())?;
/// assert_eq!(retry_after(busy.headers()), Some(Duration::from_secs(120)));
/// let long_ago = Response::builder().header(RETRY_AFTER, "Sun, 06 Nov 1994 08:49:37 GMT").body(())?;
/// assert_eq!(retry_after(long_ago.headers()), Some(Duration::ZERO));
/// # Ok::<(), http::Error>(())
/// ```
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let read = |value: &str| {
        decimal(value).map(duration).or_else(|| Some(until(http_date(value)?, headers)))
    };
    read(headers.get(RETRY_AFTER)?.to_str().ok()?.trim())
}

/// `RateLimit` of the IETF draft, in its present and its former form; of several policies with nothing
/// left, the longest.
fn rate_limit(headers: &HeaderMap) -> Option<Duration> {
    let lines = headers.get_all("ratelimit").iter().filter_map(|value| value.to_str().ok());
    lines.filter_map(|line| of_policies(line, headers)).max()
}

fn of_policies(line: &str, headers: &HeaderMap) -> Option<Duration> {
    // In the present form policies are told apart by commas, in the former a policy's own words are.
    let former = line.contains("remaining");
    let policies = line.split(if former { '\n' } else { ',' });
    let of_policy = |policy: &str| {
        let (mut remaining, mut reset) = (None, None);
        for part in policy.split([';', ',']) {
            // The name of the policy has no value.
            let Some((name, number)) = part.split_once('=') else { continue };
            match name.trim() {
                "r" | "remaining" => remaining = decimal(number.trim()),
                "t" | "reset" => reset = span_or_point(number.trim(), headers),
                _ => {}
            }
        }
        reset.filter(|_| remaining == Some(0))
    };
    policies.filter_map(of_policy).max()
}

/// What is left, and when there will be more, in a header each.
fn pairs(headers: &HeaderMap) -> Option<Duration> {
    let is_of_limit = |name: &HeaderName| {
        let name = name.as_str();
        name.contains("remaining") && (name.contains("ratelimit") || name.contains("rate-limit"))
    };
    let empty = headers.iter().filter(|(name, left)| {
        is_of_limit(name) && left.to_str().is_ok_and(|left| decimal(left.trim()) == Some(0))
    });
    let resets = empty.flat_map(|(name, _)| {
        headers.get_all(name.as_str().replace("remaining", "reset").as_str()).iter()
    });
    resets.filter_map(|value| span_or_point(value.to_str().ok()?.trim(), headers)).max()
}

/// A span, or the time until a point in time.
fn span_or_point(value: &str, headers: &HeaderMap) -> Option<Duration> {
    if let Some(thousands) = decimal(value) {
        let told = duration(thousands);
        let since_1970 = match told {
            millis if millis >= EPOCH_MILLIS => duration(thousands.div_ceil(1000)),
            seconds if seconds >= EPOCH_LIKE => seconds,
            span => return Some(span),
        };
        return Some(until(since_1970, headers));
    }
    span(value).or_else(|| Some(until(date(value)?, headers)))
}

/// From now to a point in time since 1970, by the clock of the server if it told its time.
fn until(point: Duration, headers: &HeaderMap) -> Duration {
    let told = headers.get(DATE).and_then(|date| http_date(date.to_str().ok()?));
    let ours = || time::wall_clock().duration_since(UNIX_EPOCH).unwrap_or_default();
    point.saturating_sub(told.unwrap_or_else(ours))
}

/// A date as HTTP has it, since 1970.
fn http_date(value: &str) -> Option<Duration> {
    httpdate::parse_http_date(value).ok()?.duration_since(UNIX_EPOCH).ok()
}

/// Digits with or without decimals, in billionths, rounded up. More than fits is as good as for ever;
/// whoever follows a `Retry-After` has a cap.
fn decimal(value: &str) -> Option<u128> {
    let (whole, fraction) = match value.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return None,
        None => (value, ""),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let (kept, rest) = fraction.split_at(fraction.len().min(9));
    let billionths = format!("{kept:0<9}").parse::<u128>().ok()?;
    let rounded = billionths + u128::from(rest.bytes().any(|byte| byte != b'0'));
    let whole = whole.parse::<u64>().unwrap_or(u64::MAX);
    Some(u128::from(whole) * 1_000_000_000 + rounded)
}

/// Of so many billionths of a second; `u64::MAX` seconds at most.
fn duration(nanos: u128) -> Duration {
    match u64::try_from(nanos / 1_000_000_000) {
        Ok(seconds) => Duration::new(seconds, (nanos % 1_000_000_000) as u32),
        Err(_) => Duration::from_secs(u64::MAX),
    }
}

/// Numbers with units: `1s`, `6m0s`, `350ms`, `1h2m3.5s`.
fn span(value: &str) -> Option<Duration> {
    let mut left = value;
    let mut total = 0_u128;
    while !left.is_empty() {
        let unit = left.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, rest) = left.split_at(unit);
        let next = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let (unit, rest) = rest.split_at(next);
        let number = decimal(number)?;
        let nanos = match unit {
            "d" => number.checked_mul(86_400)?,
            "h" => number.checked_mul(3600)?,
            "m" => number.checked_mul(60)?,
            "s" => number,
            "ms" => number.div_ceil(1000),
            "us" | "µs" => number.div_ceil(1_000_000),
            "ns" => number.div_ceil(1_000_000_000),
            _ => return None,
        };
        total = total.checked_add(nanos)?;
        left = rest;
    }
    (!value.is_empty()).then(|| duration(total))
}

/// A date of RFC 3339, as in `2026-01-27T12:00:05.25Z` and `…+01:00`, since 1970.
fn date(value: &str) -> Option<Duration> {
    let (day, clock) = value.split_once(['T', 't', ' '])?;
    let (clock, east) = match clock.find(['Z', 'z', '+', '-']) {
        Some(at) if clock.len() == at + 1 => (&clock[..at], 0),
        Some(at) => {
            let (hours, minutes) = clock[at + 1..].split_once(':')?;
            let seconds = number(hours, 2, 23)? * 3600 + number(minutes, 2, 59)? * 60;
            let seconds = i64::try_from(seconds).ok()?;
            (&clock[..at], if clock.as_bytes()[at] == b'-' { -seconds } else { seconds })
        }
        None => return None,
    };
    let mut parts = day.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let (year, month) = (number(year, 4, 9999)?, number(month, 2, 12)?);
    let day = number(day, 2, 31)?;
    let mut clock = clock.split(':');
    let (hour, minute) = (number(clock.next()?, 2, 23)?, number(clock.next()?, 2, 59)?);
    let second = duration(decimal(clock.next()?)?);
    if parts.next().is_some() || clock.next().is_some() || month == 0 || day == 0 || year < 1970 {
        return None;
    }
    // Days since 1970-01-01, years counted from March (Howard Hinnant, `days_from_civil`).
    let (years, months) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days =
        years * 365 + years / 4 - years / 100 + years / 400 + (153 * months + 2) / 5 + day - 1;
    let seconds = (days - 719_468) * 86_400 + hour * 3600 + minute * 60;
    let seconds = i64::try_from(seconds).ok()?.checked_sub(east)?;
    Duration::from_secs(u64::try_from(seconds).ok()?).checked_add(second)
}

/// So many digits, and no more than `most`.
fn number(text: &str, digits: usize, most: u64) -> Option<u64> {
    let valid = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| valid && *number <= most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    fn headers<const N: usize>(pairs: [(&'static str, &str); N]) -> HeaderMap {
        let pair = |(name, value): (&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header value"))
        };
        pairs.into_iter().map(pair).collect()
    }

    fn told(value: &str) -> Option<Duration> {
        requested_delay(&headers([("retry-after", value)]))
    }

    // pitfall B30
    #[test]
    fn every_form_of_hint_is_understood_and_garbage_is_none() {
        assert_eq!(told("120"), Some(Duration::from_secs(120)));
        assert_eq!(told(" 0 "), Some(Duration::ZERO));
        assert_eq!(told("99999999999999999999999"), Some(Duration::from_secs(u64::MAX)));
        assert_eq!(told("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        for garbage in [
            "",
            "-5",
            "1.",
            ".5",
            "1e3",
            "1,5",
            "+5",
            "NaN",
            "soon",
            "Sun, 99 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(told(garbage), None, "{garbage:?}");
        }
        assert_eq!(requested_delay(&HeaderMap::new()), None);
    }

    // pitfall B30
    #[test]
    fn a_date_is_counted_from_the_wall_clock() {
        let soon = time::wall_clock() + Duration::from_secs(100);
        let told = told(&httpdate::fmt_http_date(soon)).expect("a date");
        assert!(told > Duration::from_secs(90) && told <= Duration::from_secs(100), "{told:?}");
    }

    #[test]
    fn a_rate_limit_with_nothing_left_is_a_hint() {
        let fifty = Some(Duration::from_secs(50));
        for value in ["\"default\";r=0;t=50", "limit=10, remaining=0, reset=50"] {
            assert_eq!(requested_delay(&headers([("ratelimit", value)])), fifty, "{value}");
        }
        assert_eq!(requested_delay(&headers([("ratelimit", "r=3;t=50")])), None);
        for (left, when) in [
            ("x-ratelimit-remaining", "x-ratelimit-reset"),
            ("ratelimit-remaining", "ratelimit-reset"),
        ] {
            let reset = |remaining, reset: &str| {
                requested_delay(&headers([(left, remaining), (when, reset)]))
            };
            assert_eq!(reset("0", "50"), fifty, "{left}");
            assert_eq!(reset("1", "50"), None, "{left}");
            assert_eq!(reset("0", "1000000000"), Some(Duration::ZERO), "a point long ago");
        }
    }

    // field F10: never earlier than told.
    #[test]
    fn fractions_and_milliseconds_are_understood() {
        assert_eq!(told("292.05"), Some(Duration::from_millis(292_050)));
        assert_eq!(told("0.0000000001"), Some(Duration::from_nanos(1)));
        for name in ["retry-after-ms", "x-ms-retry-after-ms"] {
            let told = |value| requested_delay(&headers([(name, value)]));
            assert_eq!(told("1500"), Some(Duration::from_millis(1500)), "{name}");
            assert_eq!(told("0.5"), Some(Duration::from_micros(500)), "{name}");
            assert_eq!(told("soon"), None, "{name}");
        }
        let both = [("retry-after", "2"), ("retry-after-ms", "1500")];
        assert_eq!(requested_delay(&headers(both)), Some(Duration::from_secs(2)));
    }

    // field F10
    #[test]
    fn a_date_counts_from_the_date_of_the_answer() {
        let answer = headers([
            ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("retry-after", "Sun, 06 Nov 1994 08:50:07 GMT"),
        ]);
        assert_eq!(requested_delay(&answer), Some(Duration::from_secs(30)));
        let reset = |reset| {
            let date = ("date", "Tue, 27 Jan 2026 12:00:00 GMT");
            requested_delay(&headers([
                date,
                ("x-ratelimit-remaining", "0"),
                ("x-ratelimit-reset", reset),
            ]))
        };
        let five = Some(Duration::from_secs(5));
        for told in
            ["1769515205", "1769515205000", "2026-01-27T12:00:05Z", "2026-01-27T13:00:05+01:00"]
        {
            assert_eq!(reset(told), five, "{told}");
        }
        assert_eq!(reset("2026-02-29T00:00:00"), None);
        assert_eq!(reset("2024-02-29T00:00:00Z"), Some(Duration::ZERO));
    }

    // field F10
    #[test]
    fn resets_are_read_in_the_forms_that_servers_send() {
        let reset = |reset| {
            let left = ("x-ratelimit-remaining-tokens", "0");
            requested_delay(&headers([left, ("x-ratelimit-reset-tokens", reset)]))
        };
        for (value, millis) in [
            ("1s", 1000),
            ("6m0s", 360_000),
            ("350ms", 350),
            ("1h2m3.5s", 3_723_500),
            ("0.25", 250),
            ("7", 7000),
        ] {
            assert_eq!(reset(value), Some(Duration::from_millis(millis)), "{value}");
        }
        for garbage in ["", "s", "6m0", "-1s", "1 s", "1y", "m6", "tomorrow"] {
            assert_eq!(reset(garbage), None, "{garbage:?}");
        }
    }

    // field F10: of several limits with nothing left, the one that lasts longest.
    #[test]
    fn several_limits_are_all_heeded() {
        let told = requested_delay(&headers([
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "1s"),
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "20s"),
            ("x-ratelimit-remaining-days", "7"),
            ("x-ratelimit-reset-days", "24h"),
        ]));
        assert_eq!(told, Some(Duration::from_secs(20)));
        let policies = "\"burst\";r=0;t=5, \"daily\";r=0;t=3600, \"monthly\";r=9;t=999999";
        assert_eq!(
            requested_delay(&headers([("ratelimit", policies)])),
            Some(Duration::from_secs(3600))
        );
    }
}
