//! Evidence that something broke, as one number.
//!
//! The CUSUM of Page (1954): every failure adds the logarithm of how much likelier it is under
//! "broken" than under "well", every success takes the corresponding amount away, and the sum never
//! falls below zero. Among all detectors that raise as few false alarms none has a smaller
//! worst-case delay for independent outcomes that jump from one ratio to the other (Lorden 1971,
//! asymptotically; Moustakides 1986, exactly).

/// What a failure and a success weigh, and how much decides; all in micro-nats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Weights {
    pub(crate) failure: u64,
    pub(crate) success: u64,
    pub(crate) limit: u64,
}

/// How much evidence has gathered, in micro-nats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Cusum(u64);

impl Weights {
    /// From the failure ratio that is tolerated, the one that is called broken (both in parts per
    /// million, `0 < tolerated < broken < 1_000_000`), and the inverse odds of a false trip.
    ///
    /// The only place where logarithms are taken, once per configuration.
    pub(crate) fn new(tolerated: u32, broken: u32, odds: u64) -> Self {
        let (p0, p1) = (f64::from(tolerated) / 1e6, f64::from(broken) / 1e6);
        let micro = |nats: f64| (nats * 1e6).round() as u64;
        Self {
            failure: micro((p1 / p0).ln()).max(1),
            success: micro(((1.0 - p0) / (1.0 - p1)).ln()).max(1),
            limit: micro((odds as f64).ln()).max(1),
        }
    }
}

impl Weights {
    /// The evidence of how many consecutive failures this is, in thousandths.
    pub(crate) fn milli_failures(&self, micro_nats: u64) -> u32 {
        let milli = u128::from(micro_nats) * 1000 / u128::from(self.failure.max(1));
        u32::try_from(milli).unwrap_or(u32::MAX)
    }
}

impl Cusum {
    pub(crate) fn good(&mut self, weights: &Weights) {
        self.0 = self.0.saturating_sub(weights.success);
    }

    pub(crate) fn bad(&mut self, weights: &Weights) {
        self.0 = self.with(weights, 1);
    }

    /// What it would be after `failures` more; no further than the limit, so that a policy that
    /// only weighs and may not act is still as quick to forgive.
    pub(crate) fn with(self, weights: &Weights, failures: u32) -> u64 {
        let more = weights.failure.saturating_mul(u64::from(failures));
        self.0.saturating_add(more).min(weights.limit)
    }

    pub(crate) const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn default_weights() -> Weights {
        Weights::new(300_000, 700_000, 1_000_000)
    }

    #[test]
    fn seventeen_straight_failures_decide_by_default() {
        let weights = default_weights();
        let mut cusum = Cusum::default();
        let decided = |c: Cusum| c.with(&weights, 0) >= weights.limit;
        assert!(cusum.is_zero());
        for nth in 1..=17 {
            assert!(!decided(cusum), "after {} failures", nth - 1);
            cusum.bad(&weights);
            assert!(!cusum.is_zero());
        }
        assert!(decided(cusum));
    }

    #[test]
    fn a_success_outweighs_a_failure_where_the_ratios_are_symmetric() {
        let weights = default_weights();
        let mut cusum = Cusum::default();
        for _ in 0..1_000 {
            cusum.bad(&weights);
            cusum.good(&weights);
        }
        assert!(cusum.is_zero());
    }

    #[test]
    fn nothing_overflows() {
        let weights = Weights::new(1, 999_999, u64::MAX);
        let cusum = Cusum(u64::MAX - 1);
        assert_eq!(cusum.with(&weights, u32::MAX), weights.limit);
    }
}
