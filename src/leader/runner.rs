//! The job of a leader: begins with a term, and never outlives it.

use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project::pin_project;

use super::leadership::{Leadership, Term};
use super::store::Token;

/// A job, and the term in which it runs.
#[pin_project]
pub(super) struct Runner<T, F, Fut: Future> {
    leadership: Leadership<T>,
    job: F,
    #[pin]
    running: Option<Fut>,
    turn: Turn<T>,
    output: Option<Fut::Output>,
}

/// The term in which the job runs. Counts as a call of the leader while it does.
struct Turn<T>(Option<(u64, Leadership<T>)>);

impl<T> Turn<T> {
    fn end(&mut self) {
        if let Some((_, leadership)) = self.0.take() {
            leadership.standing.leave();
        }
    }
}

impl<T> Drop for Turn<T> {
    fn drop(&mut self) {
        self.end();
    }
}

impl<T: Token, F, Fut> Runner<T, F, Fut>
where
    F: FnMut(Term<T>) -> Fut,
    Fut: Future,
{
    pub(super) const fn new(leadership: Leadership<T>, job: F) -> Self {
        Self { leadership, job, running: None, turn: Turn(None), output: None }
    }

    /// What the job has returned.
    pub(super) fn take(self: Pin<&mut Self>) -> Option<Fut::Output> {
        self.project().output.take()
    }

    /// Polls the job while there is a term for it. Whether it has ended here, by itself or with its term.
    pub(super) fn poll_job(self: Pin<&mut Self>, cx: &mut Context<'_>) -> bool {
        let mut this = self.project();
        if this.output.is_some() {
            return false;
        }
        let standing = &this.leadership.standing;
        let now = standing.reporter.clock.now();
        let mut has_ended = false;
        if let Some((number, _)) = &this.turn.0
            && standing.end_of(*number, now).is_none()
        {
            this.running.set(None); // before it counts as over
            this.turn.end();
            has_ended = true;
        }
        if this.turn.0.is_none() {
            let Some(found) = standing.enter(now) else { return has_ended };
            *this.turn = Turn(Some((found.number, this.leadership.clone())));
            let term = Term::new(this.leadership.clone(), found.number);
            let job = (this.job)(term);
            this.running.set(Some(job));
        }
        if let Some(running) = this.running.as_mut().as_pin_mut()
            && let Poll::Ready(output) = running.poll(cx)
        {
            this.running.set(None);
            *this.output = Some(output);
            this.leadership.standing.resign();
            this.turn.end();
            has_ended = true;
        }
        has_ended
    }
}
