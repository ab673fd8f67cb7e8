//! The ways to name an endpoint of a provider.

use crate::engine::snapshot::listing::Unresolved;
use crate::error::Error;
use crate::manager::inner::Inner;
use crate::manager::providers::{Named, Providers};
use crate::model::endpoint::Endpoint;

/// Identifies an endpoint of a provider.
///
/// Converts from `("user-service", "server-1")`, from an [`Endpoint`], and from `"server-1"` alone,
/// which is searched for in every service of the provider.
///
/// Ids are unique within one provider and service. Instead of an id, `"server-1@consul-dc2"` names
/// the provider as well. An exact id comes first; otherwise the text is split at its last `@`. If
/// endpoints of several providers of a discovered service have the id, an [`Endpoint`] means the one
/// at its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointRef {
    pub(super) service: Option<String>,
    pub(super) id: String,
    endpoint: Option<Box<Endpoint>>,
}

impl From<&str> for EndpointRef {
    fn from(id: &str) -> Self {
        Self { service: None, id: id.to_owned(), endpoint: None }
    }
}

impl From<&String> for EndpointRef {
    fn from(id: &String) -> Self {
        Self::from(id.as_str())
    }
}

impl From<(&str, &str)> for EndpointRef {
    fn from((service, id): (&str, &str)) -> Self {
        Self { service: Some(service.to_owned()), id: id.to_owned(), endpoint: None }
    }
}

impl From<&Endpoint> for EndpointRef {
    fn from(endpoint: &Endpoint) -> Self {
        let named = Self::from((endpoint.service().as_str(), endpoint.id().as_str()));
        Self { endpoint: Some(Box::new(endpoint.clone())), ..named }
    }
}

impl EndpointRef {
    /// Returns the provider whose name follows the last `@`, and the reference without that name.
    pub(super) fn qualifier(&self, providers: &Providers) -> Option<(Self, Named)> {
        let (id, source) = self.id.rsplit_once('@')?;
        let (named, one_of_several) = providers.of_source(source)?;
        // Such a source has the name of its service, or its position.
        let service = one_of_several.filter(|name| name.parse::<u32>().is_err()).map(str::to_owned);
        let service = self.service.clone().or(service);
        Some((Self { service, id: id.to_owned(), endpoint: None }, named.clone()))
    }
}

impl Inner {
    /// Returns the provider that a reference means if endpoints of several providers of a service
    /// that this process discovers have the id, and `None` if only one has it.
    ///
    /// # Errors
    ///
    /// `Validation` if it is ambiguous.
    pub(super) fn disambiguate(&self, which: &EndpointRef) -> Result<Option<Named>, Error> {
        let is_meant = |service: &str| which.service.as_ref().is_none_or(|meant| meant == service);
        let engines: Vec<_> = {
            let services = self.services();
            services.engines().filter(|engine| is_meant(engine.name().as_str())).cloned().collect()
        };
        for engine in engines {
            let snapshot = engine.snapshot();
            let Err(several @ Unresolved::Ambiguous(_)) = snapshot.resolve(&which.id) else { continue };
            let slots = snapshot.with_id(&which.id).map(|index| snapshot.slot(index));
            let place = which.endpoint.as_ref().map(|endpoint| endpoint.place());
            let here = slots.into_iter().find(|slot| Some(slot.endpoint.place()) == place);
            let mut sources = here.into_iter().flat_map(|slot| snapshot.identities(slot));
            let source = sources.find(|(id, _)| *id == which.id.as_str());
            let named = source
                .and_then(|(_, source)| self.providers().of_source(source).map(|(named, _)| named.clone()));
            return match named {
                Some(named) => Ok(Some(named)),
                None => Err(several.error(engine.name().as_str(), &which.id)),
            };
        }
        Ok(None)
    }
}
