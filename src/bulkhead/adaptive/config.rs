//! The settings of an adaptive limit.

use crate::bulkhead::machine::MOST;
use crate::core::config::ConfigError;

/// An adaptive concurrency limit: the limit of a bulkhead follows what the dependency can do.
///
/// While the dependency keeps up, the limit grows with the load. When answers become slow, because calls
/// queue there, the limit falls until they are fast again. So nobody has to know the right
/// [limit](crate::bulkhead::Config::limit), which is only where an adaptive one begins.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::bulkhead::{Adaptive, BulkheadLayer};
///
/// let users = BulkheadLayer::builder("users").adaptive(Adaptive { max: 200, ..Adaptive::default() }).build()?;
/// assert_eq!(users.handle().limit(), 40); // until it has seen answers
///
/// let none = Adaptive { min: 10, max: 5, ..Adaptive::default() };
/// let refused = BulkheadLayer::builder("users").adaptive(none).build().unwrap_err();
/// assert!(refused.to_string().contains("adaptive.max"));
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
pub struct Adaptive {
    /// Where the limit begins: from [`min`](Self::min) to [`max`](Self::max).
    pub initial: u32,
    /// The least that it falls to: 1 to 1,000,000.
    pub min: u32,
    /// The most that it grows to: [`min`](Self::min) to 1,000,000.
    pub max: u32,
    /// How much slower than usual an answer may be, in percent of what is usual: 10 to 1,000. With 60, an answer
    /// that takes more than 1.6 times what three in four take without load is late.
    pub tolerance: u32,
}

impl Default for Adaptive {
    fn default() -> Self {
        Self { initial: 40, min: 2, max: 1_000, tolerance: 60 }
    }
}

/// Settings made ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Bounds {
    pub(crate) initial: u32,
    pub(crate) min: u32,
    pub(crate) max: u32,
    pub(crate) tolerance: u32,
}

impl Adaptive {
    pub(crate) fn check(&self, problems: &mut Vec<ConfigError>) -> Bounds {
        let Self { initial, min, max, tolerance } = self;
        if !(1..=MOST).contains(min) {
            problems.push(ConfigError::new("adaptive.min", min, format!("1 to {MOST}")));
        }
        if !(*min..=MOST).contains(max) {
            let accepted = format!("{min} to {MOST}, for adaptive.min = {min}");
            problems.push(ConfigError::new("adaptive.max", max, accepted));
        }
        if !(*min..=*max).contains(initial) {
            let accepted = format!("{min} to {max}, for adaptive.min and adaptive.max");
            problems.push(ConfigError::new("adaptive.initial", initial, accepted));
        }
        if !(10..=1_000).contains(tolerance) {
            problems.push(ConfigError::new("adaptive.tolerance", tolerance, "10 to 1000"));
        }
        Bounds { initial: *initial, min: *min, max: *max, tolerance: *tolerance }
    }
}
