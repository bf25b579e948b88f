//! What one user has seen: a pure machine. Positions and marks are arguments.

use crate::core::position::Position;

/// What a session knows of its user: how far, and whether a command may have happened that it knows nothing of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Seen {
    position: Option<Position>,
    /// How many commands ended without an answer.
    unanswered: u64,
    /// How many of those a later position covers.
    covered: u64,
}

/// When a position was asked for: what it covers of the commands without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Mark(u64);

/// What a position did to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Raised {
    /// The session is at least there.
    Yes,
    /// It is of an earlier history than what was seen, and says nothing.
    Older,
    /// It is of a later history, which does not have all that was seen. Nothing is changed.
    Lost {
        /// What was seen.
        seen: Position,
    },
}

impl Seen {
    /// What a replica must have, if anything was seen.
    pub(crate) fn position(&self) -> Option<Position> {
        self.position
    }

    /// Whether only the primary can answer.
    pub(crate) fn is_uncertain(&self) -> bool {
        self.covered < self.unanswered
    }

    /// A command ended without an answer: it may have happened.
    pub(crate) fn unanswered(&mut self) {
        self.unanswered = self.unanswered.saturating_add(1);
    }

    /// Taken before a position is asked for.
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.unanswered)
    }

    /// The primary said `position`, asked for at `mark`. `branched` is where the history of `position` left that of what
    /// was seen, `None` if nobody knows.
    pub(crate) fn primary_is_at(
        &mut self,
        position: Position,
        mark: Mark,
        branched: Option<u64>,
    ) -> Raised {
        let raised = self.raise(position, branched);
        if raised == Raised::Yes {
            self.covered = self.covered.max(mark.0.min(self.unanswered));
        }
        raised
    }

    /// Something of `position` was read.
    pub(crate) fn raise(&mut self, position: Position, branched: Option<u64>) -> Raised {
        let Some(seen) = self.position else {
            self.position = Some(position);
            return Raised::Yes;
        };
        if position.era < seen.era {
            return Raised::Older;
        }
        if position.era > seen.era && branched.is_none_or(|branched| branched < seen.at) {
            return Raised::Lost { seen };
        }
        self.position = Some(Position { era: position.era, at: position.at.max(seen.at) });
        Raised::Yes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    const fn at(era: u32, at: u64) -> Position {
        Position { era, at }
    }

    /// Where era 2 left era 1.
    const BRANCH: u64 = 1;

    /// All orders of two commands without an answer, positions asked for before and after them, and reads in two eras:
    /// what was seen is never given up, and a command is covered only by a position asked for after it.
    fn explore(
        raise: fn(&mut Seen, Position, Mark, Option<u64>) -> Raised,
    ) -> Result<usize, &'static str> {
        let mut todo = vec![(Seen::default(), Vec::<Mark>::new(), 0_u64, 0_u64)];
        let mut known = HashSet::new();
        while let Some((seen, marks, commands, safe)) = todo.pop() {
            if !known.insert((seen, marks.clone(), commands, safe)) {
                continue;
            }
            if seen.is_uncertain() != (safe < commands) {
                return Err("a command without an answer is forgotten");
            }
            if commands < 2 {
                let mut next = seen;
                next.unanswered();
                todo.push((next, marks.clone(), commands + 1, safe));
            }
            if marks.len() < 2 {
                let mut marks = marks.clone();
                marks.push(seen.mark());
                todo.push((seen, marks, commands, safe));
            }
            for (index, mark) in marks.iter().enumerate() {
                for position in [at(1, 0), at(1, 1), at(1, 2), at(2, 1), at(2, 2), at(2, 3)] {
                    let crosses = seen.position().is_some_and(|seen| seen.era < position.era);
                    let mut next = seen;
                    let raised = raise(&mut next, position, *mark, crosses.then_some(BRANCH));
                    if let (Some(before), Some(after)) = (seen.position(), next.position()) {
                        if after.era < before.era || after.at < before.at {
                            return Err("what was seen is given up");
                        }
                        if after.era > before.era && before.at > BRANCH {
                            return Err("a lost write is hidden");
                        }
                    }
                    let mut rest = marks.clone();
                    rest.remove(index);
                    let safe = if raised == Raised::Yes { safe.max(mark.0) } else { safe };
                    todo.push((next, rest, commands, safe));
                }
            }
        }
        Ok(known.len())
    }

    // pitfalls B61, B64
    #[test]
    fn no_order_forgets_a_command_or_what_was_seen() {
        let states = explore(Seen::primary_is_at).unwrap();
        assert!(states > 200, "{states}");
    }

    #[test]
    fn weaker_laws_are_caught() {
        let any_position_covers = explore(|seen, position, _, branched| {
            let now = seen.mark();
            seen.primary_is_at(position, now, branched)
        });
        assert_eq!(any_position_covers, Err("a command without an answer is forgotten"));
        let bare =
            explore(|seen, position, mark, _| seen.primary_is_at(position, mark, Some(u64::MAX)));
        assert_eq!(bare, Err("a lost write is hidden"));
        let last_wins = explore(|seen, position, mark, branched| {
            let raised = seen.primary_is_at(position, mark, branched);
            seen.position = Some(position);
            raised
        });
        assert!(last_wins.is_err());
    }
}
