//! Requests that are to end at one of the proxies on their way: `Max-Forwards` (RFC 9110 §7.6.2).

use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use crate::reply::{self, Body};

const ALLOW: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE";

/// What a trace does not show, for whoever sees it may not be who sent it (RFC 9110 §9.3.8).
const SECRET: [HeaderName; 3] =
    [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION];

/// Counts this hop. `Err` is the answer, if the request is not to go further.
pub(crate) fn count<B>(request: &mut Request<B>) -> Result<(), Box<Response<Body>>> {
    if *request.method() != Method::TRACE && *request.method() != Method::OPTIONS {
        return Ok(()); // others may have the field, and it says nothing (§7.6.2)
    }
    match left(request.headers()) {
        Ok(None) => Ok(()),
        Ok(Some(0)) => Err(Box::new(end(request))),
        Ok(Some(left)) => {
            request.headers_mut().insert(header::MAX_FORWARDS, HeaderValue::from(left - 1));
            Ok(())
        }
        Err(problem) => Err(Box::new(reply::line(StatusCode::BAD_REQUEST, problem))),
    }
}

fn left(headers: &HeaderMap) -> Result<Option<u32>, &'static str> {
    let mut fields = headers.get_all(header::MAX_FORWARDS).iter();
    let Some(field) = fields.next() else { return Ok(None) };
    let digits = field.as_bytes().trim_ascii();
    if fields.next().is_some() || digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err("Max-Forwards is one whole number");
    }
    // More than we can count to is as much as we can count to.
    let digit =
        |left: u32, digit: &u8| left.saturating_mul(10).saturating_add(u32::from(digit - b'0'));
    Ok(Some(digits.iter().fold(0, digit)))
}

/// Answers as the one that the request was for.
fn end<B>(request: &Request<B>) -> Response<Body> {
    if *request.method() == Method::OPTIONS {
        let mut answer = reply::empty(StatusCode::OK);
        answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(ALLOW));
        return answer;
    }
    let mut seen = vec![format!("TRACE {} {:?}", request.uri(), request.version())];
    let fields = request.headers().iter().filter(|(name, _)| !SECRET.contains(name));
    let line = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    seen.extend(fields.map(|(name, value)| format!("{name}: {}", line(value))));
    seen.extend([String::new(), String::new()]);
    reply::text_of_type("message/http", StatusCode::OK, seen.join("\r\n"))
}
