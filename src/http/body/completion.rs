//! Calls that are over when their body is.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Buf;
use http::{HeaderMap, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use super::trailers_in_body::TrailersInBody;
use crate::core::classify::Classification;
use crate::core::completion::{CallGuard, Completion};
use crate::core::context::ClassifyContext;
use crate::core::outcome::{Outcome, Signal};

/// A call is over when its response's body ends.
///
/// Until then it holds its permit and counts as in flight. A body that ends makes the outcome what
/// the classifier said of the head (where it said [`Classification::AtEnd`], a success); one that fails is
/// [`TRANSIENT`](Outcome::TRANSIENT), unless the head was a failure already. One that its reader drops
/// half-way counts as its head announced, for the dependency did answer; one of which nothing had come
/// yet abandons the call, unless its head was a failure or pushback. A response without a body is over
/// at once.
///
/// ```
/// use http::Response;
/// use seawall::bulkhead::BulkheadLayer;
/// use seawall::http::OnBodyEnd;
/// use seawall::Error;
/// use tower::{ServiceBuilder, service_fn};
///
/// let client = ServiceBuilder::new()
///     .layer(BulkheadLayer::builder("downloads").limit(8).completion(OnBodyEnd).build()?)
///     .map_err(Error::Inner)
///     .service(service_fn(|_: u32| async { Ok::<_, std::io::Error>(Response::new(String::new())) }));
/// # let _ = seawall::check_service::<_, u32>(client);
/// # Ok::<(), seawall::ConfigErrors>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct OnBodyEnd;

/// A call is over when its response's body ends, and its trailers say what came of it, where the
/// classifier left that open ([`Classification::AtEnd`]).
///
/// Otherwise it is [`OnBodyEnd`]. The classify is a [`ClassifyTrailers`]; a closure is one. If it panics, the
/// call has failed.
///
/// ```
/// use http::HeaderMap;
/// use seawall::Outcome;
/// use seawall::{bulkhead::BulkheadLayer, http::OnTrailers};
///
/// fn classify(trailers: Option<&HeaderMap>) -> Outcome {
///     match trailers.and_then(|trailers| trailers.get("grpc-status")) {
///         Some(status) if status == "0" => Outcome::SUCCESS,
///         _ => Outcome::TRANSIENT,
///     }
/// }
///
/// let calls = BulkheadLayer::builder("orders").completion(OnTrailers::new(classify)).build()?;
/// # drop(calls);
/// assert_eq!(classify(None), Outcome::TRANSIENT); // the stream broke off
/// # Ok::<(), seawall::ConfigErrors>(())
/// ```
#[derive(Clone, Copy)]
pub struct OnTrailers<J>(J);

/// A call is over when the first byte of its response's body arrives, or when the body ends without
/// one.
///
/// The outcome is what the classifier said of the head (where it said [`Classification::AtEnd`], a success),
/// or [`TRANSIENT`](Outcome::TRANSIENT) if the body failed before.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use bytes::Bytes;
/// use http::Response;
/// use http_body_util::{BodyExt, channel::Channel};
/// use seawall::bulkhead::BulkheadLayer;
/// use seawall::{Error, http::OnFirstByte};
/// use std::convert::Infallible;
///
/// // A server that thinks until the first byte, and then streams for as long as somebody listens.
/// let models = BulkheadLayer::builder("models").limit(8).completion(OnFirstByte).build()?;
/// let (mut words, body) = Channel::<Bytes, Infallible>::new(1);
/// let ask = || async { Ok::<_, Error<Infallible>>(Response::new(body)) };
/// let mut answer = models.run(ask).await?.into_body();
/// assert_eq!(models.in_flight(), 1);
///
/// words.send_data("Once".into()).await?;
/// assert!(answer.frame().await.is_some());
/// assert_eq!(models.in_flight(), 0); // though there is more to come
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct OnFirstByte;

/// Reads from the trailers what came of a call.
///
/// ```
/// use http::{HeaderMap, HeaderValue};
/// use seawall::Outcome;
/// use seawall::circuit_breaker::CircuitBreakerLayer;
/// use seawall::http::{OnTrailers, ClassifyTrailers};
///
/// /// A store that says in its trailers whether what it streamed was all.
/// #[derive(Clone)]
/// struct Complete;
///
/// impl ClassifyTrailers for Complete {
///     fn classify(&self, trailers: Option<&HeaderMap>) -> Outcome {
///         match trailers.and_then(|trailers| trailers.get("x-complete")) {
///             Some(value) if value == "yes" => Outcome::SUCCESS,
///             _ => Outcome::TRANSIENT,
///         }
///     }
/// }
///
/// let breaker = CircuitBreakerLayer::builder("store").completion(OnTrailers::new(Complete)).build()?;
/// # drop(breaker);
/// let whole = HeaderMap::from_iter([("x-complete".parse()?, HeaderValue::from_static("yes"))]);
/// assert_eq!(Complete.classify(Some(&whole)), Outcome::SUCCESS);
/// assert_eq!(Complete.classify(None), Outcome::TRANSIENT);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait ClassifyTrailers {
    /// The outcome. `None` stands for a body that ended without trailers.
    fn classify(&self, trailers: Option<&HeaderMap>) -> Outcome;

    /// The same, with what is known of the call: until when its caller waits. By default it is
    /// [`classify`](Self::classify).
    fn classify_call_trailers(
        &self,
        trailers: Option<&HeaderMap>,
        call: &ClassifyContext,
    ) -> Outcome {
        let _ = call;
        self.classify(trailers)
    }

    /// Where the body of an answer with this head holds its trailers as its last message, what watches
    /// for them. By default nothing is watched.
    fn in_body(&self, head: &HeaderMap) -> Option<TrailersInBody> {
        let _ = head;
        None
    }
}

