//! Where chance comes from: a seed for every policy, never one for the process.

/// A seed that no other policy has.
pub(crate) fn seed() -> u64 {
    fastrand::u64(..)
}
