//! The machine and a model of it, told the same story.

use super::model::{Flying, Model, Phase};
use super::*;
use crate::circuit_breaker::Trip;
use crate::core::explore::{LONG, stories};

use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Op {
    Admit,
    Answer { whose: prop::sample::Index, signal: Signal, retry_after: Option<u64>, longest: bool },
    GiveUp { whose: prop::sample::Index, asked: bool, waited: Option<u64>, longest: bool },
    Wait(u64),
    Order(Command),
}

fn op() -> impl Strategy<Value = Op> {
    let order = prop_oneof![
        Just(Command::Reset),
        Just(Command::HoldOpen),
        Just(Command::ReleaseOpen),
        Just(Command::HoldClosed),
        Just(Command::ReleaseClosed),
        Just(Command::ForceOpen),
        Just(Command::ForceClosed),
        Just(Command::Release),
    ];
    prop_oneof![94 => of_a_call(), 1 => order.prop_map(Op::Order)]
}

/// Hands that let go more often than they hold: else they soon hold it for good.
fn op_of_a_long_story() -> impl Strategy<Value = Op> {
    let order = prop_oneof![
        1 => Just(Command::Reset),
        1 => Just(Command::HoldOpen),
        3 => Just(Command::ReleaseOpen),
        1 => Just(Command::HoldClosed),
        3 => Just(Command::ReleaseClosed),
        1 => Just(Command::ForceOpen),
        1 => Just(Command::ForceClosed),
        4 => Just(Command::Release),
    ];
    prop_oneof![200 => of_a_call(), 1 => order.prop_map(Op::Order)]
}

fn of_a_call() -> impl Strategy<Value = Op> {
    let index = any::<prop::sample::Index>;
    let signal = prop_oneof![
        4 => Just(Signal::Success),
        6 => Just(Signal::Failure),
        1 => Just(Signal::Pushback),
        1 => Just(Signal::Ignored),
    ];
    let retry_after = prop_oneof![8 => Just(None), 1 => (0..60 * SECOND).prop_map(Some)];
    let wait = prop_oneof![
        4 => 0..2 * MS,
        4 => 0..60 * MS,
        2 => Just(50 * MS),
        2 => 0..3 * SECOND,
        1 => Just(300 * SECOND),
        1 => Just(300 * SECOND + 1),
    ];
    let waited = prop_oneof![
        1 => Just(None),
        2 => (0..20 * MS).prop_map(Some),
        2 => Just(Some(50 * MS)),
        3 => (0..2 * SECOND).prop_map(Some),
    ];
    prop_oneof![
        40 => Just(Op::Admit),
        30 => (index(), signal, retry_after, any::<bool>()).prop_map(|(whose, signal, retry_after, longest)| {
            Op::Answer { whose, signal, retry_after, longest }
        }),
        8 => (index(), any::<bool>(), waited, any::<bool>()).prop_map(
            |(whose, asked, waited, longest)| Op::GiveUp { whose, asked, waited, longest }
        ),
        16 => wait.prop_map(Op::Wait),
    ]
}

fn any_config() -> impl Strategy<Value = Config> {
    let trip = prop_oneof![
        3 => Just(Trip::default()),
        1 => Just(Trip::evidence(0.1, 0.5, 1_000)),
        1 => Just(Trip::consecutive(4)),
        1 => Just(Trip::failure_rate(0.6).over_calls(20)),
        1 => Just(Trip::default().or(Trip::consecutive(6)).or(Trip::failure_rate(0.9).over_calls(12))),
    ];
    (trip, 1_u32..20, 1_u32..8, 1_u32..5).prop_map(
        |(trip, probes, close_threshold, reopen_threshold)| Config {
            trip,
            probes,
            close_threshold,
            reopen_threshold,
            ..Config::default()
        },
    )
}

proptest! {
    #![proptest_config(config(64))]

    // pitfalls B1, B2, B4, B5, B8, B9
    #[test]
    fn the_machine_does_what_a_model_that_forgets_nothing_does(
        config in any_config(),
        ops in prop::collection::vec(op(), 300..700),
    ) {
        agree(config, ops)?;
    }
}

#[test]
fn they_agree_for_as_long_as_a_long_story_is() {
    let seen: Vec<_> =
        stories(8, (any_config(), prop::collection::vec(op_of_a_long_story(), LONG)))
            .map(|(config, ops)| agree(config, ops).expect("they agree"))
            .collect();
    assert!(seen.iter().sum::<u64>() > 500, "they saw little: {seen:?} epochs");
}

/// Tells both the same story, and returns how many epochs it had.
fn agree(config: Config, ops: Vec<Op>) -> Result<u64, TestCaseError> {
    let mut lab = Lab::new(&config);
    // It depends on nothing, and must be the same in every run of a story.
    lab.usual = [None, Some(5 * MS), Some(40 * MS)][config.probes as usize % 3];
    let mut model = Model::new(config);
    model.usual = lab.usual;
    let mut flying: Vec<(Pass, Flying)> = Vec::new();
    for (nth, op) in ops.into_iter().enumerate() {
        let now = lab.now.0;
        match op {
            Op::Wait(nanos) => lab.wait(nanos),
            Op::Order(command) => {
                lab.command(command);
                model.command(now, command);
            }
            Op::Admit => {
                let (pass, expected) = (lab.try_admit(), model.admit(now));
                prop_assert_eq!(pass.is_some(), expected.is_some(), "{}: {:?}", nth, model);
                flying.extend(pass.zip(expected));
            }
            Op::Answer { whose, signal, retry_after, longest } if !flying.is_empty() => {
                let (pass, flying) = flying.swap_remove(whose.index(flying.len()));
                lab.draw = if longest { u64::MAX } else { 0 };
                let sample = Sample { retry_after, ..sample(signal) };
                let _ = lab.step(Input::CallGuard { pass, sample });
                model.answer(now, flying, signal, retry_after, longest);
            }
            Op::GiveUp { whose, asked, waited, longest } if !flying.is_empty() => {
                let (mut pass, flying) = flying.swap_remove(whose.index(flying.len()));
                lab.draw = if longest { u64::MAX } else { 0 };
                pass.pending = asked;
                let _ = lab.step(Input::Abandon { pass, waited, usual: lab.usual });
                model.give_up(now, flying, asked, waited, longest);
            }
            Op::Answer { .. } | Op::GiveUp { .. } => {}
        }
        prop_assert_eq!(lab.state(), model.state(), "{}: {:?}", nth, model);
        prop_assert_eq!(lab.epoch(), model.epoch as u64);
        let until = match model.phase {
            Phase::Open { until } => Some(Tick(until)),
            _ => None,
        };
        prop_assert_eq!(lab.machine.probes_at(), until);
    }
    Ok(lab.epoch())
}
