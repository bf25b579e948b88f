//! A call, until the head of its answer is there.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::Body;
use hyper::{Method, Response, StatusCode};
use tower::BoxError;

use super::head::{self, Answer};
use super::upload::Upload;
use super::{Arrival, Connection, Fault, Keep, Stream, Switched};

/// Sends a request and reads the head of its answer, at once and on the task of whoever waits for it.
pub(crate) struct Exchange<B, K> {
    /// Until the head is there.
    under_way: Option<UnderWay<B, K>>,
}

struct UnderWay<B, K> {
    connection: Box<Connection>,
    method: Method,
    upload: Upload<B>,
    /// It cannot be written to any more. Perhaps there is an answer that says why.
    broken: Option<Fault>,
    keeper: Arc<K>,
}

impl<B, K> Exchange<B, K> {
    pub(super) fn new(
        connection: Box<Connection>,
        method: Method,
        upload: Upload<B>,
        keeper: Arc<K>,
    ) -> Self {
        let under_way = UnderWay { connection, method, upload, broken: None, keeper };
        Self { under_way: Some(under_way) }
    }
}

impl<B, K> Future for Exchange<B, K>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
    K: Keep,
{
    type Output = Result<Response<Arrival<K>>, Fault>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(under_way) = &mut self.under_way else { return Poll::Pending };
        let head = ready!(under_way.poll_head(cx));
        let Some(under_way) = self.under_way.take() else { return Poll::Pending };
        Poll::Ready(head.map(|head| under_way.answered(head)))
    }
}

impl<B, K> Unpin for Exchange<B, K> {}

impl<B, K> UnderWay<B, K>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
    K: Keep,
{
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, Fault>> {
        let Self { connection, method, upload, broken, .. } = self;
        let Connection { stream, output, .. } = &mut **connection;
        if broken.is_none()
            && let Stream::Whole(stream) = stream
            && let Poll::Ready(Err(why)) = upload.poll_send(stream, output, cx)
        {
            if let Fault::Body(_) = why {
                return Poll::Ready(Err(why));
            }
            *broken = Some(why);
        }
        loop {
            if !connection.input.is_empty()
                && let Some(answer) = head::read(&mut connection.input, method)?
            {
                return Poll::Ready(Ok(answer));
            }
            match ready!(connection.poll_read(cx)) {
                Ok(0) => return Poll::Ready(Err(broken.take().unwrap_or(Fault::Closed))),
                Ok(_) => {}
                Err(why) => return Poll::Ready(Err(broken.take().unwrap_or(why.into()))),
            }
        }
    }

    fn answered(self, head: Answer) -> Response<Arrival<K>> {
        let Self { connection, upload, broken, keeper, .. } = self;
        let Answer { response, framing, persists } = head;
        let (mut head, ()) = response.into_parts();
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            head.extensions.insert(Switched::new(connection));
            return Response::from_parts(head, Arrival::nothing());
        }
        let is_sent = upload.is_over();
        let goes_on = !is_sent && broken.is_none();
        let connection =
            if goes_on { Box::new(connection.upload_meanwhile(upload)) } else { connection };
        Response::from_parts(head, Arrival::of(connection, framing, persists && is_sent, keeper))
    }
}
