//! What a call costs: permits of a bulkhead, units of a rate limit.

use std::fmt;
use std::sync::Arc;

/// What a call costs: permits of a bulkhead, units of a rate limit.
///
/// Implemented for closures by the setter `cost` of both builders.
pub trait CostOf<Req>: Send + Sync + 'static {
    #[doc(hidden)] // whether all requests cost the same, and no code of the user's says so
    const IS_FIXED: bool = false;

    /// The cost of a call with this request.
    fn cost_of(&self, request: &Req) -> u32;
}

/// Every call costs one.
#[derive(Debug, Clone, Copy, Default)]
pub struct One;

/// The cost is asked of the request.
#[derive(Clone, Copy)]
pub struct ByRequest<W>(pub(crate) W);

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
