//! Where configuration is kept for every process that uses it.

use std::pin::Pin;

use async_trait::async_trait;
use futures_core::Stream;

use crate::contract::provider::Revision;
use crate::error::Error;
use crate::model::endpoint::ServiceName;

/// What is stored under a key, now and at every change: `None` when nothing is. It goes on after an error.
pub type ConfigStream<'a> = Pin<Box<dyn Stream<Item = Result<Option<StoredConfig>, Error>> + Send + 'a>>;

/// A provider that keeps configuration documents.
#[async_trait]
pub trait ConfigStore: Send + Sync {
    /// What is stored under a key; `None` when nothing is.
    ///
    /// # Errors
    ///
    /// When the store did not answer.
    async fn load(&self, key: &ConfigKey) -> Result<Option<StoredConfig>, Error>;

    /// Stores a document, if what is there is what the caller has seen: `expected` is the revision of that, and
    /// `None` means that nothing is there. Answers the new revision.
    ///
    /// # Errors
    ///
    /// `Conflict` when something else is there; `Validation` when the document is too large for this store.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves the document either stored or not; load it to know.
    async fn store(
        &self,
        key: &ConfigKey,
        document: &str,
        expected: Option<&Revision>,
    ) -> Result<Revision, Error>;

    /// What is stored under a key, now and at every change.
    fn watch(&self, key: &ConfigKey) -> ConfigStream<'_>;
}

/// What a configuration document is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConfigKey {
    /// Every service that has none of its own.
    Default,
    /// One service.
    Service(ServiceName),
}

/// A stored document and the revision that a change of it must name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredConfig {
    document: String,
    revision: Revision,
}

impl StoredConfig {
    /// A document as the store gave it.
    pub fn new(document: impl Into<String>, revision: Revision) -> Self {
        Self { document: document.into(), revision }
    }

    /// The document, in JSON.
    pub fn document(&self) -> &str {
        &self.document
    }

    /// The store's mark of this document.
    pub fn revision(&self) -> &Revision {
        &self.revision
    }
}
