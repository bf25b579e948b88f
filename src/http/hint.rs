//! How long a server asks us to stay away.

use std::time::{Duration, UNIX_EPOCH};

use http::HeaderMap;
use http::header::RETRY_AFTER;

use crate::time;

/// From this number of seconds on a reset is a point in time, and below it a span: no server asks
/// for thirty years of patience.
const EPOCH_LIKE: u64 = 1_000_000_000;

/// How long the server asks us to stay away: its [`Retry-After`](retry_after), or else the reset of
/// a rate limit that has nothing left.
///
/// Understands the `RateLimit` header (`"default";r=0;t=50` and the older `remaining=0, reset=50`), the
/// pair of headers of its first drafts, `RateLimit-Remaining` with `RateLimit-Reset`, and the widespread
/// `X-RateLimit-Remaining` with `X-RateLimit-Reset`, in seconds from now or since 1970. Of several headers
/// of one name the first counts.
///
/// ```
/// use http::{HeaderMap, HeaderValue};
/// use seawall::http::hint;
/// use std::time::Duration;
///
/// let mut headers = HeaderMap::new();
/// headers.insert("ratelimit", HeaderValue::from_static(r#""default";r=0;t=50"#));
/// assert_eq!(hint(&headers), Some(Duration::from_secs(50)));
/// headers.insert("retry-after", HeaderValue::from_static("3"));
/// assert_eq!(hint(&headers), Some(Duration::from_secs(3)));
/// ```
pub fn hint(headers: &HeaderMap) -> Option<Duration> {
    retry_after(headers)
        .or_else(|| rate_limit(headers))
        .or_else(|| pair(headers, "ratelimit-remaining", "ratelimit-reset"))
        .or_else(|| pair(headers, "x-ratelimit-remaining", "x-ratelimit-reset"))
}

/// What a `Retry-After` header says (RFC 9110 §10.2.3): seconds, or a date.
///
/// A date in the past is no time at all. What is neither is `None`: there is no hint.
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
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Some(seconds) = whole_seconds(value) {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(time::wall_clock()).unwrap_or(Duration::ZERO))
}

/// `RateLimit` of the IETF draft, in its present and its former form.
fn rate_limit(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("ratelimit")?.to_str().ok()?;
    let mut remaining = None;
    let mut reset = None;
    for part in value.split([';', ',']) {
        // The name of the policy has no value.
        let Some((name, number)) = part.split_once('=') else { continue };
        match name.trim() {
            "r" | "remaining" => remaining = whole_seconds(number.trim()),
            "t" | "reset" => reset = whole_seconds(number.trim()),
            _ => {}
        }
    }
    (remaining? == 0).then(|| reset.map(Duration::from_secs)).flatten()
}

/// What is left, and when there will be more, in a header each.
fn pair(headers: &HeaderMap, remaining: &str, reset: &str) -> Option<Duration> {
    let number = |name: &str| whole_seconds(headers.get(name)?.to_str().ok()?.trim());
    if number(remaining)? != 0 {
        return None;
    }
    let reset = number(reset)?;
    if reset < EPOCH_LIKE {
        return Some(Duration::from_secs(reset));
    }
    let now = time::wall_clock().duration_since(UNIX_EPOCH).unwrap_or_default();
    Some(Duration::from_secs(reset).saturating_sub(now))
}

/// More seconds than fit are as good as for ever; whoever follows a hint has a cap.
fn whole_seconds(value: &str) -> Option<u64> {
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| value.parse().unwrap_or(u64::MAX))
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
        hint(&headers([("retry-after", value)]))
    }

    // pitfall B30
    #[test]
    fn every_form_of_hint_is_understood_and_garbage_is_none() {
        assert_eq!(told("120"), Some(Duration::from_secs(120)));
        assert_eq!(told(" 0 "), Some(Duration::ZERO));
        assert_eq!(told("99999999999999999999999"), Some(Duration::from_secs(u64::MAX)));
        assert_eq!(told("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        for garbage in ["", "-5", "1.5", "soon", "Sun, 99 Nov 1994 08:49:37 GMT"] {
            assert_eq!(told(garbage), None, "{garbage:?}");
        }
        assert_eq!(hint(&HeaderMap::new()), None);
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
            assert_eq!(hint(&headers([("ratelimit", value)])), fifty, "{value}");
        }
        assert_eq!(hint(&headers([("ratelimit", "r=3;t=50")])), None);
        for (left, when) in [
            ("x-ratelimit-remaining", "x-ratelimit-reset"),
            ("ratelimit-remaining", "ratelimit-reset"),
        ] {
            let reset = |remaining, reset: &str| hint(&headers([(left, remaining), (when, reset)]));
            assert_eq!(reset("0", "50"), fifty, "{left}");
            assert_eq!(reset("1", "50"), None, "{left}");
            assert_eq!(reset("0", "1000000000"), Some(Duration::ZERO), "a point long ago");
        }
    }
}
