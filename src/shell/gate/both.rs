//! What two layers that are one have in common: a classifier, and where to look for what is propagated.

use crate::core::classify::{Classification, Classify};
use crate::core::context::ClassifyContext;
use crate::core::request::{CallContext, Propagate};

/// The outer one, where it has something to say; else the inner one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Both<A, B>(pub(super) A, pub(super) B);

impl<Res, Err, A, B> Classify<Res, Err> for Both<A, B>
where
    A: Classify<Res, Err>,
    B: Classify<Res, Err>,
{
    #[inline]
    fn classify(&self, result: Result<&Res, &Err>) -> Classification {
        if self.0.classifies() { self.0.classify(result) } else { self.1.classify(result) }
    }

    #[inline]
    fn classify_call(&self, result: Result<&Res, &Err>, call: &ClassifyContext) -> Classification {
        if self.0.classifies() {
            self.0.classify_call(result, call)
        } else {
            self.1.classify_call(result, call)
        }
    }

    fn classifies(&self) -> bool {
        self.0.classifies() || self.1.classifies()
    }
}

impl<Req, A: Propagate<Req>, B: Propagate<Req>> Propagate<Req> for Both<A, B> {
    #[inline]
    fn propagates(&self) -> bool {
        self.0.propagates() || self.1.propagates()
    }

    fn extract(&self, req: &Req) -> CallContext {
        if self.0.propagates() { self.0.extract(req) } else { self.1.extract(req) }
    }

    fn inject(&self, req: &mut Req, call: &CallContext) {
        if self.0.propagates() {
            self.0.inject(req, call);
        } else {
            self.1.inject(req, call);
        }
    }
}
