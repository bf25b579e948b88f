//! Instances of the members' services that one clone of a set keeps from call to call.

use std::mem;

/// A power of two: how many are kept, where calls go to several members.
const KEPT: usize = 16;

/// An instance, and whose it is.
type Kept<S> = Option<(usize, S)>;

/// The instances that were called last, so that most calls clone nothing. A clone of the set that calls one
/// member only, or calls once, allocates nothing.
pub(super) enum Instances<S> {
    One(Kept<S>),
    Several(Box<[Kept<S>; KEPT]>),
}

impl<S> Instances<S> {
    pub(super) const fn new() -> Self {
        Self::One(None)
    }

    /// The instance of the member in this place: the one that is kept, or the one that `make` makes.
    #[inline]
    pub(super) fn of(&mut self, place: usize, make: impl FnOnce() -> Option<S>) -> Option<&mut S> {
        let is_other = |kept: &Kept<S>| kept.as_ref().is_some_and(|(whose, _)| *whose != place);
        if let Self::One(kept) = self
            && is_other(kept)
        {
            self.widen();
        }
        let kept = match self {
            Self::One(kept) => kept,
            Self::Several(kept) => &mut kept[place % KEPT],
        };
        if kept.is_none() || is_other(kept) {
            *kept = None; // before the user's `clone`
            *kept = make().map(|instance| (place, instance));
        }
        kept.as_mut().map(|(_, instance)| instance)
    }

    #[cold]
    fn widen(&mut self) {
        let mut several = Box::new([const { None }; KEPT]);
        if let Self::One(Some((whose, one))) = mem::replace(self, Self::new()) {
            several[whose % KEPT] = Some((whose, one));
        }
        *self = Self::Several(several);
    }

    /// Lets go of that of the member in this place.
    pub(super) fn forget(&mut self, place: usize) {
        match self {
            Self::One(kept) => *kept = None,
            Self::Several(kept) => kept[place % KEPT] = None,
        }
    }

    /// Lets go of all: another table is in force.
    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }
}
