//! Why a layer ended a call: one table of everything that follows from it, without a `_`.

use std::fmt;

/// What a [`Reason`] means to those further out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Means {
    /// The dependency did not answer.
    Failed,
    /// The caller is to blame, or had no time left.
    OfCaller,
    /// The call was rejected, and may be asked again.
    Rejected,
    /// The call was rejected, and always will be.
    RejectedForGood,
}

/// One row of the table. A reason that lacks a column does not compile.
struct Row {
    name: &'static str,
    sentence: &'static str,
    #[cfg_attr(not(feature = "http"), expect(dead_code, reason = "no HTTP"))]
    http: u16,
    #[cfg_attr(not(feature = "grpc"), expect(dead_code, reason = "no gRPC"))]
    grpc: u8,
    means: Means,
}

/// Why a layer rejected a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The circuit is open: recent calls failed, or it is forced open.
    CircuitOpen,
    /// The circuit has just closed, and load returns step by step.
    Recovering,
    /// The time limit of this layer ran out.
    TimedOut,
    /// The deadline that came with the request has passed. [`Measurement::Deadline`](crate::Measurement::Deadline)
    /// says who had set it.
    DeadlineExceeded,
    /// The policy is being drained: it takes no further calls.
    Draining,
    /// The limit of concurrent calls is reached, and the queue is full.
    Full,
    /// The call waited in the queue for the longest permitted time.
    QueueTimeout,
    /// The call came too early for the rate limit.
    RateLimited,
    /// The call costs more than the whole limit, so it can never be admitted.
    CostTooHigh,
    /// The dependency failed its health check.
    Unhealthy,
    /// Somebody else leads, or nobody does.
    NotLeader,
    /// The body of the caller's request stalled for too long (HTTP 408).
    RequestTimeout,
    /// The body of the caller's request broke off.
    RequestBroken,
    /// The key of the request is somebody else's. Nothing was done: [`Rejected::hint`](crate::Rejected::hint) says whom
    /// to ask, if that is known (HTTP 421).
    NotOwner,
    /// None of those who may have the key is up, or who was asked is not part of the set any more.
    NoShard,
    /// The key moves to another owner just now.
    Moving,
    /// No replica is fresh enough for the query, and the primary has no room for it.
    Stale,
    /// No replica is up, and the primary has no room for the query.
    NoReplica,
    /// A failover has lost what the session wrote or has seen (HTTP 409). It is told once.
    Lost,
    /// The call is made by an epoch that is over, or by none: somebody else leads by now. Nothing was done (HTTP 412).
    Fenced,
    /// The call is made by an epoch that the store of a fence does not confirm, or has not confirmed yet.
    Unconfirmed,
}

impl Reason {
    pub(crate) const ALL: [Self; 21] = [
        Self::CircuitOpen,
        Self::Recovering,
        Self::TimedOut,
        Self::DeadlineExceeded,
        Self::Draining,
        Self::Full,
        Self::QueueTimeout,
        Self::RateLimited,
        Self::CostTooHigh,
        Self::Unhealthy,
        Self::NotLeader,
        Self::RequestTimeout,
        Self::RequestBroken,
        Self::NotOwner,
        Self::NoShard,
        Self::Moving,
        Self::Stale,
        Self::NoReplica,
        Self::Lost,
        Self::Fenced,
        Self::Unconfirmed,
    ];

    /// The table: a new reason has a row here, and in the list above.
    const fn row(self) -> Row {
        let (name, sentence, http, grpc, means) = match self {
            Self::CircuitOpen => ("circuit_open", "circuit is open", 503, 14, Means::Rejected),
            Self::Recovering => ("recovering", "is recovering", 503, 14, Means::Rejected),
            Self::TimedOut => ("timed_out", "timed out", 504, 4, Means::Failed),
            Self::DeadlineExceeded => {
                ("deadline_exceeded", "the deadline has passed", 504, 4, Means::OfCaller)
            }
            Self::Draining => ("draining", "is being drained", 503, 14, Means::Rejected),
            Self::Full => ("full", "is full, and so is its queue", 503, 14, Means::Rejected),
            Self::QueueTimeout => (
                "queue_timeout",
                "is full, and the call has waited in its queue as long as it may",
                503,
                14,
                Means::Rejected,
            ),
            Self::RateLimited => {
                ("rate_limited", "has reached its rate limit", 429, 8, Means::Rejected)
            }
            Self::CostTooHigh => (
                "cost_too_high",
                "cannot admit a call of such a cost",
                413,
                8,
                Means::RejectedForGood,
            ),
            Self::Unhealthy => ("unhealthy", "is unhealthy", 503, 14, Means::Rejected),
            Self::NotLeader => ("not_leader", "is not the leader", 503, 14, Means::Rejected),
            Self::RequestTimeout => (
                "request_timeout",
                "the caller did not send its request in time",
                408,
                4,
                Means::OfCaller,
            ),
            Self::RequestBroken => (
                "request_broken",
                "the body of the caller's request broke off",
                400,
                1,
                Means::OfCaller,
            ),
            Self::NotOwner => {
                ("not_owner", "is not the owner of this key", 421, 9, Means::RejectedForGood)
            }
            Self::NoShard => ("no_shard", "has no shard for this call", 503, 14, Means::Rejected),
            Self::Moving => ("moving", "moves this key to another owner", 503, 14, Means::Rejected),
            Self::Stale => {
                ("stale", "has no replica that is fresh enough", 503, 14, Means::Rejected)
            }
            Self::NoReplica => {
                ("no_replica", "has no replica that is up", 503, 14, Means::Rejected)
            }
            Self::Lost => {
                ("lost", "has lost what was seen before", 409, 15, Means::RejectedForGood)
            }
            Self::Fenced => {
                ("fenced", "refuses an epoch that is over", 412, 9, Means::RejectedForGood)
            }
            Self::Unconfirmed => (
                "unconfirmed",
                "refuses an epoch that its store has not confirmed",
                503,
                14,
                Means::Rejected,
            ),
        };
        Row { name, sentence, http, grpc, means }
    }

    /// The metric label `reason`.
    pub const fn as_str(self) -> &'static str {
        self.row().name
    }

    /// What it means to those further out.
    pub(crate) const fn means(self) -> Means {
        self.row().means
    }

    /// The HTTP status that tells of it.
    #[cfg(feature = "http")]
    pub(crate) const fn http(self) -> u16 {
        self.row().http
    }

    /// The gRPC code that tells of it.
    #[cfg(feature = "grpc")]
    pub(crate) const fn grpc(self) -> u8 {
        self.row().grpc
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().sentence)
    }
}
