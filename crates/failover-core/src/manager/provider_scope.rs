//! The operations on one provider.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::client::service::ServiceHandle;
use crate::config::FailoverConfig;
use crate::contract::address_policy::AddressPolicy;
use crate::contract::provider::{
    ConfigKey, EndpointSet, Provider, ProviderInfo, Query, RegistrationStatus, Registry,
};
use crate::error::{Error, ErrorKind};
use crate::manager::endpoint_ref::EndpointRef;
use crate::manager::errors::service_name;
use crate::manager::health::HealthReport;
use crate::manager::inner::Inner;
use crate::manager::providers::Named;
use crate::manager::registration_state::RegistrationState;
use crate::manager::sources::{Request, Route, source};
use crate::manager::supervision::{look, proceed};
use crate::model::endpoint::{Endpoint, EndpointEntry, EndpointId, ServiceName};
use crate::model::health::{Health, Lifecycle};

/// The manager's operations, applied to one of its providers.
#[derive(Clone, Debug)]
pub struct ProviderScope<'a> {
    inner: &'a Arc<Inner>,
    named: Named,
}

impl<'a> ProviderScope<'a> {
    pub(super) fn new(inner: &'a Arc<Inner>, named: Named) -> Self {
        Self { inner, named }
    }

    /// Returns the provider's name.
    pub fn name(&self) -> &str {
        &self.named.name
    }

    /// Returns the provider itself.
    pub fn provider(&self) -> &Arc<dyn Provider> {
        &self.named.provider
    }

    /// Returns the provider's description of itself.
    pub fn info(&self) -> ProviderInfo {
        self.inner.info(&self.named)
    }

    /// Checks whether the provider's registry answers now ([`Provider::ping`]).
    ///
    /// Discovery needs no such check: how old its answers are, and the last error, is in the statistics
    /// ([`SourceStats`](crate::inspect::SourceStats)). It is for a program that is about to write.
    ///
    /// # Errors
    ///
    /// Returns the provider's error, and `Timeout` after the manager's timeout.
    ///
    /// # Cancel safety
    ///
    /// Safe: it only reads.
    pub async fn ping(&self) -> Result<(), Error> {
        self.within("asking the registry", || self.named.provider.ping()).await
    }

    /// See [`FailoverManager::service`](super::FailoverManager::service).
    ///
    /// # Errors
    ///
    /// Also returns `Conflict` if the service is already discovered through another provider.
    pub async fn service(&self, name: &str) -> Result<ServiceHandle, Error> {
        self.inner.service(name, Route::Through(vec![source(self.name())])).await
    }

    /// See [`FailoverManager::service_matching`](super::FailoverManager::service_matching).
    ///
    /// # Errors
    ///
    /// Also returns `Conflict` if the same query already goes through another provider.
    pub async fn service_matching(&self, query: Query) -> Result<ServiceHandle, Error> {
        self.inner.requested(Request::matching(query, Some(self.name()))?).await
    }

    /// See [`FailoverManager::register_endpoint`](super::FailoverManager::register_endpoint).
    pub async fn register_endpoint(&self, endpoint: Endpoint) -> Result<(), Error> {
        let registry = self.ensure_registrable(&endpoint)?;
        self.within(&format!("registering {endpoint}"), || registry.register(&endpoint)).await
    }

    /// See [`FailoverManager::update_endpoint`](super::FailoverManager::update_endpoint).
    pub async fn update_endpoint(&self, endpoint: Endpoint) -> Result<(), Error> {
        let registry = self.ensure_registrable(&endpoint)?;
        let own = self.ensure_own(endpoint.service(), endpoint.id()).await?;
        let Some(number) = own else {
            return self.within(&format!("updating {endpoint}"), || registry.update(&endpoint)).await;
        };
        let endpoint = Arc::new(endpoint);
        self.inner.served().begin_update(number, &endpoint);
        self.within(&format!("updating {endpoint}"), || registry.update(&endpoint)).await?;
        self.inner.served().end_update(number, endpoint);
        Ok(())
    }

