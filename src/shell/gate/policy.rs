//! What a policy has to say to the shell.

use std::cell::Cell;
use std::task::{Context, Waker};

use tokio::time::Instant;

use super::call_end::CallEnd;
use super::end::End;
use crate::core::classify::Classification;
use crate::core::completion::Tail;
use crate::core::error::Rejected;
use crate::core::outcome::Outcome;
use crate::core::request::CallContext;
use crate::core::time;
use crate::shell::meter::Recorder;

/// Decides whether a call may pass: now, later, or not. Learns how it ended.
///
/// A permit is plain data: dropping one does nothing, and it holds no reference to its policy. The shell
/// ends each permit exactly once, by [`settle`](Self::settle), [`lose`](Self::lose),
/// [`give_back`](Self::give_back), [`expire`](Self::expire) or `Complete::complete`.
///
/// Two policies are one policy, `(outer, inner)`, and so on. Their parts are numbered from outside in.
pub trait Policy: Send + Sync + 'static {
    /// What an admitted call holds.
    type Permit: Send + 'static;
    /// What a call holds that waits for a permit; [`Infallible`](std::convert::Infallible) where none does.
    type Wait: Send + 'static;
    /// What a caller holds that waits for the inner service: see [`park`](Self::park).
    type WakerSlot: Default + Send + Sync + 'static;
    /// How many policies this is.
    const PARTS: u8 = 1;
    /// What is taken for the outcome of a call that is over, though only its end would tell.
    const AT_END: Outcome = Outcome::SUCCESS;
    /// Whether one who has waited may be asked for more than that: see `Admit::resume`.
    const RESUMES: bool = false;
    /// Whether it changes what is propagated with a request.
    const WRITES: bool = false;
    /// Whether it may [overrule](Self::overrule) errors.
    const OVERRULES: bool = false;

    /// Whether calls may be [ended](Self::is_ended_by) before their timer rings.
    const ENDS_BY_CLOCK: bool = false;

    // ----- readiness -----

    /// The layer is put around a service.
    fn applied(&self) {}

    /// Whether `poll_ready` asks the inner service. If not, the service is ready without it: the call
    /// will be rejected, or waits by itself.
    #[inline]
    fn is_open(&self) -> bool {
        true
    }

    /// Leaves the waker of a caller that waits for the inner service, to be woken when the policy
    /// closes. Returns `false` if it has closed.
    fn park(&self, slot: &mut Self::WakerSlot, waker: &Waker) -> bool {
        let _ = (slot, waker);
        true
    }

    /// Such a caller waits no longer, or never did.
    #[inline]
    fn unpark(&self, slot: &mut Self::WakerSlot) {
        let _ = slot;
    }

    /// The inner service failed in `poll_ready`: the call that was to come has failed.
    fn unready(&self, outcome: &Outcome) {
        let _ = outcome;
    }

    // ----- the way in -----

    /// Decided once for a call that has no request, which is [run](super::GateLayer::run).
    fn admit_plain(&self) -> Admission<Self>;

    /// The same of a call in the name of a key, which only policies of keys look at.
    #[inline]
    fn admit_key(&self, key: &str) -> Admission<Self> {
        let _ = key;
        self.admit_plain()
    }

    // ----- the end of a call -----

    /// Whether it may [overrule](Self::overrule) successful responses to this call too.
    #[inline]
    fn watches(permit: &Self::Permit) -> bool {
        let _ = permit;
        false
    }

    /// The call has a result. Returns what the caller is told instead, if anything; the permit is over
    /// then.
    fn overrule(&self, permit: &mut Self::Permit, told: &CallEnd<'_>) -> Option<Rejected> {
        let _ = (permit, told);
        None
    }

    /// The future of the call is being dropped: whether that says nothing of the dependency, for the
    /// caller was still sending its request.
    fn excuses(&self, permit: &Self::Permit) -> bool {
        let _ = permit;
        false
    }

    /// The call was answered.
    fn settle(&self, permit: &mut Self::Permit, end: &Judged);

    /// The future of the call was dropped, or user code in it panicked.
    fn lose(&self, permit: Self::Permit, why: Lost);

    /// The permit was not used: the inner service was never called.
    fn give_back(&self, permit: Self::Permit);

    /// The call ends because [`due`](Self::due) said so of this part. The inner future is gone by now.
    /// `told` says what the other parts hear; `None`, if the inner service was never to be called.
    fn expire(&self, permit: Self::Permit, by: u8, told: Option<&CallEnd<'_>>) -> Rejected {
        let _ = (by, told);
        self.lose(permit, Lost::Dropped);
        self.draining()
    }

    /// The layer is drained and this call does not begin.
    fn draining(&self) -> Rejected;

    // ----- a call that is over later than its answer -----

    /// What is kept of a permit until then.
    fn tail(&self, permit: Self::Permit, head: Classification) -> Tail {
        let _ = (permit, head);
        Tail::default()
    }

    /// The call is over.
    fn settle_tail(&self, part: u8, tail: Tail, outcome: &Outcome) {
        let _ = (part, tail, outcome);
    }

    /// Nobody will hear how the call ended.
    fn lose_tail(&self, part: u8, tail: Tail) {
        let _ = (part, tail);
    }

    /// Something of the answer has reached its reader.
    fn delivered(&self, part: u8, tail: &mut Tail) {
        let _ = (part, tail);
    }

    // ----- time -----

    /// The call is pending, in this stage for the first time: when to look again, if ever.
    fn pending(&self, permit: &mut Self::Permit, stage: Stage, now: &Now) -> Option<Instant> {
        let _ = (permit, stage, now);
        None
    }

    /// That time has come.
    fn due(&self, permit: &mut Self::Permit, stage: Stage, now: &Now) -> Due {
        let _ = (permit, stage, now);
        Due::Later(None)
    }

    /// The part that ends a call which is about to be polled, though its timer has not rung yet: the inner service
    /// is not polled again. Asked only where calls [end so](Self::ENDS_BY_CLOCK).
    #[inline]
    fn is_ended_by(&self, permit: &Self::Permit) -> Option<u8> {
        let _ = permit;
        None
    }

    // ----- waiting -----

    /// A call that waits is polled. Unless it goes on waiting, its `wait` is spent.
    fn poll_wait(&self, wait: Self::Wait, cx: &mut Context<'_>, now: &Now) -> Admission<Self>;

    /// When a call that waits wants to be polled, if nobody wakes it before.
    fn until(&self, wait: &Self::Wait) -> Option<Instant> {
        let _ = wait;
        None
    }

    /// A call cannot wait any longer: it is polled outside of any runtime, where there are no timers.
    fn expire_wait(&self, wait: Self::Wait) -> Rejected {
        self.leave(wait, false);
        self.draining()
    }

    /// A call waits no longer: its future was dropped, or the layer is drained.
    fn leave(&self, wait: Self::Wait, dropped: bool);

    /// The layer takes no further calls: whoever waits for a permit, in a call or ahead of one, is to look
    /// again.
    fn wake_waiting(&self);
}

