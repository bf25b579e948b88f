//! How a dependency is, or a whole of several.

use std::fmt;

use crate::core::event::EventKind;

/// How something is, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Status {
    /// All is well.
    Up,
    /// It works, and something is missing. Only of a whole, never of a single check.
    Degraded,
    /// It was not checked yet, or not for so long that its last word has expired. Only of a check in
    /// the report of a [registry](crate::health::HealthRegistry).
    Unknown,
    /// It does not work.
    Down,
}

impl Status {
    const ALL: [Self; 4] = [Self::Up, Self::Degraded, Self::Unknown, Self::Down];
    /// What a whole can be.
    pub(crate) const OVERALL: [Self; 3] = [Self::Up, Self::Degraded, Self::Down];

    /// The new status of a health check that went up or down, read off an event; `None` if that tells of
    /// something else.
    ///
    /// ```
    /// use seawall::Event;
    /// use seawall::health::Status;
    ///
    /// let alert = |event: &Event| {
    ///     if Status::of(&event.kind) == Some(Status::Down) {
    ///         println!("{} is down", event.origin);
    ///     }
    /// };
    /// # let _: &dyn seawall::Observe = &alert;
    /// ```
    pub fn of(kind: &EventKind) -> Option<Self> {
        let EventKind::Changed { to, .. } = *kind else { return None };
        Self::ALL.into_iter().find(|status| status.as_str() == to)
    }

    /// The metric label `status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Unknown => "unknown",
            Self::Down => "down",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
