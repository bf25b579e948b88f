//! Request bodies that can be sent again.

mod layer;
mod tape;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use tower::BoxError;

pub use self::layer::{REPLAY_CAP, RecordBody, RecordBodyLayer};
use self::tape::{Head, Read, Tape};
use crate::core::error::{Reason, Rejected};
use crate::core::upload::UploadReporter;
use crate::shell::relay::{Loan, Relay, Visit};
use crate::shell::waiters::WakerSlot;

/// A request body that records itself while it is read, so that it can be sent again.
///
/// Nothing is read before somebody reads, and no byte is copied: the recording holds references to
/// the very frames that passed, data and trailers. A [clone](Self::try_clone) begins at the
/// beginning: it gets what was recorded, then goes on with the rest of the original, whether that
/// one was read to its end, was dropped half-way or was never read at all. Any number of them can
/// be read at the same time, but only one at a time polls the original.
///
/// At most `cap` bytes are kept, where a frame counts for at least 64 and trailers for nothing. A body that turns out to be
/// larger, or says from the start that it is, passes through: its recording is dropped, and it can
/// be cloned no longer. What becomes of clones that were made before is decided by who began to read
/// last, or [took over](Self::take_over): that one goes on as if nothing had happened, and all others
/// end with [`ReplayError::OverCap`]. A body that failed cannot be sent again either.
///
/// Usually a [`RecordBodyLayer`] makes them, and [`Replay`](crate::http::Replay) clones them.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use bytes::Bytes;
/// use http_body_util::{BodyExt, Full};
/// use seawall::http::ReplayBody;
///
/// let first = ReplayBody::new(Full::new(Bytes::from("hello")), 1024);
/// let second = first.try_clone().expect("nothing was lost yet");
/// assert_eq!(first.collect().await?.to_bytes(), "hello");
/// assert_eq!(second.collect().await?.to_bytes(), "hello");
/// # Ok::<(), tower::BoxError>(()) }).unwrap();
/// ```
pub struct ReplayBody<B> {
    /// `None` if there is nothing to read, now or ever.
    relay: Option<Arc<Relay<Tape, Pin<Box<B>>>>>,
    head: Head,
    slot: WakerSlot,
    /// Tells those who measure the time of the request.
    upload_reporter: UploadReporter,
}

/// Why a clone of a body cannot be read.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use bytes::Bytes;
/// use http_body_util::{BodyExt, channel::Channel};
/// use seawall::http::{ReplayBody, ReplayError};
/// use std::convert::Infallible;
///
/// let (mut upload, body) = Channel::<Bytes, Infallible>::new(2);
/// for part in ["more than ", "may be kept"] {
///     upload.send_data(part.into()).await?;
/// }
/// drop(upload);
///
/// let first = ReplayBody::new(body, 64); // one frame, for it counts for so much
/// let second = first.try_clone().expect("nothing was lost yet");
/// assert_eq!(first.collect().await?.to_bytes(), "more than may be kept");
/// let lost = second.collect().await.unwrap_err();
/// assert_eq!(lost.downcast_ref(), Some(&ReplayError::OverCap));
/// # Ok::<(), tower::BoxError>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The body is larger than what may be kept of it, so its beginning is gone.
    #[error("the body is too large to be sent again")]
    OverCap,
    /// The body failed while another clone of it was read.
    #[error("the body failed when it was sent before")]
    Failed,
}

impl<B: Body> ReplayBody<B> {
    /// Records up to `cap` bytes of `body`.
    pub fn new(body: B, cap: usize) -> Self {
        Self::told(body, cap, UploadReporter::default())
    }

    fn told(body: B, cap: usize, upload_reporter: UploadReporter) -> Self {
        let relay = (!body.is_end_stream())
            .then(|| Arc::new(Relay::new(Tape::new(cap, body.size_hint()), Box::pin(body))));
        Self { relay, head: Head::default(), slot: WakerSlot::default(), upload_reporter }
    }
}

impl<B> ReplayBody<B> {
    /// A body that begins at the beginning; `None` if that is no longer to be had, because the body
    /// is larger than its cap, has failed, or was read while there was no clone of it: nothing is
    /// recorded for nobody.
    pub fn try_clone(&self) -> Option<Self> {
        let relay = self.relay.clone();
        let is_whole = relay.as_ref().is_none_or(|relay| relay.with(|tape| tape.is_whole()));
        let upload_reporter = self.upload_reporter.copy();
        is_whole.then(|| Self {
            relay,
            head: Head::default(),
            slot: WakerSlot::default(),
            upload_reporter,
        })
    }

