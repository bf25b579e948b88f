//! What a map comes to: a service for each member.

use std::collections::HashMap;
use std::sync::Arc;

use super::error::AdoptError;
use super::map::Map;
use super::member::Member;
use crate::shell::clone_source::CloneSource;

/// Makes the service of a member.
pub(super) type Make<S> = Box<dyn Fn(&Member) -> Result<S, tower::BoxError> + Send + Sync>;

/// The service of a member, to make clones of; none once it has gone.
type MemberService<S> = CloneSource<Option<S>>;

/// A map, and the service of each of its members, in their order.
pub(crate) struct Table<S> {
    pub(super) map: Map,
    services: Box<[Arc<MemberService<S>>]>,
}

impl<S> Table<S> {
    /// The table of a map: members that were in the one before keep their service.
    pub(super) fn new(make: &Make<S>, map: Map, before: Option<&Self>) -> Result<Self, AdoptError> {
        let known: HashMap<&str, &Arc<MemberService<S>>> = before
            .map(|table| {
                table.map.members().iter().map(Member::name).zip(&table.services).collect()
            })
            .unwrap_or_default();
        let service = |member: &Member| match known.get(member.name()) {
            Some(service) => Ok(Arc::clone(service)),
            None => make(member).map(Some).map(MemberService::new).map(Arc::new).map_err(|error| {
                AdoptError::Member { name: Arc::clone(member.shared_name()), error }
            }),
        };
        let services = map.members().iter().map(service).collect::<Result<_, _>>()?;
        Ok(Self { map, services })
    }

    /// A clone of the service of the member in this place; `None`, if it has gone meanwhile.
    #[inline]
    pub(super) fn make(&self, place: usize) -> Option<S>
    where
        S: Clone,
    {
        self.services[place].make()
    }

    /// Lets go of what the members stand on that another map does not have.
    pub(super) fn retire_all_but(&self, map: &Map) {
        for (member, service) in self.map.members().iter().zip(&self.services) {
            if !map.has(member.name()) {
                service.retire();
            }
        }
    }
}
