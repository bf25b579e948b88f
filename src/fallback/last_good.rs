//! The last successful response of each key, for as long as it is not too old.

use std::fmt;
use std::future::Ready;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::answer::{Answer, Instead};
use super::terms::{FallbackMeter, Terms};
use crate::core::request::ExtractKey;
use crate::core::time::Tick;
use crate::shell::keyed::Keyed;
use crate::shell::live::Live;
use crate::shell::member::{Member, Stamp};
use crate::shell::reporter::Reporter;

/// The last good response of each key.
pub struct LastGood<X, Res: Send + Sync + 'static> {
    key: X,
    /// Made with the first call.
    table: OnceLock<Keyed<Slot<Res>>>,
}

/// The answer that is kept of one key, and since when.
struct Slot<Res> {
    key: Arc<str>,
    kept: Live<Option<(Tick, Res)>>,
}

/// Where the answer to a call is kept, if it has a place.
pub struct Place<Res>(Option<Arc<Slot<Res>>>);

impl<X, Res: Send + Sync + 'static> LastGood<X, Res> {
    pub(super) const fn new(key: X) -> Self {
        Self { key, table: OnceLock::new() }
    }

    fn table(&self, terms: &Terms) -> &Keyed<Slot<Res>> {
        let table = self.table.get_or_init(|| {
            let slot = |key| Slot { key, kept: Live::new(None) };
            Keyed::new(Arc::clone(&terms.reporter), terms.max_keys(), slot)
        });
        table.set_most(terms.max_keys());
        table
    }
}

impl<Req, Res, Err, X> Answer<Req, Res, Err> for LastGood<X, Res>
where
    X: ExtractKey<Req> + Send + Sync + 'static,
    Res: Clone + Send + Sync + 'static,
{
    type Kept = Place<Res>;
    type Future = Ready<Result<Res, Err>>;

    fn keep(&self, request: &Req, terms: &Terms) -> Place<Res> {
        self.key.with_key(request, |key| {
            // Keys without a place share one cell: none of them may get the answer of another.
            let cell = self.table(terms).enter(key);
            Place((*cell.key == *key).then_some(cell))
        })
    }

    fn succeeded(&self, place: Place<Res>, response: &Res, terms: &Terms) {
        if let Some(cell) = place.0 {
            cell.kept.set(Some((terms.reporter.clock.now(), response.clone())));
        }
    }

    fn answer(
        &self,
        place: Place<Res>,
        _: Result<&Res, &Err>,
        terms: &Terms,
    ) -> Option<Instead<Self::Future>> {
        let kept = place.0?.kept.get();
        let (since, response) = kept.as_ref().as_ref()?;
        let age = terms.reporter.clock.now().since(*since);
        (age <= terms.max_age())
            .then(|| Instead::kept(Ok(response.clone()), Duration::from_nanos(age)))
    }
}

impl<Res: Send + Sync + 'static> Member for Slot<Res> {
    type Common = Reporter<FallbackMeter>;
    type Meter = FallbackMeter;

    fn reporter(common: &Self::Common) -> &Reporter<FallbackMeter> {
        common
    }

    fn key(&self) -> Option<&Arc<str>> {
        Some(&self.key)
    }

    /// What is kept may always be forgotten.
    fn at_rest(&self) -> Option<Stamp> {
        Some(self.stamp())
    }

    fn stamp(&self) -> Stamp {
        None
    }
}

impl<X, Res: Send + Sync + 'static> fmt::Debug for LastGood<X, Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastGood").field("table", &self.table.get()).finish_non_exhaustive()
    }
}

impl<Res> fmt::Debug for Place<Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Place").field(&self.0.is_some()).finish()
    }
}
