//! The innermost service: it does as the script says, and writes down what must not be.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use seawall::Error;
use seawall::propagate::WithContext;
use tokio::time::{Sleep, sleep};
use tower::Service;

use crate::script::{Answers, Readiness};

pub(crate) type Request = WithContext<u32>;
pub(crate) type Fail = Error<Down>;

/// How the dependency fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Down {
    #[error("it may pass")]
    Now,
    #[error("it will not pass")]
    ForGood,
    #[error("too many calls")]
    TooMany,
}

/// It reserves a place in `poll_ready`, as tower's `ConcurrencyLimit` does.
#[derive(Debug)]
pub(crate) struct Dependency {
    books: Arc<Mutex<Books>>,
    reserved: bool,
}

/// What is known of one call of the stack, by its number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts {
    /// How many inner calls it may make.
    pub(crate) most: u32,
    /// Why it must not get here at all.
    pub(crate) barred: Option<&'static str>,
    pub(crate) inner_calls: u32,
    pub(crate) answered_well: bool,
    pub(crate) failed: bool,
}

#[derive(Debug)]
pub(crate) struct Books {
    answers: Answers,
    readiness: Readiness,
    capacity: usize,
    /// Those who hang since before this many releases are answered.
    releases: u32,
    waiting: Vec<Waker>,
    pub(crate) reserved: usize,
    pub(crate) alive: usize,
    /// The most that were alive at a time, since somebody looked.
    pub(crate) peak: usize,
    pub(crate) calls: u64,
    pub(crate) good: u64,
    pub(crate) readiness_failed: bool,
    /// How often readiness failed: whoever classifies the dependency counts that as a call.
    pub(crate) unready: u64,
    pub(crate) facts: Vec<Facts>,
    pub(crate) breaches: Vec<String>,
}

impl Dependency {
    pub(crate) fn new() -> Self {
        let books = Books {
            answers: Answers::Well,
            readiness: Readiness::Ready,
            capacity: usize::MAX,
            releases: 0,
            waiting: Vec::new(),
            reserved: 0,
            alive: 0,
            peak: 0,
            calls: 0,
            good: 0,
            readiness_failed: false,
            unready: 0,
            facts: Vec::new(),
            breaches: Vec::new(),
        };
        Self { books: Arc::new(Mutex::new(books)), reserved: false }
    }

    pub(crate) fn books(&self) -> MutexGuard<'_, Books> {
        lock(&self.books)
    }

    pub(crate) fn set_answers(&self, answers: Answers) {
        self.books().answers = answers;
    }

    pub(crate) fn set_readiness(&self, readiness: Readiness) {
        self.change(|books| books.readiness = readiness);
    }

    pub(crate) fn set_capacity(&self, capacity: usize) {
        self.change(|books| books.capacity = capacity);
    }

    pub(crate) fn release(&self) {
        self.change(|books| books.releases += 1);
    }

    fn change(&self, change: impl FnOnce(&mut Books)) {
        change_and_wake(&self.books, change);
    }

    fn give_back(&mut self) {
        if std::mem::take(&mut self.reserved) {
            self.change(|books| books.reserved -= 1);
        }
    }
}

fn lock(books: &Mutex<Books>) -> MutexGuard<'_, Books> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes everyone who waits, after the unlock.
fn change_and_wake(books: &Mutex<Books>, change: impl FnOnce(&mut Books)) {
    let mut books = lock(books);
    change(&mut books);
    let waiting = std::mem::take(&mut books.waiting);
    drop(books);
    waiting.into_iter().for_each(Waker::wake);
}

impl Service<Request> for Dependency {
    type Response = u32;
    type Error = Fail;
    type Future = Answering;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fail>> {
        if self.reserved {
            return Poll::Ready(Ok(()));
        }
        let mut books = lock(&self.books);
        match books.readiness {
            Readiness::Ready if books.reserved + books.alive < books.capacity => {
                books.reserved += 1;
                drop(books);
                self.reserved = true;
                Poll::Ready(Ok(()))
            }
            Readiness::Ready | Readiness::NotReady => {
                books.waiting.push(cx.waker().clone());
                Poll::Pending
            }
            Readiness::Fails => {
                books.readiness_failed = true;
                books.unready += 1;
                Poll::Ready(Err(Error::Inner(Down::Now)))
            }
        }
    }

    fn call(&mut self, request: Request) -> Answering {
        let number = request.request;
        let mut books = lock(&self.books);
        books.begin(number, self.reserved);
        let (answers, releases) = (books.answers, books.releases);
        drop(books);
        self.give_back();
        let after = match answers {
            Answers::Slowly(time) | Answers::FailsSlowly(time) => Some(Box::pin(sleep(time))),
            _ => None,
        };
        Answering { books: Arc::clone(&self.books), number, answers, after, releases, over: false }
    }
}

impl Books {
    fn begin(&mut self, number: u32, was_ready: bool) {
        self.calls += 1;
        self.alive += 1;
        self.peak = self.peak.max(self.alive);
        let mut breaches = Vec::new();
        if !was_ready {
            breaches.push(format!("call {number} reached an instance that was not ready"));
        }
        match self.facts.get_mut(number as usize) {
            Some(facts) => {
                facts.inner_calls += 1;
                if facts.inner_calls > facts.most {
                    let Facts { inner_calls, most, .. } = facts;
                    breaches.push(format!("call {number} made {inner_calls} of {most} attempts"));
                }
                if let Some(why) = facts.barred {
                    breaches.push(format!("call {number} got through, and {why}"));
                }
            }
            None => breaches.push(format!("call {number} was never made")),
        }
        self.breaches.append(&mut breaches);
    }
}

impl Clone for Dependency {
    fn clone(&self) -> Self {
        Self { books: Arc::clone(&self.books), reserved: false }
    }
}

impl Drop for Dependency {
    fn drop(&mut self) {
        self.give_back();
    }
}

#[derive(Debug)]
pub(crate) struct Answering {
    books: Arc<Mutex<Books>>,
    number: u32,
    answers: Answers,
    after: Option<Pin<Box<Sleep>>>,
    releases: u32,
    over: bool,
}

impl Future for Answering {
    type Output = Result<u32, Fail>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let number = self.number;
        if let Some(after) = &mut self.after
            && after.as_mut().poll(cx).is_pending()
        {
            return Poll::Pending;
        }
        let polled_again = std::mem::replace(&mut self.over, true);
        let mut books = lock(&self.books);
        if polled_again {
            books.breaches.push(format!("the inner future of call {number} was polled when over"));
            return Poll::Pending;
        }
        let failed = match self.answers {
            Answers::Hangs if books.releases == self.releases => {
                books.waiting.push(cx.waker().clone());
                drop(books);
                self.over = false;
                return Poll::Pending;
            }
            Answers::Well | Answers::Slowly(_) | Answers::Hangs => None,
            Answers::Fails | Answers::FailsSlowly(_) => Some(Down::Now),
            Answers::FailsForGood => Some(Down::ForGood),
            Answers::PushesBack => Some(Down::TooMany),
        };
        books.good += u64::from(failed.is_none());
        if let Some(facts) = books.facts.get_mut(number as usize) {
            facts.answered_well |= failed.is_none();
            facts.failed |= failed.is_some();
        }
        Poll::Ready(failed.map_or(Ok(number), |down| Err(Error::Inner(down))))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        change_and_wake(&self.books, |books| books.alive -= 1);
    }
}

/// How long one who was pushed back is told to stay away.
pub(crate) const HINT: Duration = Duration::from_millis(30);
