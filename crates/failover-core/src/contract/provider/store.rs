//! Storage for configuration that processes share.

use std::pin::Pin;

use async_trait::async_trait;
use futures_core::Stream;

use crate::contract::provider::Revision;
use crate::error::Error;
use crate::model::endpoint::ServiceName;

/// A stream of a key's document, `None` if there is none. Continues after an error.
pub type ConfigStream<'a> = Pin<Box<dyn Stream<Item = Result<Option<StoredConfig>, Error>> + Send + 'a>>;

/// A provider that stores configuration documents.
#[async_trait]
pub trait ConfigStore: Send + Sync {
    /// Returns the document of a key, or `None` if there is none.
    ///
    /// # Errors
    ///
    /// Returns an error if the store did not answer.
    async fn load(&self, key: &ConfigKey) -> Result<Option<StoredConfig>, Error>;

    /// Stores a document if the current revision is `expected`. Returns the new revision.
    ///
    /// `None` expects that no document is stored.
    ///
    /// # Errors
    ///
    /// Returns `Conflict` if another revision is stored, and `Validation` if the document is too
    /// large for this store.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves the document either stored or not; load it to find out.
    async fn store(
        &self,
        key: &ConfigKey,
        document: &str,
        expected: Option<&Revision>,
    ) -> Result<Revision, Error>;

    /// Watches the document of a key: the current one and every change.
    fn watch(&self, key: &ConfigKey) -> ConfigStream<'_>;
}

/// The scope of a configuration document.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConfigKey {
    /// All services without one of their own.
    Default,
    /// One service.
    Service(ServiceName),
}

/// A stored document and its revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredConfig {
    document: String,
    revision: Revision,
}

impl StoredConfig {
    /// Creates a stored document.
    pub fn new(document: impl Into<String>, revision: Revision) -> Self {
        Self { document: document.into(), revision }
    }

    /// Returns the document, in JSON.
    pub fn document(&self) -> &str {
        &self.document
    }

    /// Returns the document's revision.
    pub fn revision(&self) -> &Revision {
        &self.revision
    }
}
