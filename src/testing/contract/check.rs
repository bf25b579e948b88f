//! The list of checks, and what they find.

use std::fmt;

/// What tower asks of a service, and what everyone else relies on. [tower's own words][contract].
///
/// [contract]: https://docs.rs/tower/0.5/tower/trait.Service.html#backpressure
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Check {
    /// No inner instance is called that did not say it was ready: inner services panic at that, or
    /// let more through than they may. The commonest cause is a clone that is called in the place of
    /// the instance that was polled. [tower on this][cloning].
    ///
    /// [cloning]: https://docs.rs/tower/0.5/tower/trait.Service.html#be-careful-when-cloning-inner-services
    OnlyReadyIsCalled,
    /// A clone of a service that is ready has to become ready by itself.
    CloneReservesNothing,
    /// A service that said it was ready stays so until it is called, and reserves once.
    ReadinessIsKept,
    /// What `poll_ready` reserved is given back when the service is dropped without a call.
    ReservationIsGivenBack,
    /// When the inner service fails in `poll_ready`, whoever waits or calls hears of a failure.
    ReadyErrorIsTold,
    /// A successful response is passed on as one, and so is a failure; each within the same time.
    AnswersArePassedOn,
    /// One call makes no more inner calls than it may; see [`Contract::inner_calls`](super::Contract::inner_calls).
    OneCallEach,
    /// After a future was dropped, the inner service is not called for it any more.
    NoCallAfterDrop,
    /// When a caller has gone, or was answered, no inner call runs on: not in a task of its own, and
    /// not after a timeout. Whoever detaches calls on purpose leaves this out.
    NoCallRunsOn,
    /// However many polls after it began a call is dropped: no inner call, reservation or count of
    /// calls in flight is left, the next call works, and there is as much room as before.
    NothingIsLeftByADrop,
    /// Beyond tower's contract: the same when the inner service fails, in `poll_ready` or in its answer.
    /// A limit that adapts has less room after a failure on purpose.
    NothingIsLeftByAFailure,
    /// The same when the inner service panics, at each point where it can: in `poll_ready`, in `call`,
    /// while its future is polled, and when that is dropped.
    NothingIsLeftByAPanic,
    /// Who polled last while the inner service was not ready is woken when it is.
    WokenWhenReady,
    /// Who polled last while the inner service did not answer is woken when it does.
    WokenWhenAnswered,
    /// When there is room again, and whoever is woken for it has gone, the next who waits is woken.
    WakeIsHandedOn,
    /// What is pending does not wake itself: that burns a core for as long as it waits.
    NoBusyWakes,
    /// Over an inner service with room for one, everybody ends: nobody waits with a reservation in
    /// hand.
    NoReservationWhileWaiting,
    /// The future of an inner call is not polled after it has answered; most panic at that.
    NotPolledAfterReady,
    /// Beyond tower's contract: a call on an instance that was not polled ready drives one to
    /// readiness by itself.
    DrivesReadiness,
    /// Beyond tower's contract: the inner future is dropped before the answer is given, so that it
    /// holds nothing while its caller holds on to a future that is over.
    LetsGoAtOnce,
}

impl Check {
    /// What tower's contract and common sense ask for.
    pub const CONTRACT: &'static [Self] = &[
        Self::OnlyReadyIsCalled,
        Self::CloneReservesNothing,
        Self::ReadinessIsKept,
        Self::ReservationIsGivenBack,
        Self::ReadyErrorIsTold,
        Self::AnswersArePassedOn,
        Self::OneCallEach,
        Self::NoCallAfterDrop,
        Self::NoCallRunsOn,
        Self::NothingIsLeftByADrop,
        Self::NothingIsLeftByAPanic,
        Self::WokenWhenReady,
        Self::WokenWhenAnswered,
        Self::WakeIsHandedOn,
        Self::NoBusyWakes,
        Self::NoReservationWhileWaiting,
        Self::NotPolledAfterReady,
    ];
    /// What this crate's layers promise beyond it.
    pub const BEYOND: &'static [Self] =
        &[Self::NothingIsLeftByAFailure, Self::DrivesReadiness, Self::LetsGoAtOnce];
}

/// What one check found.
///
/// ```
/// use seawall::testing::{Broken, Contract, Scenario, Violation};
/// use tower::layer::util::Identity;
///
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
/// #     .block_on(async {
/// // It passes calls on, which we do not allow here.
/// let contract = Contract::new(Scenario::echo(|| Broken), Identity::new).inner_calls(0);
/// let found = contract.check().await.unwrap_err();
/// let told: Vec<&Violation> = found.iter().collect();
/// assert_eq!(told.len(), 1, "{:?}: {}", told[0].check, told[0].what);
/// # });
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// What does not hold.
    pub check: Check,
    /// How that showed.
    pub what: String,
}

/// All that the checks found, at least one.
#[derive(Clone, PartialEq, Eq)]
pub struct Violations(pub(super) Vec<Violation>);

impl Violations {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Violation> {
        self.0.iter()
    }

    /// What this check found.
    pub fn of(&self, check: Check) -> Option<&Violation> {
        self.iter().find(|found| found.check == check)
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.check, self.what)
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the contract is broken:")?;
        self.iter().try_for_each(|found| write!(f, "\n- {found}"))
    }
}

/// As it is displayed, for `unwrap` prints this.
impl fmt::Debug for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Violations {}
