//! Which layer speaks, and under which name.

use std::fmt;
use std::sync::Arc;

/// Which layer a rejection, an event or a metric comes from, and the name its user gave it.
///
/// Cheap to clone. It prints as ``circuit_breaker `payments` ``.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
/// use seawall::timeout::TimeoutLayer;
/// use seawall::{Error, Event, EventKind, Origin};
/// use std::collections::HashMap;
/// use std::convert::Infallible;
/// use std::future::pending;
/// use std::sync::{Arc, Mutex};
/// use std::time::Duration;
///
/// let rejections: Arc<Mutex<HashMap<Origin, u32>>> = Arc::default();
/// let count = rejections.clone();
/// let search = TimeoutLayer::builder("search")
///     .limit(Duration::from_millis(50))
///     .observe(move |event: &Event| {
///         if let EventKind::Rejected { .. } = event.kind {
///             *count.lock().unwrap().entry(event.origin.clone()).or_default() += 1;
///         }
///     })
///     .build()?;
///
/// let too_slow = search.run(|| pending::<Result<(), Error<Infallible>>>()).await;
/// assert!(too_slow.is_err());
/// for (origin, rejected) in rejections.lock().unwrap().iter() {
///     assert_eq!(format!("{origin} rejected {rejected}"), "timeout `search` rejected 1");
/// }
/// assert_eq!(rejections.lock().unwrap().len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Origin(Arc<Label>);

#[derive(PartialEq, Eq, Hash)]
struct Label {
    layer: &'static str,
    name: Arc<str>,
}

impl Origin {
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

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.layer(), self.name())
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
