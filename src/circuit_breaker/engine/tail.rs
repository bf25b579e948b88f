//! What is kept of a pass when its call was answered and is not over.

use super::step::{Pass, PassKind};
use crate::core::completion::Tail;

impl From<Pass> for Tail {
    fn from(pass: Pass) -> Self {
        let kind = match pass.kind {
            PassKind::Free => 0,
            PassKind::Slot => 1,
            PassKind::Shadow => 2,
        };
        let small = [kind, u8::from(pass.overdue), pass.round, 0];
        Self { word: pass.epoch, small, pending: pass.pending, started: pass.started }
    }
}

impl From<Tail> for Pass {
    fn from(tail: Tail) -> Self {
        let [kind, overdue, round, _] = tail.small;
        let kind = match kind {
            0 => PassKind::Free,
            1 => PassKind::Slot,
            _ => PassKind::Shadow,
        };
        let Tail { word: epoch, pending, started, .. } = tail;
        Self { epoch, kind, overdue: overdue != 0, pending, started, round }
    }
}
