//! Whether a request came from outside, so that what it says about itself is not trusted.

use http::{Extensions, HeaderName};

/// In the extensions of a request from outside: its headers are those of a stranger.
#[derive(Debug, Clone)]
pub(crate) struct Untrusted {
    /// But for an idempotency key under this name.
    key: Option<HeaderName>,
}

impl Untrusted {
    pub(crate) const fn but_for(key: Option<HeaderName>) -> Self {
        Self { key }
    }

    /// Whether layers may act on a header with an idempotency key of this name.
    pub(crate) fn lets_act_on(extensions: &Extensions, name: &HeaderName) -> bool {
        extensions.get::<Self>().is_none_or(|untrusted| untrusted.key.as_ref() == Some(name))
    }

    /// Whether a request came from outside.
    pub(crate) fn is(extensions: &Extensions) -> bool {
        extensions.get::<Self>().is_some()
    }
}
