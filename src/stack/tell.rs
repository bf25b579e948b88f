//! How the refusals of a stack reach its caller.

/// Puts around a stack what makes its refusals what its callers understand. For the stacks of protocols.
pub trait Tell<S> {
    /// The stack as its callers see it.
    type Service;

    /// Puts it around `stack`.
    fn tell(&self, stack: S) -> Self::Service;
}

/// Refusals are errors, which hold a [`Rejected`](crate::Rejected).
#[derive(Debug, Clone, Copy, Default)]
pub struct AsErrors;

impl<S> Tell<S> for AsErrors {
    type Service = S;

    fn tell(&self, stack: S) -> S {
        stack
    }
}
