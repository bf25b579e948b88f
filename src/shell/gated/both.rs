//! What two layers that are one have in common: a classifier, and where to look for what travels.

use crate::classify::{Classify, Verdict};
use crate::context::CallContext;
use crate::request::{Call, Carry};

/// The outer one, where it has something to say; else the inner one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Both<A, B>(pub(super) A, pub(super) B);

impl<Res, Err, A, B> Classify<Res, Err> for Both<A, B>
where
    A: Classify<Res, Err>,
    B: Classify<Res, Err>,
{
    #[inline]
    fn classify(&self, result: Result<&Res, &Err>) -> Verdict {
        if self.0.judges() { self.0.classify(result) } else { self.1.classify(result) }
    }

    #[inline]
    fn classify_call(&self, result: Result<&Res, &Err>, call: &CallContext) -> Verdict {
        if self.0.judges() {
            self.0.classify_call(result, call)
        } else {
            self.1.classify_call(result, call)
        }
    }

    fn judges(&self) -> bool {
        self.0.judges() || self.1.judges()
    }
}

impl<Req, A: Carry<Req>, B: Carry<Req>> Carry<Req> for Both<A, B> {
    #[inline]
    fn carries(&self) -> bool {
        self.0.carries() || self.1.carries()
    }

    fn read(&self, req: &Req) -> Call {
        if self.0.carries() { self.0.read(req) } else { self.1.read(req) }
    }

    fn write(&self, req: &mut Req, call: &Call) {
        if self.0.carries() {
            self.0.write(req, call);
        } else {
            self.1.write(req, call);
        }
    }
}
