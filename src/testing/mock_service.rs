//! A scripted inner service that keeps books on how it is treated.

use std::fmt;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tower::Service;

use super::past::Past;
use super::scenario::Scenario;
use crate::core::sync::{Mutex, MutexGuard};
use crate::shell::lock;

/// What a [`MockService`] says when it is asked whether it is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ready {
    /// While there is room.
    Yes,
    /// Not until the script changes.
    No,
    /// Each instance says `Pending` so many times first, and wakes whoever asked.
    After(u32),
    /// The error of the [`Scenario`].
    Fails,
    /// Panics, as in [`Reply::PanicsInCall`].
    Panics,
}

/// What a [`MockService`] does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// Answers at once, as the [`Scenario`] says.
    Answers,
    /// The error of the [`Scenario`].
    Fails,
    /// Nothing, until the script changes.
    Never,
    /// Says `Pending` so many times first, and wakes whoever asked.
    After(u32),
    /// Panics in `call`. No panic of a script is printed: its payload is a `&str` that begins with
    /// `scripted`, and no hook is called for it.
    PanicsInCall,
    /// Panics when its future is polled.
    PanicsInFuture,
    /// Nothing, and panics when its future is dropped.
    PanicsInDrop,
}

/// What a [`MockService`] was done to that tower's contract forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Breach {
    /// An instance was called that had not said that it was ready.
    CalledUnready,
    /// The future of a call was polled after it had answered.
    PolledAfterReady,
}

/// The innermost service of a test. It reserves in `poll_ready`, as tower's `ConcurrencyLimit` and
/// `Buffer` do, spends the reservation in `call`, and writes down when it is called without one.
///
/// ```
/// use seawall::testing::{CountingWaker, Breach, Broken, Scenario, MockService};
/// use tower::Service;
///
/// let (handle, probe) = MockService::new(Scenario::echo(|| Broken));
/// let (task, mut readied) = (CountingWaker::new(), probe.clone());
/// assert!(task.poll_ready(&mut readied).is_ready());
/// assert_eq!(handle.reserved(), 1);
///
/// let mut clone = readied.clone(); // readiness is not cloned
/// let _answer = clone.call(7);
/// assert_eq!(handle.breaches(), [Breach::CalledUnready]);
/// assert_eq!(handle.in_flight(), 1);
/// ```
pub struct MockService<Req, Res, E> {
    exchange: Scenario<Req, Res, E>,
    handle: MockHandle,
    reserved: bool,
    asked: u32,
    past: Past,
}

/// The books of a probe and all its clones, and the script that they follow.
///
/// ```
/// use seawall::testing::{Breach, Broken, Scenario, MockHandle, MockService, Ready, Reply};
/// use tower::{Service, ServiceExt};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let (handle, mut probe): (MockHandle, MockService<u32, u32, Broken>) = MockService::new(Scenario::echo(|| Broken));
/// handle.set_ready(Ready::After(2)); // it has to be asked three times
/// handle.set_reply(Reply::Fails);
/// assert_eq!(probe.ready().await?.call(7).await, Err(Broken));
/// handle.set_reply(Reply::Answers);
/// assert_eq!(probe.call(7).await, Ok(7)); // which a layer must not do
/// assert_eq!((handle.calls(), handle.in_flight()), (2, 0));
/// assert_eq!(handle.breaches(), [Breach::CalledUnready]);
/// # Ok::<(), Broken>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct MockHandle(Arc<Mutex<Books>>);

#[derive(Debug)]
struct Books {
    ready: Ready,
    reply: Reply,
    capacity: usize,
    reserved: usize,
    in_flight: usize,
    calls: usize,
    answered: usize,
    breaches: Vec<Breach>,
    /// Of the first call of an instance that was not ready.
    unready: Option<Past>,
    waiting: Vec<Waker>,
}

/// More breaches than this of one probe tell nothing new.
const MOST_BREACHES: usize = 64;

// ===== impl MockHandle =====

