//! Ten thousand callers in the line of a bulkhead, who must not be in each other's way.

use std::collections::VecDeque;
use std::future::{Pending, pending};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use seawall::bulkhead::BulkheadLayer;
use tokio::runtime::Builder;
use tower::{Service, ServiceBuilder};

use crate::Fail;
use crate::measure::{allocations, grouped, held, nanos};

const SIZES: [usize; 3] = [10, 1_000, 10_000];
const TURNS: usize = 2_000;
/// Callers who come or go in a turn.
const EACH: usize = 5;
/// Nobody's patience ends here.
const PATIENCE: Duration = Duration::from_secs(3_600);

pub(crate) fn table() {
    println!(
        "| callers in line | one more joins: ns | the first gets a place: ns \
         | one in the middle gives up: ns | allocations | bytes each, of the line | and of the future |"
    );
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    let runtime = Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime can be built");
    let _entered = runtime.enter();
    for size in SIZES {
        row(size);
    }
}

fn row(size: usize) {
    let limit = BulkheadLayer::builder("bench").limit(1).queue(size as u32).max_wait(PATIENCE);
    let layer = limit.build().expect("it is valid");
    let service = ServiceBuilder::new().layer(&layer).service_fn(hung);
    let mut line = Line::new(size, service);
    let before = held();
    (0..size).for_each(|_| line.join());
    let (bytes, future) = (held() - before, Line::bytes_of_a_future(&line));

    let before = allocations();
    let gives_up = nanos(
        TURNS,
        EACH,
        &mut line,
        |line| (0..EACH).for_each(|nth| line.give_up(size / 2 + nth - EACH / 2)),
        |line| {
            line.close_up();
            (0..EACH).for_each(|_| line.join());
        },
    );
    (0..EACH).for_each(|nth| line.give_up(nth));
    line.close_up();
    let joins = nanos(
        TURNS,
        EACH,
        &mut line,
        |line| (0..EACH).for_each(|_| line.join()),
        |line| (0..EACH).for_each(|_| line.advance()),
    );
    (0..EACH).for_each(|_| line.join());
    let granted = nanos(
        TURNS,
        EACH,
        &mut line,
        |line| (0..EACH).for_each(|_| line.advance()),
        |line| (0..EACH).for_each(|_| line.join()),
    );
    let allocations = allocations() - before;
    println!(
        "| {} | {joins:.0} | {granted:.0} | {gives_up:.0} | {} | {} | {future} |",
        grouped(size),
        allocations / (3 * TURNS * EACH),
        bytes / size,
    );
}

fn hung(_: u64) -> Pending<Result<u64, Fail>> {
    pending()
}

/// Callers, in the order in which they came. Their futures lie in seats that are used again, so that
/// nothing but the bulkhead is measured.
struct Line<S: Service<u64>> {
    service: S,
    seats: Vec<Pin<Box<Option<S::Future>>>>,
    free: Vec<usize>,
    /// `None`: one has given up.
    waiting: VecDeque<Option<usize>>,
    /// The one with the place.
    inside: usize,
}

impl<S: Service<u64>> Line<S> {
    /// One is inside, nobody waits.
    fn new(size: usize, service: S) -> Self {
        let seats = (0..=size).map(|_| Box::pin(None)).collect();
        let (free, waiting) = ((0..=size).collect(), VecDeque::with_capacity(size + 1));
        let mut line = Self { service, seats, free, waiting, inside: 0 };
        line.join();
        line.inside = line.waiting.pop_front().flatten().expect("who came is there");
        line
    }

    fn join(&mut self) {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(self.service.poll_ready(&mut cx), Poll::Ready(Ok(()))));
        let seat = self.free.pop().expect("a seat for everyone");
        self.seats[seat].set(Some(self.service.call(0)));
        self.look(seat);
        self.waiting.push_back(Some(seat));
    }

    /// The one inside leaves, and the next one finds that it has the place.
    fn advance(&mut self) {
        self.leave(self.inside);
        self.inside = self.waiting.pop_front().flatten().expect("somebody waits");
        self.look(self.inside);
    }

    fn give_up(&mut self, nth: usize) {
        let seat = self.waiting[nth].take().expect("who waits has not left");
        self.leave(seat);
    }

    /// Forgets those who have given up.
    fn close_up(&mut self) {
        self.waiting.retain(Option::is_some);
    }

    fn look(&mut self, seat: usize) {
        let mut cx = Context::from_waker(Waker::noop());
        let future = self.seats[seat].as_mut().as_pin_mut().expect("it is taken");
        assert!(future.poll(&mut cx).is_pending(), "nobody is rejected or answered");
    }

    fn leave(&mut self, seat: usize) {
        self.seats[seat].set(None);
        self.free.push(seat);
    }

    fn bytes_of_a_future(_: &Self) -> usize {
        size_of::<S::Future>()
    }
}
