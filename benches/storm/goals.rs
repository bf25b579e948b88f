//! What a default stack should reach in a storm.

use crate::fault::Fault;
use crate::report::Summary;

/// What is asked for in a fault, and whether it was reached.
type Goal = (&'static str, fn(&Summary) -> bool);

pub(crate) fn goals(fault: Fault) -> &'static [Goal] {
    fn by(moment: Option<f64>, seconds: f64) -> bool {
        moment.is_some_and(|moment| moment <= seconds)
    }
    fn at_least(share: Option<f64>, least: f64) -> bool {
        share.is_none_or(|share| share >= least)
    }
    match fault {
        Fault::None => &[],
        Fault::CapacityDrop => &[
            ("goodput ≥ 13 %", |s| s.goodput >= 0.13),
            ("back ≤ 1 s", |s| by(s.back, 1.0)),
            ("attempts ≤ 0.3", |s| s.attempts <= 0.3),
            ("wasted ≤ 20 %", |s| s.wasted <= 0.2),
            ("fast ≥ 95 %", |s| at_least(s.fast, 0.95)),
            ("first rejection ≤ 0.5 s", |s| by(s.first_rejection, 0.5)),
        ],
        Fault::Outage => &[
            ("back ≤ 0.5 s", |s| by(s.back, 0.5)),
            ("attempts ≤ 0.2", |s| s.attempts <= 0.2),
            ("fast ≥ 80 %", |s| at_least(s.fast, 0.8)),
            ("first rejection ≤ 1.5 s", |s| by(s.first_rejection, 1.5)),
        ],
        Fault::Slow => &[
            ("goodput ≥ 1 %", |s| s.goodput >= 0.01),
            ("back ≤ 1 s", |s| by(s.back, 1.0)),
            ("attempts ≤ 0.2", |s| s.attempts <= 0.2),
            ("wasted ≤ 50 %", |s| s.wasted <= 0.5),
            ("fast ≥ 90 %", |s| at_least(s.fast, 0.9)),
            ("first rejection ≤ 0.5 s", |s| by(s.first_rejection, 0.5)),
        ],
        Fault::Hang => &[
            ("back ≤ 1 s", |s| by(s.back, 1.0)),
            ("attempts ≤ 0.2", |s| s.attempts <= 0.2),
            // One attempt bound, and the time in which twenty calls come.
            ("first rejection ≤ 0.38 s", |s| by(s.first_rejection, 0.377)),
        ],
        Fault::Errors | Fault::LateErrors => &[
            ("goodput ≥ 99.5 %", |s| s.goodput >= 0.995),
            ("attempts ≤ 1.6", |s| s.attempts <= 1.6),
            ("rejected ≤ 0.1 %", |s| s.rejected <= 0.001),
            ("p99 ≤ 300 ms", |s| s.p99 <= 300.0),
        ],
        Fault::Load => &[
            ("goodput ≥ 50 %", |s| s.goodput >= 0.5),
            ("back ≤ 0.5 s", |s| by(s.back, 0.5)),
            ("attempts ≤ 0.6", |s| s.attempts <= 0.6),
            ("wasted ≤ 10 %", |s| s.wasted <= 0.1),
            ("fast ≥ 95 %", |s| at_least(s.fast, 0.95)),
            ("p99 ≤ 350 ms", |s| s.p99 <= 350.0),
        ],
        Fault::Tail => &[
            ("goodput ≥ 99.9 %", |s| s.goodput >= 0.999),
            ("attempts ≤ 1.1", |s| s.attempts <= 1.1),
            ("p99.9 ≤ 260 ms", |s| s.p999 <= 260.0),
        ],
        Fault::Flapping => &[
            ("goodput ≥ 65 %", |s| s.goodput >= 0.65),
            ("back ≤ 0.5 s", |s| by(s.back, 0.5)),
            ("attempts ≤ 1", |s| s.attempts <= 1.0),
        ],
        Fault::RetryAfter => &[
            ("goodput ≥ 48 %", |s| s.goodput >= 0.48),
            ("back ≤ 0.5 s", |s| by(s.back, 0.5)),
            ("attempts ≤ 0.6", |s| s.attempts <= 0.6),
            ("early ≤ 1 %", |s| s.early.is_none_or(|early| early <= 0.01)),
        ],
        Fault::BadBackend => &[
            ("goodput ≥ 99 %", |s| s.goodput >= 0.99),
            ("back ≤ 0.5 s", |s| by(s.back, 0.5)),
            ("attempts ≤ 1.15", |s| s.attempts <= 1.15),
            ("p99 ≤ 300 ms", |s| s.p99 <= 300.0),
        ],
        Fault::Hops => &[
            ("attempts ≤ 1.2", |s| s.attempts <= 1.2),
            ("after 1 s ≤ 1.2", |s| s.attempts_later <= 1.2),
        ],
    }
}
