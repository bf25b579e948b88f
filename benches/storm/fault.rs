//! What goes wrong, and when.

/// Seconds of health before the fault.
pub(crate) const BEFORE: f64 = 30.0;
/// Seconds of health after it.
pub(crate) const AFTER: f64 = 40.0;
/// A flapping server is up for so many seconds, then down for as many.
const FLAP: f64 = 1.0;

/// A fault on a script: health, the fault, health again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Two workers of twenty are left.
    CapacityDrop,
    /// Connections are rejected, what was in flight is lost.
    Outage,
    /// Whatever begins takes twenty times as long.
    Slow,
    /// Nothing is answered.
    Hang,
    /// Three replies of ten are errors, which come at once.
    Errors,
    /// Three replies of ten are errors, which take as long as any other and as much work: retries
    /// bring the servers close to their limit.
    LateErrors,
    /// Three times as many requests come.
    Load,
    /// One reply of a hundred takes fifty times as long; no worker is kept by that.
    Tail,
    /// One second up, one second down.
    Flapping,
    /// Three times as many requests, and a server that sends some away with a `Retry-After`.
    RetryAfter,
    /// One of four backends is as slow as in [`Slow`](Self::Slow).
    BadBackend,
    /// The lowest of a chain of four services rejects connections.
    Hops,
}

impl Fault {
    pub(crate) const ALL: [Self; 12] = [
        Self::CapacityDrop,
        Self::Outage,
        Self::Slow,
        Self::Hang,
        Self::Errors,
        Self::LateErrors,
        Self::Load,
        Self::Tail,
        Self::Flapping,
        Self::RetryAfter,
        Self::BadBackend,
        Self::Hops,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::CapacityDrop => "capacity to 10 %, 8 s",
            Self::Outage => "hard outage, 8 s",
            Self::Slow => "×20 slow, 8 s",
            Self::Hang => "hang, 8 s",
            Self::Errors => "30 % errors, 20 s",
            Self::LateErrors => "30 % errors after the work, 20 s",
            Self::Load => "load ×3, 5 s",
            Self::Tail => "1 % of replies ×50 slow, 30 s",
            Self::Flapping => "1 s up, 1 s down, 20 s",
            Self::RetryAfter => "load ×3 with Retry-After, 5 s",
            Self::BadBackend => "one backend of four ×20 slow, 8 s",
            Self::Hops => "four hops, bottom down, 8 s",
        }
    }

    /// For how many seconds.
    pub(crate) const fn lasts(self) -> f64 {
        match self {
            Self::Errors | Self::LateErrors | Self::Flapping => 20.0,
            Self::Load | Self::RetryAfter => 5.0,
            Self::Tail => 30.0,
            _ => 8.0,
        }
    }

    pub(crate) const fn end(self) -> f64 {
        BEFORE + self.lasts()
    }

    pub(crate) fn is_during(self, now: f64) -> bool {
        (BEFORE..self.end()).contains(&now)
    }

    /// The moments at which something changes.
    pub(crate) fn turns(self) -> Vec<f64> {
        let mut turns = vec![BEFORE];
        if self == Self::Flapping {
            while turns.last().is_some_and(|last| last + FLAP < self.end()) {
                turns.extend(turns.last().map(|last| last + FLAP));
            }
        }
        turns.push(self.end());
        turns
    }

    pub(crate) fn is_down(self, now: f64) -> bool {
        match self {
            Self::Outage | Self::Hops => self.is_during(now),
            // It begins with being down, and ends with being up.
            Self::Flapping => self.is_during(now) && (now - BEFORE) % (2.0 * FLAP) < FLAP,
            _ => false,
        }
    }

    pub(crate) fn hangs(self, now: f64) -> bool {
        self == Self::Hang && self.is_during(now)
    }

    #[allow(clippy::float_cmp)] // a turn is the number itself
    pub(crate) fn ends_a_hang(self, now: f64) -> bool {
        self == Self::Hang && now == self.end()
    }

    pub(crate) fn workers(self, of: usize, now: f64) -> usize {
        if self == Self::CapacityDrop && self.is_during(now) { of / 10 } else { of }
    }

    /// How much longer a piece of work takes that begins now.
    pub(crate) fn stretch(self, now: f64) -> f64 {
        match self {
            Self::Slow | Self::BadBackend if self.is_during(now) => 20.0,
            _ => 1.0,
        }
    }

    /// How many times longer than the work a reply takes, without a worker's doing.
    pub(crate) fn lag(self, now: f64, rng: &mut fastrand::Rng) -> f64 {
        if self == Self::Tail && self.is_during(now) && rng.f64() < 0.01 { 50.0 } else { 1.0 }
    }

    /// Whether a request is answered with an error at once.
    pub(crate) fn fails_at_once(self, now: f64, rng: &mut fastrand::Rng) -> bool {
        self == Self::Errors && self.is_during(now) && rng.f64() < 0.3
    }

    /// Whether a piece of work ends in an error.
    pub(crate) fn fails_late(self, now: f64, rng: &mut fastrand::Rng) -> bool {
        self == Self::LateErrors && self.is_during(now) && rng.f64() < 0.3
    }

    pub(crate) fn load(self, now: f64) -> f64 {
        let heavy = matches!(self, Self::Load | Self::RetryAfter) && self.is_during(now);
        if heavy { 3.0 } else { 1.0 }
    }

    pub(crate) fn pushes_back(self) -> bool {
        self == Self::RetryAfter
    }
}