impl<F: Fn(Option<&HeaderMap>) -> Outcome> ClassifyTrailers for F {
    fn classify(&self, trailers: Option<&HeaderMap>) -> Outcome {
        self(trailers)
    }
}

/// Trailers are not looked at: a body that ends is a success.
#[derive(Debug, Clone, Copy, Default)]
pub struct HeadKnows;

impl ClassifyTrailers for HeadKnows {
    fn classify(&self, _: Option<&HeaderMap>) -> Outcome {
        Outcome::SUCCESS
    }
}

impl<J> OnTrailers<J> {
    /// Lets `classify` decide.
    pub const fn new(classify: J) -> Self
    where
        J: ClassifyTrailers,
    {
        Self(classify)
    }
}

impl<J> fmt::Debug for OnTrailers<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnTrailers")
    }
}

impl<B: Body> Completion<Response<B>> for OnBodyEnd {
    type Response = Response<GuardedBody<B>>;

    fn wrap(&self, response: Response<B>, guard: CallGuard) -> Self::Response {
        let duty = BodyGuard::new(guard, HeadKnows);
        response.map(|body| GuardedBody::new(body, duty))
    }
}

impl<B, J> Completion<Response<B>> for OnTrailers<J>
where
    B: Body,
    J: ClassifyTrailers + Clone + Send + Sync + 'static,
{
    type Response = Response<GuardedBody<B, J>>;

    fn wrap(&self, response: Response<B>, guard: CallGuard) -> Self::Response {
        let mut duty = BodyGuard::new(guard, self.0.clone());
        if duty.guard.head() == Classification::AtEnd {
            duty.in_body = self.0.in_body(response.headers()).map(Box::new);
        }
        response.map(|body| GuardedBody::new(body, duty))
    }
}

impl<B: Body> Completion<Response<B>> for OnFirstByte {
    type Response = Response<GuardedBody<B>>;

    fn wrap(&self, response: Response<B>, guard: CallGuard) -> Self::Response {
        let duty = BodyGuard { first_byte: true, ..BodyGuard::new(guard, HeadKnows) };
        response.map(|body| GuardedBody::new(body, duty))
    }
}

/// A response body with a call in it, which is settled while the body is read, or abandoned when it
/// is dropped before.
#[pin_project]
pub struct GuardedBody<B, J = HeadKnows> {
    // Before the duty, so that what the body holds is let go before the permit is.
    #[pin]
    body: B,
    /// `None` once the call is over.
    duty: Option<BodyGuard<J>>,
}

struct BodyGuard<J> {
    guard: CallGuard,
    classify: J,
    first_byte: bool,
    /// Trailers that are part of the body.
    in_body: Option<Box<TrailersInBody>>,
}

impl<B: Body, J: ClassifyTrailers> GuardedBody<B, J> {
    fn new(body: B, duty: BodyGuard<J>) -> Self {
        let mut duty = Some(duty);
        let mut risk = Risk { duty: &mut duty, panics: true };
        if is_over(&body, risk.duty.as_ref()) {
            BodyGuard::end(risk.duty, None);
        }
        risk.panics = false;
        drop(risk);
        Self { body, duty }
    }
}

