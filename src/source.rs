//! Which layer speaks, and under which name.

use std::fmt;
use std::sync::Arc;

/// Which layer a rejection, an event or a metric comes from, and the name its user gave it.
///
/// Cheap to clone. It prints as ``circuit_breaker `payments` ``.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Source(Arc<Label>);

#[derive(PartialEq, Eq, Hash)]
struct Label {
    layer: &'static str,
    name: Arc<str>,
}

impl Source {
    pub(crate) fn new(layer: &'static str, name: impl Into<Arc<str>>) -> Self {
        Self(Arc::new(Label { layer, name: name.into() }))
    }

    /// The kind of layer: `"circuit_breaker"`, `"timeout"`, …; the metric label `layer`.
    pub fn layer(&self) -> &'static str {
        self.0.layer
    }

    /// The name given to the policy by its user; the metric label `name`.
    pub fn name(&self) -> &str {
        &self.0.name
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.layer(), self.name())
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
