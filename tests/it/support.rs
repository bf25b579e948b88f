//! What the tests share: the kit of `seawall::testing` over numbers, and ways to poll once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

use seawall::Error;
use seawall::testing::{self, Scenario};
use tower::Service;
use tower::util::BoxCloneService;

pub(crate) use seawall::testing::{Broken, CountingWaker, MockHandle, Ready, Reply};

/// The error of every stack in these tests.
pub(crate) type Fail = Error<Broken>;

/// A service whose type is of no interest.
pub(crate) type Boxed = BoxCloneService<u32, u32, Fail>;

/// The future of such a service.
pub(crate) type Answering = <Boxed as Service<u32>>::Future;

/// The innermost service of a test.
pub(crate) type MockService = testing::MockService<u32, u32, Fail>;

/// Numbers, given back as they came.
pub(crate) fn echo() -> Scenario<u32, u32, Fail> {
    Scenario::echo(|| Error::Inner(Broken))
}

/// A probe that is ready and echoes, and its books.
pub(crate) fn probe() -> (MockHandle, MockService) {
    MockService::new(echo())
}

pub(crate) fn scripted(ready: Ready, reply: Reply) -> (MockHandle, MockService) {
    let (handle, probe) = probe();
    handle.set_ready(ready);
    handle.set_reply(reply);
    (handle, probe)
}

// ===== polling by hand =====

pub(crate) fn poll_once<F: Future + Unpin>(
    future: &mut F,
    task: &CountingWaker,
) -> Poll<F::Output> {
    task.poll(future)
}

pub(crate) fn ready_once<Req, S: Service<Req>>(
    service: &mut S,
    task: &CountingWaker,
) -> Poll<Result<(), S::Error>> {
    task.poll_ready(service)
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
