//! What is written again and again, each time by a thread that nobody may wait for any more: the latest one stays.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// The order of what is written in one place.
#[derive(Debug, Default)]
pub(in crate::log) struct Latest {
    turns: AtomicU64,
    /// Of which turn it is what is there. Locked while it is written: by threads that may wait for a disk.
    written: Mutex<u64>,
}

impl Latest {
    /// The next turn.
    pub(in crate::log) fn turn(&self) -> u64 {
        self.turns.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Writes, unless what is there is of a later turn.
    pub(in crate::log) fn write<E>(
        &self,
        turn: u64,
        write: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if *written < turn {
            write()?;
            *written = turn;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_late_replaces_nothing_and_what_failed_was_not_there() {
        let latest = Latest::default();
        let [one, two, three] = [(); 3].map(|()| latest.turn());
        let mut there = 0;
        let mut write =
            |turn, result: Result<(), ()>| latest.write(turn, || result.inspect(|()| there = turn));
        assert_eq!(write(three, Err(())), Err(()));
        assert_eq!((write(two, Ok(())), write(one, Ok(()))), (Ok(()), Ok(())));
        assert_eq!(there, two);
    }
}
