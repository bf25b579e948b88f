//! The algorithm of a retry against a model that keeps the whole history.

use proptest::prelude::*;

use super::machine::{Attempts, Failed, Next, Params};
use crate::core::explore::{LONG, stories};
use crate::parts::backoff::{Curve, Shape};
use crate::retry::reasons::StopReason;

const FAILED: Failed = Failed {
    again: true,
    retry_after: None,
    unsent: false,
    rejected: false,
    elsewhere: false,
    for_good: false,
    copied: true,
    repeated: false,
    draining: false,
};

fn params(attempts: u32) -> Params {
    let curve = Curve { base: 10, factor: 2000, cap: 100, shape: Shape::None };
    Params {
        attempts,
        curve,
        max_retry_after: 1_000,
        max_elapsed: u64::MAX,
        min_attempt_time: 5,
        wait_for_rejections: false,
    }
}

fn failures() -> impl Strategy<Value = Failed> {
    let often = prop::bool::weighted(0.9);
    let retry_after = prop::option::of(prop_oneof![0_u64..2_000, Just(u64::MAX)]);
    let rarely = prop::bool::weighted(0.1);
    let flags = (often, any::<bool>(), prop::bool::weighted(0.2), often, rarely);
    (flags, retry_after).prop_map(|((again, unsent, rejected, copied, repeated), retry_after)| {
        Failed {
            again,
            retry_after,
            unsent,
            rejected,
            elsewhere: false,
            for_good: false,
            copied,
            repeated,
            draining: false,
        }
    })
}

/// What was repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Was {
    Sent,
    Unsent,
    Rejected,
}

impl Was {
    fn of(how: Failed) -> Self {
        match how {
            Failed { rejected: true, .. } => Self::Rejected,
            Failed { unsent: true, .. } => Self::Unsent,
            _ => Self::Sent,
        }
    }
}

fn count(repeated: &[Was], what: Was) -> u32 {
    repeated.iter().filter(|was| **was == what).count() as u32
}

/// What a retry should say, told from what was repeated so far alone.
fn model(params: &Params, repeated: &[Was], how: Failed, left: Option<u64>, backoff: u64) -> Next {
    let (alike, sent) = (count(repeated, Was::of(how)), count(repeated, Was::Sent));
    let mut wait = how.retry_after.unwrap_or(0).min(params.max_retry_after) + backoff;
    if how.rejected {
        wait = wait.max(10_000_000);
    }
    if !how.again {
        Next::Stop(StopReason::Final)
    } else if how.rejected && !params.wait_for_rejections {
        Next::Stop(StopReason::Rejected)
    } else if how.repeated {
        Next::Stop(StopReason::Repeated)
    } else if !how.rejected && alike + 1 >= params.attempts {
        Next::Stop(StopReason::Exhausted)
    } else if !how.copied {
        let last = sent + 1 >= params.attempts && !params.wait_for_rejections;
        Next::Stop(if last { StopReason::Exhausted } else { StopReason::NoCopy })
    } else if left.is_some_and(|left| wait + params.min_attempt_time > left) {
        Next::Stop(StopReason::Deadline)
    } else {
        Next::Wait(wait)
    }
}

proptest! {
    // pitfalls B13, B14
    #[test]
    fn it_agrees_with_a_model_that_remembers_everything(
        attempts in 1_u32..6,
        wait_for_rejections in any::<bool>(),
        steps in prop::collection::vec(step(), 0..30),
    ) {
        agree(attempts, wait_for_rejections, steps)?;
    }
}

/// Of ten thousand failures; nobody asks for so many attempts, but nothing forbids it.
#[test]
fn they_agree_for_as_long_as_a_long_story_is() {
    let story = (any::<bool>(), prop::collection::vec(step(), LONG));
    for (wait_for_rejections, steps) in stories(2, story) {
        let attempts = agree(1_000, wait_for_rejections, steps).expect("they agree");
        assert!(attempts >= 1_000, "{attempts} attempts");
    }
}

