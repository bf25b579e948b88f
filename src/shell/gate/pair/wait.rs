//! One whom one of two policies let pass, and who waits for the other.

use tokio::time::Instant;

use crate::shell::gate::{Due, Lost, Now, Policy, Stage};

/// One who waits for one of two.
#[allow(missing_debug_implementations, reason = "a permit need not be `Debug`")]
pub enum PairWait<A: Policy, B: Policy> {
    /// For the outer one.
    Outer(A::Wait),
    /// For the inner one, with the permit of the outer one.
    Inner(Admitted<A>, B::Wait),
}

/// One whom the outer policy let pass, and who waits for the inner one.
#[allow(missing_debug_implementations, reason = "a permit need not be `Debug`")]
pub struct Admitted<A: Policy> {
    pub(super) permit: A::Permit,
    pub(super) noted: Noted,
}

/// What the outer policy knows of such a wait.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Noted {
    is_noted: bool,
    /// When it wants to look again.
    pub(super) until: Option<Instant>,
}

impl<A: Policy> Admitted<A> {
    /// Whether the outer policy ends the call while it waits: the part that does.
    pub(super) fn look(&mut self, policy: &A, now: &Now) -> Option<u8> {
        if !std::mem::replace(&mut self.noted.is_noted, true) {
            self.noted.until = policy.pending(&mut self.permit, Stage::Waiting, now);
        }
        while self.noted.until.is_some_and(|at| at <= now.get()) {
            match policy.due(&mut self.permit, Stage::Waiting, now) {
                Due::Later(until) => self.noted.until = until,
                Due::End(by) => return Some(by),
            }
        }
        None
    }
}

/// The permit of the outer policy while the inner one is asked, which may run code of the user's that
/// panics.
struct Held<'a, A: Policy>(&'a A, Option<A::Permit>);

impl<A: Policy> Drop for Held<'_, A> {
    #[inline]
    fn drop(&mut self) {
        if let Some(permit) = self.1.take() {
            self.0.lose(permit, Lost::Panicked);
        }
    }
}

/// Runs `ask`, while a permit is held that is lost if that panics.
#[inline(always)]
pub(crate) fn holding<A: Policy, T>(
    policy: &A,
    permit: A::Permit,
    ask: impl FnOnce() -> T,
) -> (Option<A::Permit>, T) {
    let mut held = Held(policy, Some(permit));
    let answer = ask();
    (held.1.take(), answer)
}
