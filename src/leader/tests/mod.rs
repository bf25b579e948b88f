//! The lease, stepped by hand.

mod explore;

use super::machine::{Change, Effect, Heard, Input, Machine, Params, Question, Stage};
use crate::core::time::Tick;

const PARAMS: Params = Params { ttl: 15_000, renew: 5_000, retry: 1_000, drift: 10_000 };

fn step(machine: &mut Machine, now: u64, input: Input) -> Effect {
    machine.step(&PARAMS, Tick(now), 0, input)
}

fn hear(machine: &mut Machine, now: u64, heard: Heard) -> Effect {
    step(machine, now, Input::Heard(heard))
}

fn granted(epoch: u64) -> Heard {
    Heard::Granted { epoch, ttl: PARAMS.ttl }
}

/// Asked at zero, and led in term 1 since 100.
fn leader() -> Machine {
    let mut machine = Machine::new(Tick::ZERO);
    assert_eq!(step(&mut machine, 0, Input::Time).ask, Some(Question::Acquire));
    assert_eq!(hear(&mut machine, 100, granted(1)).change, Some(Change::Acquired));
    machine
}

// pitfall B41
#[test]
fn a_term_counts_from_before_the_question_left_less_the_drift() {
    let machine = leader();
    assert_eq!(machine.term(), Some((1, Tick(14_850))));
    let mut late = Machine::new(Tick::ZERO);
    step(&mut late, 0, Input::Time);
    let heard = hear(&mut late, 14_850, granted(1)); // the answer took as long as the term
    assert_eq!((late.term(), heard.change, heard.ask), (None, None, Some(Question::Renew)));
}

// pitfall B43
#[test]
fn what_was_granted_counts_and_not_what_was_asked_for() {
    let mut machine = Machine::new(Tick::ZERO);
    step(&mut machine, 0, Input::Time);
    hear(&mut machine, 10, Heard::Granted { epoch: 1, ttl: 2_000 });
    assert_eq!(machine.term(), Some((1, Tick(1_980))));
    assert_eq!(machine.wake(Tick(10)), Tick(666)); // and it is renewed in time
}

#[test]
fn it_ends_by_the_clock_without_a_word() {
    let mut machine = leader();
    let renewal = step(&mut machine, 5_000, Input::Time);
    assert_eq!(renewal.ask, Some(Question::Renew));
    assert!(!machine.is_low(Tick(11_879)) && machine.is_low(Tick(11_880)));
    let ended = step(&mut machine, 14_850, Input::Time);
    assert_eq!((ended.change, ended.rename), (Some(Change::Expired), true));
    assert_eq!((machine.term(), ended.ask), (None, Some(Question::Acquire)));
    // The answer to the renewal comes too late, in a name that is not used any more.
    let mut slow = leader();
    step(&mut slow, 5_000, Input::Time);
    let late = hear(&mut slow, 14_900, granted(1));
    assert_eq!((late.change, slow.term()), (Some(Change::Expired), None));
}

// pitfall B42
#[test]
fn an_answer_that_is_no_clear_yes_never_lengthens_a_term() {
    let before = leader().term();
    for heard in [Heard::Nothing, Heard::Ours] {
        let mut machine = leader();
        step(&mut machine, 5_000, Input::Time);
        assert_eq!(hear(&mut machine, 5_100, heard), Effect::default());
        assert_eq!((machine.term(), machine.wake(Tick(5_100))), (before, Tick(6_100)));
    }
    for heard in [Heard::Free, Heard::Theirs(None), granted(2)] {
        let mut machine = leader();
        step(&mut machine, 5_000, Input::Time);
        let lost = hear(&mut machine, 5_100, heard);
        assert_eq!((machine.term(), lost.change), (None, Some(Change::Lost)), "{heard:?}");
        assert!(lost.rename);
    }
}

#[test]
fn a_shorter_grant_shortens_the_term() {
    let mut machine = leader();
    step(&mut machine, 5_000, Input::Time);
    hear(&mut machine, 5_100, Heard::Granted { epoch: 1, ttl: 1_000 });
    assert_eq!(machine.term(), Some((1, Tick(5_990))));
}

#[test]
fn a_lease_whose_answer_was_lost_is_adopted_and_counts_from_the_new_question() {
    let mut machine = Machine::new(Tick::ZERO);
    step(&mut machine, 0, Input::Time);
    hear(&mut machine, 3_000, Heard::Nothing);
    assert_eq!(step(&mut machine, 4_000, Input::Time).ask, Some(Question::Acquire));
    assert_eq!(hear(&mut machine, 4_100, Heard::Ours).ask, Some(Question::Renew));
    hear(&mut machine, 4_200, granted(1));
    assert_eq!(machine.term(), Some((1, Tick(4_100 + 14_850))));
}

// pitfall B46
#[test]
fn a_store_that_forgot_its_terms_makes_no_leader() {
    let mut machine = leader();
    step(&mut machine, 20_000, Input::Time); // expired, and asks anew
    let back = hear(&mut machine, 20_100, granted(1));
    assert!(back.went_back && back.rename && machine.term().is_none());
    assert_eq!(machine.wake(Tick(20_100)), Tick(50_100)); // others may have it, and come first
}

