//! Bodies: sent again, timed, drained, and calls that are over when they are.

mod completion;
mod limits;
mod readers;
mod replay;
mod sockets;

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};

use crate::support::Broken;

/// A body that is all there.
#[derive(Debug, Default)]
struct Script {
    steps: VecDeque<Step>,
    /// Whether it tells its length.
    sized: bool,
    /// Whether it says at its end that this was all.
    silent: bool,
    /// Somebody is polling it.
    busy: Arc<AtomicBool>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Data(Bytes),
    Trailers(HeaderMap),
    Fails,
    Panics,
}

impl Script {
    fn sized(frames: impl IntoIterator<Item = &'static str>) -> Self {
        Self { sized: true, ..Self::of(frames.into_iter().map(data)) }
    }

    fn of(steps: impl IntoIterator<Item = Step>) -> Self {
        Self { steps: steps.into_iter().collect(), ..Self::default() }
    }
}

fn data(text: &'static str) -> Step {
    Step::Data(Bytes::from(text))
}

fn trailers() -> HeaderMap {
    HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("the end"))])
}

impl Body for Script {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        assert!(!self.busy.swap(true, Ordering::SeqCst), "two at a time poll the same body");
        std::thread::yield_now();
        let step = self.steps.pop_front();
        self.busy.store(false, Ordering::SeqCst);
        Poll::Ready(match step {
            None => None,
            Some(Step::Data(data)) => Some(Ok(Frame::data(data))),
            Some(Step::Trailers(trailers)) => Some(Ok(Frame::trailers(trailers))),
            Some(Step::Fails) => Some(Err(Broken)),
            Some(Step::Panics) => panic!("scripted: body"),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.sized && !self.silent && self.steps.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        if !self.sized {
            return SizeHint::default();
        }
        SizeHint::with_exact(self.steps.iter().map(|step| step.len() as u64).sum())
    }
}

impl Step {
    fn len(&self) -> usize {
        match self {
            Self::Data(data) => data.len(),
            _ => 0,
        }
    }
}

type Item<B> = Result<Frame<<B as Body>::Data>, <B as Body>::Error>;

/// Polls a body once, with nobody to wake.
fn next<B: Body + Unpin>(body: &mut B) -> Poll<Option<Item<B>>> {
    Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
}

/// Reads a body that is all there, up to its end or its error.
fn read<B>(body: &mut B) -> (Vec<Step>, Option<B::Error>)
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut steps = Vec::new();
    loop {
        match next(body) {
            Poll::Pending => panic!("pending after {steps:?}"),
            Poll::Ready(None) => return (steps, None),
            Poll::Ready(Some(Err(error))) => return (steps, Some(error)),
            Poll::Ready(Some(Ok(frame))) => steps.push(match frame.into_data() {
                Ok(data) => Step::Data(data),
                Err(frame) => Step::Trailers(frame.into_trailers().unwrap_or_default()),
            }),
        }
    }
}

/// Reads so many frames of a body.
fn read_some<B: Body + Unpin>(body: &mut B, frames: usize) {
    for nth in 0..frames {
        assert!(matches!(next(body), Poll::Ready(Some(Ok(_)))), "frame {nth}");
    }
}
