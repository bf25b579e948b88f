//! Bodies of reqwest: when a call is over, and how long a body may keep its reader waiting.

use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Body as HttpBody;
use reqwest::{Body, Request, Response, ResponseBuilderExt};
use tower::{BoxError, Service};

use super::upload;
use crate::core::completion::{CallGuard, Completion};
use crate::http::body_timeout::{Limits, RequestBodyTimeout, TimeBody};
use crate::http::{ClassifyTrailers, OnBodyEnd, OnFirstByte, OnTrailers};

/// Wraps the body of an answer, and leaves the rest as it is.
fn over<B>(
    response: Response,
    wrap: impl FnOnce(http::Response<Body>) -> http::Response<B>,
) -> Response
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + Sync + 'static,
{
    // On the way through `http` an answer of reqwest loses the address it came from.
    let address = http::Response::builder().url(response.url().clone()).body(());
    let mut plain = http::Response::from(response);
    if let Ok(address) = address {
        plain.extensions_mut().extend(address.into_parts().0.extensions);
    }
    Response::from(wrap(plain).map(Body::wrap))
}

impl Completion<Response> for OnBodyEnd {
    type Response = Response;

    fn wrap(&self, response: Response, guard: CallGuard) -> Response {
        over(response, |plain| self.wrap(plain, guard))
    }
}

impl Completion<Response> for OnFirstByte {
    type Response = Response;

    fn wrap(&self, response: Response, guard: CallGuard) -> Response {
        over(response, |plain| self.wrap(plain, guard))
    }
}

impl<J> Completion<Response> for OnTrailers<J>
where
    J: ClassifyTrailers + Clone + Send + Sync + 'static,
{
    type Response = Response;

    fn wrap(&self, response: Response, guard: CallGuard) -> Response {
        over(response, |plain| self.wrap(plain, guard))
    }
}

impl TimeBody for Response {
    type Timed = Self;

    fn time_body(self, limits: Limits) -> Self {
        over(self, |plain| plain.time_body(limits))
    }
}

/// A body of bytes is there from the start, and has no limits.
impl<S: Service<Request>> Service<Request> for RequestBodyTimeout<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.get_mut().poll_ready(cx)
    }

    fn call(&mut self, mut request: Request) -> S::Future {
        upload::watch_with(&mut request, |body, upload_reporter| self.time(body, upload_reporter));
        self.get_mut().call(request)
    }
}
