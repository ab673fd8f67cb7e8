//! The provider.

use std::fmt;
use std::future::{Future, poll_fn};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use failover_core::provider::{
    ConfigKey, ConfigSet, ConfigStore, ConfigStream, EndpointSet, Provider, ProviderInfo, Query, Revision,
    StoredConfig, WatchStream,
};
use failover_core::{Error, ErrorKind, async_trait};
use failover_provider_kit::{Polled, Publisher, SharedWatches, Source, Timing};

use crate::source::FileSource;

const INTERVAL: Duration = Duration::from_secs(5);
/// The range of the interval.
const SHORTEST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// The least time between two reads for the configuration.
const SPACING: Duration = Duration::from_millis(50);
const MAX_BYTES: u64 = 8 * 1024 * 1024;

/// Endpoints and configuration from one file, in TOML, YAML or JSON by the ending of its name.
///
/// ```
/// use failover_core::FailoverManager;
/// use failover_file::FileProvider;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let directory = std::env::temp_dir().join(format!("failover-file-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&directory)?;
/// # let path = directory.join("services.toml");
/// std::fs::write(&path, r#"
/// [config]                 # for all services
/// timeout = "5s"
///
/// [services.user-service]
/// endpoints = [
///     "http://10.0.0.1:8080",
///     { address = "10.0.0.2", port = 8080, protocol = "http", weight = 3, zone = "b" },
/// ]
/// config = { timeout = "2s" }
/// "#)?;
/// let manager = FailoverManager::builder().provider(FileProvider::new(&path)?).build().await?;
/// let users = manager.service("user-service").await?;
/// assert_eq!(users.stats().endpoints.len(), 2);
/// # std::fs::remove_dir_all(directory)?;
/// # Ok(()) }
/// ```
///
/// - The file is read when its directory changes, and every 5 s, because network file systems tell
///   nothing. Atomic replacement, a symbolic link that is pointed elsewhere and editors' ways of saving
///   are all changes. Two reads 100 ms apart have to agree.
/// - A file that is missing, empty or broken is an error that names the line and the column: the last
///   good endpoints stay, marked as stale. An endpoint that is not valid is left out, counted and
///   reported; the others stay.
/// - A service whose list is empty has no endpoints at once. One that the file no longer names keeps its
///   endpoints for the time of the empty policy, five minutes by default.
/// - The writers of the file are trusted: loopback addresses are allowed.
/// - It is read-only: storing configuration is `Unsupported`.
pub struct FileProvider {
    source: Arc<FileSource>,
    polled: Polled<Arc<FileSource>>,
    configs: SharedWatches<(), ConfigSet>,
}

impl fmt::Debug for FileProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileProvider").field("path", &self.source.path()).finish_non_exhaustive()
    }
}

impl FileProvider {
    /// Creates a provider of a file, which need not exist yet.
    ///
    /// # Errors
    ///
    /// Returns `Validation` if the name ends with none of `.toml`, `.yaml`, `.yml` and `.json`.
    pub fn new(path: impl Into<PathBuf>) -> Result<Self, Error> {
        Self::builder(path).build()
    }

    /// Returns a builder of a provider of a file.
    pub fn builder(path: impl Into<PathBuf>) -> FileProviderBuilder {
        FileProviderBuilder { path: path.into(), interval: INTERVAL, max_bytes: MAX_BYTES }
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        self.source.path()
    }
}

/// A builder of a [`FileProvider`].
#[derive(Clone, Debug)]
pub struct FileProviderBuilder {
    path: PathBuf,
    interval: Duration,
    max_bytes: u64,
}

impl FileProviderBuilder {
    /// Sets how often the file is read if nothing tells of a change, 5 s by default. A shorter interval than
    /// 250 ms counts as that, a longer one than 24 h as 24 h.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.interval = interval.clamp(SHORTEST, LONGEST);
        self
    }

    /// Sets the maximum size of the file, 8 MiB by default. A larger one is an error.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Creates the provider.
    ///
    /// # Errors
    ///
    /// See [`FileProvider::new`].
    pub fn build(self) -> Result<FileProvider, Error> {
        let source = Arc::new(FileSource::new(self.path, self.interval, self.max_bytes)?);
        let polled = Polled::new(Arc::clone(&source));
        Ok(FileProvider { source, polled, configs: SharedWatches::new(Timing::tokio()) })
    }
}

#[async_trait]
impl Provider for FileProvider {
    fn info(&self) -> ProviderInfo {
        self.polled.info()
    }

    async fn connect(&self) -> Result<(), Error> {
        self.source.set_open(true);
        self.polled.connect().await
    }

    async fn ping(&self) -> Result<(), Error> {
        self.polled.ping().await
    }

    async fn close(&self) -> Result<(), Error> {
        self.source.set_open(false);
        self.configs.close();
        self.polled.close().await
    }

    async fn list(&self, query: &Query) -> Result<EndpointSet, Error> {
        self.polled.list(query).await
    }

    fn watch(&self, query: &Query) -> Option<WatchStream<'_>> {
        self.polled.watch(query)
    }

    fn config_store(&self) -> Option<&dyn ConfigStore> {
        Some(self)
    }
}

#[async_trait]
impl ConfigStore for FileProvider {
    async fn load(&self, key: &ConfigKey) -> Result<Option<StoredConfig>, Error> {
        self.polled.ping().await?;
        Ok(self.source.document().await?.config().get(key).cloned())
    }

    async fn store(&self, _: &ConfigKey, _: &str, _: Option<&Revision>) -> Result<Revision, Error> {
        let path = self.source.path().display();
        let message = format!("configuration in a file is changed by writing {path}");
        Err(Error::new(ErrorKind::Unsupported, message))
    }

    fn watch(&self) -> ConfigStream<'_> {
        let source = Arc::clone(&self.source);
        self.configs.listen((), move |publisher| follow(source, publisher))
    }
}

/// The task of a watch of the configuration.
async fn follow(source: Arc<FileSource>, publisher: Publisher<ConfigSet>) {
    let mut published = None;
    while source.is_open() {
        let mut changed = pin!(source.changed());
        // What happens during the read is noticed, too.
        let is_changed = poll_fn(|context| Poll::Ready(changed.as_mut().poll(context).is_ready())).await;
        match source.document().await.map(|document| document.config().clone()) {
            Ok(config) if published.as_ref() == Some(&config) => {}
            Ok(config) => {
                published = Some(config.clone());
                publisher.publish(config);
            }
            Err(error) => {
                published = None;
                publisher.error(error);
            }
        }
        if !is_changed {
            // The time counts where changes cannot be watched.
            let _ = tokio::time::timeout(source.interval(), changed).await;
        }
        tokio::time::sleep(SPACING).await;
    }
}
