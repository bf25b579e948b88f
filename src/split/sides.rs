//! Both sides of a split, or the replicas alone: where a call goes.

use std::sync::Arc;

use tower::Service;

use super::future::{After, ResponseFuture};
use super::plan::{Common, Readers, Writer};
use super::seen::{Need, PRIMARY};
use super::side::{Freshness, Side};
use crate::core::error::CallError;
use crate::core::time;
use crate::shell::set::Set;

/// The primary, if there is one, and the replicas.
pub(super) struct Sides<W, S, Req, Res> {
    pub(super) writer: Option<Set<Writer<Req, Res>, W>>,
    pub(super) readers: Set<Readers<Req, Res>, S>,
    pub(super) common: Arc<Common<Req, Res>>,
}

impl<W, S, Req, Res> Clone for Sides<W, S, Req, Res> {
    fn clone(&self) -> Self {
        Self {
            writer: self.writer.clone(),
            readers: self.readers.clone(),
            common: Arc::clone(&self.common),
        }
    }
}

impl<W, S, Req, Res, Err> Sides<W, S, Req, Res>
where
    W: Service<Req, Response = Res, Error = Err> + Clone,
    S: Service<Req, Response = Res, Error = Err> + Clone,
    Err: CallError,
{
    #[inline]
    pub(super) fn call(&mut self, request: Req) -> ResponseFuture<W, S, Req, Res> {
        self.common.tend();
        let freshness = match self.common.rules.side(&request) {
            Side::Query(Freshness::Latest) => return self.latest(request),
            Side::Query(freshness) => freshness,
            Side::Command => return self.command(request),
        };
        self.common.spill.earn();
        let after = self.after(&request, freshness);
        match self.readers.try_call(request) {
            Ok(future) => ResponseFuture::replica(future, after),
            Err(request) => self.call_else(request, freshness, after),
        }
    }

    /// What the session of a query is told when that is answered.
    #[inline]
    fn after(&self, request: &Req, freshness: Freshness) -> Option<After<Req, Res>> {
        let session = self.common.rules.session(request)?;
        Some(After::query(Arc::clone(&self.common), session.clone(), freshness))
    }

    #[inline]
    fn command(&mut self, request: Req) -> ResponseFuture<W, S, Req, Res> {
        let session = self.common.rules.session(&request);
        let after =
            session.map(|session| After::command(Arc::clone(&self.common), session.clone()));
        match &mut self.writer {
            Some(writer) => ResponseFuture::primary(writer.call(request), after),
            None => self.no_primary(after),
        }
    }

    fn latest(&mut self, request: Req) -> ResponseFuture<W, S, Req, Res> {
        let after = self.after(&request, Freshness::Latest);
        match &mut self.writer {
            Some(writer) => ResponseFuture::primary(writer.call(request), after),
            None => self.no_primary(after),
        }
    }

    #[cold]
    fn no_primary(&self, after: Option<After<Req, Res>>) -> ResponseFuture<W, S, Req, Res> {
        if let Some(after) = after {
            after.not_sent();
        }
        ResponseFuture::failed(self.common.refuse(Need::Primary, Freshness::Latest).into())
    }

    /// No replica may take the query now.
    #[cold]
    #[inline(never)]
    fn call_else(
        &mut self,
        request: Req,
        freshness: Freshness,
        after: Option<After<Req, Res>>,
    ) -> ResponseFuture<W, S, Req, Res> {
        let need = self.common.need(&request, freshness);
        if let Need::Lost(_) = need {
            return self.last(request, freshness, after);
        }
        if self.common.patience > 0
            && self.common.is_any_up()
            && time::has_timers()
            && let Some(ticket) = Ticket::new(&self.common)
        {
            return ResponseFuture::waiting(self.clone(), request, freshness, after, ticket);
        }
        self.last(request, freshness, after)
    }

    /// The query goes to the primary if the budget pays for it, and is rejected otherwise.
    #[cold]
    #[inline(never)]
    pub(super) fn last(
        &mut self,
        request: Req,
        freshness: Freshness,
        after: Option<After<Req, Res>>,
    ) -> ResponseFuture<W, S, Req, Res> {
        let common = &self.common;
        let need = common.need(&request, freshness);
        if let Need::Lost(_) = need {
            if let Some(session) = common.rules.session(&request) {
                session.told(&*common.knowledge);
            }
        } else if let Some(writer) = &mut self.writer
            && common.spill.pay(common.knowledge.clock.now().0)
        {
            common.reporter.meter(|handles| handles.increment(&handles.own.spilled));
            return ResponseFuture::primary(writer.call(request), after);
        }
        if let Some(after) = after {
            after.not_sent();
        }
        ResponseFuture::failed(common.refuse(need, freshness).into())
    }
}

/// One of those that wait, until dropped.
pub(super) struct Ticket<Req, Res>(Arc<Common<Req, Res>>);

impl<Req, Res> Ticket<Req, Res> {
    /// `None`, if too many wait already.
    fn new(common: &Arc<Common<Req, Res>>) -> Option<Self> {
        use std::sync::atomic::Ordering::Relaxed;
        let (most, waiting) = (common.most_waiting, &common.knowledge.waiting);
        let one_more = |count: u32| (count < most).then(|| count + 1);
        waiting.fetch_update(Relaxed, Relaxed, one_more).ok()?;
        let ticket = Self(Arc::clone(common));
        common.knowledge.hurry.notify_waiters();
        common.reporter.meter(|handles| handles.increment(&handles.own.waited));
        Some(ticket)
    }
}

impl<Req, Res> Drop for Ticket<Req, Res> {
    fn drop(&mut self) {
        self.0.knowledge.waiting.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Which seat a call went to.
pub(super) const fn seat_of(place: Option<u32>) -> Option<u32> {
    match place {
        Some(place) => Some(place + 1),
        None => None,
    }
}

const _: () = assert!(PRIMARY == 0);