impl MockHandle {
    /// What the probe says when it is asked from now on; wakes everyone who waits for it.
    pub fn set_ready(&self, ready: Ready) {
        self.change(|books| books.ready = ready);
    }

    /// What it does with calls from now on, those in flight included; wakes everyone who waits.
    pub fn set_reply(&self, reply: Reply) {
        self.change(|books| books.reply = reply);
    }

    /// From now on there is room for so many reservations and calls together; at first for any.
    pub fn set_capacity(&self, capacity: usize) {
        self.change(|books| books.capacity = capacity);
    }

    /// Reservations that were neither spent nor given back.
    pub fn reserved(&self) -> usize {
        self.books().reserved
    }

    /// Futures of calls that were made and not dropped.
    pub fn in_flight(&self) -> usize {
        self.books().in_flight
    }

    /// The calls so far.
    pub fn calls(&self) -> usize {
        self.books().calls
    }

    /// The calls that were answered so far, well or not.
    pub fn answered(&self) -> usize {
        self.books().answered
    }

    /// What was done to the probe that must not be; the first 64.
    pub fn breaches(&self) -> Vec<Breach> {
        self.books().breaches.clone()
    }

    /// How it came about that an instance was called unready, the first time.
    pub(super) fn unready(&self) -> Option<&'static str> {
        self.books().unready.map(Past::sentence)
    }

    /// No instance was called that had not been polled ready, and no future that was over.
    ///
    /// # Panics
    ///
    /// If one was.
    #[track_caller]
    pub fn assert_no_breach(&self) {
        let how = self.unready().map(|how| format!(": {how}")).unwrap_or_default();
        assert_eq!(self.breaches(), [], "the inner service was mistreated{how}");
    }

    /// No breach, nothing reserved, and nothing in flight.
    ///
    /// # Panics
    ///
    /// If it is otherwise.
    #[track_caller]
    pub fn assert_at_rest(&self) {
        self.assert_no_breach();
        assert_eq!(self.reserved(), 0, "reservations that nobody will use");
        assert_eq!(self.in_flight(), 0, "inner futures that nobody polls");
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        lock(&self.0)
    }

    /// Changes the books, and wakes everyone who waits for a change.
    fn change(&self, change: impl FnOnce(&mut Books)) {
        let mut books = self.books();
        change(&mut books);
        let waiting = std::mem::take(&mut books.waiting);
        drop(books);
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Books {
    fn note(&mut self, breach: Breach) {
        if self.breaches.len() < MOST_BREACHES {
            self.breaches.push(breach);
        }
    }
}

// ===== impl MockService =====

impl<Req, Res, E> MockService<Req, Res, E> {
    /// A probe that is ready and answers, and its books.
    pub fn new(exchange: Scenario<Req, Res, E>) -> (MockHandle, Self) {
        let handle = MockHandle(Arc::new(Mutex::new(Books {
            ready: Ready::Yes,
            reply: Reply::Answers,
            capacity: usize::MAX,
            reserved: 0,
            in_flight: 0,
            calls: 0,
            answered: 0,
            breaches: Vec::new(),
            unready: None,
            waiting: Vec::new(),
        })));
        (handle.clone(), Self { exchange, handle, reserved: false, asked: 0, past: Past::New })
    }

    fn release(&mut self) {
        if std::mem::take(&mut self.reserved) {
            self.handle.change(|books| books.reserved -= 1);
        }
    }
}

impl<Req, Res, E> Service<Req> for MockService<Req, Res, E> {
    type Response = Res;
    type Error = E;
    type Future = MockFuture<Req, Res, E>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), E>> {
        if self.reserved {
            return Poll::Ready(Ok(()));
        }
        self.past = Past::Pending;
        let mut books = self.handle.books();
        let full = books.reserved + books.in_flight >= books.capacity;
        match books.ready {
            Ready::Yes | Ready::After(_) if full => {
                books.waiting.push(cx.waker().clone());
                return Poll::Pending;
            }
            Ready::No => {
                books.waiting.push(cx.waker().clone());
                return Poll::Pending;
            }
            Ready::After(times) if self.asked < times => {
                drop(books);
                self.asked += 1;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Ready::Yes | Ready::After(_) => {}
            Ready::Fails => {
                drop(books);
                self.past = Past::Failed;
                return Poll::Ready(Err(self.exchange.error()));
            }
            Ready::Panics => {
                drop(books);
                scripted("scripted: poll_ready");
            }
        }
        books.reserved += 1;
        self.reserved = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        self.asked = 0;
        let mut books = self.handle.books();
        books.calls += 1;
        if !self.reserved {
            books.note(Breach::CalledUnready);
            books.unready.get_or_insert(self.past);
        }
        self.past = Past::Called;
        let panics = books.reply == Reply::PanicsInCall;
        books.in_flight += usize::from(!panics);
        drop(books);
        self.release();
        if panics {
            scripted("scripted: call");
        }
        MockFuture {
            exchange: self.exchange.clone(),
            handle: self.handle.clone(),
            request: Some(request),
            polled: 0,
        }
    }
}

impl<Req, Res, E> Clone for MockService<Req, Res, E> {
    fn clone(&self) -> Self {
        let (exchange, handle) = (self.exchange.clone(), self.handle.clone());
        let past = if self.reserved { Past::CloneOfReady } else { Past::New };
        Self { exchange, handle, reserved: false, asked: 0, past }
    }
}

impl<Req, Res, E> Drop for MockService<Req, Res, E> {
    fn drop(&mut self) {
        self.release();
    }
}

impl<Req, Res, E> fmt::Debug for MockService<Req, Res, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockService").field("reserved", &self.reserved).finish_non_exhaustive()
    }
}

