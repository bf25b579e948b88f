//! How members are compared, so that it works with two to five of them.
//!
//! Each is compared with the median of the *others*, not with a mean and a standard deviation of all: with few
//! members one bad one moves those as far as it is away itself (Envoy's `success_rate` needs five hosts for that
//! reason). Of an even number of others the median lies between the two in the middle: with the lower one, each of
//! three members would be compared with the best of all, which some member is by chance alone. Latencies differ by
//! factors, so what lies between is their geometric mean; shares differ by what is added, so it is their mean.
//!
//! That a difference is not chance is tested: a share of failures against a binomial count, and a ratio of two
//! average latencies as if answers took exponentially distributed times, which is more spread than most are.

/// What is compared of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Known {
    pub(super) zone: u32,
    pub(super) value: u64,
    /// Of how many answers.
    pub(super) samples: u32,
}

/// The two in the middle of an even number, or twice the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Middle(Known, Known);

/// A share that is worth mentioning is this many standard deviations away from that of the peers, squared.
const SIGMAS_SQUARED: u128 = 9;
/// So are two latencies, on a logarithmic scale. They are compared four times a second, so one more.
const SIGMAS: u64 = 4;
/// An average forgets: it is worth as many answers at most.
const WORTH: u32 = 63;
const MILLION: u128 = 1_000_000;
/// Of the series of the exponential function; its arguments are below 6.
const TERMS: u64 = 16;

impl Middle {
    /// Half way, as differences go.
    pub(super) const fn mean(self) -> u64 {
        self.0.value.midpoint(self.1.value)
    }

    /// Half way, as factors go.
    pub(super) fn ratio(self) -> Known {
        let product = u128::from(self.0.value) * u128::from(self.1.value);
        let value = u64::try_from(product.isqrt()).unwrap_or(u64::MAX);
        Known { value, samples: self.0.samples.min(self.1.samples), ..self.0 }
    }
}

/// The median of all.
pub(super) fn middle(sorted: &[Known]) -> Option<Middle> {
    let last = sorted.len().checked_sub(1)?;
    Some(Middle(sorted[last / 2], sorted[sorted.len() / 2]))
}

/// The median of the others, of all with this one.
pub(super) fn middle_without(sorted: &[Known], one: Known) -> Option<Middle> {
    let others = sorted.len().checked_sub(1).filter(|others| *others > 0)?;
    let rank = sorted.partition_point(|other| *other < one);
    let other = |nth: usize| sorted[nth + usize::from(nth >= rank)];
    Some(Middle(other((others - 1) / 2), other(others / 2)))
}

/// Whether so many failures are no chance if calls fail with this probability: three standard deviations of a
/// binomial count.
pub(super) fn is_significant(calls: u64, failed: u64, ppm: u64) -> bool {
    let (calls, ppm) = (u128::from(calls), u128::from(ppm).min(MILLION));
    // In millionths of a call.
    let above = (u128::from(failed) * MILLION).saturating_sub(calls * ppm);
    above * above >= SIGMAS_SQUARED * calls * ppm * (MILLION - ppm)
}

/// The factor, in thousandths, between the averages of so many and so many answers of equal members that is
/// reached by chance once in 30,000 times.
pub(super) fn chance(one: u32, other: u32) -> u64 {
    let worth = |samples: u32| u64::from(samples.clamp(1, WORTH));
    // The variance of the logarithm of an average of n is 1 / n; in thousandths, squared.
    let variance = 1_000_000 / worth(one) + 1_000_000 / worth(other);
    let exponent = SIGMAS * variance.isqrt();
    let (mut sum, mut term) = (1_000, 1_000);
    for nth in 1..=TERMS {
        term = term * exponent / (1_000 * nth);
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(values: &[u64]) -> Vec<Known> {
        values.iter().map(|value| Known { value: *value, ..Known::default() }).collect()
    }

    #[test]
    fn a_median_lies_between_two_in_the_middle() {
        assert_eq!(middle(&[]), None);
        let values = |two: Option<Middle>| two.map(|two| (two.mean(), two.ratio().value));
        assert_eq!(values(middle(&known(&[4]))), Some((4, 4)));
        assert_eq!(values(middle(&known(&[4, 9]))), Some((6, 6)));
        assert_eq!(values(middle(&known(&[1, 10, 1000, 5000]))), Some((505, 100)));
        let all = known(&[1, 4, 9, 16]);
        assert_eq!(values(middle_without(&all, all[3])), Some((4, 4)));
        assert_eq!(values(middle_without(&all, all[0])), Some((9, 9)));
        assert_eq!(values(middle_without(&all[..3], all[2])), Some((2, 2)));
        assert_eq!(middle_without(&all[..1], all[0]), None);
    }

    #[test]
    fn chance_does_less_to_averages_of_more() {
        assert!((2_000..2_100).contains(&chance(63, 63)), "{}", chance(63, 63));
        assert!((5_900..6_100).contains(&chance(10, 10)), "{}", chance(10, 10));
        assert!((3_400..3_600).contains(&chance(20, 20)), "{}", chance(20, 20));
        assert_eq!(chance(1_000_000, 70), chance(63, 63));
        assert!(chance(0, 0) > 200_000);
    }

    #[test]
    fn few_failures_are_chance() {
        assert!(!is_significant(20, 10, 400_000), "half of twenty, where two in five fail");
        assert!(is_significant(200, 120, 400_000));
        assert!(is_significant(20, 7, 25_000));
    }
}
