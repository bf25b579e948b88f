//! Seeing and steering a breaker from outside.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use super::config::Config;
use super::engine::shared::Shared;
use super::engine::step::{Command, Input};
use super::machine::Trip;
use super::transition::{State, TransitionCause};
use crate::core::config::ConfigErrors;
use crate::core::error::Measurement;
use crate::core::origin::Origin;
use crate::shell::waiters::WakerSlot;

/// Inspects and controls one breaker. Cheap to clone; it keeps no call from ending.
#[derive(Clone)]
pub struct CircuitBreakerHandle {
    shared: Arc<Shared>,
}

/// What a breaker knows at one moment.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::circuit_breaker::{CircuitBreakerLayer, LastTrip, Snapshot, State, Trip};
/// use seawall::Error;
/// use std::io;
///
/// /// A line of the status page.
/// fn line(snapshot: &Snapshot) -> String {
///     match (snapshot.state, snapshot.last_trip) {
///         (State::Open, Some(LastTrip { ago, cause, .. })) => {
///             format!("open for {} s: {cause}", ago.as_secs())
///         }
///         (state, _) => format!("{state}, {}", snapshot.gathered),
///     }
/// }
///
/// let payments = CircuitBreakerLayer::builder("payments").trip(Trip::consecutive(2)).build()?;
/// let down = || async { Err::<(), _>(Error::Inner(io::Error::other("no route"))) };
/// assert!(payments.run(down).await.is_err());
/// assert_eq!(line(&payments.handle().snapshot()), "closed, 1 of 2 failures in a row");
/// assert!(payments.run(down).await.is_err());
/// assert_eq!(line(&payments.handle().snapshot()), "open for 0 s: consecutive");
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The state.
    pub state: State,
    /// What the trip rule nearest to its threshold has gathered.
    pub gathered: Measurement,
    /// How far the load has come back since it closed, while it is limited.
    pub recovering: Option<Measurement>,
    /// Why and when it opened last.
    pub last_trip: Option<LastTrip>,
    /// Time until the next probe may fly, while open.
    pub next_probe_in: Option<Duration>,
}

/// Why and when a breaker opened last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastTrip {
    /// Time since then.
    pub ago: Duration,
    /// Which rule tripped, or that the probes failed.
    pub cause: TransitionCause,
    /// What was observed, against which threshold.
    pub measurement: Measurement,
}

