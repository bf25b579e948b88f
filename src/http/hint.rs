//! How long a server asks us to stay away.

use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;

use crate::time;

/// What a `Retry-After` header says (RFC 9110 §10.2.3): seconds, or a date.
///
/// A date in the past is no time at all. What is neither is `None`: there is no hint.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if value.bytes().all(|byte| byte.is_ascii_digit()) && !value.is_empty() {
        // More seconds than fit are as good as for ever; whoever follows a hint has a cap.
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(time::wall_clock()).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn told(value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(value).expect("a header value"));
        retry_after(&headers)
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
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }

    #[test]
    fn a_date_is_counted_from_the_wall_clock() {
        let soon = time::wall_clock() + Duration::from_secs(100);
        let told = told(&httpdate::fmt_http_date(soon)).expect("a date");
        assert!(told > Duration::from_secs(90) && told <= Duration::from_secs(100), "{told:?}");
    }
}
