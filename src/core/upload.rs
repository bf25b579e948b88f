//! How far the body of a request has got, for those who measure time.
//!
//! A caller that is slow to send its request must not be taken for a dependency that is slow to answer. So
//! whoever hands the body on notes here whose turn it is, and a timeout whose time is up looks here
//! before it ends anything.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
#[cfg(feature = "http")]
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use crate::core::error::Reason;
use crate::core::time;
#[cfg(feature = "http")]
use crate::core::time::nanos;

/// How far the body of one request has got, copies of the request included. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Upload(Arc<Progress>);

#[derive(Debug)]
struct Progress {
    began: Instant,
    /// When it was last not the caller's turn, and no longer: nanoseconds since it began.
    since: AtomicU64,
    /// Readers that wait for the caller to send more.
    waiting: AtomicU32,
    fate: AtomicU8,
    guarded: AtomicBool,
}

/// It has not ended yet.
const FLOWS: u8 = 0;
/// All of it was handed on.
#[cfg(feature = "http")]
const ENDED: u8 = 1;
/// It broke off.
const BROKE: u8 = 2;
/// It was ended, because nothing came for too long.
const STALLED: u8 = 3;
/// Nobody tells of it yet.
const UNWATCHED: u8 = 4;

/// What becomes of a call whose time is up, as far as its body is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// The time is up: the caller did its part.
    Now,
    /// Not before this instant.
    At(Instant),
    /// The caller has sent nothing for the whole of the time.
    Stalled,
}

impl Upload {
    #[cfg(feature = "http")]
    pub(crate) fn new() -> Self {
        Self::with_fate(FLOWS)
    }

    /// One of whom nobody tells before there is a [`UploadReporter`] of it. Until then it is as if it were not there,
    /// but for whoever [is about to send it](Self::is_to_come).
    #[cfg(feature = "reqwest")]
    pub(crate) fn unwatched() -> Self {
        Self::with_fate(UNWATCHED)
    }

    #[cfg(feature = "http")]
    fn with_fate(fate: u8) -> Self {
        Self(Arc::new(Progress {
            began: time::now(),
            since: AtomicU64::new(0),
            waiting: AtomicU32::new(0),
            fate: AtomicU8::new(fate),
            guarded: AtomicBool::new(false),
        }))
    }

    /// Whether it flows, or will once the request has been written for those further in.
    pub(crate) fn is_to_come(&self) -> bool {
        self.flows() || self.is_unwatched()
    }

    /// Whether the request has yet to be written, for somebody to tell of its body.
    pub(crate) fn is_unwatched(&self) -> bool {
        self.0.fate.load(Ordering::Acquire) == UNWATCHED
    }

    /// Whether there is more to come.
    pub(crate) fn flows(&self) -> bool {
        self.0.fate.load(Ordering::Acquire) == FLOWS
    }

    /// True once: for the outermost of those who measure time, who ends what stalls.
    pub(crate) fn guard(&self) -> bool {
        !self.0.guarded.swap(true, Ordering::Relaxed)
    }

    /// What the caller did wrong, if it did.
    pub(crate) fn fault(&self) -> Option<Reason> {
        match self.0.fate.load(Ordering::Acquire) {
            BROKE => Some(Reason::RequestBroken),
            STALLED => Some(Reason::RequestTimeout),
            _ => None,
        }
    }

    /// Nothing came for too long.
    pub(crate) fn stall(&self) {
        self.0.fate.store(STALLED, Ordering::Release);
    }

    /// When it was last not the other side's turn.
    pub(crate) fn since(&self) -> Instant {
        let since = Duration::from_nanos(self.0.since.load(Ordering::Acquire));
        self.0.began.checked_add(since).unwrap_or(self.0.began)
    }

    /// Since when it has been the other side's turn; `None` while the caller keeps it waiting.
    pub(crate) fn turn(&self) -> Option<Instant> {
        (!self.waits()).then(|| self.since())
    }

    fn waits(&self) -> bool {
        self.flows() && self.0.waiting.load(Ordering::Acquire) > 0
    }