impl CircuitBreakerHandle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The layer and the name.
    pub fn origin(&self) -> &Origin {
        &self.shared.common.reporter.origin
    }

    /// The state. An open circuit whose break is over stays open until a call comes to probe.
    pub fn state(&self) -> State {
        self.shared.state()
    }

    /// All there is to know, taken at one moment.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.inspect(|breaker, params, now| {
            let since = |trip: Trip| LastTrip {
                ago: Duration::from_nanos(now.since(trip.at)),
                cause: trip.cause,
                measurement: trip.measurement,
            };
            Snapshot {
                state: breaker.state(),
                gathered: breaker.gathered(params, now),
                recovering: breaker.recovering(params, now),
                last_trip: breaker.last_trip().map(since),
                next_probe_in: breaker.probes_at().map(|at| Duration::from_nanos(at.since(now))),
            }
        })
    }

    /// Closes the circuit and forgets everything, except who holds it. The load comes back step by
    /// step, as after probes.
    pub fn reset(&self) {
        self.shared.step(Input::Command(Command::Reset));
    }

    /// Holds the circuit open: every call is rejected until [`release`](Self::release), whatever
    /// becomes of this handle.
    ///
    /// There is one such hold, of nobody in particular: the latest of `force_open` and
    /// [`force_closed`](Self::force_closed) counts. A hold that ends with its holder is a
    /// [`switch`](Self::switch).
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// use seawall::circuit_breaker::{CircuitBreakerLayer, State};
    /// use seawall::Error;
    /// use std::convert::Infallible;
    ///
    /// let payments = CircuitBreakerLayer::new("payments");
    /// let pay = || async { Ok::<_, Error<Infallible>>("paid") };
    ///
    /// payments.handle().force_open();
    /// assert_eq!(payments.handle().state(), State::ForcedOpen);
    /// let rejected = payments.run(pay).await.unwrap_err();
    /// assert_eq!(
    ///     rejected.to_string(),
    ///     "circuit_breaker `payments`: circuit is open (held open by hand)",
    /// );
    ///
    /// payments.handle().release();
    /// assert_eq!(payments.run(pay).await?, "paid");
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    pub fn force_open(&self) {
        self.shared.step(Input::Command(Command::ForceOpen));
    }

    /// Holds the circuit closed: every call passes until [`release`](Self::release). A
    /// [`switch`](Self::switch) that holds it open beats this.
    pub fn force_closed(&self) {
        self.shared.step(Input::Command(Command::ForceClosed));
    }

    /// Takes back [`force_open`](Self::force_open) or [`force_closed`](Self::force_closed), if either
    /// is in force. What a [`Switch`] holds stays held. When nobody holds it any more the breaker
    /// decides again, without evidence, and the load comes back step by step.
    pub fn release(&self) {
        self.shared.step(Input::Command(Command::Release));
    }

    /// One more hand at the switch, which holds it at `position`. It lets go when it is dropped: keep
    /// it, or use [`force_open`](Self::force_open). A statement that does not keep it is a warning of the
    /// compiler.
    ///
    /// ```compile_fail
    /// #![deny(unused_must_use)]
    /// use seawall::circuit_breaker::{CircuitBreakerLayer, Position};
    ///
    /// let payments = CircuitBreakerLayer::new("payments");
    /// payments.handle().switch(Position::Open); // opens, and lets go at once
    /// ```
    #[must_use = "a switch lets go when it is dropped; `force_open` holds without one"]
    pub fn switch(&self, position: Position) -> Switch {
        let mut switch = Switch { shared: Arc::clone(&self.shared), position: Position::Auto };
        switch.set(position);
        switch
    }

    /// The settings in force; of a key, with what it has [of its own](super::Overrides).
    pub fn config(&self) -> Config {
        let key = self.shared.key().map(|key| &**key);
        self.shared.common.settings().get().config(key)
    }

    /// Reloads the settings; of a key those of that key alone, which has all of them [of its
    /// own](super::Overrides) from now on, also when it comes back after it was forgotten. (The handle of
    /// all keys reloads what they have in common.) The state stays, and so does the evidence of every rule that is
    /// there before and after. Calls in flight are not disturbed.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings; then the old ones stay in force.
    #[allow(clippy::needless_pass_by_value)] // the same shape for every layer
    pub fn reload(&self, config: Config) -> Result<(), ConfigErrors> {
        let key = self.shared.key().map(|key| &**key);
        self.shared.common.reload(key, &config)?;
        // Takes notice at once: whoever waits may pass under the new settings.
        self.shared.inspect(|_, _, _| ());
        Ok(())
    }

    /// Watches the state.
    pub fn watch(&self) -> Watch {
        let (seen, ..) = self.shared.changes();
        Watch { shared: Arc::clone(&self.shared), seen, slot: WakerSlot::of_watch() }
    }
}

impl fmt::Debug for CircuitBreakerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerHandle")
            .field("origin", self.origin())
            .field("state", &self.state())
            .finish()
    }
}

// ===== impl Switch =====

/// Where a hand holds the switch of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Position {
    /// Nowhere: the breaker decides.
    #[default]
    Auto,
    /// Open: every call is rejected.
    Open,
    /// Closed: every call passes.
    Closed,
}