/// The future of a [`MockService`]'s call.
pub struct MockFuture<Req, Res, E> {
    exchange: Scenario<Req, Res, E>,
    handle: MockHandle,
    /// Until it is answered.
    request: Option<Req>,
    polled: u32,
}

/// The request is moved out and never pinned.
impl<Req, Res, E> Unpin for MockFuture<Req, Res, E> {}

impl<Req, Res, E> Future for MockFuture<Req, Res, E> {
    type Output = Result<Res, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let handle = self.handle.clone();
        let mut books = handle.books();
        if self.request.is_none() {
            books.note(Breach::PolledAfterReady);
            return Poll::Pending;
        }
        match books.reply {
            Reply::Never | Reply::PanicsInDrop => {
                books.waiting.push(cx.waker().clone());
                return Poll::Pending;
            }
            Reply::After(times) if self.polled < times => {
                drop(books);
                self.polled += 1;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Reply::Answers | Reply::After(_) | Reply::Fails => {}
            Reply::PanicsInFuture | Reply::PanicsInCall => {
                drop(books);
                scripted("scripted: future");
            }
        }
        let fails = books.reply == Reply::Fails;
        books.answered += 1;
        drop(books);
        Poll::Ready(match self.request.take() {
            Some(request) if !fails => Ok(self.exchange.answer(request)),
            _ => Err(self.exchange.error()),
        })
    }
}

impl<Req, Res, E> Drop for MockFuture<Req, Res, E> {
    fn drop(&mut self) {
        self.handle.change(|books| books.in_flight -= 1);
        // A second panic would end the process.
        if self.handle.books().reply == Reply::PanicsInDrop && !std::thread::panicking() {
            scripted("scripted: drop");
        }
    }
}

impl<Req, Res, E> fmt::Debug for MockFuture<Req, Res, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MockFuture").field("polled", &self.polled).finish_non_exhaustive()
    }
}

/// A panic of the script. It is caught where it is expected, and would only fill the screen: the hook
/// that prints panics is of the whole process, and not called for what is resumed.
fn scripted(payload: &'static str) -> ! {
    resume_unwind(Box::new(payload))
}