impl<B, J> Body for GuardedBody<B, J>
where
    B: Body,
    J: ClassifyTrailers,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let mut risk = Risk { duty: this.duty, panics: true };
        let item = match this.body.as_mut().poll_frame(cx) {
            Poll::Pending => {
                risk.panics = false;
                return Poll::Pending;
            }
            Poll::Ready(item) => item,
        };
        let duty = &mut *risk.duty;
        match &item {
            None => BodyGuard::end(duty, None),
            Some(Err(_)) => BodyGuard::fail(duty),
            Some(Ok(frame)) => {
                if frame.data_ref().is_some_and(Buf::has_remaining)
                    && let Some(open) = duty.as_mut()
                {
                    open.guard.mark_delivered(); // it answered, whatever its reader does next
                    if let (Some(in_body), Some(data)) = (&mut open.in_body, frame.data_ref()) {
                        in_body.see(data.chunk());
                    }
                }
                if let Some(trailers) = frame.trailers_ref() {
                    BodyGuard::end(duty, Some(trailers)); // nothing comes after them
                } else if is_over(&*this.body, duty.as_ref()) || is_first_byte(frame, duty.as_ref())
                {
                    // Whoever knows that this was all may never ask again.
                    BodyGuard::end(duty, None);
                }
            }
        }
        risk.panics = false;
        Poll::Ready(item)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Whether a body has nothing more to give that matters. If only trailers can come and the head has
/// said everything, they are not waited for: many a reader stops at the last byte.
fn is_over<B: Body, J>(body: &B, duty: Option<&BodyGuard<J>>) -> bool {
    let head_knows = duty.is_some_and(|duty| duty.guard.head() != Classification::AtEnd);
    body.is_end_stream() || (head_knows && body.size_hint().exact() == Some(0))
}

fn is_first_byte<D: Buf, J>(frame: &Frame<D>, duty: Option<&BodyGuard<J>>) -> bool {
    duty.is_some_and(|duty| duty.first_byte) && frame.data_ref().is_some_and(Buf::has_remaining)
}

impl<J: ClassifyTrailers> BodyGuard<J> {
    /// The body has ended.
    fn end(duty: &mut Option<Self>, trailers: Option<&HeaderMap>) {
        let Some(open) = duty.as_ref() else { return };
        let outcome = match open.guard.head() {
            Classification::Now(outcome) => outcome,
            Classification::AtEnd => {
                let in_body = open.in_body.as_ref().and_then(|in_body| in_body.trailers());
                open.classify
                    .classify_call_trailers(trailers.or(in_body.as_ref()), open.guard.context())
            }
        };
        Self::settle(duty, outcome);
    }
}

impl<J> BodyGuard<J> {
    const fn new(guard: CallGuard, classify: J) -> Self {
        Self { guard, classify, first_byte: false, in_body: None }
    }

    /// The body has failed. A head that was a failure keeps the word: it may have said when to come
    /// back.
    fn fail(duty: &mut Option<Self>) {
        let Some(open) = duty.as_ref() else { return };
        let outcome = match open.guard.head() {
            Classification::Now(outcome) if outcome.signal == Signal::Failure => outcome,
            // Whoever knew the deadline of the caller hung up.
            _ if open.guard.context().is_past_deadline() => Outcome::IGNORE,
            _ => Outcome::TRANSIENT,
        };
        Self::settle(duty, outcome);
    }

    fn settle(duty: &mut Option<Self>, outcome: Outcome) {
        if let Some(duty) = duty.take() {
            duty.guard.settle(outcome);
        }
    }
}

/// While the body or the classify runs: if they panic, the call has failed.
struct Risk<'a, J> {
    duty: &'a mut Option<BodyGuard<J>>,
    panics: bool,
}

impl<J> Drop for Risk<'_, J> {
    fn drop(&mut self) {
        if self.panics {
            BodyGuard::settle(self.duty, Outcome::FAILURE);
        }
    }
}

/// Of a response that no call stands behind, as a rejection further out makes one.
impl<B: Default, J> Default for GuardedBody<B, J> {
    fn default() -> Self {
        Self { body: B::default(), duty: None }
    }
}

impl<B: fmt::Debug, J> fmt::Debug for GuardedBody<B, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settled = self.duty.is_none();
        f.debug_struct("GuardedBody").field("body", &self.body).field("settled", &settled).finish()
    }
}
