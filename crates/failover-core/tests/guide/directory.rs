//! A directory as the backend of a provider.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use failover_conformance::Subject;
use failover_core::provider::Provider;
use failover_core::{Endpoint, Error, async_trait};

/// A directory that is moved away in an outage.
pub(super) struct Directory {
    _parent: tempfile::TempDir,
    path: PathBuf,
    make: fn(&Path) -> Arc<dyn Provider>,
}

impl Directory {
    pub(super) fn of(make: fn(&Path) -> Arc<dyn Provider>) -> Self {
        let parent = tempfile::tempdir().expect("a directory");
        let path = parent.path().join("endpoints");
        fs::create_dir(&path).expect("a directory");
        Self { _parent: parent, path, make }
    }

    /// Writes the list of a service again, with an endpoint or without it.
    fn change(&self, endpoint: &Endpoint, add: bool) {
        let file = self.path.join(format!("{}.txt", endpoint.service()));
        let text = fs::read_to_string(&file).unwrap_or_default();
        let place = endpoint.authority();
        let mut lines: BTreeSet<_> = text.lines().collect();
        if add {
            lines.insert(&place);
        } else {
            lines.remove(&*place);
        }
        let text = lines.into_iter().flat_map(|line| [line, "\n"]).collect::<String>();
        let new = file.with_extension("new");
        fs::write(&new, text).expect("it is written");
        fs::rename(new, file).expect("it is renamed");
    }
}

#[async_trait]
impl Subject for Directory {
    async fn provider(&self) -> Result<Arc<dyn Provider>, Error> {
        let provider = (self.make)(&self.path);
        provider.connect().await.map(|()| provider)
    }

    async fn unconnected(&self) -> Result<Option<Arc<dyn Provider>>, Error> {
        Ok(Some((self.make)(&self.path)))
    }

    async fn write(&self, provider: &dyn Provider, endpoint: &Endpoint) -> Result<bool, Error> {
        match provider.registry() {
            Some(registry) => registry.register(endpoint).await?,
            None => self.change(endpoint, true),
        }
        Ok(true)
    }

    async fn remove(&self, provider: &dyn Provider, endpoint: &Endpoint) -> Result<bool, Error> {
        match provider.registry() {
            Some(registry) => drop(registry.deregister(endpoint.service(), endpoint.id()).await?),
            None => self.change(endpoint, false),
        }
        Ok(true)
    }

    async fn outage(&self, begins: bool) -> bool {
        let away = self.path.with_extension("away");
        let (from, to) = if begins { (&self.path, &away) } else { (&away, &self.path) };
        // It is there already if no outage has begun.
        let _ = fs::rename(from, to);
        true
    }
}
