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
/// the provider as well. An exact id comes first; otherwise the text is split at its last `@`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointRef {
    pub(super) service: Option<String>,
    pub(super) id: String,
}

impl From<&str> for EndpointRef {
    fn from(id: &str) -> Self {
        Self { service: None, id: id.to_owned() }
    }
}

impl From<&String> for EndpointRef {
    fn from(id: &String) -> Self {
        Self::from(id.as_str())
    }
}

impl From<(&str, &str)> for EndpointRef {
    fn from((service, id): (&str, &str)) -> Self {
        Self { service: Some(service.to_owned()), id: id.to_owned() }
    }
}

impl From<&Endpoint> for EndpointRef {
    fn from(endpoint: &Endpoint) -> Self {
        Self::from((endpoint.service().as_str(), endpoint.id().as_str()))
    }
}

impl EndpointRef {
    /// Returns the provider whose name follows the last `@`, and the reference without that name.
    pub(super) fn qualifier(&self, providers: &Providers) -> Option<(Self, Named)> {
        let (id, source) = self.id.rsplit_once('@')?;
        let bare = Self { service: self.service.clone(), id: id.to_owned() };
        providers.get(source).map(|named| (bare, named.clone()))
    }
}

impl Inner {
    /// Refuses an id that endpoints of several providers have, as far as this process discovers
    /// their services.
    pub(super) fn ensure_unambiguous(&self, which: &EndpointRef) -> Result<(), Error> {
        let is_meant = |service: &str| which.service.as_ref().is_none_or(|meant| meant == service);
        let engines: Vec<_> = {
            let services = self.services();
            services.engines().filter(|engine| is_meant(engine.name().as_str())).cloned().collect()
        };
        for engine in engines {
            if let Err(several @ Unresolved::Ambiguous(_)) = engine.snapshot().resolve(&which.id) {
                return Err(several.error(engine.name().as_str(), &which.id));
            }
        }
        Ok(())
    }
}