#[test]
fn who_is_refused_asks_again_when_the_others_lease_ends() {
    for (left, at) in
        [(Some(3_000), 3_100), (Some(0), 1_100), (Some(u64::MAX), 5_100), (None, 1_100)]
    {
        let mut machine = Machine::new(Tick::ZERO);
        step(&mut machine, 0, Input::Time);
        hear(&mut machine, 100, Heard::Theirs(left));
        assert_eq!(machine.wake(Tick(100)), Tick(at), "{left:?}");
    }
    let mut spread = Machine::new(Tick::ZERO);
    step(&mut spread, 0, Input::Time);
    spread.step(&PARAMS, Tick(100), u32::MAX, Input::Heard(Heard::Theirs(None)));
    assert_eq!(spread.wake(Tick(100)), Tick(1_600));
}

// pitfall B45
#[test]
fn who_resigns_gives_back_only_when_all_is_over_and_asks_for_no_more_time() {
    let mut machine = leader();
    assert_eq!(step(&mut machine, 4_000, Input::Resign).change, Some(Change::Resigned));
    assert_eq!(step(&mut machine, 6_000, Input::Time), Effect::default()); // no renewal
    assert_eq!(machine.term(), Some((1, Tick(14_850))));
    let given_back = step(&mut machine, 7_000, Input::Idle);
    assert_eq!((given_back.ask, machine.term()), (Some(Question::Release), None));
    hear(&mut machine, 7_100, Heard::Free);
    assert_eq!((machine.stage(), machine.wake(Tick(7_100))), (Stage::Resigned, Tick::NEVER));

    let mut hanging = leader();
    step(&mut hanging, 4_000, Input::Resign);
    assert_eq!(step(&mut hanging, 14_850, Input::Time), Effect::default());
    assert_eq!(hanging.term(), None);
    let mut forgotten = hanging.clone();
    assert_eq!(step(&mut hanging, 15_000, Input::Idle).ask, Some(Question::Release));
    step(&mut forgotten, 29_850, Input::Time); // it has run out at the store as well
    assert_eq!(forgotten.stage(), Stage::Resigned);
}

#[test]
fn who_resigns_while_it_asks_gives_back_what_it_may_have_got() {
    let mut machine = Machine::new(Tick::ZERO);
    step(&mut machine, 0, Input::Time);
    assert_eq!(step(&mut machine, 50, Input::Resign).ask, None);
    assert_eq!(hear(&mut machine, 100, granted(1)).ask, Some(Question::Release));
    assert_eq!(machine.term(), None);

    let mut unheard = Machine::new(Tick(10));
    step(&mut unheard, 0, Input::Resign);
    assert_eq!(unheard.stage(), Stage::Resigned);
    unheard.again(Tick(20));
    assert_eq!(step(&mut unheard, 20, Input::Time).ask, Some(Question::Acquire));
}

#[test]
fn a_lease_is_given_back_more_than_once_if_nobody_answers() {
    let mut machine = leader();
    step(&mut machine, 4_000, Input::Resign);
    assert_eq!(step(&mut machine, 4_000, Input::Idle).ask, Some(Question::Release));
    assert_eq!(hear(&mut machine, 4_500, Heard::Nothing).ask, None);
    assert_eq!(step(&mut machine, 5_500, Input::Time).ask, Some(Question::Release));
    hear(&mut machine, 7_000, Heard::Nothing); // it ends by itself
    assert_eq!(machine.stage(), Stage::Resigned);
}

#[test]
fn who_drives_it_again_hears_no_answer_to_what_was_asked_before() {
    let mut asking = Machine::new(Tick::ZERO);
    step(&mut asking, 0, Input::Time);
    assert!(asking.again(Tick(50)), "under another name");
    assert_eq!(step(&mut asking, 50, Input::Time).ask, Some(Question::Acquire));

    let mut leads = leader();
    step(&mut leads, 5_000, Input::Time);
    assert!(!leads.again(Tick(5_100)), "the term goes on");
    assert_eq!(step(&mut leads, 5_100, Input::Time).ask, Some(Question::Renew));

    let mut resigned = leader();
    step(&mut resigned, 5_000, Input::Resign);
    assert!(!resigned.again(Tick(5_100)), "the term goes on");
    assert_eq!(resigned.stage(), Stage::Leading);

    let mut releases = leader();
    step(&mut releases, 4_000, Input::Resign);
    step(&mut releases, 4_000, Input::Idle);
    assert!(releases.again(Tick(4_100)));
    assert_eq!(step(&mut releases, 4_100, Input::Time).ask, Some(Question::Acquire));
}

#[test]
fn a_grant_of_next_to_nothing_is_not_renewed_in_a_hot_loop() {
    let mut machine = Machine::new(Tick::ZERO);
    step(&mut machine, 0, Input::Time);
    hear(&mut machine, 0, Heard::Granted { epoch: 1, ttl: 3 });
    assert_eq!(step(&mut machine, 1, Input::Time).ask, None);
}
