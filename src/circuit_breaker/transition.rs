//! The states of a breaker, and how one becomes another.

use std::fmt;

use crate::core::error::Measurement;
use crate::core::event::EventKind;

/// A change of state of a circuit breaker.
///
/// ```
/// use seawall::Event;
/// use seawall::circuit_breaker::{CircuitBreakerLayer, State, Transition, TransitionCause};
/// use std::sync::mpsc::channel;
///
/// let (tell, changes) = channel();
/// let layer = CircuitBreakerLayer::builder("payments")
///     .observe(move |event: &Event| {
///         if let Some(change) = Transition::of(&event.kind) {
///             tell.send(change).ok();
///         }
///     })
///     .build()?;
/// layer.handle().force_open();
/// let change = changes.recv()?;
/// assert_eq!((change.to, change.cause), (State::ForcedOpen, TransitionCause::Switch));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Transition {
    /// The state that ended.
    pub from: State,
    /// The state that began.
    pub to: State,
    /// Why.
    pub cause: TransitionCause,
    /// What was observed, against which threshold.
    pub measurement: Measurement,
}

impl Transition {
    /// Reads it off an event; `None` if that tells of something else.
    pub fn of(kind: &EventKind) -> Option<Self> {
        let EventKind::Changed { from, to, cause, measurement } = *kind else { return None };
        let (from, to) = (State::named(from)?, State::named(to)?);
        Some(Self { from, to, cause: TransitionCause::named(cause)?, measurement })
    }
}

impl From<Transition> for EventKind {
    fn from(change: Transition) -> Self {
        let Transition { from, to, cause, measurement } = change;
        let (from, to, cause) = (from.as_str(), to.as_str(), cause.as_str());
        Self::Changed { from, to, cause, measurement }
    }
}

/// The states a circuit breaker can be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Calls pass.
    Closed,
    /// Calls are rejected.
    Open,
    /// A few calls pass, to see whether the dependency is back.
    HalfOpen,
    /// Held open by hand: calls are rejected until the last holder lets go.
    ForcedOpen,
    /// Held closed by hand: calls pass, whatever they bring.
    ForcedClosed,
}

impl State {
    pub(crate) const ALL: [Self; 5] =
        [Self::Closed, Self::Open, Self::HalfOpen, Self::ForcedOpen, Self::ForcedClosed];

    /// The metric label `state`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::ForcedOpen => "forced_open",
            Self::ForcedClosed => "forced_closed",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a state changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransitionCause {
    /// Evidence of failure reached the threshold.
    Evidence,
    /// Too many consecutive failures.
    Consecutive,
    /// Too many failures within some time.
    FailuresWithin,
    /// Too large a share of calls failed.
    FailureRate,
    /// Too large a share of calls was slow.
    SlowRate,
    /// The break is over: time to probe.
    BreakOver,
    /// The probes succeeded.
    ProbesSucceeded,
    /// The probes failed.
    ProbesFailed,
    /// The probes were given up, one after the other, without an answer.
    ProbesAbandoned,
    /// Somebody holds the switch, or let go of it.
    Switch,
    /// Somebody reset the policy.
    Reset,
}

impl TransitionCause {
    const ALL: [Self; 11] = [
        Self::Evidence,
        Self::Consecutive,
        Self::FailuresWithin,
        Self::FailureRate,
        Self::SlowRate,
        Self::BreakOver,
        Self::ProbesSucceeded,
        Self::ProbesFailed,
        Self::ProbesAbandoned,
        Self::Switch,
        Self::Reset,
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == name)
    }

    /// The metric label `reason` of a transition.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Evidence => "evidence",
            Self::Consecutive => "consecutive",
            Self::FailuresWithin => "failures_within",
            Self::FailureRate => "failure_rate",
            Self::SlowRate => "slow_rate",
            Self::BreakOver => "break_over",
            Self::ProbesSucceeded => "probes_succeeded",
            Self::ProbesFailed => "probes_failed",
            Self::ProbesAbandoned => "probes_abandoned",
            Self::Switch => "switch",
            Self::Reset => "reset",
        }
    }
}

impl fmt::Display for TransitionCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_can_be_read_off_its_event() {
        let states = State::ALL.into_iter();
        for (from, to) in states.flat_map(|from| State::ALL.map(|to| (from, to))) {
            for cause in TransitionCause::ALL {
                let measurement = Measurement::Count { observed: 2, threshold: 3 };
                let change = Transition { from, to, cause, measurement };
                assert_eq!(Transition::of(&change.into()), Some(change));
            }
        }
        assert_eq!(Transition::of(&EventKind::Late), None);
    }

    #[test]
    fn every_cause_is_listed_once() {
        let (_, list) =
            include_str!("transition.rs").split_once("pub enum TransitionCause {").unwrap();
        let (list, _) = list.split_once("\n}").unwrap();
        let causes = list.lines().filter(|line| line.ends_with(',') && !line.contains("///"));
        assert_eq!(causes.count(), TransitionCause::ALL.len());
        let names: std::collections::HashSet<_> =
            TransitionCause::ALL.iter().map(|cause| cause.as_str()).collect();
        assert_eq!(names.len(), TransitionCause::ALL.len());
    }
}
