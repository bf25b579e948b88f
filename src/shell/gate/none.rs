//! No policy at all.

use std::convert::Infallible;
use std::task::Context;

use super::policy::{Admission, Admit, Judged, Keyless, Lost, Now, OverAtHead, Policy};
use crate::core::error::Rejected;
use crate::core::request::CallContext;

/// No policy.
impl Policy for () {
    type Permit = ();
    type Wait = Infallible;
    type WakerSlot = ();
    const PARTS: u8 = 0;

    #[inline]
    fn admit_plain(&self) -> Admission<Self> {
        Admission::Pass(())
    }

    #[inline]
    fn settle(&self, (): &mut (), _: &Judged) {}
    fn lose(&self, (): (), _: Lost) {}
    fn give_back(&self, (): ()) {}
    fn wake_waiting(&self) {}

    fn draining(&self) -> Rejected {
        unreachable!("whoever is drained has a name")
    }

    fn poll_wait(&self, wait: Infallible, _: &mut Context<'_>, _: &Now) -> Admission<Self> {
        match wait {}
    }

    fn leave(&self, wait: Infallible, _: bool) {
        match wait {}
    }
}

impl Keyless for () {}

impl<Req> Admit<Req> for () {
    const PASSES: bool = true;

    #[inline]
    fn pass(&self, _: &Req) -> Option<()> {
        Some(())
    }

    #[inline]
    fn admit(&self, _: &Req, _: Option<&mut CallContext>) -> Admission<Self> {
        Admission::Pass(())
    }
}

impl OverAtHead for () {}
