//! Drives a candidate: asks the store, keeps the time, publishes what came of it.

use std::error::Error as StdError;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use tokio::time::Sleep;
use tower::{BoxError, Service, ServiceExt};

use super::config::Config;
use super::machine::{Heard, Input, Machine, Params, Question, Stage};
use super::standing::{Answered, Standing};
use super::store::{Answer, Ask, Token};
use crate::core::error::causes;
use crate::core::rng;
use crate::core::time::{Tick, nanos, poll_until};

/// One candidate, and where it asks.
pub(super) struct Campaign<S, T> {
    pub(super) store: S,
    pub(super) driver: Driver<T>,
}

/// One candidate, to be driven.
pub(super) struct Driver<T> {
    pub(super) standing: Arc<Standing>,
    pub(super) lease: Arc<str>,
    /// What the user calls it.
    pub(super) name: Arc<str>,
    /// The same, and random bits: the name in which it holds a term.
    pub(super) holder: Arc<str>,
    pub(super) config: Config,
    pub(super) params: Params,
    pub(super) machine: Machine,
    pub(super) token: PhantomData<fn() -> T>,
}

const WENT_BACK: &str =
    "the store gave a term that is not later than the last one: it has forgotten its count";

/// A question on its way.
struct Asking<T> {
    question: Question,
    answer: Pin<Box<dyn Future<Output = Result<Answer<T>, String>> + Send>>,
    /// When it is given up.
    until: Tick,
}

/// Somebody campaigns while this is alive.
pub(super) struct Campaigning(Arc<Standing>);

impl Campaigning {
    pub(super) fn begin(standing: &Arc<Standing>) -> Self {
        standing.begin();
        Self(Arc::clone(standing))
    }
}

impl Drop for Campaigning {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl<T: Token> Driver<T> {
    /// Under a name that nobody has.
    pub(super) fn renamed(mut self) -> Self {
        self.rename();
        self
    }

    fn rename(&mut self) {
        self.holder = format!("{}-{:016x}", self.name, rng::seed()).into();
    }

    fn now(&self) -> Tick {
        self.standing.reporter.clock.now()
    }
}

impl<S, T> Campaign<S, T>
where
    S: Service<Ask, Response = Answer<T>, Error: Into<BoxError>, Future: Send>
        + Clone
        + Send
        + 'static,
    T: Token,
{
    /// Until it has resigned.
    pub(super) async fn run(&mut self, _campaigning: Campaigning) {
        let driver = &mut self.driver;
        if driver.machine.again(driver.now()) {
            driver.rename(); // no late message of a campaign before this one meets the next lease
        }
        let mut asking: Option<Asking<T>> = None;
        let mut input = Input::Time;
        loop {
            let question = driver.step(input);
            if driver.machine.stage() == Stage::Resigned {
                return;
            }
            if !driver.machine.is_asking() {
                asking = None; // nobody listens to the answer any more
            }
            if let Some(question) = question {
                asking = Some(driver.ask(question, self.store.clone()));
            }
            input = driver.next(&mut asking).await;
        }
    }
}

impl<T: Token> Driver<T> {
    /// The next step, told to everybody. What to ask for, if anything.
    fn step(&mut self, input: Input) -> Option<Question> {
        let now = self.now();
        let effect = self.machine.step(&self.params, now, fastrand::u32(..), input);
        if effect.rename {
            self.rename();
        }
        if effect.went_back {
            self.complain(WENT_BACK);
        }
        self.standing.publish(&self.machine, now, effect);
        effect.ask
    }

    fn ask<S>(&self, question: Question, store: S) -> Asking<T>
    where
        S: Service<Ask, Response = Answer<T>, Error: Into<BoxError>, Future: Send> + Send + 'static,
    {
        let (lease, holder) = (Arc::clone(&self.lease), Arc::clone(&self.holder));
        let ttl = self.config.ttl;
        let ask = match question {
            Question::Acquire => Ask::Acquire { lease, holder, ttl },
            Question::Renew => Ask::Renew { lease, holder, ttl },
            Question::Release => Ask::Release { lease, holder },
        };
        let answer =
            async move { store.oneshot(ask).await.map_err(|error| text_of(&*error.into())) };
        let answer = AssertUnwindSafe(answer).catch_unwind();
        let answer =
            answer.map(|answer| answer.unwrap_or_else(|_| Err("the store panicked".into())));
        let until = self.now().plus(nanos(self.config.ask_timeout));
        Asking { question, answer: Box::pin(answer), until }
    }

