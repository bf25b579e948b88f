//! Heads of messages, as they are written and read, and what they say of where a body ends (RFC 9112).

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use httparse::{Header, ParserConfig, Status};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::http::{request, uri::PathAndQuery};
use hyper::{Method, Response, StatusCode, Version};

/// The most that a head, or all trailers, may be long, and the most fields in it.
const LENGTH: usize = u16::MAX as usize;
const FIELDS: usize = 100;

/// What is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer is malformed: {0}")]
pub(crate) struct Malformed(&'static str);

impl Malformed {
    pub(crate) const CHUNK: Self = Self("no chunk");
    const HEAD: Self = Self("no head");
    const TOO_LONG: Self = Self("its head is too long");
    const FRAMING: Self = Self("nobody can say where its body ends");
}

/// Where a body ends (§6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none.
    Nothing,
    Length(u64),
    Chunked,
    /// With the connection.
    UntilClosed,
}

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response<()>,
    pub(crate) framing: Framing,
    /// Whether the connection may serve another call after it.
    pub(crate) persists: bool,
}

// ===== requests =====

/// Writes the head of a request, `more`, of which one is its `Host`, and `lines` as they are. Where its body
/// ends is said anew, whatever it says itself.
pub(crate) fn write<'a>(
    output: &mut BytesMut,
    head: &request::Parts,
    more: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    lines: &[u8],
    framing: Framing,
) {
    let path = head.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    for part in [head.method.as_str(), " ", path, " HTTP/1.1\r\n"] {
        output.extend_from_slice(part.as_bytes());
    }
    for (name, value) in more {
        line(output, name, value);
    }
    for (name, value) in &head.headers {
        if *name != header::CONTENT_LENGTH
            && *name != header::TRANSFER_ENCODING
            && *name != header::HOST
        {
            line(output, name, value);
        }
    }
    output.extend_from_slice(lines);
    match framing {
        Framing::Length(length) => {
            line(output, &header::CONTENT_LENGTH, &HeaderValue::from(length));
        }
        Framing::Chunked => {
            line(output, &header::TRANSFER_ENCODING, &HeaderValue::from_static("chunked"));
        }
        // RFC 9110 §8.6: whoever asks with a method that has a body says that there is none.
        Framing::Nothing if has_meaning_for_content(&head.method) => {
            line(output, &header::CONTENT_LENGTH, &HeaderValue::from_static("0"));
        }
        Framing::Nothing | Framing::UntilClosed => {}
    }
    output.extend_from_slice(b"\r\n");
}

