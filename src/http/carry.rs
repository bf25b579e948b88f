//! What travels with a request, in its extensions.

use http::Request;

use crate::request::{Call, Carry};

/// Carries the facts of a call in the extensions of its request.
///
/// They stay inside the process: nothing is read from the wire, nor written to it.
#[derive(Debug, Clone, Copy, Default)]
pub struct InExtensions;

impl<B> Carry<Request<B>> for InExtensions {
    fn read(&self, request: &Request<B>) -> Call {
        let call: Call = request.extensions().get().cloned().unwrap_or_default();
        // Not in the `Call`: whoever hands that on to a request of its own has another body there.
        Call { upload: request.extensions().get().cloned(), ..call }
    }

    fn write(&self, request: &mut Request<B>, call: &Call) {
        request.extensions_mut().insert(Call { upload: None, ..call.clone() });
    }
}
