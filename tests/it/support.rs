//! What the tests share: a scripted inner service that keeps books on how it is treated, a waker
//! that counts, and ways to poll once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use seawall::Error;
use tower::Service;
use tower::util::BoxCloneService;

/// How the innermost service fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("broken")]
pub(crate) struct Broken;

/// The error of every stack in these tests.
pub(crate) type Fail = Error<Broken>;

/// A service whose type is of no interest.
pub(crate) type Boxed = BoxCloneService<u32, u32, Fail>;

/// The future of such a service.
pub(crate) type Answering = <Boxed as Service<u32>>::Future;

/// What a probe says when it is asked whether it is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ready {
    Yes,
    /// Not until the script changes.
    No,
    /// Each instance says `Pending` so many times first, and wakes itself.
    After(u32),
    Fails,
    Panics,
}

/// What a probe does with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Gives the request back, at once.
    Echo,
    Fails,
    /// Nothing, until the script changes.
    Never,
    /// Says `Pending` so many times first, and wakes itself.
    After(u32),
    PanicsInCall,
    PanicsInFuture,
}

/// The innermost service of a test. It reserves in `poll_ready`, as `ConcurrencyLimit` and `Buffer`
/// do, spends the reservation in `call`, and writes down when it is called without one.
#[derive(Debug)]
pub(crate) struct Probe {
    ledger: Ledger,
    reserved: bool,
    asked: u32,
}

/// The books of a probe and all its clones, and the script they follow.
#[derive(Debug, Clone)]
pub(crate) struct Ledger(Arc<Mutex<Books>>);

#[derive(Debug)]
struct Books {
    ready: Ready,
    reply: Reply,
    /// Reservations and calls together, at most.
    capacity: usize,
    reserved: usize,
    live: usize,
    calls: usize,
    unready_calls: usize,
    waiting: Vec<Waker>,
}

// ===== impl Ledger =====

impl Ledger {
    /// A probe that is ready and echoes, and its books.
    pub(crate) fn new() -> (Self, Probe) {
        Self::scripted(Ready::Yes, Reply::Echo)
    }

    pub(crate) fn scripted(ready: Ready, reply: Reply) -> (Self, Probe) {
        let ledger = Self(Arc::new(Mutex::new(Books {
            ready,
            reply,
            capacity: usize::MAX,
            reserved: 0,
            live: 0,
            calls: 0,
            unready_calls: 0,
            waiting: Vec::new(),
        })));
        let probe = Probe { ledger: ledger.clone(), reserved: false, asked: 0 };
        (ledger, probe)
    }

    pub(crate) fn set_ready(&self, ready: Ready) {
        self.change(|books| books.ready = ready);
    }

    pub(crate) fn set_reply(&self, reply: Reply) {
        self.change(|books| books.reply = reply);
    }

    /// From now on there is room for so many reservations and calls together.
    pub(crate) fn set_capacity(&self, capacity: usize) {
        self.change(|books| books.capacity = capacity);
    }

    /// Reservations that were neither spent nor released.
    pub(crate) fn reserved(&self) -> usize {
        self.books().reserved
    }

    /// Futures that were made and not dropped.
    pub(crate) fn live(&self) -> usize {
        self.books().live
    }

    pub(crate) fn calls(&self) -> usize {
        self.books().calls
    }

    /// No instance was called that had not been polled ready.
    #[track_caller]
    pub(crate) fn assert_never_called_unready(&self) {
        assert_eq!(self.books().unready_calls, 0, "calls without a reservation");
    }

    /// Nothing is held, and nothing is under way.
    #[track_caller]
    pub(crate) fn assert_at_rest(&self) {
        self.assert_never_called_unready();
        assert_eq!(self.reserved(), 0, "reservations that nobody will use");
        assert_eq!(self.live(), 0, "inner futures that nobody polls");
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

// ===== impl Probe =====

impl Probe {
    fn release(&mut self) {
        if std::mem::take(&mut self.reserved) {
            self.ledger.change(|books| books.reserved -= 1);
        }
    }
}

impl From<Probe> for Boxed {
    fn from(probe: Probe) -> Self {
        Self::new(probe)
    }
}

impl Service<u32> for Probe {
    type Response = u32;
    type Error = Fail;
    type Future = Pending;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fail>> {
        if self.reserved {
            return Poll::Ready(Ok(()));
        }
        let mut books = self.ledger.books();
        let full = books.reserved + books.live >= books.capacity;
        match books.ready {
            Ready::Yes if !full => {}
            Ready::Yes | Ready::No => {
                books.waiting.push(cx.waker().clone());
                return Poll::Pending;
            }
            Ready::After(times) if self.asked < times => {
                self.asked += 1;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Ready::After(_) => {}
            Ready::Fails => return Poll::Ready(Err(Error::Inner(Broken))),
            Ready::Panics => panic!("scripted: poll_ready"),
        }
        books.reserved += 1;
        self.reserved = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u32) -> Pending {
        self.asked = 0;
        let mut books = self.ledger.books();
        books.calls += 1;
        books.unready_calls += usize::from(!self.reserved);
        let panics = books.reply == Reply::PanicsInCall;
        books.live += usize::from(!panics);
        drop(books);
        self.release();
        assert!(!panics, "scripted: call");
        Pending { ledger: self.ledger.clone(), request, polled: 0 }
    }
}

impl Clone for Probe {
    fn clone(&self) -> Self {
        Self { ledger: self.ledger.clone(), reserved: false, asked: 0 }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.release();
    }
}

/// The future of a probe's call.
#[derive(Debug)]
pub(crate) struct Pending {
    ledger: Ledger,
    request: u32,
    polled: u32,
}

impl Future for Pending {
    type Output = Result<u32, Fail>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut books = self.ledger.books();
        match books.reply {
            Reply::Never => books.waiting.push(cx.waker().clone()),
            Reply::Fails => return Poll::Ready(Err(Error::Inner(Broken))),
            Reply::After(times) if self.polled < times => {
                drop(books);
                self.polled += 1;
                cx.waker().wake_by_ref();
            }
            Reply::Echo | Reply::After(_) => return Poll::Ready(Ok(self.request)),
            Reply::PanicsInFuture | Reply::PanicsInCall => panic!("scripted: future"),
        }
        Poll::Pending
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.ledger.change(|books| books.live -= 1);
    }
}

// ===== polling by hand =====

/// A waker that counts how often it was woken.
#[derive(Debug, Default)]
pub(crate) struct Bell(AtomicUsize);

impl Bell {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn rings(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F, bell: &Arc<Bell>) -> Poll<F::Output> {
    let waker = Waker::from(Arc::clone(bell));
    Pin::new(future).poll(&mut Context::from_waker(&waker))
}

pub(crate) fn ready_once<Req, S: Service<Req>>(
    service: &mut S,
    bell: &Arc<Bell>,
) -> Poll<Result<(), S::Error>> {
    let waker = Waker::from(Arc::clone(bell));
    service.poll_ready(&mut Context::from_waker(&waker))
}

/// What an answer that must be there says.
#[track_caller]
pub(crate) fn now<T>(poll: Poll<T>) -> T {
    match poll {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("pending"),
    }
}

/// Runs what may panic by script; `None` if it did.
pub(crate) fn caught<T>(run: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(run)).ok()
}
