//! Layers that break the contract, one check each.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use seawall::testing::{Broken, Check, MockFuture, MockService, Steps};
use tower::{Layer, Service};

pub(crate) type Inner = MockService<u32, u32, Broken>;
pub(crate) type Answer = Pin<Box<dyn Future<Output = Result<u32, Broken>> + Send>>;
type Readiness = Poll<Result<(), Broken>>;

/// What a layer does in the place of passing everything on.
#[derive(Debug, Clone)]
pub(crate) struct Bent {
    pub(crate) ready: fn(&mut BentService, &mut Context<'_>) -> Readiness,
    pub(crate) call: fn(&mut BentService, u32) -> Answer,
    pub(crate) clones_readiness: bool,
    pub(crate) count: Arc<AtomicUsize>,
    pub(crate) line: WaitQueue,
}

pub(crate) type WaitQueue = Arc<Mutex<Vec<Waker>>>;

#[derive(Debug)]
pub(crate) struct BentService {
    pub(crate) inner: Inner,
    bent: Bent,
    readied: bool,
    /// Who asked first.
    first: Option<Waker>,
}

impl Bent {
    /// Passes everything on.
    pub(crate) fn straight() -> Self {
        let ready = |service: &mut BentService, cx: &mut Context<'_>| service.inner.poll_ready(cx);
        let call = |service: &mut BentService, request| -> Answer {
            Box::pin(service.inner.call(request))
        };
        Self {
            ready,
            call,
            clones_readiness: false,
            count: Arc::default(),
            line: WaitQueue::default(),
        }
    }

    /// The same, with a state of its own.
    pub(crate) fn anew(&self) -> Self {
        Self { count: Arc::default(), line: WaitQueue::default(), ..self.clone() }
    }

    /// Each check that a layer can break, and one that does.
    pub(crate) fn all() -> Vec<(Check, Self)> {
        let straight = Self::straight();
        let ready = |ready| Self { ready, ..Self::straight() };
        let call = |call| Self { call, ..Self::straight() };
        vec![
            (Check::OnlyReadyIsCalled, call(|s, n| Box::pin(s.inner.clone().call(n)))),
            (Check::CloneReservesNothing, Self { clones_readiness: true, ..ready(asks_once) }),
            (Check::ReadinessIsKept, ready(asks_anew)),
            (Check::ReservationIsGivenBack, ready(reserves_a_spare)),
            (Check::ReadyErrorIsTold, Self { call: is_well, ..ready(never_fails) }),
            (Check::AnswersArePassedOn, call(|s, n| swallows(s.inner.call(n)))),
            (Check::OneCallEach, call(calls_twice)),
            (Check::NoCallAfterDrop, call(calls_in_the_background)),
            (Check::NoCallRunsOn, call(detaches_its_call)),
            (Check::NoCallRunsOn, call(times_out_and_lets_it_run)),
            (Check::NothingIsLeftByADrop, Self { call: keeps_its_permit, ..ready(permits) }),
            (Check::NothingIsLeftByAFailure, Self { call: keeps_it_if_it_fails, ..ready(permits) }),
            (Check::NothingIsLeftByAFailure, Self { call: returns_it, ..ready(takes_it_too_soon) }),
            (
                Check::NothingIsLeftByAPanic,
                Self { call: counts_before_the_guard, ..ready(permits) },
            ),
            (Check::NothingIsLeftByAPanic, Self { call: keeps_it_over_a_panic, ..ready(permits) }),
            (
                Check::NothingIsLeftByAPanic,
                Self { call: returns_it, ..ready(keeps_it_over_one_here) },
            ),
            (Check::NothingIsLeftByAPanic, Self { call: returns_it_by_hand, ..ready(permits) }),
            (Check::WokenWhenReady, ready(wakes_the_first)),
            (Check::WokenWhenAnswered, call(|s, n| wakes_the_first_caller(s.inner.call(n)))),
            (Check::WakeIsHandedOn, Self { call: wakes_one, ..ready(waits_in_line) }),
            (Check::NoBusyWakes, ready(wakes_itself)),
            (Check::NoReservationWhileWaiting, call(waits_with_a_reservation)),
            (Check::NotPolledAfterReady, call(|s, n| polls_once_more(s.inner.call(n)))),
            (Check::DrivesReadiness, straight.clone()),
            (Check::LetsGoAtOnce, straight),
        ]
    }
}

fn asks_once(service: &mut BentService, cx: &mut Context<'_>) -> Readiness {
    if service.readied {
        return Poll::Ready(Ok(()));
    }
    service.inner.poll_ready(cx).map_ok(|()| service.readied = true)
}

fn asks_anew(service: &mut BentService, cx: &mut Context<'_>) -> Readiness {
    service.inner = service.inner.clone();
    service.inner.poll_ready(cx)
}

fn reserves_a_spare(service: &mut BentService, cx: &mut Context<'_>) -> Readiness {
    let mut spare = service.inner.clone();
    let _ = spare.poll_ready(cx);
    std::mem::forget(spare);
    service.inner.poll_ready(cx)
}

fn never_fails(service: &mut BentService, cx: &mut Context<'_>) -> Readiness {
    service.inner.poll_ready(cx).map(|_| Ok(()))
}

fn is_well(service: &mut BentService, request: u32) -> Answer {
    service.inner = service.inner.clone();
    Box::pin(async move { Ok(request) })
}

fn swallows(future: MockFuture<u32, u32, Broken>) -> Answer {
    Box::pin(async { Ok(future.await.unwrap_or(0)) })
}

fn calls_twice(service: &mut BentService, request: u32) -> Answer {
    let (first, other) = (service.inner.call(request), service.inner.clone());
    Box::pin(async move {
        let answer = first.await;
        let _ = Steps::new(other, request).await;
        answer
    })
}

fn calls_in_the_background(service: &mut BentService, request: u32) -> Answer {
    let clone = service.inner.clone();
    let mut readied = std::mem::replace(&mut service.inner, clone);
    let call = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(1)).await;
        poll_fn(|cx| readied.poll_ready(cx)).await?;
        readied.call(request).await
    });
    Box::pin(async { call.await.unwrap_or_else(panics_too) })
}

