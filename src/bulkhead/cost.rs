//! How many permits a call takes.

use std::fmt;
use std::sync::Arc;

/// How many permits a call takes.
///
/// Implemented for closures by [`Builder::cost`](super::Builder::cost).
pub trait CostOf<Req>: Send + Sync + 'static {
    #[doc(hidden)] // whether all requests cost the same, and no code of the user's says so
    const IS_FIXED: bool = false;

    /// The number for a request.
    fn cost_of(&self, request: &Req) -> u32;
}

/// Every call takes one place. The default; it costs nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct One;

/// The number is asked of the request.
#[derive(Clone, Copy)]
pub struct ByRequest<W>(pub(super) W);

impl<Req> CostOf<Req> for One {
    const IS_FIXED: bool = true;

    #[inline]
    fn cost_of(&self, _: &Req) -> u32 {
        1
    }
}

impl<Req, W> CostOf<Req> for ByRequest<W>
where
    W: Fn(&Req) -> u32 + Send + Sync + 'static,
{
    fn cost_of(&self, request: &Req) -> u32 {
        (self.0)(request)
    }
}

/// Of those of many keys.
impl<Req, W: CostOf<Req>> CostOf<Req> for Arc<W> {
    #[inline]
    fn cost_of(&self, request: &Req) -> u32 {
        (**self).cost_of(request)
    }
}

impl<W> fmt::Debug for ByRequest<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByRequest(closure)")
    }
}
