//! Averages of latency: one that rises at once and falls slowly, to choose by, and one that moves slowly both ways, to
//! compare members by. Nanoseconds; zero is unknown.

/// A tenth of the difference for each answer.
const SLOWNESS: u64 = 10;
/// Of so many answers is the average that members are compared by.
const STEADY: u32 = 32;
/// An answer counts for so many times the average at most, and this much.
const MOST: u64 = 4;
const LITTLE: u64 = 1_000_000;
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

/// The average of one answer more than so many. The first ones count alike, those after them as much as they
/// would among as many: an average of few answers differs by chance.
///
/// One that is far slower counts for what it is beyond [`MOST`] times the average and a little only that much: in a
/// long tail of latencies one answer in a hundred may take as long as all the others, and says little about a member.
pub(super) const fn mean(average: u64, samples: u32, took: u64) -> u64 {
    if average == 0 || samples == 0 {
        return took;
    }
    let share = if samples < STEADY { samples as u64 + 1 } else { STEADY as u64 };
    if took >= average {
        let most = average.saturating_mul(MOST).saturating_add(LITTLE);
        let took = if took < most { took } else { most };
        average + (took - average).div_ceil(share)
    } else {
        average - (average - took).div_ceil(share)
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

    /// One answer of a long tail is not a slow member; a member that has become slow is one after a dozen answers.
    #[test]
    fn an_answer_of_a_long_tail_counts_for_little() {
        let (usual, slow) = (10_000_000, 500_000_000);
        assert!(mean(usual, 100, slow) < usual + usual / 8);
        let tail = (0..10_000)
            .fold(usual, |now, nth| mean(now, 100, if nth % 100 == 0 { slow } else { usual }));
        assert!(tail < usual + usual / 8, "{tail}");
        let slower = (0..15).fold(usual, |now, _| mean(now, 100, slow));
        assert!(slower > 3 * usual, "{slower}");
    }

    #[test]
    fn the_first_answers_count_alike() {
        let all = (0..).zip([20, 10, 30, 20]).fold(0, |now, (nth, took)| mean(now, nth, took));
        assert_eq!(all, 20);
    }

    proptest! {
        #[test]
        fn an_average_lies_between_what_it_was_and_the_answer(average in 1_u64.., took in any::<u64>()) {
            for next in [peak(average, took), mean(average, 1, took), mean(average, 100, took)] {
                prop_assert!(next >= average.min(took) && next <= average.max(took));
            }
        }

        #[test]
        fn an_average_gets_to_where_answers_are(average in 1_u64..1_000_000, took in 0_u64..1_000_000) {
            let fold = |step: fn(u64, u64) -> u64| (0..800).fold(average, |now, _| step(now, took));
            prop_assert_eq!(fold(peak), took);
            prop_assert_eq!(fold(|now, took| mean(now, 100, took)), took);
        }
    }
}
