//! How the rejections of a stack reach its caller.

#[cfg(feature = "grpc")]
use super::client::ClientBuilder;

/// Puts around a stack what makes its rejections what its callers understand. For the stacks of protocols.
pub trait Tell<S> {
    /// The stack as its callers see it.
    type Service;

    /// Puts it around `stack`.
    fn tell(&self, stack: S) -> Self::Service;
}

/// Rejections are errors, which hold a [`Rejected`](crate::Rejected).
#[derive(Debug, Clone, Copy, Default)]
pub struct AsErrors;

impl<S> Tell<S> for AsErrors {
    type Service = S;

    fn tell(&self, stack: S) -> S {
        stack
    }
}

#[cfg(feature = "grpc")]
impl<C, R, K, F, H, A, Q> ClientBuilder<C, R, K, F, H, A, Q> {
    /// Says how rejections reach the caller.
    pub(crate) fn telling<A2>(self, tell: A2) -> ClientBuilder<C, R, K, F, H, A2, Q> {
        ClientBuilder {
            name: self.name,
            config: self.config,
            written: self.written,
            budget: self.budget,
            classify: self.classify,
            copy: self.copy,
            propagate: self.propagate,
            completion: self.completion,
            permit_completion: self.permit_completion,
            tell,
            observers: self.observers,
            division: self.division,
        }
    }
}
