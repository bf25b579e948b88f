//! The body of a request: gathered before it is sent if it is small, recorded while it is sent, so that
//! the request can be repeated, up to a size; and watched, so that a caller who breaks off is told from an
//! upstream that does.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Either};
use hyper::StatusCode;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::HeaderMap;
use seawall::http::{REPLAY_CAP, ReplayBody};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tower::BoxError;

/// What comes from the caller: as it comes, or all of it.
pub(crate) type Asked = Either<Streamed, Gathered>;

/// What is sent to the upstream.
pub(crate) type Outgoing = ReplayBody<Asked>;

/// Why a body did not arrive: the status and the words for whoever sent it.
pub(crate) type Missing = (StatusCode, &'static str);

/// Whether all of a body should be there before its request goes out. What is small should: a caller who
/// is slow to send it, or never does, holds no place at the upstream meanwhile. Others stream.
pub(crate) fn is_small(body: &Incoming) -> bool {
    let length = body.size_hint().exact();
    !body.is_end_stream() && length.is_some_and(|length| length <= REPLAY_CAP as u64)
}

// ===== impl Place =====

/// One of the places that there are for requests whose body is on its way. Such a request holds one of the
/// places at the upstream too, and there are fewer of these than of those: callers who stall cannot take
/// them all.
#[derive(Debug, Clone)]
pub(crate) struct Place(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl Place {
    pub(crate) fn at_once(places: &Arc<Semaphore>) -> Option<Self> {
        Arc::clone(places).try_acquire_owned().ok().map(Self::new)
    }

    pub(crate) async fn within(patience: Duration, places: &Arc<Semaphore>) -> Option<Self> {
        timeout(patience, Arc::clone(places).acquire_owned()).await.ok()?.ok().map(Self::new)
    }

    fn new(permit: OwnedSemaphorePermit) -> Self {
        Self(Arc::new(Mutex::new(Some(permit))))
    }

    /// All of the body was sent, or the answer has begun.
    pub(crate) fn leave(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

// ===== impl Streamed =====

/// A body that is handed on as it comes.
#[derive(Debug)]
pub(crate) struct Streamed {
    body: Incoming,
    place: Option<Place>,
}

impl Streamed {
    pub(crate) const fn new(body: Incoming, place: Option<Place>) -> Self {
        Self { body, place }
    }
}

impl Body for Streamed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) || self.body.is_end_stream() {
            self.place.take().as_ref().map(Place::leave);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        self.place.take().as_ref().map(Place::leave);
    }
}

// ===== impl Gathered =====

/// A body that has arrived.
#[derive(Debug)]
pub(crate) struct Gathered {
    data: Bytes,
    trailers: Option<HeaderMap>,
}

impl Gathered {
    /// Waits for all of a body, as long as something of it comes every now and then.
    pub(crate) async fn of(mut body: Incoming, patience: Duration) -> Result<Self, Missing> {
        let late = |_| (StatusCode::REQUEST_TIMEOUT, "the request's body took too long");
        let broken = |_| (StatusCode::BAD_REQUEST, "the request's body broke off");
        let (mut data, mut trailers) = (Vec::new(), None);
        while let Some(frame) = timeout(patience, body.frame()).await.map_err(late)? {
            match frame.map_err(broken)?.into_data() {
                Ok(piece) => data.extend_from_slice(&piece),
                Err(other) => trailers = other.into_trailers().ok(),
            }
        }
        Ok(Self { data: data.into(), trailers })
    }
}

impl Body for Gathered {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        Poll::Ready(if self.data.is_empty() {
            self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))
        } else {
            Some(Ok(Frame::data(std::mem::take(&mut self.data))))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.len() as u64)
    }
}

// ===== impl Upload =====

/// A body on its way to the upstream, that says whether its caller let it down.
#[derive(Debug)]
pub(crate) struct Upload {
    body: Outgoing,
    failed: Arc<AtomicBool>,
}

impl Upload {
    pub(crate) fn new(body: Outgoing, failed: Arc<AtomicBool>) -> Self {
        Self { body, failed }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Err(_))) = &polled {
            self.failed.store(true, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
