//! A client of many endpoints: the service.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::task::JoinHandle;
use tower::Service;

use super::super::client_layer::Stacked;
use super::handle::EndpointsClientHandle;
use super::member::Guarded;
use super::numbered::{OfNumbered, Unnumbered};
use crate::endpoints::Endpoints;

/// A client of many endpoints, ready made: `T` is the whole stack. [`stack::endpoints`](super::endpoints()),
/// `http::endpoints`, `grpc::endpoints` and `reqwest::endpoints` make them.
///
/// Build one, and clone it: clones share all state. What follows a source of endpoints ends with the last of them.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use seawall::stack::{self, EndpointsClient};
/// use tower::{Service, ServiceExt, service_fn};
///
/// fn in_flight<T>(client: &EndpointsClient<T>) -> usize {
///     client.handle().in_flight()
/// }
///
/// let client = service_fn(|query: u64| async move { Ok::<_, std::io::Error>(query) });
/// let search = stack::endpoints("search").members(["a", "b"]).cloned().build_on(client)?;
/// assert_eq!(in_flight(&search), 0);
/// assert_eq!(search.oneshot(7).await?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct EndpointsClient<T> {
    pub(super) stack: T,
    pub(super) handle: EndpointsClientHandle,
    pub(super) following: Option<Arc<Following>>,
}

/// Retries around a set, and in it a stack for each endpoint.
pub type Spread<S, T, C, R, K, F, H> = Unnumbered<
    Stacked<
        Endpoints<Guarded<S, T, C, K, F, H>, C, OfNumbered<K>>,
        (),
        C,
        OfNumbered<R>,
        OfNumbered<K>,
    >,
>;

/// A task that follows a source.
pub(super) struct Following(pub(super) JoinHandle<()>);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T> EndpointsClient<T> {
    /// Inspects and controls it: the endpoints, and all policies.
    pub const fn handle(&self) -> &EndpointsClientHandle {
        &self.handle
    }

    /// The same with something around the stack.
    #[cfg(feature = "grpc")]
    pub(crate) fn within<T2>(self, around: impl FnOnce(T) -> T2) -> EndpointsClient<T2> {
        let Self { stack, handle, following } = self;
        EndpointsClient { stack: around(stack), handle, following }
    }
}

impl<T, Req> Service<Req> for EndpointsClient<T>
where
    T: Service<Req>,
{
    type Response = T::Response;
    type Error = T::Error;
    type Future = T::Future;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), T::Error>> {
        self.stack.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> T::Future {
        self.stack.call(request)
    }
}

impl<T> fmt::Debug for EndpointsClient<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_following = self.following.is_some();
        f.debug_struct("EndpointsClient")
            .field("handle", &self.handle)
            .field("following", &is_following)
            .finish_non_exhaustive()
    }
}