    /// Makes sure that this clone can be read to its end, whatever others go on to read meanwhile;
    /// `false` if it cannot.
    ///
    /// A client may go on sending a body after the server has answered. If that one drove the body
    /// over its cap, the clone that is to be sent next would be lost. So whoever takes over counts as
    /// the one who began to read last.
    pub fn take_over(&mut self) -> bool {
        let head = &mut self.head;
        self.relay.as_ref().is_none_or(|relay| {
            relay.with(|tape| tape.is_whole().then(|| tape.begin(head)).is_some())
        })
    }
}

impl<B> Body for ReplayBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let polled = this.poll_next(cx);
        let is_all = match (&this.relay, &polled) {
            (Some(relay), Poll::Ready(Some(Ok(_)))) => relay.with(|tape| tape.is_read(&this.head)),
            _ => false,
        };
        match &polled {
            Poll::Ready(Some(Err(error))) if is_late(error) => drop(this.upload_reporter.stall()),
            _ => this.upload_reporter.saw(&polled, || is_all),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.relay.as_ref().is_none_or(|relay| relay.with(|tape| tape.is_read(&self.head)))
    }

    fn size_hint(&self) -> SizeHint {
        let hint = |relay: &Arc<Relay<Tape, _>>| relay.with(|tape| tape.size_hint(&self.head));
        self.relay.as_ref().map_or_else(|| SizeHint::with_exact(0), hint)
    }
}

impl<B> ReplayBody<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Self { relay, head, slot, .. } = self;
        let Some(relay) = relay else { return Poll::Ready(None) };
        // Nobody holds a clone, and there is none but of this one, which is being read.
        let is_alone = Arc::strong_count(relay) == 1;
        let look = |tape: &mut Tape| {
            if is_alone {
                tape.keep_no_more();
            }
            tape.read(head)
        };
        if let Some(read) = relay.with(look) {
            return Poll::Ready(read.into_item());
        }
        // The waker is left before the second look, or what comes in between would wake nobody.
        relay.wait(slot, cx.waker().clone());
        match relay.visit(cx.waker(), |tape| tape.read(head)) {
            Visit::Found(read) => Poll::Ready(read.into_item()),
            Visit::Loan(loan) => {
                let polled = draw(loan, head, &mut Context::from_waker(&relay.waker()));
                if polled.is_ready() {
                    relay.leave(slot);
                    relay.ring(); // those who waited look again
                }
                polled
            }
            Visit::Lent => Poll::Pending,
            Visit::Gone => Poll::Ready(Some(Err(ReplayError::Failed.into()))),
        }
    }
}

/// Whether a body ended because nothing came for too long.
fn is_late(error: &BoxError) -> bool {
    Rejected::find(&**error).is_some_and(|why| why.reason() == Reason::RequestTimeout)
}

/// Polls the original itself, and records what it gives.
fn draw<B>(
    mut loan: Loan<'_, Tape, Pin<Box<B>>>,
    head: &mut Head,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, BoxError>>>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    let Some(body) = loan.source() else { return Poll::Ready(None) };
    match body.as_mut().poll_frame(cx) {
        Poll::Pending => {
            loan.give_back(|_| ());
            Poll::Pending
        }
        Poll::Ready(Some(Ok(frame))) => {
            let frame = frame.map_data(|mut data| data.copy_to_bytes(data.remaining()));
            let (rest, is_over) = (body.size_hint(), body.is_end_stream());
            let mut forgotten = None;
            loan.give_back(|tape| forgotten = Some(tape.record(head, &frame, rest, is_over)));
            drop(forgotten); // after the unlock
            Poll::Ready(Some(Ok(frame)))
        }
        Poll::Ready(Some(Err(error))) => {
            loan.end(Tape::fail);
            Poll::Ready(Some(Err(error.into())))
        }
        Poll::Ready(None) => {
            loan.end(Tape::end);
            Poll::Ready(None)
        }
    }
}

impl Read {
    fn into_item(self) -> Option<Result<Frame<Bytes>, BoxError>> {
        match self {
            Self::Frame(frame) => Some(Ok(frame)),
            Self::End => None,
            Self::Lost => Some(Err(ReplayError::OverCap.into())),
            Self::Failed => Some(Err(ReplayError::Failed.into())),
        }
    }
}

impl<B> Drop for ReplayBody<B> {
    fn drop(&mut self) {
        if let Some(relay) = &self.relay {
            relay.leave(&mut self.slot);
            relay.with(|tape| tape.leave(&self.head));
        }
    }
}

impl<B> fmt::Debug for ReplayBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplayBody").field("head", &self.head).finish_non_exhaustive()
    }
}
