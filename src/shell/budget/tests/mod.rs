//! Every state that a balance of tokens can reach, within bounds.

use super::balance::{Balance, Terms};
use crate::core::explore::{Model, explore, holds, scale};

struct Case {
    terms: Terms,
    price: u32,
    /// So many waits, each of so many milliseconds.
    waits: u32,
}

/// A balance, and the same account kept to a thousandth of a thousandth, floor paid continuously.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    machine: Balance,
    now: u64,
    waits: u32,
    exact: u64,
    /// How often the floor was paid in, and less than a thousandth was lost to rounding.
    rounded: u64,
    /// Withdrawals that may still be given back.
    lent: u32,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Deposit,
    Withdraw,
    GiveBack,
    Wait(u64),
}

impl Case {
    fn pay(&self, world: &mut World, milli: u32) {
        world.machine = world.machine.with(&self.terms, milli);
        self.count(world, u64::from(milli) * 1000);
    }

    fn count(&self, world: &mut World, micro: u64) {
        world.exact = (world.exact + micro).min(u64::from(self.terms.cap) * 1000);
    }
}

impl Model for Case {
    type State = World;
    type Step = Step;

    fn start(&self) -> World {
        let exact = u64::from(self.terms.cap) * 1000;
        World { machine: Balance::full(&self.terms), now: 0, waits: 0, exact, rounded: 0, lent: 0 }
    }

    fn steps(&self, world: &World) -> Vec<Step> {
        let mut steps = vec![Step::Deposit, Step::Withdraw];
        steps.extend((world.lent > 0).then_some(Step::GiveBack));
        steps.extend([1, 333].map(Step::Wait));
        steps
    }

    fn take(&self, world: &mut World, step: &Step) -> Result<(), String> {
        match *step {
            Step::Deposit => self.pay(world, self.terms.deposit),
            Step::GiveBack => {
                self.pay(world, self.price);
                world.lent -= 1;
            }
            Step::Wait(ms) => {
                world.now += ms;
                world.waits += 1;
                self.count(world, ms * u64::from(self.terms.floor_per_second));
            }
            Step::Withdraw => {
                let price = u64::from(self.price) * 1000;
                match world.machine.without(&self.terms, world.now, self.price) {
                    Some(left) => {
                        holds(world.exact >= price, "nothing is taken that was not there")?;
                        world.exact -= price;
                        world.rounded += 1;
                        world.lent = (world.lent + 1).min(2);
                        world.machine = left;
                    }
                    None => {
                        let lost = 1000 * (world.rounded + 1);
                        holds(world.exact < price + lost, "what is there can be taken")?;
                    }
                }
            }
        }
        Ok(())
    }

    fn check(&self, world: &World) -> Result<(), String> {
        let held = world.machine.topped_up(&self.terms, world.now);
        let micro = u64::from(held.milli()) * 1000;
        holds(held.milli() <= self.terms.cap, "never above the cap")?;
        holds(micro <= world.exact, "never more than was paid in")?;
        let lost = 1000 * (world.rounded + 1);
        holds(micro + lost > world.exact, "never less, but for rounding")?;
        holds(Balance::unpack(world.machine.pack()) == world.machine, "fits a word")?;
        let empty = self.terms.floor_per_second == 0;
        let rested = world.machine.topped_up(&self.terms, world.now + 1_000_000_000);
        holds(empty || rested.is_full(self.terms.cap), "the floor fills it in the end")
    }

    fn is_within(&self, world: &World) -> bool {
        world.waits <= self.waits && world.rounded <= u64::from(self.waits)
    }
}

// pitfall B20
#[test]
fn a_balance_is_never_above_its_cap_nor_below_zero() {
    let cases = [(3_000, 200, 1_000, 1_000), (2_500, 333, 1_499, 700), (500, 100, 0, 100)];
    for (cap, deposit, floor_per_second, price) in cases {
        let terms = Terms { cap, deposit, floor_per_second };
        let report = explore(&Case { terms, price, waits: 3 + scale() }).unwrap();
        println!("budget, {terms:?}: {report}");
        assert!(report.states > 100, "{report}");
    }
}