/// A policy that needs no key, so that calls without a request can [run](super::GateLayer::run) through
/// it. One that needs a key is told it by whoever runs them.
pub trait Keyless: Policy {}

/// How a policy admits calls with such requests.
pub trait Admit<Req>: Policy {
    /// Whether it has calls [pass](Self::pass) at all.
    const PASSES: bool = false;

    /// Lets a call pass about which there is nothing to consider: nothing is propagated, no code of the
    /// user's is asked, and all is as usual. `None` has changed nothing, and the call is
    /// [admitted](Self::admit) or not as any other. Most calls come this way, so it is inlined; a policy can do without.
    #[inline]
    fn pass(&self, request: &Req) -> Option<Self::Permit> {
        let _ = request;
        None
    }

    /// The same of a call with which something is propagated, but that is as usual too. `None` may have changed
    /// that, and nothing else.
    #[inline]
    fn pass_with(&self, request: &Req, call: &mut CallContext) -> Option<Self::Permit> {
        let _ = call;
        self.pass(request)
    }

    /// Decided once a call. `call` is what is propagated with the request, if the layer was told where to look.
    fn admit(&self, request: &Req, call: Option<&mut CallContext>) -> Admission<Self>;

    /// [`poll_wait`](Policy::poll_wait), of a call with this request: one that waited for an outer part
    /// is then asked by the inner one.
    fn resume(
        &self,
        request: &Req,
        call: Option<&mut CallContext>,
        wait: Self::Wait,
        cx: &mut Context<'_>,
        now: &Now,
    ) -> Admission<Self> {
        let _ = (request, call);
        self.poll_wait(wait, cx, now)
    }
}

