//! Checking health by HTTP.

use std::fmt;

use http::{Request, Response, StatusCode};
use tower::{Service, ServiceExt};

use crate::health::Builder;

impl<C> Builder<C> {
    /// Checks with an HTTP request: an answer with a status of 2xx is good.
    ///
    /// `request` makes the request of each check; `service` is any HTTP client.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(async {
    /// use http::{Request, Response};
    /// use seawall::health::{HealthLayer, Status};
    /// use tower::service_fn;
    ///
    /// # let client = service_fn(|_: Request<String>| async { Ok::<_, std::io::Error>(Response::new(())) });
    /// let health = HealthLayer::builder("orders")
    ///     .check_http(client, || Request::get("http://orders:8080/readyz").body(String::new()).unwrap())
    ///     .initial(Status::Down)
    ///     .build()?;
    /// assert_eq!(health.handle().watch().changed().await, Some(Status::Up));
    /// # Ok::<(), seawall::ConfigErrors>(()) }).unwrap();
    /// ```
    pub fn check_http<S, A, B, F>(self, service: S, request: F) -> Self
    where
        S: Service<Request<A>, Response = Response<B>, Error: fmt::Display, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
        A: Send + 'static,
        F: Fn() -> Request<A> + Send + Sync + 'static,
    {
        self.check_http_status(service, request, StatusCode::is_success)
    }

    /// Checks with an HTTP request: `good` says which statuses are.
    pub fn check_http_status<S, A, B, F, G>(self, service: S, request: F, good: G) -> Self
    where
        S: Service<Request<A>, Response = Response<B>, Error: fmt::Display, Future: Send>
            + Clone
            + Send
            + Sync
            + 'static,
        A: Send + 'static,
        F: Fn() -> Request<A> + Send + Sync + 'static,
        G: Fn(&StatusCode) -> bool + Clone + Send + Sync + 'static,
    {
        self.check(move || {
            let (call, good) = (service.clone().oneshot(request()), good.clone());
            async move {
                let status = call.await.map_err(|error| error.to_string())?.status();
                if good(&status) { Ok(()) } else { Err(format!("answered {status}")) }
            }
        })
    }
}
