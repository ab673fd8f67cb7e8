//! Storage for configuration that processes share.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures_core::Stream;

use crate::contract::provider::Revision;
use crate::error::{Error, ErrorKind};
use crate::model::endpoint::ServiceName;

/// A stream of all documents of a store; the newest answer replaces the others. Continues after an
/// error.
pub type ConfigStream<'a> = Pin<Box<dyn Stream<Item = Result<ConfigSet, Error>> + Send + 'a>>;

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

    /// Watches the documents of all keys: the current ones and every change.
    ///
    /// One watch serves all services of a manager. A value that is no document is in the set as well
    /// ([`StoredConfig::unreadable`]), so that it is reported, and can be replaced.
    fn watch(&self) -> ConfigStream<'_>;
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

/// All documents of a store, as one answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigSet(Arc<HashMap<ConfigKey, StoredConfig>>);

impl ConfigSet {
    /// Creates an answer with these documents.
    pub fn new(documents: impl IntoIterator<Item = (ConfigKey, StoredConfig)>) -> Self {
        Self(Arc::new(documents.into_iter().collect()))
    }

    /// Returns the document of a key, or `None` if there is none.
    pub fn get(&self, key: &ConfigKey) -> Option<&StoredConfig> {
        self.0.get(key)
    }

    /// Returns the documents, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&ConfigKey, &StoredConfig)> {
        self.0.iter()
    }
}

/// A stored document and its revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredConfig {
    document: String,
    revision: Revision,
    /// Why there is no document.
    problem: Option<String>,
}

impl StoredConfig {
    /// Creates a stored document.
    pub fn new(document: impl Into<String>, revision: Revision) -> Self {
        Self { document: document.into(), revision, problem: None }
    }

    /// Creates a stored value that is no document, such as one that is not text, and says why.
    ///
    /// It is reported as any document that cannot be used, and can be replaced.
    pub fn unreadable(problem: impl Into<String>, revision: Revision) -> Self {
        Self { document: String::new(), revision, problem: Some(problem.into()) }
    }

    /// Returns the document, in JSON.
    ///
    /// # Errors
    ///
    /// Returns `Validation` if the stored value is no document.
    pub fn text(&self) -> Result<&str, Error> {
        match &self.problem {
            None => Ok(&self.document),
            Some(problem) => Err(Error::new(ErrorKind::Validation, problem.clone())),
        }
    }

    /// Returns the document, in JSON; empty if the stored value is no document.
    pub fn document(&self) -> &str {
        &self.document
    }

    /// Returns the document's revision.
    pub fn revision(&self) -> &Revision {
        &self.revision
    }
}
