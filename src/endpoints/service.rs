//! The service that sends each request to one of its endpoints.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use tower::Service;

use super::builder::Builder;
use super::endpoint::Endpoint;
use super::error::AdoptError;
use super::handle::EndpointsHandle;
use super::roster::Roster;
use crate::core::classify::{Classifier, Classify};
use crate::core::config::{ConfigError, ConfigErrors};
use crate::core::error::CallError;
use crate::core::origin::Origin;
use crate::core::request::{NoPropagation, Propagate};
use crate::shell::set::{self, Set, Shared, check};

/// The most endpoints there can be.
pub(super) const MAX_ENDPOINTS: usize = 16_384;

/// Sends each request to one of several endpoints.
///
/// It is always ready: an endpoint that is not is passed over, and where none is, the call waits in its future for
/// the first that is. Build one, and clone it: clones share the endpoints and what is known of them.
pub struct Endpoints<S, C = Classifier, K = NoPropagation> {
    set: Set<Roster<C, K>, S>,
}

/// The future of a call to an endpoint.
pub type ResponseFuture<S, Req, C, K = NoPropagation> = set::ResponseFuture<Roster<C, K>, S, Req>;

impl Endpoints<()> {
    /// Starts to build a set of endpoints. The name goes into errors, events and metrics.
    pub fn builder(name: impl Into<Arc<str>>) -> Builder {
        Builder::new(name.into())
    }
}

impl<S, C, K> Endpoints<S, C, K> {
    pub(super) fn new(shared: Shared<Roster<C, K>, S>) -> Self {
        Self { set: Set::new(Arc::new(shared)) }
    }

    /// Inspects and controls it: shows the endpoints, adopts others.
    pub fn handle(&self) -> EndpointsHandle
    where
        S: Send + 'static,
        C: Send + Sync + 'static,
        K: Send + Sync + 'static,
    {
        EndpointsHandle::new(Arc::clone(self.set.shared()) as _)
    }
}

impl<S, C, K, Req> Service<Req> for Endpoints<S, C, K>
where
    S: Service<Req> + Clone,
    S::Error: CallError,
    C: Classify<S::Response, S::Error>,
    K: Propagate<Req>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S, Req, C, K>;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        self.set.call(request)
    }
}

impl<S, C, K> Clone for Endpoints<S, C, K> {
    fn clone(&self) -> Self {
        Self { set: self.set.clone() }
    }
}

impl<S, C, K> fmt::Debug for Endpoints<S, C, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoints").field("shared", &self.set).finish_non_exhaustive()
    }
}

/// A list in order, so that it does not matter in which order it came; or everything that is wrong with it, and what
/// was wrong before.
pub(super) fn checked(
    origin: &Origin,
    mut members: Vec<Endpoint>,
    mut problems: Vec<ConfigError>,
) -> Result<Box<[Endpoint]>, AdoptError> {
    members.sort_unstable_by(|one, other| one.name().cmp(other.name()));
    check_members(&members, &mut problems);
    ConfigErrors::none_of(problems).map_err(|wrong| wrong.of_policy(origin))?;
    Ok(members.into())
}

/// Everything that is wrong with a list.
pub(super) fn check_members(members: &[Endpoint], problems: &mut Vec<ConfigError>) {
    let weighed = members.iter().map(|member| (member, member.get_weight()));
    check(weighed, MAX_ENDPOINTS, problems);
    for member in members.iter().filter(|one| one.address().is_empty() && !one.name().is_empty()) {
        let accepted = format!("an address, for member {:?}", member.name());
        problems.push(ConfigError::new("address", "", accepted));
    }
}
