//! A configuration store with a flaw.

use std::pin::Pin;
use std::task::{Context, Poll};

use failover_core::provider::{ConfigKey, ConfigSet, ConfigStore, ConfigStream, Revision, StoredConfig};
use failover_core::{Error, ErrorKind, async_trait};
use futures_core::Stream;

use super::watching::{Changed, changed};
use super::{Flaw, Flawed, refused};

#[async_trait]
impl ConfigStore for Flawed {
    async fn load(&self, key: &ConfigKey) -> Result<Option<StoredConfig>, Error> {
        let stored = self.up()?.load(key).await?;
        Ok(stored.map(|stored| match self.flaw {
            Some(Flaw::CutsDocuments) => {
                let document: String = stored.document().chars().filter(char::is_ascii).collect();
                StoredConfig::new(document, stored.revision().clone())
            }
            Some(Flaw::LoadsAnotherRevision) => StoredConfig::new(stored.document(), Revision::new("loaded")),
            _ => stored,
        }))
    }

    async fn store(
        &self,
        key: &ConfigKey,
        document: &str,
        expected: Option<&Revision>,
    ) -> Result<Revision, Error> {
        let provider = self.up()?;
        let current = provider.load(key).await?;
        let current = current.as_ref().map(StoredConfig::revision);
        let is_large = document.len() > 1 << 20;
        match self.flaw {
            Some(Flaw::IgnoresCompareAndSwap) => provider.store(key, document, current).await,
            Some(Flaw::OverwritesWithoutARevision) if expected.is_none() => {
                provider.store(key, document, current).await
            }
            Some(Flaw::MiscallsALargeDocument) if is_large => {
                Err(Error::new(ErrorKind::Validation, "the document is too large"))
            }
            Some(Flaw::CutsALargeDocument) if is_large => {
                provider.store(key, &document[..1 << 10], expected).await
            }
            Some(Flaw::MiscallsAConflict) => {
                let stored = provider.store(key, document, expected).await;
                stored.map_err(|error| match error.kind() {
                    ErrorKind::Conflict => error.with_code("CHANGED"),
                    _ => error,
                })
            }
            _ => provider.store(key, document, expected).await,
        }
    }

    fn watch(&self) -> ConfigStream<'_> {
        let (inner, down) = (ConfigStore::watch(&*self.inner), changed(self.down.subscribe()));
        Box::pin(ConfigWatch { inner, owner: self, down, failed: false, received: 0 })
    }
}

struct ConfigWatch<'a> {
    inner: ConfigStream<'a>,
    owner: &'a Flawed,
    down: Changed,
    /// An error was not yielded yet.
    failed: bool,
    received: u32,
}

impl Stream for ConfigWatch<'_> {
    type Item = Result<ConfigSet, Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let watch = self.get_mut();
        while let Poll::Ready(down) = watch.down.as_mut().poll(context) {
            watch.down = changed(watch.owner.down.subscribe());
            watch.failed |= down;
        }
        let loses = watch.owner.has(Flaw::LosesADocumentToAnError);
        if watch.failed && (loses || watch.owner.has(Flaw::YieldsADocumentsErrorFirst)) {
            watch.failed = false;
            while loses && watch.inner.as_mut().poll_next(context).is_ready() {}
            return Poll::Ready(Some(Err(refused())));
        }
        if watch.received > 0 && watch.owner.has(Flaw::ConfigNeverWakes) {
            return Poll::Pending;
        }
        match watch.inner.as_mut().poll_next(context) {
            Poll::Pending if std::mem::take(&mut watch.failed) => Poll::Ready(Some(Err(refused()))),
            Poll::Ready(item) => {
                watch.received += 1;
                if watch.received == 1 && watch.owner.has(Flaw::ConfigBeginsLate) {
                    return watch.inner.as_mut().poll_next(context);
                }
                Poll::Ready(item)
            }
            Poll::Pending => Poll::Pending,
        }
    }
}