    /// `limit` has passed since `started`. Time in which the caller kept others waiting does not count,
    /// and each frame it sent begins the time anew, so that it runs from the last of them.
    pub(crate) fn due(&self, started: Instant, limit: Duration, guards: bool) -> Due {
        let now = time::now();
        let since = self.since().max(started);
        let waits = self.waits();
        // While it waits it will run from later than now. Who guards looks at the wait itself.
        let from = if waits && !guards { now } else { since };
        match from.checked_add(limit) {
            Some(at) if at > now => Due::At(at),
            Some(_) if waits => Due::Stalled,
            _ => Due::Now,
        }
    }

    #[cfg(feature = "http")]
    fn note(&self) {
        let since = nanos(time::now().saturating_duration_since(self.0.began));
        self.0.since.fetch_max(since, Ordering::AcqRel);
    }

    #[cfg(feature = "http")]
    fn end(&self, fate: u8) {
        // What was said first holds: a body that stalled also breaks off.
        let _ = self.0.fate.compare_exchange(FLOWS, fate, Ordering::AcqRel, Ordering::Acquire);
        self.note();
    }
}

// ===== calls that are dropped =====

/// Whether a call that is being dropped on this thread is excused.
fn excused_here(change: impl FnOnce(&Cell<bool>)) {
    thread_local! {
        static EXCUSED: Cell<bool> = const { Cell::new(false) };
    }
    // Nobody is told of calls that are dropped with their thread.
    let _ = EXCUSED.try_with(change);
}

/// A call is being dropped whose request was never sent as a whole: whoever drops it with the calls
/// around it, on this thread and at this moment, learns so from [`excused`].
pub(crate) fn excuse() {
    excused_here(|here| here.set(true));
}

/// Drops what is left of a call, and says whether its [request was still being sent](excuse).
pub(crate) fn excused(drop: impl FnOnce()) -> bool {
    let (mut before, mut excused) = (false, false);
    excused_here(|here| before = here.replace(false));
    drop();
    excused_here(|here| {
        excused = here.get();
        here.set(before || excused); // those further out hear of it too
    });
    excused
}

// ===== telling =====

#[cfg(feature = "http")]
/// One who hands the body on, and tells of it.
#[derive(Debug, Default)]
pub(crate) struct UploadReporter {
    upload: Option<Upload>,
    waits: bool,
}

#[cfg(feature = "http")]
impl UploadReporter {
    pub(crate) fn new(upload: Option<Upload>) -> Self {
        #[cfg(feature = "reqwest")]
        if let Some(Upload(progress)) = &upload {
            let fate = &progress.fate;
            let _ = fate.compare_exchange(UNWATCHED, FLOWS, Ordering::AcqRel, Ordering::Acquire);
        }
        Self { upload, waits: false }
    }

    /// The same for a copy of the body.
    pub(crate) fn copy(&self) -> Self {
        Self::new(self.upload.clone())
    }

    /// The body gave this; `is_all` if it will give nothing more.
    pub(crate) fn saw<T, E>(
        &mut self,
        polled: &Poll<Option<Result<T, E>>>,
        is_all: impl FnOnce() -> bool,
    ) {
        let Some(upload) = &self.upload else { return };
        let item = match polled {
            Poll::Pending => {
                if !std::mem::replace(&mut self.waits, true) {
                    upload.note();
                    upload.0.waiting.fetch_add(1, Ordering::AcqRel);
                }
                return;
            }
            Poll::Ready(item) => item,
        };
        match item {
            Some(Ok(_)) if !is_all() => upload.note(),
            Some(Err(_)) => upload.end(BROKE),
            Some(Ok(_)) | None => upload.end(ENDED),
        }
        self.wait_no_more();
    }

    /// Nothing came for too long: `true` if somebody wants to know.
    pub(crate) fn stall(&mut self) -> bool {
        let Some(upload) = &self.upload else { return false };
        upload.stall();
        self.wait_no_more();
        true
    }

    fn wait_no_more(&mut self) {
        if let Some(upload) = self.upload.as_ref().filter(|_| self.waits) {
            self.waits = false;
            upload.note();
            upload.0.waiting.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

#[cfg(feature = "http")]
impl Drop for UploadReporter {
    fn drop(&mut self) {
        self.wait_no_more();
    }
}
