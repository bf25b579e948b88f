use std::task::{Context, Poll};
use std::time::Duration;

use seawall::Error;
use seawall::endpoints::Endpoints;
use tower::balance::p2c::Balance;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, PeakEwmaDiscover};

use tower::{Service, ServiceExt};

use super::{Row, Target};
use crate::drive::service;
use crate::inner::{Echo, EchoLater, Failure};

const ENDPOINTS: usize = 10;

pub fn ten() -> Row {
    contenders(Row::new("endpoints", "10 endpoints, peak EWMA of two"), Echo)
        .at_most(Target::Best(0.7))
        .scales()
}

pub fn ten_pending() -> Row {
    contenders(Row::new("endpoints-pending", "10 endpoints, pending once"), EchoLater)
        .at_most(Target::Best(0.7))
}

fn contenders<S>(row: Row, inner: S) -> Row
where
    S: Service<u64, Response = u64, Error = Failure, Future: Send> + Copy + Send + Sync + 'static,
{
    row.ours(move || {
        let members = (0..ENDPOINTS).map(|nth| format!("host-{nth}"));
        let over = move |_: &_| Ok(inner.map_err(Error::Inner as fn(Failure) -> Error<Failure>));
        service(Endpoints::builder("bench").members(members).over(over).expect("valid"))
    })
    .peer("tower", move || {
        service(Owned::new(move || {
            let list = ServiceList::new(std::iter::repeat_n(inner, ENDPOINTS));
            let (default, decay) = (Duration::from_millis(10), Duration::from_secs(10));
            Balance::new(PeakEwmaDiscover::new(list, default, decay, CompleteOnResponse::default()))
        }))
    })
}

/// tower's balance cannot be cloned: each clone makes its own. Its users share one through a `Buffer`, which is a task
/// and a channel more.
struct Owned<F, S> {
    make: F,
    service: S,
}

impl<F: Fn() -> S, S> Owned<F, S> {
    fn new(make: F) -> Self {
        let service = make();
        Self { make, service }
    }
}

impl<F: Fn() -> S + Clone, S> Clone for Owned<F, S> {
    fn clone(&self) -> Self {
        Self::new(self.make.clone())
    }
}

impl<F, S: Service<u64>> Service<u64> for Owned<F, S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: u64) -> S::Future {
        self.service.call(request)
    }
}