fn panics_too<T>(error: tokio::task::JoinError) -> T {
    std::panic::resume_unwind(error.into_panic())
}

const PERMITS: usize = 100;

fn permits(service: &mut BentService, cx: &mut Context<'_>) -> Readiness {
    if service.bent.count.load(Ordering::SeqCst) >= PERMITS {
        return Poll::Pending; // and nobody is told, but that is not the point here
    }
    service.inner.poll_ready(cx)
}

/// Gives it back with the answer, and nowhere else.
fn keeps_its_permit(service: &mut BentService, request: u32) -> Answer {
    let count = Arc::clone(&service.bent.count);
    count.fetch_add(1, Ordering::SeqCst);
    let future = service.inner.call(request);
    Box::pin(async move {
        let answer = future.await;
        count.fetch_sub(1, Ordering::SeqCst);
        answer
    })
}

fn counts_before_the_guard(service: &mut BentService, request: u32) -> Answer {
    struct Guard(Arc<AtomicUsize>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let count = Arc::clone(&service.bent.count);
    count.fetch_add(1, Ordering::SeqCst);
    let future = service.inner.call(request); // may panic
    let guard = Guard(count);
    Box::pin(async move {
        let _guard = guard;
        future.await
    })
}

fn wakes_the_first(service: &mut BentService, cx: &mut Context<'_>) -> Readiness {
    let first = service.first.get_or_insert_with(|| cx.waker().clone()).clone();
    service.inner.poll_ready(&mut Context::from_waker(&first))
}

fn wakes_the_first_caller(mut future: MockFuture<u32, u32, Broken>) -> Answer {
    let mut first = None;
    Box::pin(poll_fn(move |cx| {
        let first = first.get_or_insert_with(|| cx.waker().clone());
        Pin::new(&mut future).poll(&mut Context::from_waker(first))
    }))
}

fn wakes_itself(service: &mut BentService, cx: &mut Context<'_>) -> Readiness {
    let ready = service.inner.poll_ready(&mut Context::from_waker(Waker::noop()));
    if ready.is_pending() {
        cx.waker().wake_by_ref();
    }
    ready
}

/// Readies another one, while the one that is ready waits.
fn waits_with_a_reservation(service: &mut BentService, request: u32) -> Answer {
    let other = service.inner.clone();
    let readied = std::mem::replace(&mut service.inner, other.clone());
    Box::pin(async move {
        let answer = Steps::new(other, request).await;
        drop(readied);
        answer
    })
}

fn polls_once_more(mut future: MockFuture<u32, u32, Broken>) -> Answer {
    Box::pin(poll_fn(move |cx| {
        let answer = Pin::new(&mut future).poll(cx);
        if answer.is_ready() {
            let _ = Pin::new(&mut future).poll(cx);
        }
        answer
    }))
}

// ===== what runs on =====

fn detaches_its_call(service: &mut BentService, request: u32) -> Answer {
    let call = tokio::spawn(service.inner.call(request));
    Box::pin(async { call.await.unwrap_or_else(panics_too) })
}

/// Ends with its caller, but not with its timer.
fn times_out_and_lets_it_run(service: &mut BentService, request: u32) -> Answer {
    struct Ends(tokio::task::AbortHandle);
    impl Drop for Ends {
        fn drop(&mut self) {
            self.0.abort();
        }
    }
    let call = tokio::spawn(service.inner.call(request));
    let ends = Ends(call.abort_handle());
    Box::pin(async move {
        let answer = tokio::time::timeout(Duration::from_secs(1), call).await;
        if answer.is_err() {
            std::mem::forget(ends);
        }
        answer.map_err(|_| Broken)?.unwrap_or_else(panics_too)
    })
}

// ===== permits =====

/// A permit that is given back when it is dropped.
struct Permit(Arc<AtomicUsize>);

impl Permit {
    fn take(service: &BentService) -> Self {
        let count = Arc::clone(&service.bent.count);
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn returns_it(service: &mut BentService, request: u32) -> Answer {
    let permit = Permit::take(service);
    let future = service.inner.call(request);
    Box::pin(async move {
        let _permit = permit;
        future.await
    })
}

fn keeps_it_if_it_fails(service: &mut BentService, request: u32) -> Answer {
    let permit = Permit::take(service);
    let future = service.inner.call(request);
    Box::pin(async move {
        let mut permit = Some(permit);
        let answer = future.await;
        if answer.is_err() {
            std::mem::forget(permit.take());
        }
        answer
    })
}

/// One for itself, while it asks the inner service.
fn takes_it_too_soon(service: &mut BentService, cx: &mut Context<'_>) -> Readiness {
    let permit = Permit::take(service);
    let full = service.bent.count.load(Ordering::SeqCst) > PERMITS;
    let ready = if full { Poll::Pending } else { service.inner.poll_ready(cx) };
    if matches!(ready, Poll::Ready(Err(_))) {
        std::mem::forget(permit);
    }
    ready
}

/// Gives it back when it is dropped, unless that is for a panic.
fn keeps_it_over_a_panic(service: &mut BentService, request: u32) -> Answer {
    struct Careless(Option<Permit>);
    impl Drop for Careless {
        fn drop(&mut self) {
            if std::thread::panicking() {
                std::mem::forget(self.0.take());
            }
        }
    }
    let permit = Careless(Some(Permit::take(service)));
    let future = service.inner.call(request);
    Box::pin(async move {
        let _permit = permit;
        future.await
    })
}

fn keeps_it_over_one_here(service: &mut BentService, cx: &mut Context<'_>) -> Readiness {
    let count = Arc::clone(&service.bent.count);
    if count.fetch_add(1, Ordering::SeqCst) >= PERMITS {
        count.fetch_sub(1, Ordering::SeqCst);
        return Poll::Pending;
    }
    let ready = service.inner.poll_ready(cx); // may panic
    count.fetch_sub(1, Ordering::SeqCst);
    ready
}

/// Ends the inner call first, whose drop may panic, and gives back the permit then.
fn returns_it_by_hand(service: &mut BentService, request: u32) -> Answer {
    struct ByHand(Option<MockFuture<u32, u32, Broken>>, Option<Permit>);
    impl Drop for ByHand {
        fn drop(&mut self) {
            let permit = std::mem::ManuallyDrop::new(self.1.take());
            self.0 = None;
            drop(std::mem::ManuallyDrop::into_inner(permit));
        }
    }
    let permit = Permit::take(service);
    let mut call = ByHand(Some(service.inner.call(request)), Some(permit));
    Box::pin(poll_fn(move |cx| Pin::new(call.0.as_mut().unwrap()).poll(cx)))
}

// ===== a line =====

const PLACES: usize = 3;

/// Wakes one of the line for each place that is free, wherever that one is by now.
fn waits_in_line(service: &mut BentService, cx: &mut Context<'_>) -> Readiness {
    if service.bent.count.load(Ordering::SeqCst) < PLACES {
        return service.inner.poll_ready(cx);
    }
    service.bent.line.lock().unwrap().push(cx.waker().clone());
    Poll::Pending
}

fn wakes_one(service: &mut BentService, request: u32) -> Answer {
    struct Place(Option<Permit>, WaitQueue);
    impl Drop for Place {
        fn drop(&mut self) {
            self.0 = None;
            let mut line = self.1.lock().unwrap();
            // Of whoever asked more than once, the last waker counts.
            let next = line.pop();
            line.clear();
            drop(line);
            next.into_iter().for_each(Waker::wake);
        }
    }
    let place = Place(Some(Permit::take(service)), Arc::clone(&service.bent.line));
    let future = service.inner.call(request);
    Box::pin(async move {
        let _place = place;
        future.await
    })
}

impl Layer<Inner> for Bent {
    type Service = BentService;

    fn layer(&self, inner: Inner) -> BentService {
        BentService { inner, bent: self.clone(), readied: false, first: None }
    }
}

impl Clone for BentService {
    fn clone(&self) -> Self {
        let readied = self.readied && self.bent.clones_readiness;
        Self { inner: self.inner.clone(), bent: self.bent.clone(), readied, first: None }
    }
}

impl Service<u32> for BentService {
    type Response = u32;
    type Error = Broken;
    type Future = Answer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Readiness {
        (self.bent.ready)(self, cx)
    }

    fn call(&mut self, request: u32) -> Answer {
        self.readied = false;
        (self.bent.call)(self, request)
    }
}