fn has_meaning_for_content(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

/// Writes the end of a chunked body.
pub(crate) fn write_trailers(output: &mut BytesMut, trailers: &HeaderMap) {
    output.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.iter().filter(|(name, _)| may_trail(name)) {
        line(output, name, value);
    }
    output.extend_from_slice(b"\r\n");
}

fn line(output: &mut BytesMut, name: &HeaderName, value: &HeaderValue) {
    output.extend_from_slice(name.as_str().as_bytes());
    output.extend_from_slice(b": ");
    output.extend_from_slice(value.as_bytes());
    output.extend_from_slice(b"\r\n");
}

/// Whether a field can be one of the trailers: none can that says where a message ends or goes, or who
/// may ask (RFC 9110 §6.5.1).
fn may_trail(name: &HeaderName) -> bool {
    let others = [
        header::AUTHORIZATION,
        header::CONNECTION,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_RANGE,
        header::CONTENT_TYPE,
        header::HOST,
        header::MAX_FORWARDS,
        header::PROXY_AUTHORIZATION,
        header::SET_COOKIE,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    !others.contains(name)
}

// ===== answers =====

/// Takes the head of the answer to a request with this `method` out of what has arrived; `None` if more
/// has to arrive. What comes before it (RFC 9110 §15.2) is passed over.
pub(crate) fn read(input: &mut BytesMut, method: &Method) -> Result<Option<Answer>, Malformed> {
    loop {
        let Some((response, keeping)) = parse(input)? else { return Ok(None) };
        let status = response.status();
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            continue;
        }
        return framed(response, keeping, method).map(Some);
    }
}

/// What a head says of whether the connection is kept.
#[derive(Debug, Clone, Copy, Default)]
struct Keeping {
    closes: bool,
    keeps: bool,
}

impl Keeping {
    /// Whether a field says no more than that, as most do. It ends here, so that it need not be stored.
    fn hears(&mut self, name: &[u8], value: &[u8]) -> bool {
        if name.len() != header::CONNECTION.as_str().len()
            || !name.eq_ignore_ascii_case(b"connection")
        {
            return false;
        }
        let (closes, keeps) =
            (value.eq_ignore_ascii_case(b"close"), value.eq_ignore_ascii_case(b"keep-alive"));
        self.closes |= closes;
        self.keeps |= keeps;
        closes || keeps
    }
}

fn parse(input: &mut BytesMut) -> Result<Option<(Response<()>, Keeping)>, Malformed> {
    let mut fields = [const { MaybeUninit::<Header<'_>>::uninit() }; FIELDS];
    let mut head = httparse::Response::new(&mut []);
    let mut config = ParserConfig::default();
    config.allow_spaces_after_header_name_in_responses(true); // they are taken out (§5.1)
    let parsed = config.parse_response_with_uninit_headers(&mut head, input, &mut fields);
    let length = match parsed.map_err(|_| Malformed::HEAD)? {
        Status::Complete(length) if length <= LENGTH => length,
        Status::Partial if input.len() <= LENGTH => return Ok(None),
        Status::Complete(_) | Status::Partial => return Err(Malformed::TOO_LONG),
    };
    let version = if head.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let status = head.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(Malformed::HEAD)?;
    let places = Places::of(input, head.headers);
    let (mut response, mut keeping) = (Response::new(()), Keeping::default());
    *response.headers_mut() = places.fields(&input.split_to(length).freeze(), &mut keeping)?;
    (*response.status_mut(), *response.version_mut()) = (status, version);
    Ok(Some((response, keeping)))
}

/// The trailers of a chunked body, perhaps none, if all of them have arrived.
pub(super) fn trailers(input: &mut BytesMut) -> Result<Option<HeaderMap>, Malformed> {
    if input.starts_with(b"\r\n") {
        input.advance(2);
        return Ok(Some(HeaderMap::new()));
    }
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let (length, found) = match httparse::parse_headers(input, &mut fields) {
        Ok(Status::Complete(found)) if found.0 <= LENGTH => found,
        Ok(Status::Partial) if input.len() <= LENGTH => return Ok(None),
        Ok(_) => return Err(Malformed::TOO_LONG),
        Err(_) => return Err(Malformed::HEAD),
    };
    let places = Places::of(input, found);
    let mut trailers = places.fields(&input.split_to(length).freeze(), &mut Keeping::default())?;
    let all = trailers.keys().filter(|name| !may_trail(name)).cloned().collect::<Vec<_>>();
    for name in all {
        trailers.remove(name);
    }
    Ok(Some(trailers))
}

/// Where fields stand in what has arrived: the beginning and the end of a name, and of its value. They
/// share what they stand in then, and are not copied.
struct Places {
    of: [[u16; 4]; FIELDS],
    count: usize,
}

impl Places {
    fn of(input: &[u8], fields: &[Header<'_>]) -> Self {
        let start = input.as_ptr().addr();
        let place = |part: &[u8]| {
            let from = part.as_ptr().addr() - start;
            [from as u16, (from + part.len()) as u16]
        };
        let mut of = [[0; 4]; FIELDS];
        for (one, field) in of.iter_mut().zip(fields) {
            let ([from, to], [begin, end]) = (place(field.name.as_bytes()), place(field.value));
            *one = [from, to, begin, end];
        }
        Self { of, count: fields.len() }
    }

    fn fields(&self, head: &Bytes, keeping: &mut Keeping) -> Result<HeaderMap, Malformed> {
        let mut fields = HeaderMap::with_capacity(self.count + MORE);
        for place in &self.of[..self.count] {
            let [from, to, begin, end] = place.map(usize::from);
            if keeping.hears(&head[from..to], &head[begin..end]) {
                continue;
            }
            let name = name(&head[from..to])?;
            let value = HeaderValue::from_maybe_shared(head.slice(begin..end));
            fields.append(name, value.map_err(|_| Malformed::HEAD)?);
        }
        Ok(fields)
    }
}

/// The name of a field; those that nearly every answer has, as they are usually written, without looking at
/// each letter.
fn name(bytes: &[u8]) -> Result<HeaderName, Malformed> {
    Ok(match bytes {
        b"Server" | b"server" => header::SERVER,
        b"Date" | b"date" => header::DATE,
        b"Content-Type" | b"content-type" => header::CONTENT_TYPE,
        b"Content-Length" | b"content-length" => header::CONTENT_LENGTH,
        _ => HeaderName::from_bytes(bytes).map_err(|_| Malformed::HEAD)?,
    })
}

/// Fields that a proxy adds.
const MORE: usize = 2;

/// What a head says of the body, and of the connection.
fn framed(
    mut response: Response<()>,
    keeping: Keeping,
    method: &Method,
) -> Result<Answer, Malformed> {
    let (status, is_old) = (response.status(), response.version() == Version::HTTP_10);
    let fields = response.headers_mut();
    let Keeping { mut closes, mut keeps } = keeping;
    let (mut length, mut is_said_again) = (None, false);
    let mut coding = None;
    for (name, value) in &*fields {
        if *name == header::CONNECTION {
            closes |= lists(value, b"close");
            keeps |= lists(value, b"keep-alive");
        } else if *name == header::CONTENT_LENGTH {
            is_said_again |= length.is_some() || value.as_bytes().contains(&b',');
            length = Some(length_in(value, length)?);
        } else if *name == header::TRANSFER_ENCODING {
            let is_chunked = coding.is_none() && value.as_bytes().eq_ignore_ascii_case(b"chunked");
            coding = Some(is_chunked);
        }
    }
    let persists = !closes && (!is_old || keeps);
    // §6.1: what an old server says of it cannot be believed. And no other coding was asked for.
    if coding.is_some_and(|is_chunked| is_old || !is_chunked) {
        return Err(Malformed::FRAMING);
    }
    let is_chunked = coding.is_some();
    if is_chunked {
        fields.remove(header::TRANSFER_ENCODING);
        fields.remove(header::CONTENT_LENGTH); // §6.3: it counts for nothing, and is not sent on
    } else if let Some(length) = length.filter(|_| is_said_again) {
        fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    let has_none = *method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let framing = match length {
        _ if has_none => Framing::Nothing,
        _ if is_chunked => Framing::Chunked,
        Some(0) => Framing::Nothing,
        Some(length) => Framing::Length(length),
        None => Framing::UntilClosed,
    };
    // Two words for one end: somebody on the way may have believed the other (§6.3).
    let persists = persists && framing != Framing::UntilClosed && !(is_chunked && length.is_some());
    Ok(Answer { response, framing, persists })
}

/// What a `Content-Length` says: it may say the same more than once, and nothing else.
fn length_in(field: &HeaderValue, before: Option<u64>) -> Result<u64, Malformed> {
    let mut length = before;
    for word in words(field) {
        let digits = !word.is_empty() && word.iter().all(u8::is_ascii_digit);
        let said = std::str::from_utf8(word).ok().filter(|_| digits);
        let said = said.and_then(|word| word.parse().ok()).ok_or(Malformed::FRAMING)?;
        if length.is_some_and(|length: u64| length != said) {
            return Err(Malformed::FRAMING);
        }
        length = Some(said);
    }
    length.ok_or(Malformed::FRAMING)
}

fn lists(field: &HeaderValue, word: &[u8]) -> bool {
    words(field).any(|one| one.eq_ignore_ascii_case(word))
}

fn words(field: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    field.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}
