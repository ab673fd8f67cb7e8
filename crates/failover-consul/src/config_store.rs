//! The configuration store, in the key-value store.

use std::sync::Arc;

use failover_core::provider::{ConfigKey, ConfigStore, ConfigStream, Revision, StoredConfig};
use failover_core::{Error, ErrorKind, async_trait};
use failover_provider_kit::MAX_DOCUMENT_BYTES;

use crate::client::Limit;
use crate::config_document::{path, read, stored};
use crate::config_watch;
use crate::provider::ConsulProvider;
use crate::wire::{Mode, Read};

/// A document is a key under the prefix: `default` or `service/NAME`. Its revision is the key's
/// modify index.
#[async_trait]
impl ConfigStore for ConsulProvider {
    /// # Cancel safety
    ///
    /// Safe: it only reads.
    async fn load(&self, key: &ConfigKey) -> Result<Option<StoredConfig>, Error> {
        let client = self.opened()?;
        let (call, what) = read(client, key, self.once())?;
        let answer = client.ask(call, Limit::Short).await?;
        stored(&what, &answer)
    }

    /// Stores a document of at most 512 KiB.
    ///
    /// # Cancel safety
    ///
    /// A dropped future leaves the document stored completely or not at all. Retrying is safe; if
    /// the first attempt succeeded, the retry is a conflict.
    async fn store(
        &self,
        key: &ConfigKey,
        document: &str,
        expected: Option<&Revision>,
    ) -> Result<Revision, Error> {
        self.in_time("store", self.swap(key, document, expected)).await
    }

    /// Watches every key below the prefix. All watches share one task and one connection.
    fn watch(&self) -> ConfigStream<'_> {
        let client = Arc::clone(&self.client);
        self.documents.listen((), |publisher| async move {
            if client.is_open() {
                config_watch::follow(&client, &publisher).await;
            }
        })
    }
}

impl ConsulProvider {
    async fn swap(
        &self,
        key: &ConfigKey,
        document: &str,
        expected: Option<&Revision>,
    ) -> Result<Revision, Error> {
        let client = self.opened()?;
        let path = path(client, key)?;
        if document.len() > MAX_DOCUMENT_BYTES {
            return Err(Error::document_too_large(document.len(), MAX_DOCUMENT_BYTES));
        }
        let conflict = || {
            let message = format!("key {path}: it was changed, created or deleted meanwhile; load it again");
            Error::new(ErrorKind::Conflict, message)
        };
        let before = match expected {
            None => 0,
            // A revision that is not an index never was one of this store's, or names a document
            // that was overwritten.
            Some(revision) => match revision.as_str().parse::<u64>() {
                Ok(index) if index > 0 => index,
                _ => return Err(conflict()),
            },
        };
        let swap = client.done(client.settings.kv_swap(&path, document.as_bytes(), before)?).await;
        let unknown = match swap {
            Ok(answer) => match answer.body.trim_ascii() {
                b"true" => None,
                b"false" => return Err(conflict()),
                _ => {
                    return Err(Error::bad_answer(
                        format!("writing key {path}"),
                        "it is neither true nor false",
                    ));
                }
            },
            Err(error) if error.is_outcome_unknown() => Some(error),
            Err(error) => return Err(error),
        };
        // The response has no index, and another process may have written since.
        let (call, what) = read(client, key, Read::now(Mode::Leader))?;
        let now = match client.ask(call, Limit::Short).await.and_then(|answer| stored(&what, &answer)) {
            Ok(now) => now,
            Err(error) => return Err(unknown.unwrap_or(error)),
        };
        let is_ours = |now: &StoredConfig| now.text().is_ok_and(|found| found == document);
        let has_changed = |now: &StoredConfig| now.revision().as_str() != before.to_string();
        match (now, unknown) {
            (Some(now), None) if is_ours(&now) => Ok(now.revision().clone()),
            // The document was written if the index has changed.
            (Some(now), Some(_)) if is_ours(&now) && has_changed(&now) => Ok(now.revision().clone()),
            // It was written and then overwritten: the revision no longer exists.
            (_, None) => Ok(Revision::new(format!("overwritten after {before}"))),
            (Some(now), Some(_)) if has_changed(&now) => Err(conflict()),
            (_, Some(error)) => Err(error),
        }
    }
}
