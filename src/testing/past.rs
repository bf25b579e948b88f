//! What an inner instance went through before it was called.

/// What an instance went through, to say why it should not have been called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Past {
    New,
    CloneOfReady,
    /// It was asked, and said that it is not ready.
    Pending,
    /// It was asked, and failed.
    Failed,
    /// It was called, with a reservation or without.
    Called,
}

impl Past {
    pub(super) fn sentence(self) -> &'static str {
        match self {
            Self::New => "an inner instance was called that was never polled ready",
            Self::CloneOfReady => {
                "a clone was called in the place of the inner instance that was polled ready: a clone \
                 is not ready, swap the two with `mem::replace`"
            }
            Self::Pending => "an inner instance was called that had said `Pending`",
            Self::Failed => "an inner instance was called whose `poll_ready` had failed",
            Self::Called => "an inner instance was called twice after it was polled ready once",
        }
    }
}
