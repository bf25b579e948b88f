//! Any bytes are a script: eight say what the stack is like, and each further pair is something that
//! happens to it.

use std::time::Duration;

/// What is read first.
pub(crate) const HEAD: usize = 8;

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// What the stack is like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) shape: Shape,
    /// The place of the order among all orders of five layers.
    pub(crate) order: u8,
    pub(crate) limit: u32,
    pub(crate) queue: u32,
    pub(crate) newest_first: bool,
    pub(crate) max_wait: Duration,
    pub(crate) attempts: u32,
    pub(crate) backoff: Duration,
    pub(crate) waits_for_rejections: bool,
    pub(crate) trip: u8,
    pub(crate) abandonment: u8,
    pub(crate) time_limit: Duration,
    pub(crate) covers_readiness: bool,
    pub(crate) propagates: bool,
    pub(crate) recorded: bool,
    pub(crate) seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The stack that is ready made.
    Client,
    /// Five layers in some order.
    Five,
    /// The same with a breaker for each key.
    Keyed,
}

/// Something that happens. Numbers are taken modulo what there is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Op {
    /// A call through a service, whether it said that it is ready or not; with a deadline if it can.
    Call(u8),
    /// A call through a service, if it says that it is ready.
    PoliteCall(u8),
    PollReady(u8),
    /// Every call that was woken is polled.
    PollWoken,
    /// A call is polled, woken or not, by somebody else than before.
    PollAnyway(u8),
    DropCall(u8),
    DropAll,
    Advance(Duration),
    Answers(Answers),
    Readiness(Readiness),
    /// The dependency takes so many at a time.
    Capacity(usize),
    /// All that hang are answered.
    Release,
    CloneService(u8),
    DropService(u8),
    /// The layers are put around the dependency once more.
    NewService,
    /// A hand moves the switch of the breaker.
    Switch(u8),
    Reset,
    ReloadBulkhead(u8),
    ReloadRetry(u8),
    ReloadTimeout(u8),
    ReloadBreaker(u8),
    ReloadHealth(u8),
    Drain(u8),
}

/// What the dependency does with calls that begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    Well,
    /// A failure that may pass.
    Fails,
    /// A failure that will not.
    FailsForGood,
    /// Too many calls: come back in 30 ms.
    PushesBack,
    Hangs,
    Slowly(Duration),
    FailsSlowly(Duration),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    Ready,
    NotReady,
    /// `poll_ready` fails.
    Fails,
}

const TIMES: [u64; 16] = [0, 1, 1, 2, 5, 10, 20, 30, 40, 50, 70, 100, 200, 300, 1000, 20_000];

impl Plan {
    pub(crate) fn of(head: [u8; HEAD]) -> Self {
        let [shape, order, flags, places, repeats, breaker, time, seed] = head;
        let flag = |bit: u8| flags >> bit & 1 == 1;
        Self {
            shape: [Shape::Five, Shape::Client, Shape::Keyed][usize::from(shape % 3)],
            order,
            limit: 1 + u32::from(places % 3),
            queue: u32::from(places / 4 % 4),
            newest_first: flag(0),
            max_wait: [ms(5), ms(50), ms(200), ms(1)][usize::from(places / 16 % 4)],
            attempts: 1 + u32::from(repeats % 4),
            backoff: [ms(0), ms(1), ms(10), ms(40)][usize::from(repeats / 4 % 4)],
            waits_for_rejections: flag(1),
            trip: breaker % 4,
            abandonment: breaker / 4 % 4,
            time_limit: time_limit(time),
            covers_readiness: flag(2),
            propagates: flag(3),
            recorded: flag(4),
            seed: u64::from(seed),
        }
    }
}

pub(crate) fn time_limit(byte: u8) -> Duration {
    [ms(20), ms(100), ms(5), ms(50)][usize::from(byte % 4)]
}

/// Bytes that are missing are zero.
pub(crate) fn read(bytes: &[u8]) -> (Plan, Vec<Op>) {
    let mut head = [0; HEAD];
    let (first, break_duration) = bytes.split_at(bytes.len().min(HEAD));
    head[..first.len()].copy_from_slice(first);
    let ops =
        break_duration.chunks(2).map(|pair| Op::of(pair[0], pair.get(1).copied().unwrap_or(0)));
    (Plan::of(head), ops.collect())
}

impl Op {
    fn of(kind: u8, arg: u8) -> Self {
        let time = ms(TIMES[usize::from(arg % 16)]);
        match kind % 64 {
            0..=7 => Self::Call(arg),
            8..=13 => Self::PoliteCall(arg),
            14..=16 => Self::PollReady(arg),
            17..=26 => Self::PollWoken,
            27..=28 => Self::PollAnyway(arg),
            29..=31 => Self::DropCall(arg),
            32 if arg < 64 => Self::DropAll,
            32..=39 => Self::Advance(time),
            40..=44 => Self::Answers(match arg % 8 {
                0 | 1 => Answers::Well,
                2 => Answers::Fails,
                3 => Answers::FailsForGood,
                4 => Answers::PushesBack,
                5 => Answers::Hangs,
                6 => Answers::Slowly(ms(u64::from(arg))),
                _ => Answers::FailsSlowly(ms(u64::from(arg))),
            }),
            45..=48 => Self::Readiness(match arg % 8 {
                0..=4 => Readiness::Ready,
                5 | 6 => Readiness::NotReady,
                _ => Readiness::Fails,
            }),
            49 => Self::Capacity(match arg % 4 {
                0 => usize::MAX,
                few => usize::from(few),
            }),
            50 => Self::Release,
            51 => Self::CloneService(arg),
            52 => Self::DropService(arg),
            53 => Self::NewService,
            54..=56 => Self::Switch(arg),
            57 if arg < 128 => Self::Reset,
            57 => Self::ReloadBreaker(arg),
            58 | 59 => Self::ReloadBulkhead(arg),
            60 => Self::ReloadRetry(arg),
            61 => Self::ReloadTimeout(arg),
            62 => Self::ReloadHealth(arg),
            // There is no way back, so it is rare.
            _ if arg < 24 => Self::Drain(arg),
            _ => Self::PollWoken,
        }
    }
}