    /// What happens next.
    async fn next(&self, asking: &mut Option<Asking<T>>) -> Input {
        let clock = self.standing.reporter.clock;
        let wake = self.machine.wake(self.now());
        let at = asking.as_ref().map_or(wake, |asking| wake.min(asking.until));
        let mut timer = pin!(None::<Sleep>);
        loop {
            // Before the look, so that a ring after it is heard.
            let mut bell = pin!(self.standing.bell.notified());
            if let Some(input) = self.called_for() {
                return input;
            }
            let heard = poll_fn(|cx: &mut Context<'_>| {
                if let Some(asked) = asking
                    && let Poll::Ready(answer) = asked.answer.as_mut().poll(cx)
                {
                    return Poll::Ready(Some(Input::Heard(self.hear(asked.question, answer))));
                }
                if let Some(at) = clock.instant(at)
                    && poll_until(timer.as_mut(), at, cx).is_ready()
                {
                    return Poll::Ready(Some(self.time_is_up(asking.as_ref())));
                }
                bell.as_mut().poll(cx).map(|()| None)
            })
            .await;
            if let Some(input) = heard {
                if matches!(input, Input::Heard(_)) {
                    *asking = None;
                }
                return input;
            }
        }
    }

    /// What those want who rely on it.
    fn called_for(&self) -> Option<Input> {
        if !self.standing.resigns() {
            return None;
        }
        match self.machine.stage() {
            Stage::Following | Stage::Adopting | Stage::Leading => Some(Input::Resign),
            Stage::Resigning | Stage::Ending if self.standing.is_idle() => Some(Input::Idle),
            _ => None,
        }
    }

    fn time_is_up(&self, asking: Option<&Asking<T>>) -> Input {
        let Some(asking) = asking.filter(|asking| asking.until <= self.now()) else {
            return Input::Time;
        };
        let (limit, lease) = (self.config.ask_timeout, &self.lease);
        let question = asking.question.as_str();
        self.complain(&format!(
            "the store gave no answer to {question} `{lease}` within {limit:?}"
        ));
        self.standing.answered(Answered::TimedOut, None);
        Input::Heard(Heard::Nothing)
    }

    fn complain(&self, what: &str) {
        self.standing.last_error.set(Some(what.into()));
    }

    fn hear(&self, question: Question, answer: Result<Answer<T>, String>) -> Heard {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.complain(&error);
                self.standing.answered(Answered::Error, None);
                return Heard::Nothing;
            }
        };
        self.standing.last_error.set(None);
        let now = self.now();
        match answer {
            Answer::Granted { token, ttl } => {
                let is_renewal = question == Question::Renew && self.machine.term().is_some();
                let epoch = self.machine.epoch();
                // Who gives no numbers is taken to mean the same term in all answers of it.
                let epoch = if is_renewal {
                    token.number(epoch.saturating_sub(1))
                } else {
                    token.number(epoch)
                };
                let left = self.machine.term().map(|(_, until)| until.since(now));
                if ttl <= self.config.stop {
                    let stop = self.config.stop;
                    self.complain(&format!(
                        "the store grants {ttl:?}, and no call begins in the last {stop:?}"
                    ));
                }
                self.standing.answered(Answered::Granted, left.filter(|_| is_renewal));
                self.standing.held_by(&self.holder, Tick::ZERO);
                Heard::Granted { epoch, ttl: nanos(ttl) }
            }
            Answer::Held { holder, .. } if holder == self.holder => {
                self.standing.answered(Answered::Held, None);
                Heard::Ours
            }
            Answer::Held { holder, expires_in } => {
                self.standing.answered(Answered::Held, None);
                let left = expires_in.map(nanos);
                self.standing.held_by(&holder, left.map_or(Tick::ZERO, |left| now.plus(left)));
                Heard::Theirs(left)
            }
            Answer::Free => {
                self.standing.answered(Answered::Free, None);
                self.standing.nobody_holds();
                Heard::Free
            }
        }
    }
}

/// An error and its causes, in one sentence.
fn text_of(error: &(dyn StdError + 'static)) -> String {
    let mut text = String::new();
    for cause in causes(error).map(ToString::to_string) {
        // Many an error repeats the one that caused it.
        if !text.contains(&cause) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(&cause);
        }
    }
    text
}
