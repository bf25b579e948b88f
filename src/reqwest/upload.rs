//! How far a streamed body has got, for requests that have no place to say so.
//!
//! A request of reqwest has extensions, but only reqwest can reach them, and a body that is a stream is a box
//! that nobody can look into. All that may be asked of it is its size. So a body that was watched answers one
//! more question while it is asked for its size: whose progress it is. Question and answer lie in a variable of
//! the thread, for no longer than the asking takes. A body around the watched one hands the question on, as it
//! does that for the size.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use pin_project::pin_project;
use reqwest::{Body, Error, Request};
use tower::BoxError;

use crate::core::upload::{Upload, UploadReporter};

thread_local! {
    static QUESTION: Cell<Question> = const { Cell::new(Question::None) };
}

#[derive(Debug, Default)]
enum Question {
    #[default]
    None,
    Asked,
    Answered(Upload),
}

/// The progress of the body of a request that is a stream. If nobody watches it yet, one that begins when
/// [`watch`] does.
pub(super) fn of(request: &Request) -> Option<Upload> {
    streamed(request).map(|body| ask(body).unwrap_or_else(Upload::unwatched))
}

/// Sees to it that the body of a request is watched, if it is a stream. Says whether it is one.
pub(super) fn watch(request: &mut Request, upload: Option<&Upload>) -> bool {
    let Some(body) = streamed(request) else { return false };
    if ask(body).is_none() {
        let upload = upload.cloned().unwrap_or_else(Upload::unwatched);
        wrap(request, upload, |body, upload_reporter| Watched { body, upload_reporter });
    }
    true
}

/// Puts something around the body of a request, if that is a stream, which watches it.
pub(super) fn watch_with<B>(request: &mut Request, watched: impl FnOnce(Body, UploadReporter) -> B)
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + Sync + 'static,
{
    if streamed(request).is_some() {
        wrap(request, Upload::new(), watched);
    }
}

fn wrap<B>(request: &mut Request, upload: Upload, watched: impl FnOnce(Body, UploadReporter) -> B)
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + Sync + 'static,
{
    let upload_reporter = UploadReporter::new(Some(upload.clone()));
    let answers = |body| Body::wrap(Answers { body: watched(body, upload_reporter), upload });
    *request.body_mut() = request.body_mut().take().map(answers);
}

/// A body whose parts are still to come. One of bytes is there from the start.
fn streamed(request: &Request) -> Option<&Body> {
    request.body().filter(|body| body.as_bytes().is_none() && !body.is_end_stream())
}

fn ask(body: &Body) -> Option<Upload> {
    QUESTION.try_with(|question| question.set(Question::Asked)).ok()?;
    let _ = body.size_hint();
    match QUESTION.try_with(Cell::take) {
        Ok(Question::Answered(upload)) => Some(upload),
        _ => None,
    }
}

/// A body that tells how far it has got.
struct Watched {
    body: Body,
    upload_reporter: UploadReporter,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Self { body, upload_reporter } = &mut *self;
        let polled = Pin::new(&mut *body).poll_frame(cx);
        upload_reporter.saw(&polled, || body.is_end_stream());
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body that answers the question.
#[pin_project]
struct Answers<B> {
    #[pin]
    body: B,
    upload: Upload,
}

impl<B: HttpBody> HttpBody for Answers<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let _ = QUESTION.try_with(|question| {
            question.set(match question.take() {
                Question::Asked => Question::Answered(self.upload.clone()),
                other => other, // the outermost has answered
            });
        });
        self.body.size_hint()
    }
}
