//! What may be answered instead of a failure.

use std::fmt;
use std::future::{Ready, ready};
use std::marker::PhantomData;
use std::time::Duration;

use tower::Service;

use super::terms::{FellBack, Terms};
use crate::shell::clone_source::CloneSource;
use crate::shell::oneshot::Oneshot;

/// Another answer instead of a failure.
///
/// The builder chooses one: [`value`](super::Builder::value), [`with`](super::Builder::with),
/// [`service`](super::Builder::service), [`last_good`](super::Builder::last_good).
pub trait Answer<Req, Res, Err>: Send + Sync + 'static {
    /// What is kept of a request while its call is in flight.
    type Kept;
    /// The answer, or a failure all the same.
    type Future: Future<Output = Result<Res, Err>>;

    /// The call begins.
    fn keep(&self, request: &Req, terms: &Terms) -> Self::Kept;

    /// The call succeeded.
    fn succeeded(&self, kept: Self::Kept, response: &Res, terms: &Terms) {
        let _ = (kept, response, terms);
    }

    /// The call failed. `None`, if there is nothing to answer instead.
    fn answer(
        &self,
        kept: Self::Kept,
        failed: Result<&Res, &Err>,
        terms: &Terms,
    ) -> Option<Instead<Self::Future>>;

    /// Marks a response as such an answer.
    fn mark(&self, response: &mut Res, told: &FellBack) {
        let _ = (response, told);
    }
}

/// An answer instead of a failure.
#[derive(Debug)]
pub struct Instead<F> {
    pub(super) future: F,
    /// How old it is, if it was kept.
    pub(super) age: Option<Duration>,
}

impl<T> Instead<Ready<T>> {
    fn fresh(answer: T) -> Self {
        Self { future: ready(answer), age: None }
    }

    pub(super) fn kept(answer: T, age: Duration) -> Self {
        Self { future: ready(answer), age: Some(age) }
    }
}

/// Nobody has said yet what to answer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unsaid;

/// The same value each time.
#[derive(Debug, Clone, Copy)]
pub struct Value<T>(pub(super) T);

impl<Req, Res, Err> Answer<Req, Res, Err> for Value<Res>
where
    Res: Clone + Send + Sync + 'static,
{
    type Kept = ();
    type Future = Ready<Result<Res, Err>>;

    #[inline]
    fn keep(&self, _: &Req, _: &Terms) {}

    fn answer(&self, (): (), _: Result<&Res, &Err>, _: &Terms) -> Option<Instead<Self::Future>> {
        Some(Instead::fresh(Ok(self.0.clone())))
    }
}

/// What a closure makes of the failure, and of what another one keeps of the request.
pub struct With<P, F, Res, Err> {
    part: P,
    answer: F,
    of: PhantomData<fn(Res, Err)>,
}

impl<P, F, Res, Err> With<P, F, Res, Err> {
    pub(super) const fn new(part: P, answer: F) -> Self {
        Self { part, answer, of: PhantomData }
    }
}

/// Nothing is kept of the request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nothing;

impl<Req, Res, Err, F> Answer<Req, Res, Err> for With<Nothing, F, Res, Err>
where
    F: Fn(Result<&Res, &Err>) -> Res + Send + Sync + 'static,
    Res: 'static,
    Err: 'static,
{
    type Kept = ();
    type Future = Ready<Result<Res, Err>>;

    #[inline]
    fn keep(&self, _: &Req, _: &Terms) {}

    fn answer(
        &self,
        (): (),
        failed: Result<&Res, &Err>,
        _: &Terms,
    ) -> Option<Instead<Self::Future>> {
        Some(Instead::fresh(Ok((self.answer)(failed))))
    }
}

/// What a closure keeps of a request.
#[derive(Clone, Copy)]
pub struct Part<P>(pub(super) P);

