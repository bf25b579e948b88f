//! Bulkhead, through the public API.

mod adaptive;
mod backpressure;
mod cost;
mod keyed;
mod line;
mod permits;
mod races;
mod schedule;
mod steering;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use seawall::Error;
use tokio::sync::oneshot;
use tower::util::BoxCloneService;
use tower::{Service, service_fn};

use crate::scene::{Broken, Calls, Fail, broken, is_ready, poll_once};

/// How a call shall end; told while it is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Well,
    Badly,
    Panic,
}

/// A request that ends when the other half of it says so.
#[derive(Debug)]
struct Order {
    end: oneshot::Receiver<End>,
    /// Whether its call is in flight at the dependency.
    alive: Arc<AtomicBool>,
}

/// A service that fills its orders.
type Filling = BoxCloneService<Order, (), Fail>;

/// The other half of an order, and its call.
struct Placed {
    end: Option<oneshot::Sender<End>>,
    alive: Arc<AtomicBool>,
    call: Pin<Box<dyn Future<Output = Result<(), Fail>> + Send>>,
}

/// A dependency whose calls end when they are told to.
fn filling() -> (Calls, Filling) {
    let calls = Calls::default();
    let seen = calls.clone();
    let service = service_fn(move |order: Order| {
        seen.note();
        let guards = (seen.enter(), Under::way(order.alive));
        let end = order.end;
        async move {
            let _guards = guards;
            match end.await {
                Ok(End::Well) => Ok(()),
                Ok(End::Panic) => panic!("as ordered"),
                _ => Err(Error::Inner(broken("no"))),
            }
        }
    });
    (calls, BoxCloneService::new(service))
}

struct Under(Arc<AtomicBool>);

impl Under {
    fn way(alive: Arc<AtomicBool>) -> Self {
        alive.store(true, Ordering::SeqCst);
        Self(alive)
    }
}

impl Drop for Under {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// Places an order with a service, which has to be ready.
fn permit<S>(service: &S) -> Placed
where
    S: Service<Order, Response = (), Error = Fail, Future: Send + 'static> + Clone,
{
    let mut service = service.clone();
    assert!(is_ready(&mut service), "a bulkhead is ready to reject");
    let (end, told) = oneshot::channel();
    let alive = Arc::new(AtomicBool::new(false));
    let order = Order { end: told, alive: alive.clone() };
    Placed { end: Some(end), alive, call: Box::pin(service.call(order)) }
}

impl Placed {
    /// Polls once. `None` while it is in flight or waits.
    fn poll(&mut self) -> Option<Result<(), Fail>> {
        match poll_once(&mut self.call) {
            std::task::Poll::Ready(result) => Some(result),
            std::task::Poll::Pending => None,
        }
    }

    /// Whether it is in flight at the dependency.
    fn is_alive(&self) -> bool {
        self.alive.load(Ordering::SeqCst)
    }

    fn end(&mut self, end: End) {
        if let Some(tell) = self.end.take() {
            let _ = tell.send(end);
        }
    }
}

const NO: Broken = broken("no");