/// How a policy ends a call that was answered with a response.
pub trait Complete<Res>: Policy {
    /// What the caller gets: the response, or that with something wrapped around its body.
    type Response;

    /// The call was answered, and the one classifier of the gate said this of the head. Ends the permit,
    /// or has it ended through a [`CallGuard`](crate::CallGuard). If code of the user's panics here, what was not
    /// ended is where it was.
    fn complete(
        &self,
        permit: &mut Option<Self::Permit>,
        response: Res,
        head: Classification,
        end: End<'_>,
    ) -> Self::Response;
}

/// A policy whose calls are over when their answers arrive.
pub trait OverAtHead: Policy {}

impl<Res, P: OverAtHead> Complete<Res> for P {
    type Response = Res;

    #[inline]
    fn complete(
        &self,
        permit: &mut Option<P::Permit>,
        response: Res,
        head: Classification,
        end: End<'_>,
    ) -> Res {
        let outcome = match head {
            Classification::Now(outcome) => outcome,
            Classification::AtEnd => P::AT_END,
        };
        settle(self, permit, &Judged { outcome, recorder: end.recorder });
        response
    }
}

/// What a call that was answered is classified to be, and who records that.
#[derive(Debug, Clone, Copy)]
pub struct Judged {
    pub(crate) outcome: Outcome,
    pub(crate) recorder: Recorder,
}

impl Judged {
    #[inline]
    pub(crate) fn now(outcome: Outcome) -> Self {
        Self { outcome, recorder: Recorder::in_force() }
    }
}

/// Settles a permit, if there is one.
#[allow(clippy::inline_always, reason = "it is on the way of every call")]
#[inline(always)]
pub(crate) fn settle<P: Policy>(policy: &P, permit: &mut Option<P::Permit>, end: &Judged) {
    let spent = Spent::<P>(permit);
    if let Some(held) = &mut *spent.0 {
        policy.settle(held, end);
        *spent.0 = None;
    }
}

/// A permit that is being settled. If somebody's waker or recorder panics then, it is settled all the same,
/// and is not to be lost on top of it. Of several parts each is one of these; what is left of them is lost.
struct Spent<'a, P: Policy + ?Sized>(&'a mut Option<P::Permit>);

impl<P: Policy + ?Sized> Drop for Spent<'_, P> {
    #[inline]
    fn drop(&mut self) {
        if P::PARTS < 2 {
            *self.0 = None;
        }
    }
}

/// The answer to one who asks to pass.
#[allow(missing_debug_implementations, reason = "a permit need not be `Debug`")]
pub enum Admission<P: Policy + ?Sized> {
    /// It may.
    Pass(P::Permit),
    /// It may later.
    Wait(P::Wait),
    /// It may not.
    Reject(Rejected),
}

/// What an admitted call is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Nothing yet.
    Fresh,
    /// A policy further in lets it wait.
    Waiting,
    /// The inner service is not ready.
    Readying,
    /// The inner service was called and has not answered.
    Called,
}

/// What becomes of a call whose time to look again has come.
#[derive(Debug)]
pub enum Due {
    /// It goes on; and when to look again.
    Later(Option<Instant>),
    /// It [ends](Policy::expire) here, by the word of this part.
    End(u8),
}

/// Why nobody will hear how a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lost {
    /// Its future was dropped.
    Dropped,
    /// The same, while the caller was still sending its request: the dependency was never asked.
    Excused,
    /// Code of the user's panicked: the inner service, the classifier.
    Panicked,
}

/// The time, and who records, asked for at most once for each poll, however many ask.
#[derive(Debug, Default)]
pub struct Now {
    time: Cell<Option<Instant>>,
    recorder: Cell<Option<Recorder>>,
}

impl Now {
    /// This time, or later.
    pub(crate) fn from(at: Instant) -> Self {
        Self { time: Cell::new(Some(at.max(time::now()))), recorder: Cell::default() }
    }

    /// The time of this poll.
    #[inline]
    pub fn get(&self) -> Instant {
        self.time.get().unwrap_or_else(|| {
            let now = time::now();
            self.time.set(Some(now));
            now
        })
    }

    /// Who records at this time.
    #[inline]
    pub(crate) fn recorder(&self) -> Recorder {
        self.recorder.get().unwrap_or_else(|| {
            let recorder = Recorder::in_force();
            self.recorder.set(Some(recorder));
            recorder
        })
    }
}