/// A failure, the time that is left, and a backoff of the user's own.
fn step() -> impl Strategy<Value = (Failed, Option<u64>, Option<u64>)> {
    (
        failures(),
        prop::option::of(prop_oneof![0_u64..2_000, 0_u64..20_000_000]),
        prop::option::of(0_u64..500),
    )
}

/// Tells both the same story, and returns how many attempts there were.
fn agree(
    attempts: u32,
    wait_for_rejections: bool,
    steps: Vec<(Failed, Option<u64>, Option<u64>)>,
) -> Result<u32, TestCaseError> {
    let params = Params { wait_for_rejections, ..params(attempts) };
    let (mut state, mut repeated) = (Attempts::FIRST, Vec::new());
    for (how, left, own) in steps {
        let before = state;
        let rejected = count(&repeated, Was::Rejected);
        let made = repeated.len() as u32 - rejected;
        let nth = if how.rejected { rejected } else { made };
        let backoff = own.unwrap_or(params.curve.step(nth + 1));
        let next = state.fail(&params, how, left, own, 0);
        prop_assert_eq!(next, model(&params, &repeated, how, left, backoff));
        match next {
            Next::Wait(_) => repeated.push(Was::of(how)),
            Next::Stop(_) => prop_assert_eq!(state, before, "a stop changes nothing"),
        }
        let made = repeated.len() as u32 - count(&repeated, Was::Rejected);
        prop_assert_eq!(state.number(), made + 1);
        prop_assert!(made <= 2 * (attempts - 1), "it goes on for ever");
    }
    Ok(state.number())
}

#[test]
fn what_was_never_sent_is_bounded_by_itself() {
    let unsent = Failed { unsent: true, ..FAILED };
    let mut state = Attempts::FIRST;
    for how in [unsent, FAILED, unsent] {
        assert!(matches!(state.fail(&params(3), how, None, None, 0), Next::Wait(_)));
    }
    assert_eq!(state.fail(&params(3), unsent, None, None, 0), Next::Stop(StopReason::Exhausted));
    assert!(matches!(state.fail(&params(3), FAILED, None, None, 0), Next::Wait(_)));
    assert!(state.is_last(&params(3)));
    // Of the last attempt there is no copy; that is not what ended it.
    let last = Failed { unsent: true, copied: false, ..FAILED };
    assert_eq!(state.fail(&params(3), last, None, None, 0), Next::Stop(StopReason::Exhausted));
    assert_eq!(state.fail(&params(4), last, None, None, 0), Next::Stop(StopReason::NoCopy));
}

// pitfall B13
#[test]
fn decorrelated_waits_grow_from_the_backoff_not_from_the_hint() {
    let curve = Curve { base: 10, factor: 2000, cap: 10_000, shape: Shape::Decorrelated };
    let params = Params { curve, ..params(10) };
    let mut state = Attempts::FIRST;
    let with_retry_after = Failed { retry_after: Some(1_000), ..FAILED };
    assert_eq!(state.fail(&params, with_retry_after, None, None, u64::MAX), Next::Wait(1_030));
    assert_eq!(state.fail(&params, FAILED, None, None, u64::MAX), Next::Wait(90));
}

// pitfall B13
#[test]
fn the_longest_times_do_not_overflow() {
    let params = Params { max_retry_after: u64::MAX, min_attempt_time: u64::MAX, ..params(1_000) };
    let how = Failed { retry_after: Some(u64::MAX), ..FAILED };
    let mut state = Attempts::FIRST;
    assert_eq!(state.fail(&params, how, None, Some(u64::MAX), u64::MAX), Next::Wait(u64::MAX));
    assert_eq!(
        state.fail(&params, how, Some(u64::MAX - 1), None, 0),
        Next::Stop(StopReason::Deadline)
    );
}
