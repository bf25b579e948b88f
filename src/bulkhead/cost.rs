//! How many places a call takes.

use std::fmt;

/// How many places a call takes.
///
/// Implemented for closures by [`Builder::cost`](super::Builder::cost).
#[expect(private_bounds, reason = "how a number is kept is of no use outside")]
pub trait CostOf<Req> {
    /// How the number is kept.
    type Places: Places;

    /// The number for a request.
    fn cost_of(&self, request: &Req) -> Self::Places;
}

/// A number of places.
pub(crate) trait Places: Copy + fmt::Debug {
    /// Whether it may be more or less than one.
    const VARY: bool;

    fn number(self) -> u32;
}

/// Every call takes one place. The default; it costs nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct One;

/// The number is asked of the request.
#[derive(Clone, Copy)]
pub struct ByRequest<W>(pub(super) W);

impl<Req> CostOf<Req> for One {
    type Places = Self;

    #[inline]
    fn cost_of(&self, _: &Req) -> Self {
        Self
    }
}

impl<Req, W: Fn(&Req) -> u32> CostOf<Req> for ByRequest<W> {
    type Places = u32;

    fn cost_of(&self, request: &Req) -> u32 {
        (self.0)(request)
    }
}

impl Places for One {
    const VARY: bool = false;

    #[inline]
    fn number(self) -> u32 {
        1
    }
}

impl Places for u32 {
    const VARY: bool = true;

    fn number(self) -> u32 {
        self
    }
}

impl<W> fmt::Debug for ByRequest<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByRequest(closure)")
    }
}
