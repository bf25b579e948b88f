//! What pays for doing something once more.

/// A budget for further attempts: a [`retry::Budget`](crate::retry::Budget).
pub trait Afford: Send + Sync + 'static {
    /// Takes the price of one more attempt, if there is enough.
    fn pay(&self) -> bool;

    /// It succeeded after so many further attempts, which are paid back.
    fn earn(&self, further: u32);
}
