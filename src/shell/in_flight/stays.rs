//! Calls of which several parts are over later than their answers.

/// How many parts of each such call are not over yet: a call is in flight once, however many parts of it
/// are, and whichever of them is over first.
#[derive(Debug, Default)]
pub(super) struct Stays {
    stays: Vec<Stay>,
    free: Vec<u32>,
    /// Parts beyond the first of each call.
    beyond: usize,
}

#[derive(Debug, Default)]
struct Stay {
    parts: u8,
    /// Whether further parts may join it.
    is_open: bool,
}

impl Stays {
    /// References to a stripe beyond one for each call.
    pub(super) const fn beyond(&self) -> usize {
        self.beyond
    }

    pub(super) fn open(&mut self) -> u32 {
        let stay = self.free.pop().unwrap_or_else(|| {
            self.stays.push(Stay::default());
            (self.stays.len() - 1) as u32 // there are no more than calls in flight
        });
        self.stays[stay as usize].is_open = true;
        stay
    }

    pub(super) fn join(&mut self, stay: u32) {
        let parts = &mut self.stays[stay as usize].parts;
        self.beyond += usize::from(*parts > 0);
        *parts += 1;
    }

    pub(super) fn part(&mut self, stay: u32) {
        let parts = &mut self.stays[stay as usize].parts;
        *parts -= 1;
        self.beyond -= usize::from(*parts > 0);
        self.free_if_over(stay);
    }

    pub(super) fn let_go(&mut self, stay: u32) {
        self.stays[stay as usize].is_open = false;
        self.free_if_over(stay);
    }

    fn free_if_over(&mut self, stay: u32) {
        let Stay { parts, is_open } = self.stays[stay as usize];
        if parts == 0 && !is_open {
            self.free.push(stay);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_counts_once_whichever_of_its_parts_is_over_first() {
        let mut stays = Stays::default();
        let (one, other) = (stays.open(), stays.open());
        stays.join(one);
        stays.join(other);
        stays.part(other); // over before another part of it could join
        stays.join(other);
        stays.join(one);
        assert_eq!(stays.beyond(), 1);
        stays.let_go(one);
        stays.let_go(other);
        stays.part(one);
        assert_eq!(stays.beyond(), 0);
        stays.part(one);
        stays.part(other);
        assert_eq!((stays.beyond(), stays.free.len(), stays.stays.len()), (0, 2, 2));
    }
}