/// One hand at the switch of a breaker.
///
/// Several may hold it at once: an operator, a health check, a deployment. Open beats closed, and
/// the breaker decides again when the last hand has let go, in a new epoch and without evidence.
/// Dropping a hand lets go. To hold a circuit without keeping anything, use
/// [`force_open`](CircuitBreakerHandle::force_open).
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::circuit_breaker::{CircuitBreakerHandle, CircuitBreakerLayer, Position, State, Switch};
/// use seawall::{Error, Reason};
/// use std::convert::Infallible;
///
/// /// Nobody calls while this is kept.
/// fn maintenance(payments: &CircuitBreakerHandle) -> Switch {
///     payments.switch(Position::Open)
/// }
///
/// let payments = CircuitBreakerLayer::new("payments");
/// let pay = || async { Ok::<_, Error<Infallible>>("paid") };
/// let hand = maintenance(&payments.handle());
/// assert_eq!(payments.handle().state(), State::ForcedOpen);
/// let rejected = payments.run(pay).await;
/// assert!(matches!(rejected, Err(Error::Rejected(why)) if why.reason() == Reason::CircuitOpen));
///
/// drop(hand);
/// assert_eq!(payments.run(pay).await?, "paid");
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[must_use = "dropping it lets go of the switch"]
pub struct Switch {
    shared: Arc<Shared>,
    position: Position,
}

impl Switch {
    /// Moves this hand. Holding what is held already changes nothing.
    pub fn set(&mut self, position: Position) {
        let before = std::mem::replace(&mut self.position, position);
        if before == position {
            return;
        }
        // Takes the new hold first: the breaker must not be automatic for a moment in between.
        let take = match position {
            Position::Auto => None,
            Position::Open => Some(Command::HoldOpen),
            Position::Closed => Some(Command::HoldClosed),
        };
        let release = match before {
            Position::Auto => None,
            Position::Open => Some(Command::ReleaseOpen),
            Position::Closed => Some(Command::ReleaseClosed),
        };
        for command in [take, release].into_iter().flatten() {
            self.shared.step(Input::Command(command));
        }
    }

    /// Where this hand holds the switch.
    pub const fn position(&self) -> Position {
        self.position
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.set(Position::Auto);
    }
}

impl fmt::Debug for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Switch").field("position", &self.position).finish_non_exhaustive()
    }
}

// ===== impl Watch =====

/// Watches the state of a breaker.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::circuit_breaker::{CircuitBreakerLayer, Position, State, Watch};
///
/// /// What to tell customers, as soon as there is something to tell.
/// async fn until_open(mut payments: Watch) -> &'static str {
///     while !matches!(payments.state(), State::Open | State::ForcedOpen) {
///         payments.changed().await;
///     }
///     "payments are taken later"
/// }
///
/// let payments = CircuitBreakerLayer::new("payments");
/// let (watch, mut switch) = (payments.handle().watch(), payments.handle().switch(Position::Auto));
/// let (banner, ()) = tokio::join!(until_open(watch), async { switch.set(Position::Open) });
/// assert_eq!(banner, "payments are taken later");
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct Watch {
    shared: Arc<Shared>,
    /// How many changes there had been at the last look. Not the epoch: a reset of a closed breaker
    /// begins a new one without changing the state.
    seen: u64,
    slot: WakerSlot,
}

impl Watch {
    /// The state at this moment.
    pub fn state(&self) -> State {
        self.shared.state()
    }

    /// Returns the new state once it has changed since the last look, at once if it has already.
    /// States that came and went in between are skipped.
    ///
    /// Cancel safe: a change that happens while nobody waits is seen by the next call.
    pub async fn changed(&mut self) -> State {
        poll_fn(|cx| {
            loop {
                let (changes, state, epoch) = self.shared.changes();
                if std::mem::replace(&mut self.seen, changes) != changes {
                    return Poll::Ready(state);
                }
                if self.shared.wait(&mut self.slot, epoch, cx.waker()) {
                    return Poll::Pending;
                }
            }
        })
        .await
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.leave(&mut self.slot);
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("state", &self.state()).finish_non_exhaustive()
    }
}
