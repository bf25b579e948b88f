//! What the tests share: the kit of `seawall::testing` over numbers, and ways to poll once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

use seawall::Error;
use seawall::testing::{self, Exchange};
use tower::Service;
use tower::util::BoxCloneService;

pub(crate) use seawall::testing::{Bell, Broken, Ledger, Ready, Reply};

/// The error of every stack in these tests.
pub(crate) type Fail = Error<Broken>;

/// A service whose type is of no interest.
pub(crate) type Boxed = BoxCloneService<u32, u32, Fail>;

/// The future of such a service.
pub(crate) type Answering = <Boxed as Service<u32>>::Future;

/// The innermost service of a test.
pub(crate) type Probe = testing::Probe<u32, u32, Fail>;

/// Numbers, given back as they came.
pub(crate) fn echo() -> Exchange<u32, u32, Fail> {
    Exchange::echo(|| Error::Inner(Broken))
}

/// A probe that is ready and echoes, and its books.
pub(crate) fn probe() -> (Ledger, Probe) {
    Probe::new(echo())
}

pub(crate) fn scripted(ready: Ready, reply: Reply) -> (Ledger, Probe) {
    let (ledger, probe) = probe();
    ledger.set_ready(ready);
    ledger.set_reply(reply);
    (ledger, probe)
}

// ===== polling by hand =====

pub(crate) fn poll_once<F: Future + Unpin>(future: &mut F, bell: &Bell) -> Poll<F::Output> {
    bell.poll(future)
}

pub(crate) fn ready_once<Req, S: Service<Req>>(
    service: &mut S,
    bell: &Bell,
) -> Poll<Result<(), S::Error>> {
    bell.poll_ready(service)
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
