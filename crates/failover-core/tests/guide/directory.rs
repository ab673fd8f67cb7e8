//! A directory as the backend of a provider.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

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

    /// Writes the list of a service again, with these lines or without them.
    fn change<'a>(&self, service: &str, lines: impl IntoIterator<Item = &'a str>, add: bool) {
        let file = self.path.join(format!("{service}.txt"));
        let text = fs::read_to_string(&file).unwrap_or_default();
        let mut all: BTreeSet<_> = text.lines().collect();
        for line in lines {
            if add {
                all.insert(line);
            } else {
                all.remove(line);
            }
        }
        let text = all.into_iter().flat_map(|line| [line, "\n"]).collect::<String>();
        let new = file.with_extension("new");
        fs::write(&new, text).expect("it is written");
        fs::rename(new, file).expect("it is renamed");
    }

    async fn change_all(
        &self,
        provider: &dyn Provider,
        endpoints: &[Endpoint],
        add: bool,
    ) -> Result<bool, Error> {
        let Some(registry) = provider.registry() else {
            let places: Vec<_> = endpoints.iter().map(Endpoint::authority).collect();
            let service = endpoints.first().map_or("", |endpoint| endpoint.service().as_str());
            self.change(service, places.iter().map(String::as_str), add);
            return Ok(true);
        };
        for endpoint in endpoints {
            if add {
                registry.register(endpoint).await?;
            } else {
                registry.deregister(endpoint.service(), endpoint.id()).await?;
            }
        }
        Ok(true)
    }
}

/// Lines, and what files have in them, that no provider can use.
const BROKEN: [&str; 7] = [
    "10.9.9.9",
    "10.9.9.9:0",
    "10.9.9.9:70000",
    ":8080",
    "\u{1b}[2J\u{202e}:80",
    "{\"id\": \"x\", \"address\": \"10.9.9.9\"",
    "{\"id\": \"x\", \"service_name\": \"a b\", \"address\": \"10.9.9.9\", \"port\": -1, \"weight\": 1e9}",
];

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
        self.change_all(provider, std::slice::from_ref(endpoint), true).await
    }

    async fn remove(&self, provider: &dyn Provider, endpoint: &Endpoint) -> Result<bool, Error> {
        self.change_all(provider, std::slice::from_ref(endpoint), false).await
    }

    async fn write_all(&self, provider: &dyn Provider, endpoints: &[Endpoint]) -> Result<bool, Error> {
        self.change_all(provider, endpoints, true).await
    }

    async fn remove_all(&self, provider: &dyn Provider, endpoints: &[Endpoint]) -> Result<bool, Error> {
        self.change_all(provider, endpoints, false).await
    }

    async fn hostile(&self, service: &str, begins: bool) -> bool {
        let long = "1".repeat(100_000) + ":80";
        for (broken, number) in BROKEN.into_iter().chain([&*long]).zip(1..) {
            // In the list of the service for one provider, in files of their own for another.
            self.change(service, [broken], begins);
            let file = self.path.join(format!("{service}.{number}.json"));
            let done = if begins { fs::write(file, broken) } else { fs::remove_file(file) };
            // It is not there if nothing was written.
            assert!(done.is_ok() || !begins, "it cannot be written");
        }
        true
    }

    fn has_secrets(&self) -> bool {
        false
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(20)
    }

    async fn outage(&self, begins: bool) -> bool {
        let away = self.path.with_extension("away");
        let (from, to) = if begins { (&self.path, &away) } else { (&away, &self.path) };
        // It is there already if no outage has begun.
        let _ = fs::rename(from, to);
        true
    }
}
