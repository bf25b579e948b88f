//! The load: requests come whether or not the last ones were answered.

use std::sync::{Arc, Mutex};

use seawall::Deadline;
use seawall::propagate::WithContext;
use tokio::time::sleep_until;
use tower::ServiceExt;

use crate::fault::{AFTER, Fault};
use crate::stacks::{Client, Contender};
use crate::world::{Clock, Form, MEAN, Request, Server, Tally, WORKERS, lock};

/// The share of the capacity that is asked for.
const UTILISATION: f64 = 0.65;
/// An answer is worthless this many seconds after the request came.
pub(crate) const DEADLINE: f64 = 1.0;
/// The backends where there are several, and the services of a chain.
pub(crate) const SEVERAL: usize = 4;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Success,
    /// A layer of the client rejected to call, or to call again.
    Rejected,
    Failed,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Record {
    pub(crate) came: f64,
    /// How long it took and how it ended, if it did.
    pub(crate) ended: Option<(f64, End)>,
}

impl Record {
    /// A good answer in time.
    pub(crate) fn is_good(&self) -> bool {
        matches!(self.ended, Some((took, End::Success)) if took <= DEADLINE)
    }
}

/// What a run has shown.
pub(crate) struct Run {
    pub(crate) records: Vec<Record>,
    pub(crate) tally: Tally,
}

pub(crate) fn run(contender: Contender, fault: Fault, form: Form, seed: u64) -> Run {
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing from the system");
    runtime.block_on(drive(contender, fault, form, seed))
}

async fn drive(contender: Contender, fault: Fault, form: Form, seed: u64) -> Run {
    let clock = Clock::start();
    let tally = Arc::<Mutex<Tally>>::default();
    let backends = if fault == Fault::BadBackend { SEVERAL } else { 1 };
    let servers: Vec<_> = (0..backends)
        .map(|nth| {
            let seed = seed + 1000 * (nth as u64 + 1);
            Server::new(WORKERS / backends, nth == 0, fault, form, clock, seed, &tally)
        })
        .collect();
    let hops = if fault == Fault::Hops { SEVERAL } else { 1 };
    let client = contender.client(servers, hops, seed);
    let records = Arc::<Mutex<Vec<Record>>>::default();
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut now = 0.0;
    loop {
        // Poisson at a rate that changes only where the fault begins and ends.
        #[allow(clippy::cast_precision_loss)]
        let rate = UTILISATION * WORKERS as f64 / MEAN * fault.load(now);
        now -= (1.0 - rng.f64()).ln() / rate;
        if now >= fault.end() + AFTER {
            break;
        }
        sleep_until(clock.instant(now)).await;
        send(&client, clock, &records);
    }
    sleep_until(clock.instant(now + 2.0 * DEADLINE)).await;
    let records = std::mem::take(&mut *lock(&records));
    let tally = std::mem::take(&mut *lock(&tally));
    Run { records, tally }
}

fn send(client: &Client, clock: Clock, records: &Arc<Mutex<Vec<Record>>>) {
    let came = clock.now();
    let id = {
        let mut records = lock(records);
        records.push(Record { came, ended: None });
        records.len() - 1
    };
    let request = Request { id, worthless_at: came + DEADLINE };
    let deadline = Deadline::at(clock.instant(request.worthless_at));
    let call = client.clone().oneshot(WithContext::new(request, deadline));
    let records = Arc::clone(records);
    tokio::spawn(async move {
        let end = match call.await {
            Ok(()) => End::Success,
            Err(end) => end,
        };
        lock(&records)[id].ended = Some((clock.now() - came, end));
    });
}
