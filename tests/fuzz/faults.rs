//! Faults that are planted to see them found: what a layer could do wrong.

use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use seawall::Error;
use tower::{Service, ServiceExt};

use crate::dependency::{Dependency, Down, Fail, Request};
use crate::stacks::Boxed;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    // innermost
    CallsAClone,
    CallsTwice,
    LeavesTheCallBehind,
    PollsOnceMore,
    WakesTheFirst,
    // outermost
    AnswersAnother,
    AnswersByItself,
    AsksTheDependencyWhenRejected,
    HangsWhenRejected,
    WakesNobodyWhenReady,
}

impl Fault {
    pub(crate) const ALL: [Self; 10] = [
        Self::CallsAClone,
        Self::CallsTwice,
        Self::LeavesTheCallBehind,
        Self::PollsOnceMore,
        Self::WakesTheFirst,
        Self::AnswersAnother,
        Self::AnswersByItself,
        Self::AsksTheDependencyWhenRejected,
        Self::HangsWhenRejected,
        Self::WakesNobodyWhenReady,
    ];

    pub(crate) fn is_inside(self) -> bool {
        self as u8 <= Self::WakesTheFirst as u8
    }

    pub(crate) fn around(self, inner: Boxed, dependency: &Dependency) -> Boxed {
        Boxed::new(Faulty { fault: self, inner, dependency: dependency.clone() })
    }
}

#[derive(Clone)]
struct Faulty {
    fault: Fault,
    inner: Boxed,
    dependency: Dependency,
}

type Answering = Pin<Box<dyn Future<Output = Result<u32, Fail>> + Send>>;

impl Service<Request> for Faulty {
    type Response = u32;
    type Error = Fail;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fail>> {
        if self.fault == Fault::WakesNobodyWhenReady {
            return self.inner.poll_ready(&mut Context::from_waker(Waker::noop()));
        }
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Answering {
        let again = request.clone();
        let dependency = self.dependency.clone();
        let (clone, fault) = (self.inner.clone(), self.fault);
        if fault == Fault::CallsAClone {
            return Box::pin(self.inner.clone().call(request));
        }
        if fault == Fault::AnswersByItself && again.request % 8 == 7 {
            return Box::pin(async { Err(Error::Inner(Down::Now)) });
        }
        let mut future = self.inner.call(request);
        match fault {
            Fault::CallsTwice => Box::pin(async move {
                drop(future.await);
                clone.oneshot(again).await
            }),
            Fault::LeavesTheCallBehind => Box::pin(Forgotten(Some(future))),
            Fault::PollsOnceMore => Box::pin(poll_fn(move |cx| {
                let answer = future.as_mut().poll(cx);
                if answer.is_ready() {
                    let _ = future.as_mut().poll(cx);
                }
                answer
            })),
            Fault::WakesTheFirst => {
                let mut first = None;
                Box::pin(poll_fn(move |cx| {
                    let first = first.get_or_insert_with(|| cx.waker().clone());
                    future.as_mut().poll(&mut Context::from_waker(first))
                }))
            }
            Fault::AnswersAnother => Box::pin(async { future.await.map(|number| number + 1) }),
            Fault::AsksTheDependencyWhenRejected => Box::pin(async {
                match future.await {
                    Err(Error::Rejected(_)) => dependency.oneshot(again).await,
                    answer => answer,
                }
            }),
            Fault::HangsWhenRejected => Box::pin(async {
                match future.await {
                    Err(Error::Rejected(_)) => pending().await,
                    answer => answer,
                }
            }),
            _ => future,
        }
    }
}

/// Forgets a call that is dropped before it is over.
struct Forgotten(Option<Answering>);

impl Future for Forgotten {
    type Output = Result<u32, Fail>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = &mut self.0 else { return Poll::Pending };
        let answer = future.as_mut().poll(cx);
        if answer.is_ready() {
            self.0 = None;
        }
        answer
    }
}

impl Drop for Forgotten {
    fn drop(&mut self) {
        std::mem::forget(self.0.take());
    }
}
