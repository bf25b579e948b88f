//! The body of an answer that may be of our own.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

/// The body of an answer: that of the service inside, or a small one of a layer that answered itself.
///
/// It lets layers answer for services of any body. It is a [`Body`] with the data and the error of the
/// one inside, as long as that data can be made of [`Bytes`].
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use http::{Request, Response};
/// use http_body_util::BodyExt;
/// use seawall::http::{ResponseBody, RejectionResponseLayer};
/// use seawall::{Error, bulkhead::BulkheadLayer};
/// use std::convert::Infallible;
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// let orders = BulkheadLayer::new("orders");
/// let server = ServiceBuilder::new()
///     .layer(RejectionResponseLayer::new())
///     .layer(orders.clone())
///     .map_err(Error::Inner)
///     .service(service_fn(|_: Request<()>| async {
///         Ok::<_, Infallible>(Response::new("hello".to_owned()))
///     }));
/// let answer: Response<ResponseBody<String>> = server.clone().oneshot(Request::default()).await?;
/// assert_eq!(answer.body().inner().map(String::as_str), Some("hello"));
///
/// orders.drain().await;
/// let rejected = server.oneshot(Request::default()).await?.into_body();
/// assert!(rejected.inner().is_none());
/// assert!(rejected.collect().await?.to_bytes().starts_with(b"{"));
/// # Ok::<(), Infallible>(()) }).unwrap();
/// ```
#[pin_project]
#[derive(Debug, Clone)]
pub struct ResponseBody<B> {
    #[pin]
    kind: Kind<B>,
}

#[pin_project(project = KindProj)]
#[derive(Debug, Clone)]
enum Kind<B> {
    Inner(#[pin] B),
    /// `None` once it was read, or if there is nothing to read.
    Own(Option<Bytes>),
}

impl<B> ResponseBody<B> {
    /// The body of the service inside.
    pub const fn new(inner: B) -> Self {
        Self { kind: Kind::Inner(inner) }
    }

    /// A body of a layer's own.
    pub fn own(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { kind: Kind::Own((!bytes.is_empty()).then_some(bytes)) }
    }

    /// The body of the service inside, if that one answered.
    pub const fn inner(&self) -> Option<&B> {
        match &self.kind {
            Kind::Inner(body) => Some(body),
            Kind::Own(_) => None,
        }
    }

    /// The same, taken out.
    pub fn into_inner(self) -> Option<B> {
        match self.kind {
            Kind::Inner(body) => Some(body),
            Kind::Own(_) => None,
        }
    }
}

/// An empty one of a layer's own.
impl<B> Default for ResponseBody<B> {
    fn default() -> Self {
        Self { kind: Kind::Own(None) }
    }
}

impl<B> From<String> for ResponseBody<B> {
    fn from(text: String) -> Self {
        Self::own(text)
    }
}

impl<B> From<Bytes> for ResponseBody<B> {
    fn from(bytes: Bytes) -> Self {
        Self::own(bytes)
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body,
    B::Data: From<Bytes>,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match self.project().kind.project() {
            KindProj::Inner(body) => body.poll_frame(cx),
            KindProj::Own(bytes) => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(B::Data::from(bytes)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Inner(body) => body.is_end_stream(),
            Kind::Own(bytes) => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Inner(body) => body.size_hint(),
            Kind::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
        }
    }
}
