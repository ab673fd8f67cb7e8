//! The services that a client knows.

use failover_core::{FailoverManager, ServiceHandle, ServiceName};

use crate::error::Error;

/// The services that a client finds by name: all of a manager, or those of a list.
///
/// A host in a URL is in lower case, so that only services with such a name are found.
#[derive(Clone, Debug)]
pub struct Services(Known);

#[derive(Clone, Debug)]
enum Known {
    Manager(FailoverManager),
    List(Vec<ServiceHandle>),
}

impl From<FailoverManager> for Services {
    fn from(manager: FailoverManager) -> Self {
        Self(Known::Manager(manager))
    }
}

impl From<ServiceHandle> for Services {
    fn from(service: ServiceHandle) -> Self {
        Self(Known::List(vec![service]))
    }
}

impl From<Vec<ServiceHandle>> for Services {
    fn from(services: Vec<ServiceHandle>) -> Self {
        Self(Known::List(services))
    }
}

impl Services {
    pub(crate) async fn find(&self, service: &ServiceName) -> Result<ServiceHandle, Error> {
        let list = match &self.0 {
            // In a box, because it is larger than all else that a request waits for.
            Known::Manager(manager) => return Ok(Box::pin(manager.service(service.as_str())).await?),
            Known::List(list) => list,
        };
        let found = list.iter().find(|known| known.name() == service);
        found.cloned().ok_or_else(|| {
            let names: Vec<_> = list.iter().map(|known| known.name().as_str()).collect();
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            Error::UnknownService { service: service.clone(), known }
        })
    }
}
