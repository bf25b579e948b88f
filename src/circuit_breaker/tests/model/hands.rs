//! What hands do to the model.

use super::*;

impl Model {
    pub(in super::super) fn command(&mut self, now: u64, command: Command) {
        match command {
            Command::HoldOpen => self.open_holds += 1,
            Command::HoldClosed => self.closed_holds += 1,
            Command::ReleaseOpen => self.open_holds = self.open_holds.saturating_sub(1),
            Command::ReleaseClosed => self.closed_holds = self.closed_holds.saturating_sub(1),
            Command::ForceOpen => self.standing = Some(State::ForcedOpen),
            Command::ForceClosed => self.standing = Some(State::ForcedClosed),
            Command::Release => self.standing = None,
            Command::Reset => {}
        }
        let open = self.open_holds > 0 || self.standing == Some(State::ForcedOpen);
        let closed = self.closed_holds > 0 || self.standing == Some(State::ForcedClosed);
        let held = match (open, closed) {
            (true, _) => Some(State::ForcedOpen),
            (false, true) => Some(State::ForcedClosed),
            (false, false) => None,
        };
        let is_reset = command == Command::Reset;
        let was_forced = matches!(self.state(), State::ForcedOpen | State::ForcedClosed);
        if !is_reset && (held == Some(self.state()) || held.is_none() && !was_forced) {
            return;
        }
        // Since when calls pass, had they been kept away: from then the load comes back gently.
        let flowing_from = match self.phase {
            Phase::Closed { ramp_from } => ramp_from.map(|(from, _)| from),
            Phase::ForcedClosed { flowing_from } => flowing_from,
            _ => Some(now),
        };
        let all_good = 2 * self.config.probes.min(2_u32.pow(self.config.close_threshold));
        let phase = match (held, self.phase) {
            (Some(State::ForcedOpen), _) => Phase::ForcedOpen,
            (Some(_), _) => Phase::ForcedClosed { flowing_from },
            (None, Phase::Closed { ramp_from: Some((from, _)) }) => {
                Phase::Closed { ramp_from: Some((from, self.allowed() as u32)) }
            }
            (None, _) => {
                let from = flowing_from.filter(|from| now < from + nanos(RAMP));
                Phase::Closed { ramp_from: from.map(|from| (from, all_good)) }
            }
        };
        (self.failed_rounds, self.last_break, self.closed_since) = (0, 0, now);
        self.enter(phase);
    }
}
