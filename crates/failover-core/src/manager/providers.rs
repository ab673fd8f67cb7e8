//! The providers of a manager, by name.

use std::sync::Arc;

use crate::config::manager::PROVIDER_NAME;
use crate::contract::provider::{AddressTrust, Feature, Provider};
use crate::error::{Error, ErrorKind};

/// A provider and its name.
#[derive(Clone)]
pub(super) struct Named {
    pub(super) name: Arc<str>,
    pub(super) provider: Arc<dyn Provider>,
    pub(super) trust: AddressTrust,
    pub(super) features: Arc<[Feature]>,
    pub(super) keeps_config: bool,
}

impl std::fmt::Debug for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The provider can hold credentials, and does not have to implement `Debug`.
        f.debug_struct("Named").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Named {
    /// Uses the name of the provider's kind, unless a name is given.
    pub(super) fn new(name: Option<String>, provider: Arc<dyn Provider>) -> Self {
        // A provider is foreign code: it is called here, while no lock is held, and not again.
        let info = provider.info();
        Self {
            name: name.unwrap_or_else(|| info.kind().to_owned()).into(),
            trust: info.trust(),
            features: info.features().into(),
            keeps_config: provider.config_store().is_some(),
            provider,
        }
    }

    /// Whether the provider checks the health of its endpoints itself.
    pub(super) fn checks_health(&self) -> bool {
        self.features.contains(&Feature::HealthCheck)
    }
}

/// All providers, in the order in which they were added, each with a unique name.
#[derive(Clone, Debug, Default)]
pub(super) struct Providers(Vec<Named>);

impl Providers {
    /// Adds a provider, unless one of its name exists.
    pub(super) fn add(&mut self, named: Named) -> Result<(), Error> {
        let name = &named.name;
        if name.is_empty() || name.contains('@') {
            return Err(Error::invalid("provider", name, PROVIDER_NAME));
        }
        if self.get(name).is_some() {
            let wanted = "a unique name for each provider; use provider_as or register_provider_as";
            return Err(Error::invalid("provider", format!("\"{name}\" twice"), wanted));
        }
        self.0.push(named);
        Ok(())
    }

    pub(super) fn get(&self, name: &str) -> Option<&Named> {
        self.0.iter().find(|named| &*named.name == name)
    }

    /// Returns the provider of a source: the one of its name, or of the name before a slash, with what
    /// follows the slash.
    pub(super) fn of_source<'a>(&self, source: &'a str) -> Option<(&Named, Option<&'a str>)> {
        if let Some(named) = self.get(source) {
            return Some((named, None));
        }
        let (provider, one_of_several) = source.rsplit_once('/')?;
        Some((self.get(provider)?, Some(one_of_several)))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Named> {
        self.0.iter()
    }

    pub(super) fn all(self) -> Vec<Named> {
        self.0
    }

    /// Returns the provider with this name, or the first one.
    pub(super) fn by_default(&self, name: Option<&str>) -> Result<&Named, Error> {
        match name {
            Some(name) => self.named(name),
            None => self.0.first().ok_or_else(|| {
                let message = "the manager has no provider; pass one to its builder or register one";
                Error::new(ErrorKind::NotFound, message)
            }),
        }
    }

    pub(super) fn named(&self, name: &str) -> Result<&Named, Error> {
        self.get(name).ok_or_else(|| {
            let known: Vec<_> = self.0.iter().map(|named| format!("\"{}\"", named.name)).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let message = format!("no provider is named \"{name}\"; there are {known}");
            Error::new(ErrorKind::NotFound, message).with_detail("provider", name)
        })
    }
}
