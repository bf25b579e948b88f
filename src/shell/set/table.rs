//! What a plan comes to: a service for each member.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{Named, Plan};
use crate::shell::clone_source::CloneSource;

/// Makes the service of a member.
pub(crate) type Make<M, S> = Box<dyn Fn(&M) -> Result<S, tower::BoxError> + Send + Sync>;

/// The service of a member, to make clones of; none once it has gone.
type MemberService<S> = CloneSource<Option<S>>;

/// A plan, and the service of each of its members, in their order.
pub(crate) struct Table<P, S> {
    pub(crate) plan: P,
    services: Box<[Arc<MemberService<S>>]>,
}

/// Why other members are not taken, whatever the set.
#[derive(Debug)]
pub(crate) enum Refused {
    /// They are less than half of those there are.
    Shrunk { before: usize, stay: usize, after: usize },
    /// The service of one could not be made.
    Member { name: Arc<str>, error: tower::BoxError },
}

impl<P: Plan, S> Table<P, S> {
    /// The table of a plan: members that were in the one before keep their service.
    pub(super) fn new(
        make: &Make<P::Member, S>,
        plan: P,
        before: Option<&Self>,
    ) -> Result<Self, Refused> {
        let known: HashMap<&str, _> = before
            .map(|table| {
                let members = table.plan.members().iter().zip(&table.services);
                members.map(|(member, service)| (&**member.name(), (member, service))).collect()
            })
            .unwrap_or_default();
        let service = |member: &P::Member| match known.get(&**member.name()) {
            Some((before, service)) if before.is_like(member) => Ok(Arc::clone(service)),
            _ => make(member)
                .map(|service| Arc::new(MemberService::new(Some(service))))
                .map_err(|error| Refused::Member { name: Arc::clone(member.name()), error }),
        };
        let services = plan.members().iter().map(service).collect::<Result<_, _>>()?;
        Ok(Self { plan, services })
    }

    /// A clone of the service of the member in this place; `None`, if it has gone meanwhile.
    #[inline]
    pub(super) fn make(&self, place: usize) -> Option<S>
    where
        S: Clone,
    {
        self.services[place].make()
    }

    /// The services that another table does not have.
    pub(super) fn gone_in(&self, next: &Self) -> Vec<Arc<MemberService<S>>> {
        let kept: HashSet<_> = next.services.iter().map(Arc::as_ptr).collect();
        self.services.iter().filter(|one| !kept.contains(&Arc::as_ptr(one))).cloned().collect()
    }

    /// Whether another plan lacks more than half of the members, as a fault of the discovery would look.
    pub(super) fn shrinks_to(&self, next: &P) -> Result<(), Refused> {
        let names: HashSet<&str> = next.members().iter().map(|member| &**member.name()).collect();
        let present = self.plan.members();
        let stay = present.iter().filter(|member| names.contains(&**member.name())).count();
        if stay * 2 < present.len() {
            let (before, after) = (present.len(), next.members().len());
            return Err(Refused::Shrunk { before, stay, after });
        }
        Ok(())
    }
}
