//! A gate of a few lines, as a stranger would write one: see "adding a layer" in `CONTRIBUTING.md`.

use std::convert::Infallible;
use std::task::Context;

use crate::core::error::{Measurement, Reason, Rejected};
use crate::core::event::Observers;
use crate::core::origin::Origin;
use crate::core::request::{CallContext, NoPropagation};
use crate::core::sync::atomic::{AtomicI64, Ordering};
use crate::shell::gate::{
    Admission, Admit, GateLayer, Judged, Keyless, Lost, Now, OverAtHead, Policy, Unclassified,
};
use crate::shell::meter::{Instruments, Labels};
use crate::shell::reporter::Reporter;
use crate::testing::{Broken, Check, Contract, Scenario};

/// Lets so many calls pass, until somebody gives it more.
struct Coins {
    reporter: Reporter<NoSeries>,
    left: AtomicI64,
}

/// Calls and rejections, which every layer counts, are enough.
struct NoSeries;

impl Instruments for NoSeries {
    const REASONS: &'static [Reason] = &[Reason::RateLimited, Reason::Draining];
    const TIMES_CALLS: bool = false;

    fn new(_: &Labels<'_>) -> Self {
        Self
    }
}

impl Policy for Coins {
    type Permit = ();
    type Wait = Infallible;
    type WakerSlot = ();

    fn admit_plain(&self) -> Admission<Self> {
        if self.left.fetch_sub(1, Ordering::Relaxed) > 0 {
            return Admission::Pass(());
        }
        self.give_back(());
        Admission::Reject(self.reporter.reject(Reason::RateLimited, Measurement::Nothing))
    }

    fn settle(&self, (): &mut (), end: &Judged) {
        self.reporter.meter_to(end.recorder, |handles| handles.counted(end.outcome.into()));
    }

    fn lose(&self, (): (), _: Lost) {}

    fn give_back(&self, (): ()) {
        self.left.fetch_add(1, Ordering::Relaxed);
    }

    fn draining(&self) -> Rejected {
        self.reporter.reject(Reason::Draining, Measurement::Nothing)
    }

    fn wake_waiting(&self) {}

    fn poll_wait(&self, wait: Infallible, _: &mut Context<'_>, _: &Now) -> Admission<Self> {
        match wait {}
    }

    fn leave(&self, wait: Infallible, _: bool) {
        match wait {}
    }
}

impl<Req> Admit<Req> for Coins {
    fn admit(&self, _: &Req, _: Option<&mut CallContext>) -> Admission<Self> {
        self.admit_plain()
    }
}

impl OverAtHead for Coins {}
impl Keyless for Coins {}

fn coins(left: i64) -> GateLayer<Coins, Unclassified> {
    let reporter = Reporter::new(Origin::new("coins", "toy"), Observers::default());
    let policy = Coins { reporter, left: AtomicI64::new(left) };
    GateLayer::make(policy, Unclassified, NoPropagation)
}

#[tokio::test(start_paused = true)]
async fn a_toy_gate_keeps_the_contract() {
    let exchange = Scenario::<u32, u32, crate::Error<Broken>>::echo(|| crate::Error::Inner(Broken));
    let contract = Contract::new(exchange, || coins(i64::MAX)).with(Check::BEYOND.iter().copied());
    contract.in_flight(GateLayer::in_flight).check().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_toy_gate_lets_as_many_pass_as_it_has_coins() {
    let (layer, call) = (coins(2), || async { Ok::<_, crate::Error<Broken>>(()) });
    for _ in 0..2 {
        layer.run(call).await.unwrap();
    }
    assert!(layer.run(call).await.is_err());
    drop(layer.run(call)); // a rejection costs nothing
    assert_eq!(layer.policy().left.load(Ordering::Relaxed), 0);
    layer.policy().give_back(()); // somebody gives it one more
    layer.run(call).await.unwrap();
}