    /// See [`FailoverManager::deregister_endpoint`](super::FailoverManager::deregister_endpoint).
    pub async fn deregister_endpoint(&self, which: impl Into<EndpointRef>) -> Result<bool, Error> {
        let which = which.into();
        let registry = self.registry()?;
        let (service, id) = match self.find(&which).await {
            Ok(found) => found,
            // A missing endpoint is not an error.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let own = self.ensure_own(&service, &id).await?;
        let what = format!("deregistering {service}/{id}");
        let existed = self.within(&what, || registry.deregister(&service, &id)).await?;
        if let Some(number) = own {
            self.inner.served().close(number);
        }
        Ok(existed)
    }

    /// See [`FailoverManager::get_endpoint`](super::FailoverManager::get_endpoint).
    pub async fn get_endpoint(&self, which: impl Into<EndpointRef>) -> Result<EndpointEntry, Error> {
        let (service, id) = self.find(&which.into()).await?;
        if let Some(registry) = self.named.provider.registry() {
            return self.within(&format!("reading {service}/{id}"), || registry.get(&service, &id)).await;
        }
        let entries = self.list_endpoints(&Query::service(&service)).await?;
        entries.into_entries().into_iter().find(|entry| *entry.endpoint().id() == id).ok_or_else(|| {
            let message = format!("{service}/{id}: provider {} has no such endpoint", self.named.name);
            Error::new(ErrorKind::NotFound, message).with_detail("id", id.as_str())
        })
    }

    /// See [`FailoverManager::list_endpoints`](super::FailoverManager::list_endpoints).
    pub async fn list_endpoints(&self, query: &Query) -> Result<EndpointSet, Error> {
        self.named.ensure_answers(query)?;
        self.within("listing endpoints", || self.named.provider.list(query)).await
    }

    /// See [`FailoverManager::set_health`](super::FailoverManager::set_health).
    pub async fn set_health(&self, which: impl Into<EndpointRef>, health: Health) -> Result<(), Error> {
        let registry = self.registry()?;
        let (service, id) = self.find(&which.into()).await?;
        self.ensure_own(&service, &id).await?;
        let what = format!("setting the health of {service}/{id}");
        self.within(&what, || registry.set_health(&service, &id, health)).await
    }

    /// See [`FailoverManager::set_lifecycle`](super::FailoverManager::set_lifecycle).
    pub async fn set_lifecycle(
        &self,
        which: impl Into<EndpointRef>,
        lifecycle: Lifecycle,
    ) -> Result<(), Error> {
        let registry = self.registry()?;
        let (service, id) = self.find(&which.into()).await?;
        self.ensure_own(&service, &id).await?;
        let what = format!("setting the lifecycle of {service}/{id}");
        self.within(&what, || registry.set_lifecycle(&service, &id, lifecycle)).await
    }

    /// See [`FailoverManager::configure`](super::FailoverManager::configure).
    pub async fn configure(&self, config: FailoverConfig) -> Result<(), Error> {
        let done = self.inner.configure(&self.named, ConfigKey::Default, config).await;
        done.map_err(|error| self.here(error))
    }

    /// See [`FailoverManager::configure_service`](super::FailoverManager::configure_service).
    pub async fn configure_service(&self, service: &str, config: FailoverConfig) -> Result<(), Error> {
        let key = ConfigKey::Service(service_name(service)?);
        self.inner.configure(&self.named, key, config).await.map_err(|error| self.here(error))
    }

    /// See [`FailoverManager::get_config`](super::FailoverManager::get_config).
    pub async fn get_config(&self) -> Result<FailoverConfig, Error> {
        let read = self.inner.get_config(&self.named, ConfigKey::Default).await;
        read.map_err(|error| self.here(error))
    }

    /// See [`FailoverManager::get_service_config`](super::FailoverManager::get_service_config).
    pub async fn get_service_config(&self, service: &str) -> Result<FailoverConfig, Error> {
        let key = ConfigKey::Service(service_name(service)?);
        self.inner.get_config(&self.named, key).await.map_err(|error| self.here(error))
    }

    /// See [`FailoverManager::health_check`](super::FailoverManager::health_check).
    pub async fn health_check(&self, which: impl Into<EndpointRef>) -> Result<HealthReport, Error> {
        let entry = self.get_endpoint(which).await?;
        Ok(self.inner.check(&self.named, &entry).await)
    }

    /// See [`FailoverManager::health_check_all`](super::FailoverManager::health_check_all).
    pub async fn health_check_all(&self) -> Result<Vec<HealthReport>, Error> {
        let entries = self.list_endpoints(&Query::all()).await?;
        self.inner.check_all(&self.named, entries.into_entries()).await
    }

    /// Returns the provider that a reference addresses, and the reference within that provider: this
    /// one, unless the reference is `id@source` with another one, or an endpoint of another one.
    pub(super) async fn locate(self, which: EndpointRef) -> Result<(Self, EndpointRef), Error> {
        if let Some((bare, named)) = which.qualifier(&self.inner.providers()) {
            // An exact id comes first. A provider that does not answer does not keep another one's
            // endpoint from being addressed.
            if named.name != self.named.name && !self.lists(&which).await.unwrap_or(false) {
                return Ok((Self { named, ..self }, bare));
            }
        }
        let named = self.inner.disambiguate(&which)?.unwrap_or_else(|| self.named.clone());
        Ok((Self { named, ..self }, which))
    }

    pub(super) fn parts(&self) -> (&'a Arc<Inner>, &Named) {
        (self.inner, &self.named)
    }

    async fn within<T, F, Fut>(&self, what: &str, operation: F) -> Result<T, Error>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<T, Error>>,
    {
        let result = self.inner.within(what, operation).await;
        result.map_err(|error| self.here(error))
    }

    fn here(&self, error: Error) -> Error {
        error.with_detail("provider", self.name())
    }

    fn registry(&self) -> Result<&dyn Registry, Error> {
        self.named.provider.registry().ok_or_else(|| {
            let message = format!(
                "provider {} is read-only: it lists endpoints and accepts no registration",
                self.named.name
            );
            Error::new(ErrorKind::Unsupported, message).with_detail("provider", self.name())
        })
    }

    /// Returns the provider's registry, if it accepts endpoints and a caller could use this one.
    pub(super) fn ensure_registrable(&self, endpoint: &Endpoint) -> Result<&dyn Registry, Error> {
        let registry = self.registry()?;
        AddressPolicy::ensure_callable(self.named.trust, endpoint).map_err(|error| self.here(error))?;
        Ok(registry)
    }

    /// Returns the number of this process's own registration of an endpoint, if it has one.
    ///
    /// # Errors
    ///
    /// Returns `Conflict` if another process has taken it over: that one's endpoint is left alone.
    async fn ensure_own(&self, service: &ServiceName, id: &EndpointId) -> Result<Option<u64>, Error> {
        let found = {
            let served = self.inner.served();
            let number = served.number_of(&self.named, service, id);
            number.and_then(|number| {
                let serving = served.entries.get(&number)?;
                Some((number, serving.place.clone(), serving.state.clone()))
            })
        };
        let Some((number, place, state)) = found else { return Ok(None) };
        let ours = !matches!(*state.borrow(), RegistrationState::TakenOver { .. });
        if ours {
            // An error says nothing about the owner; the operation itself will report it.
            if let Ok(found @ (RegistrationStatus::TakenOver { .. } | RegistrationStatus::Restored { .. })) =
                look(&place).await
            {
                proceed(Some(self.inner), &state, &place, Ok(found));
            }
        }
        let RegistrationState::TakenOver { by } = state.borrow().clone() else { return Ok(Some(number)) };
        let message = format!("{service}/{id} was registered by this process and taken over by {by} since");
        let error = Error::new(ErrorKind::Conflict, message).with_code("TAKEN_OVER");
        Err(self.here(error.with_detail("by", by)))
    }

    /// Returns whether the provider lists an endpoint with exactly this id.
    async fn lists(&self, which: &EndpointRef) -> Result<bool, Error> {
        let query = match &which.service {
            Some(service) => Query::service(&service_name(service)?),
            None => Query::all(),
        };
        let entries = self.list_endpoints(&query).await?;
        Ok(entries.entries().iter().any(|entry| *entry.endpoint().id() == which.id.as_str()))
    }

    /// Removes this provider's name from `id@source`, unless the whole text is an id.
    async fn unqualified(&self, which: &EndpointRef) -> Result<EndpointRef, Error> {
        let Some((bare, named)) = which.qualifier(&self.inner.providers()) else { return Ok(which.clone()) };
        if self.lists(which).await? {
            return Ok(which.clone());
        }
        if named.name == self.named.name {
            return Ok(bare);
        }
        let wanted =
            format!("an endpoint of provider {}; {} has its own operations", self.name(), named.name);
        Err(Error::invalid("endpoint id", &which.id, &wanted))
    }

    /// Resolves a reference to a service and an id. Searches every service for an id alone.
    async fn find(&self, which: &EndpointRef) -> Result<(ServiceName, EndpointId), Error> {
        let which = &self.unqualified(which).await?;
        let id = EndpointId::new(&which.id)?;
        if let Some(service) = &which.service {
            return Ok((service_name(service)?, id));
        }
        let entries = self.list_endpoints(&Query::all()).await?;
        let with_id = entries.entries().iter().filter(|entry| *entry.endpoint().id() == id);
        let services: BTreeSet<_> = with_id.map(|entry| entry.endpoint().service().clone()).collect();
        let mut found = services.iter();
        match (found.next(), found.next()) {
            (Some(service), None) => Ok((service.clone(), id)),
            (None, _) => {
                let message = format!("no service of provider {} has an endpoint {id}", self.named.name);
                Err(Error::new(ErrorKind::NotFound, message).with_detail("id", id.as_str()))
            }
            (Some(_), Some(_)) => {
                let names: Vec<_> = services.iter().map(ServiceName::as_str).collect();
                let wanted = format!("the service with it, as in (\"{}\", \"{id}\")", names[0]);
                let value = format!("{id}, which exists in the services {},", names.join(" and "));
                Err(Error::invalid("endpoint id", value, &wanted).with_detail("services", names))
            }
        }
    }
}