impl<Req, Res, Err, P, K, F> Answer<Req, Res, Err> for With<Part<P>, F, Res, Err>
where
    P: Fn(&Req) -> K + Send + Sync + 'static,
    F: Fn(K, Result<&Res, &Err>) -> Res + Send + Sync + 'static,
    Res: 'static,
    Err: 'static,
{
    type Kept = K;
    type Future = Ready<Result<Res, Err>>;

    fn keep(&self, request: &Req, _: &Terms) -> K {
        (self.part.0)(request)
    }

    fn answer(
        &self,
        kept: K,
        failed: Result<&Res, &Err>,
        _: &Terms,
    ) -> Option<Instead<Self::Future>> {
        Some(Instead::fresh(Ok((self.answer)(kept, failed))))
    }
}

/// Another service.
pub struct Other<V>(pub(super) CloneSource<V>);

impl<Req, Res, Err, V> Answer<Req, Res, Err> for Other<V>
where
    Req: Clone,
    V: Service<Req, Response = Res, Error = Err> + Clone + Send + 'static,
{
    type Kept = Req;
    type Future = Oneshot<V, Req>;

    fn keep(&self, request: &Req, _: &Terms) -> Req {
        request.clone()
    }

    fn answer(
        &self,
        request: Req,
        _: Result<&Res, &Err>,
        _: &Terms,
    ) -> Option<Instead<Self::Future>> {
        Some(Instead { future: Oneshot::waiting(self.0.make(), request), age: None })
    }
}

/// An answer to some failures only.
#[derive(Clone, Copy)]
pub struct When<A, W, Res, Err> {
    pub(super) answer: A,
    pub(super) when: W,
    pub(super) of: PhantomData<fn(Res, Err)>,
}

impl<Req, Res, Err, A, W> Answer<Req, Res, Err> for When<A, W, Res, Err>
where
    A: Answer<Req, Res, Err>,
    W: Fn(Result<&Res, &Err>) -> bool + Send + Sync + 'static,
    Res: 'static,
    Err: 'static,
{
    type Kept = A::Kept;
    type Future = A::Future;

    #[inline]
    fn keep(&self, request: &Req, terms: &Terms) -> A::Kept {
        self.answer.keep(request, terms)
    }

    #[inline]
    fn succeeded(&self, kept: A::Kept, response: &Res, terms: &Terms) {
        self.answer.succeeded(kept, response, terms);
    }

    fn answer(
        &self,
        kept: A::Kept,
        failed: Result<&Res, &Err>,
        terms: &Terms,
    ) -> Option<Instead<A::Future>> {
        if (self.when)(failed) { self.answer.answer(kept, failed, terms) } else { None }
    }

    fn mark(&self, response: &mut Res, told: &FellBack) {
        self.answer.mark(response, told);
    }
}

/// An answer that is marked as such.
#[derive(Clone, Copy)]
pub struct Marked<A, M, Res> {
    pub(super) answer: A,
    pub(super) mark: M,
    pub(super) of: PhantomData<fn(Res)>,
}

impl<Req, Res, Err, A, M> Answer<Req, Res, Err> for Marked<A, M, Res>
where
    A: Answer<Req, Res, Err>,
    M: Fn(&mut Res, &FellBack) + Send + Sync + 'static,
    Res: 'static,
{
    type Kept = A::Kept;
    type Future = A::Future;

    #[inline]
    fn keep(&self, request: &Req, terms: &Terms) -> A::Kept {
        self.answer.keep(request, terms)
    }

    #[inline]
    fn succeeded(&self, kept: A::Kept, response: &Res, terms: &Terms) {
        self.answer.succeeded(kept, response, terms);
    }

    fn answer(
        &self,
        kept: A::Kept,
        failed: Result<&Res, &Err>,
        terms: &Terms,
    ) -> Option<Instead<A::Future>> {
        self.answer.answer(kept, failed, terms)
    }

    fn mark(&self, response: &mut Res, told: &FellBack) {
        self.answer.mark(response, told);
        (self.mark)(response, told);
    }
}

impl<P, F, Res, Err> fmt::Debug for With<P, F, Res, Err> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("With")
    }
}

impl<P> fmt::Debug for Part<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Part")
    }
}

impl<V> fmt::Debug for Other<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Other")
    }
}

impl<A, W, Res, Err> fmt::Debug for When<A, W, Res, Err> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("When")
    }
}

impl<A, M, Res> fmt::Debug for Marked<A, M, Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Marked")
    }
}
