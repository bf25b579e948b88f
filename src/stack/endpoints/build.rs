//! Building a client of many endpoints.

use std::sync::Arc;

use tower::Layer;

use super::super::client::ClientBuilder;
use super::super::innermost::Innermost;
use super::super::tell::{AsErrors, Tell};
use super::client::{EndpointsClient, Following, Spread};
use super::handle::EndpointsClientHandle;
use super::member::{Direct, Recipe, Stacks};
use super::numbered::{OfNumbered, Unnumbered};
use super::{Listed, PerEndpoint};
use crate::core::config::ConfigErrors;
use crate::core::event::Event;
use crate::endpoints::{AdoptError, Endpoint, Resolve, Source};
use crate::retry::{Chosen, CopyIsChosen};

/// The client that a builder makes, with clients `S` of single endpoints.
type Built<S, T, C, R, K, F, H, A> =
    EndpointsClient<<A as Tell<Spread<S, T, C, R, K, F, H>>>::Service>;

impl<C, R, K, F, H, A, T> ClientBuilder<C, R, K, F, H, A, PerEndpoint<T, Listed>>
where
    C: Clone + Send + Sync + 'static,
    R: CopyIsChosen<Strategy: Clone + Send + Sync + 'static>,
    K: Clone + Send + Sync + 'static,
    F: Send + Sync + 'static,
    H: Send + Sync + 'static,
    T: Direct,
{
    /// Builds it over one client, of which each endpoint has a clone. Its errors are
    /// [`Error::Inner`](crate::Error::Inner).
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings, the list and its addresses.
    #[expect(clippy::type_complexity, reason = "a client of as many hooks")]
    pub fn build_on<S>(
        self,
        client: S,
    ) -> Result<Built<Innermost<S>, T::To, C, R::Strategy, K, F, H, A>, AdoptError>
    where
        S: Clone + Send + Sync + 'static,
        A: Tell<Spread<Innermost<S>, T::To, C, R::Strategy, K, F, H>>,
    {
        self.over(move |_| Ok(Innermost(client.clone())))
    }

    /// Builds it over a client for each endpoint, which `make` makes when the endpoint is first in a list: with a connection
    /// pool of its own, or with further layers. Those that give an [`Error`](crate::Error) around
    /// the client's own stay as they are; around a plain client goes `.map_err(Error::Inner)`.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings, the list and its addresses; or the client of an endpoint could not
    /// be made.
    #[expect(clippy::type_complexity, reason = "a client of as many hooks")]
    pub fn over<S>(
        self,
        make: impl Fn(&Endpoint) -> Result<S, tower::BoxError> + Send + Sync + 'static,
    ) -> Result<Built<S, T::To, C, R::Strategy, K, F, H, A>, AdoptError>
    where
        S: Send + 'static,
        A: Tell<Spread<S, T::To, C, R::Strategy, K, F, H>>,
    {
        let (origin, written) = (self.origin(), self.written());
        let PerEndpoint { direct, set, .. } = &self.division;
        let mut problems = Vec::new();
        let force = written.in_force(&self.written);
        let force = force.unwrap_or_else(|wrong| {
            problems.extend(wrong.into_problems());
            written.clone()
        });
        set.check(&mut problems);
        problems.extend(
            set.list()
                .iter()
                .filter(|one| !one.address().is_empty())
                .filter_map(|member| direct.to(member).err()),
        );
        ConfigErrors::none_of(problems).map_err(|wrong| wrong.of_policy(&origin))?;

        let stacks = Arc::new(Stacks::new(force.clone()));
        let recipe = Recipe {
            name: Arc::clone(&self.name),
            classify: self.classify.clone(),
            propagate: OfNumbered(self.propagate.clone()),
            completion: Arc::new(self.completion),
            permit_completion: Arc::new(self.permit_completion),
            observers: self.observers.clone(),
            stacks: Arc::clone(&stacks),
        };
        let PerEndpoint { direct, set, .. } = self.division;
        let mut set = set.classify(self.classify.clone()).propagate(recipe.propagate.clone());
        if !self.observers.is_empty() {
            let observers = self.observers.clone();
            set = set.observe(move |event: &Event| observers.tell(event));
        }
        let set = set.over(move |endpoint| {
            let to = direct.to(endpoint)?;
            Ok(recipe.stack(endpoint, make(endpoint)?, to)?)
        })?;

        let tell = self.tell;
        let around = ClientBuilder {
            name: self.name,
            config: self.config,
            written: self.written,
            budget: self.budget,
            classify: self.classify,
            copy: Chosen::new(OfNumbered(self.copy.strategy())),
            propagate: OfNumbered(self.propagate),
            completion: (),
            permit_completion: (),
            tell: AsErrors,
            observers: self.observers,
            division: (),
        };
        let layer = around.frame(written, force).map_err(|wrong| wrong.of_policy(&origin))?;
        let handle = EndpointsClientHandle {
            frame: layer.frame(),
            written: Arc::clone(&layer.written),
            endpoints: set.handle(),
            stacks,
            whole: Arc::new(layer.clone()),
        };
        let stack = tell.tell(Unnumbered(layer.layer(set)));
        Ok(EndpointsClient { stack, handle, following: None })
    }
}

impl<C, R, K, F, H, A, T, M> ClientBuilder<C, R, K, F, H, A, PerEndpoint<T, Source<M>>>
where
    C: Clone + Send + Sync + 'static,
    R: CopyIsChosen<Strategy: Clone + Send + Sync + 'static>,
    K: Clone + Send + Sync + 'static,
    F: Send + Sync + 'static,
    H: Send + Sync + 'static,
    T: Direct,
    M: Resolve,
{
    /// Asks the source, and builds it over one client, of which each endpoint has a clone. From then on a task follows the
    /// source, until the last clone of the client is gone: [`follow`](crate::endpoints::EndpointsHandle::follow)
    /// says how.
    ///
    /// # Errors
    ///
    /// That of the source; everything that is wrong with the settings, the list and its addresses.
    pub async fn build_on<S>(
        self,
        client: S,
    ) -> Result<Built<Innermost<S>, T::To, C, R::Strategy, K, F, H, A>, AdoptError>
    where
        S: Clone + Send + Sync + 'static,
        A: Tell<Spread<Innermost<S>, T::To, C, R::Strategy, K, F, H>>,
    {
        self.over(move |_| Ok(Innermost(client.clone()))).await
    }

    /// The same over a client for each endpoint, which `make` makes.
    ///
    /// # Errors
    ///
    /// As for [`build_on`](Self::build_on); or the client of an endpoint could not be made.
    pub async fn over<S>(
        self,
        make: impl Fn(&Endpoint) -> Result<S, tower::BoxError> + Send + Sync + 'static,
    ) -> Result<Built<S, T::To, C, R::Strategy, K, F, H, A>, AdoptError>
    where
        S: Send + 'static,
        A: Tell<Spread<S, T::To, C, R::Strategy, K, F, H>>,
    {
        let members = self.division.from.load().await.map_err(AdoptError::Source)?;
        let mut source = None;
        let listed = self.redivided(|PerEndpoint { direct, set, from }| {
            source = Some(from);
            PerEndpoint { direct, set, from: Listed }
        });
        let mut client = listed.members(members).over(make)?;
        let handle = client.handle.endpoints.clone();
        client.following = source.map(|source| {
            Arc::new(Following(tokio::spawn(async move { handle.follow(source).await })))
        });
        Ok(client)
    }
}
