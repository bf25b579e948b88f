//! Averages of latency: one that rises at once and falls slowly, to choose by, and one that moves slowly both ways, to
//! compare members by. Nanoseconds; zero is unknown.

/// A tenth of the difference for each answer.
const SLOWNESS: u64 = 10;
/// A failure counts as an answer that took at least this long, or four times as long as answers do: who fails
/// fast must not look fast (pitfall B22).
const LEAST_PENALTY: u64 = 10_000_000;
const PENALTY_FACTOR: u64 = 4;
/// The most that failures alone make of an average.
const MOST_PENALTY: u64 = 1_000_000_000;

/// Peak EWMA (Finagle): a slower answer counts at once.
pub(super) const fn peak(average: u64, took: u64) -> u64 {
    if took >= average { took } else { average - (average - took).div_ceil(SLOWNESS) }
}

pub(super) const fn mean(average: u64, took: u64) -> u64 {
    if average == 0 {
        took
    } else if took >= average {
        average + (took - average) / SLOWNESS
    } else {
        average - (average - took).div_ceil(SLOWNESS)
    }
}

/// What the peak is after a failure.
pub(super) fn penalised(average: u64, took: u64) -> u64 {
    let penalty = average.saturating_mul(PENALTY_FACTOR).clamp(LEAST_PENALTY, MOST_PENALTY);
    peak(average, took.max(penalty))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    // pitfall B22
    #[test]
    fn who_fails_fast_looks_slow() {
        let (fast, mut failing) = (peak(0, 2_000_000), peak(0, 2_000_000));
        for _ in 0..10 {
            failing = penalised(failing, 1_000);
        }
        assert_eq!(failing, MOST_PENALTY);
        assert!(penalised(0, 0) >= LEAST_PENALTY && penalised(fast, 0) > 3 * fast);
        assert_eq!(penalised(1, 7 * MOST_PENALTY), 7 * MOST_PENALTY, "time that passed counts");
        let recovered = (0..80).fold(failing, |average, _| peak(average, 2_000_000));
        assert!(recovered < 3_000_000, "{recovered}");
    }

    proptest! {
        #[test]
        fn an_average_lies_between_what_it_was_and_the_answer(average in 1_u64.., took in any::<u64>()) {
            for next in [peak(average, took), mean(average, took)] {
                prop_assert!(next >= average.min(took) && next <= average.max(took));
            }
        }

        #[test]
        fn an_average_gets_to_where_answers_are(average in 1_u64..1_000_000, took in 0_u64..1_000_000) {
            let fold = |step: fn(u64, u64) -> u64| (0..400).fold(average, |now, _| step(now, took));
            prop_assert_eq!(fold(peak), took);
            prop_assert!(fold(mean).abs_diff(took) <= SLOWNESS);
        }
    }
}
